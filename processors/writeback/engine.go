package writeback

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/processors/connect"
	"github.com/weir-metrics/weir/schemas"
)

// Record is a record of the input that has not been applied before.
type Record struct {
	Value  []byte // valid during the call
	Offset int64
	TimeMS int64 // when it was produced, ms: the arrival time, the same in a replay
}

// Logic is the domain of a processor: what records and time do to the value of a key, T, and what
// the values of a partition share, L. Its methods are called by one goroutine per partition and
// read no clock.
type Logic[T, L any] interface {
	// Open makes the partition's Local, before any of its values is decoded; it may be nil.
	Open(p *Partition[T, L]) *L
	// New makes the value for a key that has none.
	New(p *Partition[T, L], key string) *T
	// Append appends the encoded v to dst, and Decode reads it back; Decode may keep b.
	Append(p *Partition[T, L], dst []byte, v *T) []byte
	Decode(p *Partition[T, L], key string, b []byte) (*T, error)
	// Apply applies a record to the value of its key.
	Apply(p *Partition[T, L], e *Entry[T, L], r Record)
	// Tick is called when the value is due at nowMS; offset is that of the tick.
	Tick(p *Partition[T, L], e *Entry[T, L], nowMS, offset int64)
	// Due is the wall time, ms, at which Tick has something to do; 0 for never.
	Due(v *T) int64
	// Until is the wall time, ms, up to which a tick may move v: earlier than the tick's own while
	// input of v is held up upstream. Tick is not called before v is due by that time.
	Until(v *T, t *schemas.Tick) int64
	// Gone reports whether the value need not be kept.
	Gone(v *T) bool
	// Lost is called with a value that New made in place of one that was lost at atMS, ms, and
	// again whenever it is decoded. v does not know what the key had, and had emitted, before that;
	// what v emits must not take the place of that.
	Lost(p *Partition[T, L], v *T, atMS int64)
}

// Options of an Engine. All are required except Kafka, Behind and More.
type Options struct {
	Brokers       []string
	Kafka         *connect.Kafka   // how to reach the brokers; nil: without TLS and SASL
	ConsumerGroup string           // Goka's group
	Input         string           // the topic whose keys are the values'
	Table         string           // ConsumerGroup + "-table": so Goka names it
	Counts        map[string]int32 // partitions on record of every topic that is written, including input and table
	Instance      string           // static member id, unique in the group and stable over restarts
	Store         *Store
	Tick          time.Duration // how often the owner checks whether something is due
	Flush         time.Duration // time between checkpoints
	// Behind completes a tick about to be written, whose NowMS is set: it adds what is held up
	// upstream, and sets NowMS back if it knows that the clock is fast.
	Behind func(t *schemas.Tick)
	// More returns the partitions on record of topics that are not in Counts.
	More     func(topic string) (int32, bool)
	Registry prometheus.Registerer
	Log      *slog.Logger
}

// Engine is one run of a processor.
type Engine[T, L any] struct {
	opts  Options
	logic Logic[T, L]
	log   *slog.Logger
	gate  *gate
	prod  *producer
	table [16]byte // id of the table's topic
	// openTable opens a partition of the local copy of the table.
	openTable func(id int32) (Table, error)
	saveEvery int64 // see saveEvery

	mu         sync.RWMutex
	partitions map[int32]*Partition[T, L] // owned, and recovered
	opened     map[int32]*Partition[T, L] // being recovered
	ends       map[int32]int64            // where the table ended when the recovery began
	// session counts the sessions: a partition belongs to the one in which it was opened.
	session int
	began   time.Time                  // the last recovery
	aside   map[int32]*Partition[T, L] // lost in the current rebalance, kept in case they come back

	run   context.Context
	fail  context.CancelCauseFunc // ends run
	ready atomic.Bool

	checkpointID int64 // of the last one; used only by loop
	renewals     atomic.Int64
	renewing     chan struct{} // wakes loop

	guarding sync.Mutex // serializes looks at the topics
	altered  *prometheus.GaugeVec
	told     map[string]int32       // partitions of altered topics, as logged
	warning  atomic.Pointer[string] // what Altered returns

	replays, badTicks, fastTicks prometheus.Counter
	ticks, checkpoints           prometheus.Counter
	written                      prometheus.Counter
	lost                         *prometheus.CounterVec // by kind

	harmMu sync.Mutex
	harmed harms

	driven    bool // there is no Goka and no broker (drive.go)
	newWriter func() writer
	nowMS     func() int64
}

// New returns an Engine; Run runs it.
func New[T, L any](opts Options, logic Logic[T, L]) *Engine[T, L] {
	labels := prometheus.Labels{"group": opts.ConsumerGroup}
	counter := func(name, help string) prometheus.Counter {
		return Register(opts.Registry, prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_writeback_" + name, Help: help, ConstLabels: labels}))
	}
	if s := opts.Store; s != nil {
		_ = opts.Registry.Register(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "weir_writeback_stores_rebuilt_total",
			Help: "How often the local copy of the tables was broken and thrown away, to be rebuilt from the changelogs."},
			func() float64 { return float64(s.rebuilt.Load()) })) // perhaps the other processor has registered it
	}
	run, fail := context.WithCancelCause(context.Background())
	return &Engine[T, L]{newWriter: newWriter, renewing: make(chan struct{}, 1), saveEvery: saveEvery, gate: newGate(), nowMS: func() int64 { return time.Now().UnixMilli() }, altered: newAltered(opts.Registry), told: map[string]int32{}, run: run, fail: fail, opts: opts, logic: logic, log: opts.Log.With("group", opts.ConsumerGroup), partitions: map[int32]*Partition[T, L]{}, aside: map[int32]*Partition[T, L]{}, opened: map[int32]*Partition[T, L]{},
		replays:     counter("replayed_records_total", "Records skipped because their value had already applied them."),
		badTicks:    counter("bad_ticks_total", "Records without a key that are not ticks."),
		fastTicks:   counter("fast_ticks_total", "Ticks more than a second ahead of their records, whose time was used instead."),
		ticks:       counter("ticks_total", "Ticks appended to the input."),
		checkpoints: counter("checkpoints_total", "Checkpoints that marked offsets."),
		written:     counter("flushed_values_total", "Values written to the group table."),
		lost:        newLost(opts.Registry, labels),
	}
}

// Ready reports whether every partition that this member owns has recovered and is being
// processed. A member without a partition is ready.
func (e *Engine[T, L]) Ready() bool { return e.ready.Load() && e.gate.session.Load() != nil }

// Owned is how many partitions this member owns now.
func (e *Engine[T, L]) Owned() int {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return len(e.partitions)
}

// Locals returns Logic's own data of every partition that this member owns now. The partitions'
// goroutines still use it: access only what is safe to share.
func (e *Engine[T, L]) Locals() []*L {
	e.mu.RLock()
	defer e.mu.RUnlock()
	all := make([]*L, 0, len(e.partitions))
	for _, p := range e.partitions {
		all = append(all, p.Local)
	}
	return all
}

// Run processes until ctx ends, then writes a last checkpoint and returns nil. It returns an error
// if the broker is lost, a produce fails or a state does not decode; then make a new Engine. If ctx
// ends with a cause that wraps ErrKilled, Run ends at once, without a checkpoint, and returns the
// cause.
func (e *Engine[T, L]) Run(ctx context.Context) error {
	run, fail := e.run, e.fail
	var guards sync.WaitGroup
	defer func() {
		fail(nil)
		guards.Wait()
		e.disarm()
	}()
	if err := e.open(ctx); err != nil {
		if ctx.Err() != nil {
			return killedBy(ctx) // stopped before it began
		}
		return err
	}
	proc, err := e.processor()
	if err != nil {
		e.prod.client.Close()
		return fmt.Errorf("%s: %w", e.opts.ConsumerGroup, err)
	}
	guards.Go(func() { e.keepGuard(run, kadm.NewClient(e.prod.client)) })
	guards.Go(func() { e.passTails(run) })
	ended := make(chan error, 1)
	go func() { ended <- proc.Run(run) }()
	loop := make(chan struct{})
	go func() {
		defer close(loop)
		e.loop(ctx, run)
	}()
	select {
	case <-loop: // ctx ended and a last checkpoint was tried, or the engine failed
		fail(nil)
		err = <-ended
	case err = <-ended:
		fail(nil)
		<-loop
		if err == nil && ctx.Err() == nil {
			err = errors.New("goka stopped by itself")
		}
	}
	switch cause := context.Cause(run); {
	case killedBy(ctx) != nil:
		err = killedBy(ctx)
	case cause != nil && !errors.Is(cause, context.Canceled):
		err = cause
	case ctx.Err() != nil && err != nil:
		e.log.Info("goka was interrupted", "err", err)
		err = nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", e.opts.ConsumerGroup, err)
	}
	e.leave()
	return nil
}

// maxValueBytes bounds what is produced, above all the state of one key; schemas/topics configures
// the topics for it. maxStored leaves room for the batch and the writer.
const (
	maxValueBytes = 16 << 20
	maxStored     = maxValueBytes - 1<<10
)

// open makes the producer and learns the table's id.
func (e *Engine[T, L]) open(ctx context.Context) error {
	client, err := kgo.NewClient(append(e.opts.Kafka.Access(), kgo.SeedBrokers(e.opts.Brokers...), kgo.ClientID(e.opts.ConsumerGroup),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(2*time.Millisecond),
		kgo.MaxBufferedRecords(200_000), kgo.MaxBufferedBytes(256<<20), kgo.ProducerBatchMaxBytes(maxValueBytes),
		kgo.RecordDeliveryTimeout(30*time.Second), kgo.MetadataMaxAge(30*time.Second))...)
	if err != nil {
		return fmt.Errorf("%s: producer: %w", e.opts.ConsumerGroup, err)
	}
	e.openTable = func(id int32) (Table, error) {
		return e.opts.Store.table(e.opts.Table, id, e.table, time.Now())
	}
	e.prod = newProducer(&e.opts, func(err error) { e.fail(err) })
	e.prod.client, e.prod.out, e.prod.later = client, client.Produce, func(f func()) { go f() }
	tctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	topics, err := kadm.NewClient(client).ListTopics(tctx, e.opts.Table, e.opts.Input)
	if err != nil {
		client.Close()
		return fmt.Errorf("%s: look up topics: %w", e.opts.ConsumerGroup, err)
	}
	for name, t := range topics {
		if t.Err != nil {
			client.Close()
			return fmt.Errorf("%s: look up topic %s: %w", e.opts.ConsumerGroup, name, t.Err)
		}
	}
	if err := e.guard(tctx, kadm.NewClient(client), topics); err != nil {
		client.Close()
		return fmt.Errorf("%s: %w", e.opts.ConsumerGroup, err)
	}
	e.table = [16]byte(topics[e.opts.Table].ID)
	return nil
}

func (e *Engine[T, L]) owned() []*Partition[T, L] {
	e.mu.RLock()
	defer e.mu.RUnlock()
	ps := make([]*Partition[T, L], 0, len(e.partitions))
	for _, p := range e.partitions {
		ps = append(ps, p)
	}
	return ps
}

// loop appends ticks and writes checkpoints, from the first session on, until ctx or run ends.
// (Goka's own WaitForReady may wait for ever for the partitions of a session that has ended
// meanwhile.)
func (e *Engine[T, L]) loop(ctx, run context.Context) {
	select {
	case <-e.gate.first:
	case <-ctx.Done():
		e.killed(ctx)
		return
	case <-run.Done():
		return
	}
	e.ready.Store(true)
	t := time.NewTicker(e.opts.Tick)
	defer t.Stop()
	last, renewed := time.Now(), e.renewals.Load()
	for {
		select {
		case <-run.Done():
			return
		case <-ctx.Done():
			if e.killed(ctx) {
				return
			}
			stop, cancel := context.WithTimeout(run, stopTime)
			defer cancel()
			if err := e.checkpoint(stop); err != nil {
				e.log.Warn("last checkpoint failed: the records since the previous one will be applied again", "err", err)
			}
			return
		case <-t.C:
		case <-e.renewing:
		}
		e.appendTicks(time.Now().UnixMilli())
		renewals := e.renewals.Load()
		if time.Since(last) < e.opts.Flush && renewals == renewed {
			continue
		}
		last, renewed = time.Now(), renewals
		if err := e.checkpoint(run); err != nil && !errors.Is(err, errLost) && run.Err() == nil {
			e.log.Warn("checkpoint", "err", err)
		}
	}
}

// appendTicks writes a tick to each partition in which something is due and whose last tick has
// come back.
func (e *Engine[T, L]) appendTicks(nowMS int64) {
	if e.gate.session.Load() != nil {
		e.tickPartitions(nowMS)
	}
}

func (e *Engine[T, L]) tickPartitions(nowMS int64) {
	t := schemas.Tick{NowMS: nowMS}
	if e.opts.Behind != nil {
		e.opts.Behind(&t)
	}
	if t.Unknown {
		return // it could not close anything
	}
	for _, p := range e.owned() {
		if p.wants(&t) {
			e.tick(p, &t)
		}
	}
}

// tick appends a tick to a partition whose last one has come back.
func (e *Engine[T, L]) tick(p *Partition[T, L], t *schemas.Tick) {
	if p.tickOut.CompareAndSwap(false, true) {
		e.ticks.Inc()
		e.prod.produceTo(&kgo.Record{Topic: e.opts.Input, Partition: p.ID, Value: t.AppendTo(nil), Timestamp: stampOf(t)}, func(error) {})
	}
}

// stampOf is the time of a tick's record: the tick's own, which may be better than the process's
// clock (Options.Behind), or zero, for the time at which it is sent.
func stampOf(t *schemas.Tick) time.Time {
	if t.NowMS <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(t.NowMS)
}

// errLost tells that the session ended during a checkpoint: the next owner applies the records
// since the last one again.
var errLost = errors.New("the session ended")

// checkpoint makes every partition write back what has changed, and marks the offsets up to which
// that is complete. The goroutine of a partition does it after the next record, which is a tick if
// there is no other.
func (e *Engine[T, L]) checkpoint(ctx context.Context) error {
	s := e.gate.session.Load()
	if s == nil {
		return nil
	}
	asked, next := e.askPartitions()
	for i, p := range asked {
		for next[i] == 0 {
			select {
			case f := <-p.flushed:
				if f.id == e.checkpointID {
					next[i] = f.next
				}
			case <-s.Context().Done():
				return errLost
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	if err := e.prod.flush(ctx); err != nil {
		return fmt.Errorf("flush what was emitted: %w", err)
	}
	if e.gate.session.Load() != s || s.Context().Err() != nil {
		return errLost
	}
	for i, p := range asked {
		if p.todo.unwritten.Load() { // the next checkpoint writes what was refused in another form
			next[i] = 0
			continue
		}
		s.ConsumerGroupSession.MarkOffset(e.opts.Input, p.ID, next[i], "")
	}
	s.Commit()
	for i, p := range asked {
		if next[i] > 0 {
			p.marked.Store(next[i])
		}
	}
	e.checkpoints.Inc()
	return nil
}
