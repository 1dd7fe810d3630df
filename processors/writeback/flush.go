package writeback

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
)

// changedSince reports whether there is something to flush, to mark or to renew since the last
// checkpoint.
func (p *Partition[T, L]) changedSince() bool {
	p.todo.mu.Lock()
	defer p.todo.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.todo.dirty) > 0 || len(p.sweeps) > 0 || len(p.sweepsGone) > 0 || p.next.Load() > p.marked.Load() || p.renewed.Load() != p.eng.renewals.Load()
}

// flushed tells that everything up to an offset was written back for a checkpoint.
type flushed struct{ id, next int64 }

// flushAll writes back what has changed, and deletes what that replaces. It returns false if the
// partition must be given up and not everything is written.
func (p *Partition[T, L]) flushAll() bool {
	p.sweep()
	es := p.todo.take()
	for i, e := range es {
		if !p.await(e.writable) {
			p.todo.add(es[i:]...)
			return false
		}
		p.flush(e)
	}
	return true
}

// changes is what is to be flushed. A partition that a rebalance gives back continues with the
// previous one: what was on its way to the changelog then may still be refused.
type changes[T, L any] struct {
	mu        sync.Mutex
	dirty     []*Entry[T, L]
	refused   []schemas.Parked // not yet reported in the log
	unwritten atomic.Bool      // a value has been refused since the last checkpoint began
}

func (c *changes[T, L]) add(es ...*Entry[T, L]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dirty = append(c.dirty, es...)
}

// take empties the list of changed entries and returns it.
func (c *changes[T, L]) take() []*Entry[T, L] {
	c.mu.Lock()
	defer c.mu.Unlock()
	es := c.dirty
	c.dirty = nil
	return es
}

// flush writes the entry, which must be writable, to the group table, or deletes it if Logic no
// longer needs it.
func (p *Partition[T, L]) flush(e *Entry[T, L]) {
	if p.live[e.Key] != e {
		return // forgotten, or read again, since it was put into the list
	}
	e.dirty.Store(false)
	if r := e.refused.Load(); r != nil && !e.mute {
		if !r.bare { // it waits to be parked
			p.todo.unwritten.Store(true)
			p.touch(e)
			return
		}
		p.silence(e, r.err)
	}
	e.trim()
	// A key is forgotten only if no record that it has applied can be replayed.
	gone := p.eng.logic.Gone(e.V)
	if gone && len(e.pending) == 0 && e.offset < p.marked.Load() {
		p.letGo(e)
		return
	}
	if e.mute {
		return
	}
	p.eng.written.Inc()
	b := e.encode(p, nil)
	if n := len(b) + len(e.Key); n > maxStored {
		p.refuse(e, e.lostMS, &refusal{err: fmt.Errorf("%d bytes, at most %d", n, maxStored)})
		return
	}
	p.write(e, b)
	if gone || len(e.pending) > 0 { // flush it again when they are acknowledged
		p.touch(e)
	}
}

// write does what Goka's SetValue does: it writes to the local store, then to the changelog, and,
// when that has acknowledged, sets the local store's offset. It does not use a Goka visit, the only
// way to a context for a key: a visit that a rebalance cuts short reads its count of
// acknowledgements while they come in, without a lock.
func (p *Partition[T, L]) write(e *Entry[T, L], value []byte) {
	raw := tableKey(e.Key, p.writer)
	if err := p.put(string(raw), value); err != nil {
		p.eng.fail(fmt.Errorf("write state of %q to partition %d: %w", e.Key, p.ID, err))
		return
	}
	if !slices.Contains(e.writers, p.writer) {
		e.writers = append(e.writers, p.writer)
	}
	others, lostMS, bare := len(e.writers) > 1, e.lostMS, e.parkedAt == e.offset+1
	e.fresh, e.was = false, nil
	p.log(raw, value, func(err error) {
		switch {
		case err == nil:
			e.refused.Store(nil)
			if others {
				p.mu.Lock()
				p.sweeps = append(p.sweeps, e)
				p.mu.Unlock()
			}
		case errors.Is(err, ErrRefused):
			p.refuse(e, lostMS, &refusal{err, bare})
		}
	})
}

// delete deletes the key in the changelog, under all its writers, the owner last: until then the
// value is the owner's.
func (p *Partition[T, L]) delete(key string, writers []writer) {
	own := false
	for _, w := range writers {
		if w != p.writer {
			p.deleteOf(key, w)
		}
		own = own || w == p.writer
	}
	if own {
		raw := tableKey(key, p.writer)
		if err := p.remove(string(raw)); err != nil {
			p.eng.fail(fmt.Errorf("delete state of %q from partition %d: %w", key, p.ID, err))
			return
		}
		p.log(raw, nil, nil)
	}
}

// deleteOf deletes another writer's record of the key.
func (p *Partition[T, L]) deleteOf(key string, w writer) {
	raw := tableKey(key, w)
	p.log(raw, nil, func(err error) {
		if err == nil {
			if err := p.table.Delete(string(raw)); err != nil {
				p.eng.fail(fmt.Errorf("delete state of %q from partition %d: %w", key, p.ID, err))
			}
		}
	})
}

// sweep deletes the records of earlier writers, for keys whose own value is acknowledged. A letter
// that quotes such a record has been acknowledged before.
func (p *Partition[T, L]) sweep() {
	p.settle()
	if p.letters.Load() > 0 {
		return
	}
	p.mu.Lock()
	es, gs := p.sweeps, p.sweepsGone
	p.sweeps, p.sweepsGone = nil, nil
	p.mu.Unlock()
	p.sweepGone(gs)
	for _, e := range es {
		if len(e.writers) < 2 || p.live[e.Key] != e {
			continue
		}
		for _, w := range e.writers {
			if w != p.writer {
				p.deleteOf(e.Key, w)
			}
		}
		e.writers = []writer{p.writer}
	}
}

// log appends a record to the changelog of the partition.
func (p *Partition[T, L]) log(key, value []byte, done func(error)) {
	r := &kgo.Record{Topic: p.eng.opts.Table, Partition: p.ID, Key: key, Value: value}
	p.eng.prod.produceTo(r, func(err error) {
		if err == nil {
			p.eng.wrote(r)
		}
		if done != nil {
			done(err)
		}
	})
}
