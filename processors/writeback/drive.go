package writeback

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/lovoo/goka/storage"
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

// Table is a partition of the local copy of the table: values by key, and the offset up to which it
// has the whole changelog. Errors that wrap ErrBroken cause it to be thrown away.
type Table interface {
	Get(key string) ([]byte, error) // nil: there is none
	Set(key string, value []byte) error
	Delete(key string) error
	Keys() ([]string, error) // ascending
	Offset() int64           // the last one saved, -1 at first
	SaveOffset(offset int64) error
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
	d.e.local = func(_ string, id int32) (storage.Storage, error) { return newHostTable(h.Table(id)), nil }
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
	st, err := d.e.storage(d.e.opts.Table, id)
	if err != nil {
		return 0, err
	}
	d.opened[id] = st.(*Partition[T, L])
	offset, err := st.GetOffset(-1)
	return offset + 1, err
}

func (d *driven[T, L]) Load(id int32, r *kgo.Record) error {
	p := d.opened[id]
	if err := p.load(string(r.Key), r.Value, r.Offset); err != nil {
		return err
	}
	return p.SetOffset(r.Offset)
}

func (d *driven[T, L]) Recovered(id int32) error { return d.opened[id].MarkRecovered() }

func (d *driven[T, L]) Record(id int32, r *kgo.Record) {
	d.opened[id].record(string(r.Key), r.Value, r.Offset, r.Timestamp)
}

func (d *driven[T, L]) Ticks(nowMS int64) { d.e.tickParts(nowMS) }

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
	return p.Close()
}

// hostTable is a Table in the form in which an Engine keeps a partition.
type hostTable struct {
	Table
	offset tableOffset
}

var errNoRange = errors.New("a table of the host has no ranges")

func newHostTable(table Table) *hostTable {
	t := &hostTable{Table: table}
	t.offset.Store(table.Offset())
	return t
}

func (t *hostTable) Open() error                        { return nil }
func (t *hostTable) Close() error                       { return t.save() }
func (t *hostTable) GetOffset(def int64) (int64, error) { return t.offset.get(def) }
func (t *hostTable) save() error                        { return t.SaveOffset(t.offset.Load()) }

func (t *hostTable) Has(key string) (bool, error) {
	v, err := t.Get(key)
	return v != nil, err
}

func (t *hostTable) MarkRecovered() error {
	t.offset.recovered.Store(true)
	return t.save()
}

// SetOffset saves the offset more often than partStore does, as a host's tables are small.
func (t *hostTable) SetOffset(o int64) error {
	if t.offset.advance(o) && o%8 == 0 {
		return t.save()
	}
	return nil
}

func (t *hostTable) Iterator() (storage.Iterator, error) {
	keys, err := t.Keys()
	return &hostIterator{table: t.Table, keys: keys, at: -1}, err
}

func (t *hostTable) IteratorWithRange(_, _ []byte) (storage.Iterator, error) { return nil, errNoRange }

type hostIterator struct {
	table Table
	keys  []string
	at    int
}

func (i *hostIterator) Next() bool             { i.at++; return i.at < len(i.keys) }
func (i *hostIterator) Err() error             { return nil }
func (i *hostIterator) Key() []byte            { return []byte(i.keys[i.at]) }
func (i *hostIterator) Value() ([]byte, error) { return i.table.Get(i.keys[i.at]) }
func (i *hostIterator) Release()               {}
func (i *hostIterator) Seek([]byte) bool       { return false }
