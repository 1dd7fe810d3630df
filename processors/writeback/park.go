package writeback

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
)

// Clock is a Logic whose values have a clock of their own.
type Clock[T, L any] interface {
	// ClockMS is the time, ms, up to which v may have emitted something.
	ClockMS(v *T) int64
}

// refusal tells why a value cannot be written. A bare one has just replaced another.
type refusal struct {
	err  error
	bare bool
}

// refuse records that the value of an entry cannot be written. The next checkpoint parks it, unless
// it is bare.
func (p *Partition[T, L]) refuse(e *Entry[T, L], lostMS int64, r *refusal) {
	e.refused.Store(r)
	if !r.bare {
		p.todo.mu.Lock()
		p.todo.refused = append(p.todo.refused, schemas.Parked{Key: e.Key, LostMS: lostMS})
		p.todo.mu.Unlock()
	}
	p.todo.unwritten.Store(true)
	p.touch(e)
}

// maxParkingKeys bounds the keys in a parking record, bytes.
const maxParkingKeys = 256 << 10

// takeRefused returns the values to park next.
func (c *changes[T, L]) takeRefused() []schemas.Parked {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, size := 0, 0
	for ; n < len(c.refused) && size < maxParkingKeys; n++ {
		size += len(c.refused[n].Key)
	}
	ps := c.refused[:n:n]
	c.refused = c.refused[n:]
	return ps
}

// appendParking appends a parking record to the input of a partition. If it is not accepted, the
// next checkpoint tries again.
func (e *Engine[T, L]) appendParking(p *Partition[T, L], ps []schemas.Parked) {
	e.prod.produceTo(&kgo.Record{Topic: e.opts.Input, Partition: p.ID, Value: schemas.AppendParking(nil, ps)}, func(err error) {
		if err == nil {
			return
		}
		p.todo.mu.Lock()
		p.todo.refused = append(ps, p.todo.refused...)
		p.todo.mu.Unlock()
		p.parkingOut.Store(false)
	})
}

// askPartitions begins a checkpoint: it asks the partitions that have changed to flush. Partitions
// that have already answered have a next offset.
func (e *Engine[T, L]) askPartitions() (asked []*Partition[T, L], next []int64) {
	e.checkpointID++
	for _, p := range e.owned() {
		if !p.changedSince() {
			continue
		}
		n := p.parkedNext.Swap(0)
		switch {
		case n > p.marked.Load(): // flushed when it parked
		case p.parkingOut.Load():
			continue
		default:
			n = 0
			if ps := p.todo.takeRefused(); len(ps) > 0 {
				p.parkingOut.Store(true)
				e.appendParking(p, ps)
				continue
			}
			p.todo.unwritten.Store(false)
			p.checkpointRequested.Store(e.checkpointID)
			e.tick(p, &schemas.Tick{NowMS: schemas.NoTime})
		}
		asked, next = append(asked, p), append(next, n)
	}
	return asked, next
}

// parkAll parks the values that a record names. If a checkpoint of this process wrote the record,
// everything is flushed here, while the new values are small.
func (p *Partition[T, L]) parkAll(value []byte, off int64, written time.Time) {
	ps, err := schemas.DecodeParking(value)
	if err != nil {
		p.refuseTick(value, off, err)
		return
	}
	for _, parked := range ps {
		e := p.live[parked.Key]
		if e == nil || off <= e.offset {
			continue
		}
		r := e.refused.Swap(nil) // if the value is not parked, writing it is tried again
		if e.lostMS != parked.LostMS || p.eng.logic.Gone(e.V) {
			continue
		}
		if r == nil {
			r = &refusal{err: ErrRefused}
		}
		e.offset = off
		p.park(e, written.UnixMilli(), r.err)
	}
	if p.parkingOut.Load() {
		p.todo.unwritten.Store(false)
		if p.flushAll() {
			p.parkedNext.Store(off + 1)
		}
		p.parkingOut.Store(false)
	}
}

// park throws away the value of an entry that cannot be written, at the offset that it has applied.
func (p *Partition[T, L]) park(e *Entry[T, L], atMS int64, err error) {
	p.eng.harm("parked", e.Key, err)
	if c, ok := p.eng.logic.(Clock[T, L]); ok {
		atMS = c.ClockMS(e.V)
	}
	e.lostMS = max(e.lostMS+1, atMS)
	p.forget(e.V)
	e.V = p.eng.logic.New(p, e.Key)
	e.parkedAt, e.fresh = e.offset+1, true
	e.due = 0
	p.eng.logic.Lost(p, e.V, e.lostMS)
	p.touch(e)
	p.register(e)
}

// silence gives up writing the value of an entry.
func (p *Partition[T, L]) silence(e *Entry[T, L], err error) {
	p.eng.harm("unwritable", e.Key, err)
	e.mute = true
	p.delete(e.Key, e.writers)
	e.writers = nil
}
