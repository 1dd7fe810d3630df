package writeback

import (
	"container/heap"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lovoo/goka"
	"github.com/lovoo/goka/storage"
	"github.com/twmb/franz-go/pkg/kgo"

	"weir/schemas"
)

// Part is a partition that this process owns: its live values.
type Part[T any] struct {
	storage.Storage // of the partition: what Goka reads and writes
	ID              int32
	Local           any // Logic's own, from Open; used by the partition's goroutine only

	from, to  int64 // offsets of the changelog that recovery is to read
	eng       *Engine[T]
	live      map[string]*Entry[T]
	heap      dueHeap[T]
	held      []dueAt[T] // due at the last tick, but route is behind with what they get
	kept      bool       // live was kept over a rebalance
	recovered bool
	complete  bool                // recovered in a session that was alive to the end of it; under Engine.mu
	reload    map[string]struct{} // keys that recovery changed under a kept live

	next    atomic.Int64 // offset of the next record to apply
	dueMS   atomic.Int64 // when the next value is due, ms, 0 never
	tickOut atomic.Bool  // a tick was appended and has not come back
	holding atomic.Bool  // there are some in held
	keys    atomic.Int64 // len(live)
	marked  atomic.Int64 // next, as the last checkpoint marked it

	wanted  atomic.Int64 // the checkpoint that wants a flush, 0 none
	flushed chan flushed // its answer
	renewed atomic.Int64 // Engine.renewals, as Logic has followed them

	mu     sync.Mutex
	dirty  []*Entry[T]
	behind []schemas.Behind // of the last tick
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
		for _, key := range slices.Sorted(maps.Keys(p.reload)) {
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

// touchSince marks the entries that have applied a record at or after off, the commit
// that this process begins to read at. A value may have come into the local store when
// it was flushed, and not into the changelog: the records up to it will be skipped, so
// nothing else would write it again before they are committed.
func (p *Part[T]) touchSince(off int64) {
	var keys []string
	for key, e := range p.live {
		if e.offset >= off {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		p.touch(p.live[key])
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
	if p.next.Load() == 0 {
		p.touchSince(off)
	}
	switch {
	case ctx.Key() == "":
		p.tick(value, off, ctx.Timestamp())
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
	p.next.Store(off + 1)
	if id := p.wanted.Swap(0); id != 0 {
		p.flushAll()
		p.renew()
		select { // what an abandoned checkpoint left
		case <-p.flushed:
		default:
		}
		p.flushed <- flushed{id, off + 1}
	}
}

// tick acts on the values that are due at the time in the record, in log order. written is
// the record's own time. The tick is believed no further than that: the clock of the
// process that wrote it may be wrong, the broker's stamp or that of the client is another.
func (p *Part[T]) tick(value []byte, off int64, written time.Time) {
	t, err := schemas.DecodeTick(value)
	if err != nil {
		p.eng.badTicks.Inc()
		p.eng.log.Error("tick refused", "partition", p.ID, "offset", off, "err", err)
		return
	}
	p.tickOut.Store(false)
	if t.NowMS == schemas.NoTime {
		return // it is there to be read, for a checkpoint
	}
	if stamp := written.UnixMilli(); stamp > 0 && t.NowMS > stamp { // else the record has no time
		if t.NowMS-stamp > tellFastMS {
			p.eng.fastTicks.Inc()
			p.eng.log.Warn("a tick is ahead of its record: is the clock of its process wrong?", "partition", p.ID, "offset", off, "ahead_ms", t.NowMS-stamp)
		}
		t.NowMS = stamp
	}
	now := t.NowMS
	for _, at := range p.held {
		heap.Push(&p.heap, at)
	}
	p.held = p.held[:0]
	p.mu.Lock()
	p.behind = t.Behind
	p.mu.Unlock()
	// Due at what Due says, whatever this tick said: the next may be of a slower clock, and
	// after a crash nobody knows of this one.
	var looked []dueAt[T]
	for len(p.heap) > 0 && p.heap[0].ms <= now {
		at := heap.Pop(&p.heap).(dueAt[T])
		e := at.e
		if at.ms != e.due { // registered again, earlier
			continue
		}
		e.due = 0
		if d := p.eng.logic.Due(e.V); d != 0 && d <= now && off > e.offset {
			until := min(now, p.eng.logic.Until(e.V, &t))
			if until < d { // route is behind with what it gets
				e.due = d
				p.held = append(p.held, dueAt[T]{d, e})
				continue
			}
			e.offset = off
			p.touch(e)
			p.eng.logic.Tick(p, e, until, off)
		}
		if d := p.eng.logic.Due(e.V); d != 0 {
			e.due = d
			looked = append(looked, dueAt[T]{d, e})
		}
	}
	for _, at := range looked {
		heap.Push(&p.heap, at)
	}
	p.holding.Store(len(p.held) > 0)
	if len(p.heap) > 0 {
		p.dueMS.Store(p.heap[0].ms)
	} else {
		p.dueMS.Store(0)
	}
}

// tellFastMS is how far ahead of its record a tick must be, ms, for somebody to be told.
const tellFastMS = 1000

// wants reports whether the partition needs a tick like t: something is due, or was held
// back and may go on.
func (p *Part[T]) wants(t *schemas.Tick) bool {
	if d := p.dueMS.Load(); d != 0 && d <= t.NowMS {
		return true
	}
	if !p.holding.Load() {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return !slices.Equal(p.behind, t.Behind)
}

// changedSince says whether there is something to flush, to mark or to renew since the
// last checkpoint.
func (p *Part[T]) changedSince() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.dirty) > 0 || p.next.Load() > p.marked.Load() || p.renewed.Load() != p.eng.renewals.Load()
}

// flushed says that everything up to an offset was written back for a checkpoint.
type flushed struct{ id, next int64 }

// flushAll writes back what changed.
func (p *Part[T]) flushAll() {
	for _, e := range p.takeDirty() {
		p.flush(e)
	}
}

// takeDirty empties the list of changed entries and returns it.
func (p *Part[T]) takeDirty() []*Entry[T] {
	p.mu.Lock()
	defer p.mu.Unlock()
	es := p.dirty
	p.dirty = nil
	return es
}

// flush writes the entry to the group table, or deletes it when Logic has no more
// use for it.
func (p *Part[T]) flush(e *Entry[T]) {
	if p.live[e.Key] != e {
		return // forgotten, or read anew, since it was put into the list
	}
	e.dirty.Store(false)
	e.trim()
	p.eng.written.Inc()
	// A key is forgotten only when no record that it has applied can be replayed.
	gone := p.eng.logic.Gone(e.V)
	if gone && len(e.pending) == 0 && e.offset < p.marked.Load() {
		delete(p.live, e.Key)
		p.keys.Store(int64(len(p.live)))
		p.write(e.Key, nil)
		return
	}
	p.write(e.Key, e.encode(p, nil))
	if gone || len(e.pending) > 0 { // once more when they are acknowledged
		p.touch(e)
	}
}

// write is what Goka's SetValue and, for nil, Delete do: the local store, then the
// changelog, and when that has it the local store's offset. It is not done through a
// Goka visit, the only way to a context for a key: a visit that is cut short by a
// rebalance reads its count of acknowledgements while they come in, without a lock.
func (p *Part[T]) write(key string, value []byte) {
	var err error
	if value == nil {
		err = p.Delete(key)
	} else {
		err = p.Set(key, value)
	}
	if err != nil {
		p.eng.fail(fmt.Errorf("write state of %q to partition %d: %w", key, p.ID, err))
		return
	}
	r := &kgo.Record{Topic: p.eng.opts.Table, Key: []byte(key), Value: value}
	p.eng.prod.produce(r, func(err error) {
		if err == nil {
			p.eng.wrote(r)
		}
	})
}
