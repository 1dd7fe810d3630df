package notify

import (
	"sync/atomic"

	"weir/schemas"
)

// maxHeldBytes bounds the alerts of pending deliveries that are held in memory, all
// receivers together. Those beyond stand in the ledger alone, and are read back when it
// is their turn.
const maxHeldBytes = 32 << 20

// memory counts what is held.
type memory struct{ bytes atomic.Int64 }

// hold keeps d, which takes size bytes in the ledger, in memory if there is room.
func (l *lane) hold(e *entry, d *schemas.Delivery, size int, queue int) {
	l.drop(e)
	m := l.part.memory
	if l.r == nil || l.r.held.Load() >= int64(queue) || m.bytes.Load()+int64(size) > maxHeldBytes {
		return
	}
	l.keep(e, d, size)
}

// keep holds d whether there is room or not.
func (l *lane) keep(e *entry, d *schemas.Delivery, size int) {
	l.drop(e)
	e.held, e.size = d, int32(size)
	l.part.memory.bytes.Add(int64(size))
	if l.r != nil {
		l.r.held.Add(1)
	}
}

// drop frees what an entry holds, if anything.
func (l *lane) drop(e *entry) {
	if e.held == nil {
		return
	}
	e.held = nil
	l.part.memory.bytes.Add(-int64(e.size))
	if l.r != nil {
		l.r.held.Add(-1)
	}
}
