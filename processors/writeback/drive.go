package writeback

import (
	"context"
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Driven is an Engine without Goka, a broker and a clock: the caller stands in for them, one step
// at a time and from one goroutine. The simulation uses it (pipelines/simulation), so that it
// exercises the very code that Run runs. The caller decides on the order of steps: for each
// partition Open, Load, Recovered, then Record and checkpoints, then Close.
type Driven interface {
	// Open sets up a partition and returns the offset of the changelog from which to load it.
	Open(partition int32) (from int64, err error)
	// Load takes a record of the changelog.
	Load(partition int32, r *kgo.Record) error
	// Recovered is called when the whole changelog is loaded.
	Recovered(partition int32) error
	// Joined is called when all partitions of a session are open: whatever a rebalance took away is
	// forgotten.
	Joined()
	// Record processes a record of the input.
	Record(partition int32, r *kgo.Record)
	// Ticks appends a tick to each partition in which something is due at nowMS.
	Ticks(nowMS int64)
	// Begin begins a checkpoint of a partition and returns the offset that may be committed when it
	// is done.
	Begin(partition int32) int64
	// Flush writes back the next changed value whose letters are acknowledged, if there is one; it
	// returns false when no changed value is left.
	Flush(partition int32) bool
	// Refused reports whether a value has been refused since Begin: the offset must not be
	// committed then.
	Refused(partition int32) bool
	// Marked is called when the offset that Begin returned is committed.
	Marked(partition int32, offset int64)
	// Abort ends a checkpoint before Flush has finished.
	Abort(partition int32)
	// Close is what a rebalance or a stop does.
	Close(partition int32) error
	// Failed is the error that ends Run, or nil.
	Failed() error
}

// Host is the environment of a Driven. Writer and NowMS may be nil.
type Host struct {
	// Produce takes a record, with its partition set, and calls done, with its offset set or with
	// an error, now, later or never.
	Produce func(r *kgo.Record, done func(*kgo.Record, error))
	// Table opens a partition of the local copy of the table.
	Table func(partition int32) Table
	// Writer returns a number that it has never returned before, to any Driven of this environment.
	Writer func() uint64
	NowMS  func() int64 // the wall clock
}

// Drive returns an Engine for the caller to run. It ignores Brokers, Instance, Store, Tick and
// Flush of opts.
func Drive[T, L any](opts Options, logic Logic[T, L], h Host) Driven {
	d := &driven[T, L]{e: New(opts, logic), flushes: map[int32][]*Entry[T, L]{}}
	d.e.fail = func(err error) {
		if d.failed == nil {
			d.failed = err
		}
	}
	d.e.driven = true
	if h.NowMS != nil {
		d.e.nowMS = h.NowMS
	}
	if h.Writer != nil {
		d.e.newWriter = func() (w writer) {
			binary.BigEndian.PutUint64(w[:], h.Writer())
			return w
		}
	}
	d.e.prod = newProducer(&d.e.opts, func(err error) { d.e.fail(err) })
	d.e.prod.later = func(f func()) { f() }
	d.e.prod.out = func(_ context.Context, r *kgo.Record, done func(*kgo.Record, error)) { h.Produce(r, done) }
	d.e.openTable = func(id int32) (Table, error) { return h.Table(id), nil }
	d.e.saveEvery = 8 // a host's changelogs are short
	d.opened = map[int32]*Partition[T, L]{}
	return d
}

type driven[T, L any] struct {
	e       *Engine[T, L]
	opened  map[int32]*Partition[T, L]
	flushes map[int32][]*Entry[T, L] // what the checkpoints in progress have yet to flush
	failed  error
}

func (d *driven[T, L]) Failed() error { return d.failed }
func (d *driven[T, L]) Joined()       { d.e.setUp() }

func (d *driven[T, L]) Open(id int32) (int64, error) {
	p, err := d.e.openPartition(id)
	if err != nil {
		return 0, err
	}
	d.opened[id] = p
	return p.offset.Load() + 1, nil
}

func (d *driven[T, L]) Load(id int32, r *kgo.Record) error {
	p := d.opened[id]
	if err := p.load(string(r.Key), r.Value, r.Offset); err != nil {
		return err
	}
	return p.reached(r.Offset)
}

func (d *driven[T, L]) Recovered(id int32) error { return d.opened[id].finishRecovery() }

func (d *driven[T, L]) Record(id int32, r *kgo.Record) {
	d.opened[id].record(string(r.Key), r.Value, r.Offset, r.Timestamp)
}

func (d *driven[T, L]) Ticks(nowMS int64) { d.e.tickPartitions(nowMS) }

func (d *driven[T, L]) Begin(id int32) int64 {
	d.Abort(id)
	p := d.opened[id]
	if ps := p.todo.takeRefused(); len(ps) > 0 {
		d.e.appendParking(p, ps)
	}
	p.todo.unwritten.Store(false)
	p.sweep()
	d.flushes[id] = p.todo.take()
	return p.next.Load()
}

func (d *driven[T, L]) Flush(id int32) bool {
	es := d.flushes[id]
	if len(es) == 0 {
		return false
	}
	for i, e := range es {
		if e.writable() {
			es[0], es[i] = es[i], es[0]
			d.flushes[id] = es[1:]
			d.opened[id].flush(e)
			break
		}
	}
	return true
}

func (d *driven[T, L]) Marked(id int32, offset int64) { d.opened[id].marked.Store(offset) }

func (d *driven[T, L]) Refused(id int32) bool { return d.opened[id].todo.unwritten.Load() }

func (d *driven[T, L]) Abort(id int32) {
	p := d.opened[id]
	p.todo.add(d.flushes[id]...)
	delete(d.flushes, id)
}

func (d *driven[T, L]) Close(id int32) error {
	d.Abort(id)
	p := d.opened[id]
	delete(d.opened, id)
	return p.close()
}
