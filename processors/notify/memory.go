package notify

import (
	"sync/atomic"

	"github.com/weir-metrics/weir/schemas"
)

// maxHeldBytes bounds the alerts of pending deliveries that are in memory, for all receivers
// together. Others are only in the ledger, and are read back when it is their turn.
const maxHeldBytes = 32 << 20

// memory counts what is in memory.
type memory struct{ bytes atomic.Int64 }

// readAhead is how many waiting deliveries are taken into memory when one is read back: they are
// mostly side by side, and next.
const readAhead = 512

// room reports whether an alert of size bytes may be in memory, in addition to those of the lane's
// receiver, if these are fewer than most.
func (l *lane) room(size, most int) bool {
	return l.r != nil && l.r.inMemory.Load() < int64(most) && l.part.memory.bytes.Load()+int64(size) <= maxHeldBytes
}

// hold keeps d, which takes size bytes in the ledger, in memory if there is room.
func (l *lane) hold(e *entry, d *schemas.Delivery, size, most int) {
	l.drop(e)
	if l.room(size, most) {
		l.keep(e, d, size)
	}
}

func (l *lane) keep(e *entry, d *schemas.Delivery, size int) {
	e.inMemory, e.size = d, int32(size)
	l.part.memory.bytes.Add(int64(size))
	if l.r != nil {
		l.r.inMemory.Add(1)
	}
}

// drop frees what an entry holds, if anything.
func (l *lane) drop(e *entry) {
	if e.inMemory == nil {
		return
	}
	e.inMemory = nil
	l.part.memory.bytes.Add(-int64(e.size))
	if l.r != nil {
		l.r.inMemory.Add(-1)
	}
}
