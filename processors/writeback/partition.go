package writeback

import (
	"container/heap"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-metrics/weir/schemas"
)

// Partition is a partition that this process owns: its live values.
type Partition[T, L any] struct {
	ID    int32
	Local *L // Logic's own, from Open; used only by the partition's goroutine

	table     Table
	offset    tableOffset
	from, to  int64 // the offsets of the changelog that recovery must read
	eng       *Engine[T, L]
	live      map[string]*Entry[T, L]
	owed      map[string]*Entry[T, L] // forgotten entries whose letters, or other records, are not acknowledged
	heap      dueHeap[T, L]
	waiting   []dueAt[T, L] // due at the last tick, but route is behind with their input
	kept      bool          // live was kept over a rebalance
	recovered bool
	complete  bool                // recovered in a session that lived until the end of the recovery; guarded by Engine.mu
	closed    atomic.Bool         // given up; set with Engine.mu held
	reload    map[string][]writer // keys that recovery changed under a kept live, and by whom
	rubbish   map[string]rubbish  // of the changelog, by its key
	writer    writer              // the name under which values are written (changelog.go)
	session   int                 // in which the partition was opened; see Engine.session

	next       atomic.Int64 // offset of the next record to apply
	dueMS      atomic.Int64 // when the next value is due, ms; 0: never
	tickOut    atomic.Bool  // a tick was appended and has not come back
	anyWaiting atomic.Bool  // len(waiting) > 0
	keys       atomic.Int64 // len(live)
	marked     atomic.Int64 // the value of next that the last checkpoint marked

	checkpointRequested atomic.Int64 // the checkpoint that waits for a flush; 0: none
	flushed             chan flushed // its answer
	renewed             atomic.Int64 // Engine.renewals up to which Logic has followed

	todo       *changes[T, L]
	parkingOut atomic.Bool  // a parking record was appended for a checkpoint, and has not come back
	parkedNext atomic.Int64 // the next offset at its return, when everything was flushed, until a checkpoint takes it

	saving sync.Mutex // of offset to table

	mu      sync.Mutex
	behind  []schemas.Behind // of the last tick
	unknown bool             // its writer knew nothing about route
	unlike  []error          // errors of values that wrap ErrSettings
	sweeps  []*Entry[T, L]   // entries whose own value is acknowledged, so that those of others must be deleted

	gone       map[string]*gone // see gone.go
	goneOrder  []*gone          // in order of time; some have come back
	sweepsGone []*gone          // like sweeps; guarded by mu

	letters atomic.Int64 // unacknowledged dead letters, bytes
	waits   atomic.Bool  // somebody is in await
	acks    chan struct{}
}

// dueHeap orders entries by when they are due. An entry may be in it twice; only the time in the
// entry counts.
type dueHeap[T, L any] []dueAt[T, L]

type dueAt[T, L any] struct {
	ms int64
	e  *Entry[T, L]
}

func (h dueHeap[T, L]) Len() int           { return len(h) }
func (h dueHeap[T, L]) Less(i, j int) bool { return h[i].ms < h[j].ms }
func (h dueHeap[T, L]) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *dueHeap[T, L]) Push(x any)        { *h = append(*h, x.(dueAt[T, L])) }
func (h *dueHeap[T, L]) Pop() any {
	old := *h
	x := old[len(old)-1]
	old[len(old)-1] = dueAt[T, L]{}
	*h = old[:len(old)-1]
	return x
}

// Values calls f for every live value, from the partition's goroutine.
func (p *Partition[T, L]) Values(f func(e *Entry[T, L])) {
	for _, e := range p.live {
		f(e)
	}
}

// Keys is the number of live values; it is safe for concurrent use.
func (p *Partition[T, L]) Keys() int64 { return p.keys.Load() }

// close gives the partition up: it is lost, or the processor stops.
func (p *Partition[T, L]) close() error {
	p.eng.dropPartition(p)
	return p.saveOffset()
}

// entry returns the live entry of key, making it if need be.
func (p *Partition[T, L]) entry(key string) *Entry[T, L] {
	e := p.live[key]
	if e == nil {
		e = &Entry[T, L]{Key: key, V: p.eng.logic.New(p, key), offset: -1}
		if g := p.gone[key]; g != nil {
			delete(p.gone, key)
			e.offset, e.writers, e.was = g.offset, g.writers, g
		}
		p.inherit(e)
		p.live[key] = e
		p.keys.Store(int64(len(p.live)))
	}
	return e
}

// touch marks the entry as changed since its last flush.
func (p *Partition[T, L]) touch(e *Entry[T, L]) {
	if e.dirty.CompareAndSwap(false, true) {
		p.todo.add(e)
	}
}

// touchSince marks the entries that have applied a record at or after off, the commit at which this
// process begins to read. A flushed value may have reached the local store but not the changelog:
// the records up to it will be skipped, so nothing else would write it again before they are
// committed.
func (p *Partition[T, L]) touchSince(off int64) {
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

// register puts the entry into the heap if it is due earlier than registered there.
func (p *Partition[T, L]) register(e *Entry[T, L]) {
	d := p.eng.logic.Due(e.V)
	if d == 0 || e.due != 0 && e.due <= d {
		return
	}
	e.due = d
	heap.Push(&p.heap, dueAt[T, L]{d, e})
	p.dueMS.Store(p.heap[0].ms)
}

// record applies a record of the input, written at the time at, unless it is a replay.
func (p *Partition[T, L]) record(key string, value []byte, off int64, at time.Time) {
	if p.next.Load() == 0 {
		p.touchSince(off)
	}
	switch {
	case key == "" && schemas.IsParking(value):
		p.parkAll(value, off, at)
	case key == "":
		p.tick(value, off, at)
	case len(key) > maxKey:
		p.refuseKey(key, value, off)
	default:
		e := p.entry(key)
		if off <= e.offset {
			p.eng.replays.Inc()
			break
		}
		e.offset = off
		p.touch(e)
		p.eng.logic.Apply(p, e, Record{Value: value, Offset: off, TimeMS: at.UnixMilli()})
		if !p.dropUntouched(e) {
			p.register(e)
		}
	}
	p.next.Store(off + 1)
	if id := p.checkpointRequested.Load(); id != 0 && p.flushAll() {
		p.checkpointRequested.CompareAndSwap(id, 0)
		p.renew()
		select { // what an abandoned checkpoint left
		case <-p.flushed:
		default:
		}
		p.flushed <- flushed{id, off + 1}
	}
}

// tick acts on the values that are due at the time in the record, in log order. written is the
// record's own time. The tick is believed no further than that: the clock of the process that wrote
// it may be wrong, and the record's time is from the broker's clock or that of the client.
func (p *Partition[T, L]) tick(value []byte, off int64, written time.Time) {
	t, err := schemas.DecodeTick(value)
	if err != nil {
		p.refuseTick(value, off, err)
		return
	}
	p.tickOut.Store(false)
	if t.NowMS == schemas.NoTime {
		return // it was written only to be read, for a checkpoint
	}
	t.NowMS = p.believed(t.NowMS, off, written)
	now := t.NowMS
	for _, at := range p.waiting {
		heap.Push(&p.heap, at)
	}
	p.waiting = p.waiting[:0]
	p.mu.Lock()
	p.behind, p.unknown = t.Behind, t.Unknown
	p.mu.Unlock()
	// They are due when Due says, whatever this tick said: the next may be of a slower clock, and
	// after a crash nobody knows of this one.
	var looked []dueAt[T, L]
	for len(p.heap) > 0 && p.heap[0].ms <= now {
		at := heap.Pop(&p.heap).(dueAt[T, L])
		e := at.e
		if at.ms != e.due { // registered again, earlier
			continue
		}
		e.due = 0
		if d := p.eng.logic.Due(e.V); d != 0 && d <= now && off > e.offset {
			until := min(now, p.eng.logic.Until(e.V, &t))
			if until < d { // route is behind with its input
				e.due = d
				p.waiting = append(p.waiting, dueAt[T, L]{d, e})
				continue
			}
			e.offset = off
			p.touch(e)
			if p.eng.logic.Tick(p, e, until, off); p.eng.logic.Gone(e.V) {
				e.lostMS = 0 // as if it had been dropped already
			}
		}
		if d := p.eng.logic.Due(e.V); d != 0 {
			e.due = d
			looked = append(looked, dueAt[T, L]{d, e})
		}
	}
	for _, at := range looked {
		heap.Push(&p.heap, at)
	}
	p.anyWaiting.Store(len(p.waiting) > 0)
	if len(p.heap) > 0 {
		p.dueMS.Store(p.heap[0].ms)
	} else {
		p.dueMS.Store(0)
	}
}

// believed is the time of a tick, but no later than when its record was written.
func (p *Partition[T, L]) believed(nowMS, off int64, written time.Time) int64 {
	stamp := written.UnixMilli()
	if stamp <= 0 || nowMS <= stamp { // a record without a time, or a sound one
		return nowMS
	}
	if nowMS-stamp > tellFastMS {
		p.eng.fastTicks.Inc()
		p.eng.log.Warn("a tick is ahead of its record: is the clock of its process wrong?", "partition", p.ID, "offset", off, "ahead_ms", nowMS-stamp)
	}
	return stamp
}

// tellFastMS is how far ahead of its record a tick must be, ms, for a log line.
const tellFastMS = 1000

// wants reports whether the partition needs a tick like t: something is due, or was held back and
// may continue.
func (p *Partition[T, L]) wants(t *schemas.Tick) bool {
	if d := p.dueMS.Load(); d != 0 && d <= t.NowMS {
		return true
	}
	if !p.anyWaiting.Load() {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.unknown != t.Unknown || !slices.Equal(p.behind, t.Behind)
}
