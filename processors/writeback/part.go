package writeback

import (
	"container/heap"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lovoo/goka"
	"github.com/lovoo/goka/storage"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Part is a partition that this process owns: its live values.
type Part[T any] struct {
	storage.Storage // of the partition: what Goka reads and writes
	ID              int32
	Local           any // Logic's own, from Open; used by the partition's goroutine only

	eng       *Engine[T]
	live      map[string]*Entry[T]
	heap      dueHeap[T]
	kept      bool // live was kept over a rebalance
	recovered bool
	complete  bool                // recovered in a session that was alive to the end of it; under Engine.mu
	reload    map[string]struct{} // keys that recovery changed under a kept live

	next    atomic.Int64 // offset of the next record to apply
	dueMS   atomic.Int64 // when the next value is due, ms, 0 never
	tickOut atomic.Bool  // a tick was appended and has not come back
	keys    atomic.Int64 // len(live)
	marked  atomic.Int64 // next, as the last checkpoint marked it

	mu    sync.Mutex
	dirty []*Entry[T]
}

// dueHeap orders entries by when they are due. An entry may stand in it twice; only
// the time in the entry counts.
type dueHeap[T any] []dueAt[T]

type dueAt[T any] struct {
	ms int64
	e  *Entry[T]
}

func (h dueHeap[T]) Len() int           { return len(h) }
func (h dueHeap[T]) Less(i, j int) bool { return h[i].ms < h[j].ms }
func (h dueHeap[T]) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *dueHeap[T]) Push(x any)        { *h = append(*h, x.(dueAt[T])) }
func (h *dueHeap[T]) Pop() any {
	old := *h
	x := old[len(old)-1]
	old[len(old)-1] = dueAt[T]{}
	*h = old[:len(old)-1]
	return x
}

// Values calls f for every live value, from the partition's goroutine.
func (p *Part[T]) Values(f func(e *Entry[T])) {
	for _, e := range p.live {
		f(e)
	}
}

// Keys is how many live values there are; safe for concurrent use.
func (p *Part[T]) Keys() int64 { return p.keys.Load() }

// Value returns the live value of key, or nil if it has none, from the partition's goroutine.
func (p *Part[T]) Value(key string) *Entry[T] { return p.live[key] }

// Deadletter sends a refused record, or what stands for refused samples, to the
// deadletter topic; a checkpoint waits until it is acknowledged.
func (p *Part[T]) Deadletter(r *kgo.Record) { p.eng.prod.produce(r, func(error) {}) }

// Set is called by Goka, with what it reads from the changelog and with what flush
// gives to SetValue.
func (p *Part[T]) Set(key string, v []byte) error {
	p.changed(key)
	return p.Storage.Set(key, v)
}

// Delete is Set for a tombstone.
func (p *Part[T]) Delete(key string) error {
	p.changed(key)
	return p.Storage.Delete(key)
}

func (p *Part[T]) changed(key string) {
	if p.kept && !p.recovered {
		p.reload[key] = struct{}{}
	}
}

// MarkRecovered is called by Goka when the table is complete. Every value is decoded,
// in order (lazily it costs 24 µs a key, TRAPS 45), and what was pending emitted again.
// After a rebalance that gave the partition back, only the values that another owner
// wrote in between are: the others are as this process left them, each at its own
// offset, and the records since the last checkpoint that come again are skipped.
func (p *Part[T]) MarkRecovered() error {
	if err := p.Storage.MarkRecovered(); err != nil {
		return err
	}
	start := time.Now()
	decoded := 0
	if p.kept {
		for key := range p.reload {
			v, err := p.Storage.Get(key)
			if err != nil {
				return fmt.Errorf("read state %s/%d: %w", p.eng.opts.Table, p.ID, err)
			}
			if old := p.live[key]; old != nil {
				old.due = 0 // what stands of it in the heap is void, as in the dirty list
			}
			delete(p.live, key)
			if v == nil {
				continue
			}
			if err := p.decode(key, v); err != nil {
				return err
			}
			decoded++
		}
	} else {
		p.Local = p.eng.logic.Open(p)
		if err := p.decodeAll(); err != nil {
			return err
		}
		decoded = len(p.live)
	}
	p.recovered = true
	p.eng.log.Debug("partition recovered", "partition", p.ID, "keys", len(p.live), "decoded", decoded, "took", time.Since(start).Round(time.Millisecond))
	p.keys.Store(int64(len(p.live)))
	p.eng.addPart(p)
	return nil
}

func (p *Part[T]) decodeAll() error {
	it, err := p.Storage.Iterator()
	if err != nil {
		return fmt.Errorf("read state %s/%d: %w", p.eng.opts.Table, p.ID, err)
	}
	defer it.Release()
	for it.Next() {
		v, err := it.Value()
		if err != nil {
			return fmt.Errorf("read state %s/%d: %w", p.eng.opts.Table, p.ID, err)
		}
		if err := p.decode(string(it.Key()), v); err != nil {
			return err
		}
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("read state %s/%d: %w", p.eng.opts.Table, p.ID, err)
	}
	return nil
}

// decode makes the live entry of key from its stored form.
func (p *Part[T]) decode(key string, v []byte) error {
	e, err := decodeEntry(p, key, append([]byte(nil), v...))
	if err != nil {
		return err
	}
	p.live[key] = e
	p.register(e)
	if len(e.pending) > 0 {
		p.touch(e)
		for _, m := range e.pending {
			p.send(m)
		}
	}
	return nil
}

// Close is called by Goka when the partition is lost or the processor stops.
func (p *Part[T]) Close() error {
	p.eng.parkPart(p)
	return p.Storage.Close()
}

// entry returns the live entry of key, made anew if need be.
func (p *Part[T]) entry(key string) *Entry[T] {
	e := p.live[key]
	if e == nil {
		e = &Entry[T]{Key: key, V: p.eng.logic.New(p, key), offset: -1}
		p.live[key] = e
		p.keys.Store(int64(len(p.live)))
	}
	return e
}

// touch marks the entry as changed since it was flushed.
func (p *Part[T]) touch(e *Entry[T]) {
	if e.dirty.CompareAndSwap(false, true) {
		p.mu.Lock()
		p.dirty = append(p.dirty, e)
		p.mu.Unlock()
	}
}

// register puts the entry into the heap if it is due earlier than noted there.
func (p *Part[T]) register(e *Entry[T]) {
	d := p.eng.logic.Due(e.V)
	if d == 0 || e.due != 0 && e.due <= d {
		return
	}
	e.due = d
	heap.Push(&p.heap, dueAt[T]{d, e})
	p.dueMS.Store(p.heap[0].ms)
}

// record applies a record of the input, unless it is a replay.
func (p *Part[T]) record(ctx goka.Context, value []byte) {
	off := ctx.Offset()
	switch {
	case ctx.Key() == "":
		p.tick(value, off)
	default:
		e := p.entry(ctx.Key())
		if off <= e.offset {
			p.eng.replays.Inc()
			break
		}
		e.offset = off
		p.touch(e)
		p.eng.logic.Apply(p, e, Record{Value: value, Offset: off, TimeMS: ctx.Timestamp().UnixMilli()})
		p.register(e)
	}
	// After the entry is in the dirty list: a checkpoint that sees this offset flushes it.
	p.next.Store(off + 1)
}

const tickVersion = 1

func encodeTick(nowMS int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{tickVersion}, uint64(nowMS))
}

// tick acts on the values that are due at the time in the record, in log order.
func (p *Part[T]) tick(value []byte, off int64) {
	if len(value) != 9 || value[0] != tickVersion {
		p.eng.badTicks.Inc()
		return
	}
	p.tickOut.Store(false)
	now := int64(binary.BigEndian.Uint64(value[1:]))
	for len(p.heap) > 0 && p.heap[0].ms <= now {
		at := heap.Pop(&p.heap).(dueAt[T])
		e := at.e
		if at.ms != e.due { // registered again, earlier
			continue
		}
		e.due = 0
		if d := p.eng.logic.Due(e.V); d != 0 && d <= now && off > e.offset {
			e.offset = off
			p.touch(e)
			p.eng.logic.Tick(p, e, now, off)
		}
		if d := p.eng.logic.Due(e.V); d != 0 {
			e.due = max(d, now+1)
			heap.Push(&p.heap, dueAt[T]{e.due, e})
		}
	}
	if len(p.heap) > 0 {
		p.dueMS.Store(p.heap[0].ms)
	} else {
		p.dueMS.Store(0)
	}
}

// flush writes the entry to the group table, or deletes it when Logic has no more
// use for it; called by the flush visit.
func (p *Part[T]) flush(ctx goka.Context) {
	e := p.live[ctx.Key()]
	if e == nil {
		return // forgotten, or read anew, since it was put into the list
	}
	e.dirty.Store(false)
	e.trim()
	// A key is forgotten only when no record that it has applied can be replayed.
	gone := p.eng.logic.Gone(e.V)
	if gone && len(e.pending) == 0 && e.offset < p.marked.Load() {
		delete(p.live, e.Key)
		p.keys.Store(int64(len(p.live)))
		ctx.Delete()
		return
	}
	ctx.SetValue(e.encode(p, nil))
	if gone || len(e.pending) > 0 { // once more when they are acknowledged
		p.touch(e)
	}
}

// Iterator is what Goka's VisitAll goes over: the changed values, and nothing else.
// Goka uses it for nothing but visits.
func (p *Part[T]) Iterator() (storage.Iterator, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	it := &dirtyIter[T]{p: p, entries: p.dirty, at: -1}
	p.dirty = nil
	return it, nil
}

// dirtyIter goes over entries; those that a visit did not reach are put back.
type dirtyIter[T any] struct {
	p       *Part[T]
	entries []*Entry[T]
	at      int
}

func (i *dirtyIter[T]) Next() bool             { i.at++; return i.at < len(i.entries) }
func (i *dirtyIter[T]) Err() error             { return nil }
func (i *dirtyIter[T]) Key() []byte            { return []byte(i.entries[i.at].Key) }
func (i *dirtyIter[T]) Value() ([]byte, error) { return nil, nil }
func (i *dirtyIter[T]) Seek([]byte) bool       { return false }
func (i *dirtyIter[T]) Release() {
	if i.at >= len(i.entries) {
		return // every visit was done, or the partition is going away
	}
	i.p.mu.Lock()
	i.p.dirty = append(i.p.dirty, i.entries...)
	i.p.mu.Unlock()
}
