package writeback

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/lovoo/goka"
	"github.com/lovoo/goka/storage"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Driven is an Engine without Goka, a broker and a clock: the caller stands in for
// them, one step at a time and from one goroutine. It is what the simulation runs
// (pipelines/simulation), so that it tries the very code that Run runs. The order of
// steps is the caller's: for each partition Open, Load, Recovered, then Record and
// checkpoints, then Close.
type Driven interface {
	// Open sets up a partition and returns the offset of the changelog from which on
	// it is to be loaded.
	Open(partition int32) (from int64, err error)
	// Load takes a record of the changelog.
	Load(partition int32, r *kgo.Record) error
	// Recovered is called when all of the changelog is loaded.
	Recovered(partition int32) error
	// Joined is called when all partitions of a session are open: what a rebalance
	// took away is forgotten.
	Joined()
	// Record processes a record of the input.
	Record(partition int32, r *kgo.Record)
	// Ticks appends a tick to each partition in which something is due at nowMS.
	Ticks(nowMS int64)
	// Begin begins a checkpoint of a partition and returns the offset that may be
	// committed when it is done.
	Begin(partition int32) int64
	// Flush writes back the next changed value whose letters are acknowledged, if there is
	// one; false says that there is no changed value left.
	Flush(partition int32) bool
	// Refused reports whether a value was refused since Begin: the offset must not be
	// committed.
	Refused(partition int32) bool
	// Marked is called when the offset that Begin returned is committed.
	Marked(partition int32, offset int64)
	// Abort ends a checkpoint that Flush has not come to the end of.
	Abort(partition int32)
	// Close is what a rebalance or a stop does.
	Close(partition int32) error
	// Failed is the error that ends Run, or nil.
	Failed() error
}

// Host is what a Driven writes to. Writer and NowMS may be nil.
type Host struct {
	// Produce takes a record, with its partition set, and calls done, with its offset
	// set or with an error, now or later or never.
	Produce func(r *kgo.Record, done func(*kgo.Record, error))
	Local   *Local
	// Writer returns a number that it has not returned before, to any Driven of the world.
	Writer func() uint64
	NowMS  func() int64 // the wall clock
}

// Drive returns an Engine for the caller to run. Of opts, Brokers, Instance, Store,
// Tick and Flush are not used.
func Drive[T any](opts Options, logic Logic[T], h Host) Driven {
	d := &driven[T]{e: New(opts, logic), flushes: map[int32][]*Entry[T]{}}
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
	d.e.local = func(_ string, id int32) (storage.Storage, error) { return h.Local.open(id), nil }
	d.opened = map[int32]*Part[T]{}
	return d
}

type driven[T any] struct {
	e       *Engine[T]
	opened  map[int32]*Part[T]
	flushes map[int32][]*Entry[T] // what the checkpoints under way have yet to flush
	failed  error
}

func (d *driven[T]) Failed() error { return d.failed }
func (d *driven[T]) Joined()       { d.e.setUp() }

func (d *driven[T]) Open(id int32) (int64, error) {
	st, err := d.e.storage(d.e.opts.Table, id)
	if err != nil {
		return 0, err
	}
	d.opened[id] = st.(*Part[T])
	offset, err := st.GetOffset(-1)
	return offset + 1, err
}

func (d *driven[T]) Load(id int32, r *kgo.Record) error {
	p := d.opened[id]
	if err := p.load(string(r.Key), r.Value, r.Offset); err != nil {
		return err
	}
	return p.SetOffset(r.Offset)
}

func (d *driven[T]) Recovered(id int32) error { return d.opened[id].MarkRecovered() }

func (d *driven[T]) Record(id int32, r *kgo.Record) {
	d.opened[id].record(&driveContext{key: string(r.Key), offset: r.Offset, at: r.Timestamp}, r.Value)
}

func (d *driven[T]) Ticks(nowMS int64) { d.e.tickParts(nowMS) }

func (d *driven[T]) Begin(id int32) int64 {
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

func (d *driven[T]) Flush(id int32) bool {
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

func (d *driven[T]) Marked(id int32, offset int64) { d.opened[id].marked.Store(offset) }

func (d *driven[T]) Refused(id int32) bool { return d.opened[id].todo.unwritten.Load() }

func (d *driven[T]) Abort(id int32) {
	p := d.opened[id]
	p.todo.add(d.flushes[id]...)
	delete(d.flushes, id)
}

func (d *driven[T]) Close(id int32) error {
	d.Abort(id)
	p := d.opened[id]
	delete(d.opened, id)
	return p.Close()
}

type gokaContext = goka.Context // its name must not be that of a method

// driveContext is as much of a goka.Context as Part asks for.
type driveContext struct {
	gokaContext
	key    string
	offset int64
	at     time.Time
}

func (c *driveContext) Key() string          { return c.key }
func (c *driveContext) Offset() int64        { return c.offset }
func (c *driveContext) Timestamp() time.Time { return c.at }

// Local is a local store in memory, with the life of a disk: it outlives its process,
// and a crash may take the last writes.
type Local struct {
	parts map[int32]*localPart
	undo  []func() // of the writes since Sync
}

type localPart struct {
	values map[string][]byte
	offset int64
	broken bool // see Local.Break
}

// NewLocal returns an empty store.
func NewLocal() *Local { return &Local{parts: map[int32]*localPart{}} }

// Sync makes all writes so far safe.
func (l *Local) Sync() { l.undo = nil }

// Crash takes back the last n writes since Sync, or all of them.
func (l *Local) Crash(n int) {
	for ; n > 0 && len(l.undo) > 0; n-- {
		l.undo[len(l.undo)-1]()
		l.undo = l.undo[:len(l.undo)-1]
	}
	l.undo = nil
}

// Break makes the store one that does not open, or whose files are corrupt: who has a
// partition of it open gets ErrBroken from now on, and who opens one finds it empty.
func (l *Local) Break() {
	for _, p := range l.parts {
		p.broken = true
	}
	l.parts, l.undo = map[int32]*localPart{}, nil
}

func (p *localPart) fault() error {
	if p.broken {
		return ErrBroken
	}
	return nil
}

func (l *Local) open(id int32) *localTable {
	p := l.parts[id]
	if p == nil {
		p = &localPart{values: map[string][]byte{}, offset: -1}
		l.parts[id] = p
	}
	t := &localTable{l: l, p: p}
	t.offset.Store(p.offset)
	return t
}

// localTable is partStore on a Local.
type localTable struct {
	l      *Local
	p      *localPart
	offset tableOffset
}

var errNoRange = errors.New("a Local has no ranges")

func (t *localTable) Open() error                    { return nil }
func (t *localTable) Close() error                   { return t.save() }
func (t *localTable) Has(key string) (bool, error)   { return t.p.values[key] != nil, t.p.fault() }
func (t *localTable) Get(key string) ([]byte, error) { return t.p.values[key], t.p.fault() }
func (t *localTable) MarkRecovered() error {
	t.offset.recovered.Store(true)
	return t.save()
}
func (t *localTable) Delete(key string) error          { return t.write(key, nil) }
func (t *localTable) Set(key string, v []byte) error   { return t.write(key, slices.Clone(v)) }
func (t *localTable) GetOffset(d int64) (int64, error) { return t.offset.get(d) }

func (t *localTable) write(key string, v []byte) error {
	if t.p.broken {
		return ErrBroken
	}
	old, had := t.p.values[key]
	t.l.undo = append(t.l.undo, func() {
		delete(t.p.values, key)
		if had {
			t.p.values[key] = old
		}
	})
	delete(t.p.values, key)
	if v != nil {
		t.p.values[key] = v
	}
	return nil
}

// SetOffset saves the offset more often than partStore does, as a Local is small.
func (t *localTable) SetOffset(o int64) error {
	if t.offset.advance(o) && o%8 == 0 {
		return t.save()
	}
	return nil
}

func (t *localTable) save() error {
	if t.p.broken {
		return ErrBroken
	}
	old := t.p.offset
	t.l.undo = append(t.l.undo, func() { t.p.offset = old })
	t.p.offset = t.offset.Load()
	return nil
}

func (t *localTable) Iterator() (storage.Iterator, error) {
	it := &localIter{values: t.p.values, at: -1}
	for k := range t.p.values {
		it.keys = append(it.keys, k)
	}
	slices.SortFunc(it.keys, strings.Compare)
	return it, t.p.fault()
}

func (t *localTable) IteratorWithRange(_, _ []byte) (storage.Iterator, error) { return nil, errNoRange }

type localIter struct {
	values map[string][]byte
	keys   []string
	at     int
}

func (i *localIter) Next() bool             { i.at++; return i.at < len(i.keys) }
func (i *localIter) Err() error             { return nil }
func (i *localIter) Key() []byte            { return []byte(i.keys[i.at]) }
func (i *localIter) Value() ([]byte, error) { return i.values[i.keys[i.at]], nil }
func (i *localIter) Release()               {}
func (i *localIter) Seek([]byte) bool       { return false }
