package route

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/processors/deadletter"
	"github.com/weir-metrics/weir/processors/generations"
	"github.com/weir-metrics/weir/processors/lag"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/consume"
	"github.com/weir-metrics/weir/schemas/topics"
)

// ConsumerGroup is the name of route's consumer group.
const ConsumerGroup = "weir-route"

const (
	pollRecords  = 10_000
	metadataAge  = 5 * time.Second        // how long it may take to see new partitions or a new topic id
	fetchWait    = 500 * time.Millisecond // a new partition is first read when the fetch in progress ends
	waitingPoll  = time.Second            // the longest poll while records wait
	linger       = 10 * time.Millisecond
	drainTimeout = 5 * time.Second // to finish the records in hand when told to stop

	samplesBytes = 1_000_012 // the size of a produce batch: Kafka's default record limit plus overhead
)

// ErrRecreated is wrapped by Run when the metrics topic has a new id.
var ErrRecreated = errors.New("topic was deleted and created again")

// Router is one member of the group. Make it with New.
type Router struct {
	cfg    Config
	deps   Deps
	base   []kgo.Opt
	count  *counters
	log    *slog.Logger
	member atomic.Pointer[kgo.Client] // while running
	tails  tails
	far    progress
	unread consume.Watch

	watchEvery time.Duration // how often to look up the topic's id
}

// Deps are what a router needs besides its config. All are required but Letters, Owner and Options.
type Deps struct {
	Brokers []string // the brokers that it reads from and writes to
	Shards  int32    // of the first generation of samples, at least 1
	// Options come after the client's own and override them: security, an instance id, a session timeout.
	Options []kgo.Opt
	// Owner is what people call this process, such as its address; it appears in route's reports of
	// its progress.
	Owner    string
	Letters  *deadletter.Limiter   // bounds what is written to deadletter; nil: no bound
	Registry prometheus.Registerer // of metrics named weir_route_…, once
	Log      *slog.Logger
}

// New returns a router. cfg is valid.
func New(cfg Config, d Deps) *Router {
	log := d.Log.With("processor", "route")
	return &Router{cfg: cfg, deps: d, count: newCounters(d.Registry), log: log, unread: consume.Counted("route", d.Registry, log), watchEvery: metadataAge,
		base: []kgo.Opt{kgo.SeedBrokers(d.Brokers...), kgo.MetadataMaxAge(metadataAge), kgo.MetadataMinAge(250 * time.Millisecond)}}
}

// Waiting tells what the router waits for before it is ready, in words; "" if nothing.
func (r *Router) Waiting() string {
	if r.Ready() {
		return ""
	}
	return "joining its group"
}

// Ready reports whether the router runs and is a member of its group.
func (r *Router) Ready() bool {
	cl := r.member.Load()
	if cl == nil {
		return false
	}
	_, generation := cl.GroupMetadata()
	return generation >= 0
}

// Run hands samples on until ctx ends, and then returns nil. It returns an error if a record could
// not be produced, if metrics could not be read, if samples has fewer partitions than shards, or if
// metrics was recreated (ErrRecreated). Nothing is lost then: call it again, after a pause. It must
// not run twice at once.
func (r *Router) Run(ctx context.Context) error {
	if err := r.run(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("route: %w", err)
	}
	return nil
}

func (r *Router) run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	// work outlives ctx by drainTimeout, so that what has been begun is finished.
	work, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(drainTimeout, abandon) })()

	admin, err := kadm.NewOptClient(slices.Concat(r.base, r.deps.Options)...)
	if err != nil {
		return err
	}
	defer admin.Close()
	gens, err := generations.Open(r.deps.Shards, slices.Concat(r.base, r.deps.Options)...)
	if err != nil {
		return err
	}
	defer gens.Close()
	gens.Tell(r.count.generations, r.log)
	if err := gens.Refresh(ctx); err != nil {
		return err
	}
	id, err := r.inspect(ctx, admin, gens.Current())
	if err != nil {
		return err
	}
	epoch := binary.BigEndian.Uint64(id[:8])
	r.far.begin(epoch, r.deps.Owner)
	cl, err := consume.New(r.unread, slices.Concat(r.base, r.groupOptions(), r.deps.Options)...)
	if err != nil {
		return err
	}
	defer cl.CloseAllowingRebalance()
	defer lag.Follow(cl.Client, ConsumerGroup, topics.Metrics, r.count.lag)()
	r.member.Store(cl.Client)
	defer r.member.Store(nil)
	say, err := kgo.NewClient(slices.Concat(r.base, r.deps.Options, producerOptions())...)
	if err != nil {
		return err
	}
	defer say.Close()
	p := &producer{cl: cl.Client, ctx: work, count: r.count, log: r.log, letterLimit: r.deps.Letters}
	e := newEncoder(r.cfg, generationsOf(gens.Current()), epoch, r.count, p)
	go r.watch(ctx, admin, id, stop)
	said, quiet := context.WithCancel(ctx)
	var saying sync.WaitGroup
	saying.Go(func() {
		(&reporter{&r.far, cl.Client, admin, say, r.count.age, r.log}).run(said)
	})
	defer func() { quiet(); saying.Wait() }()

	err = r.loop(ctx, cl, e, gens, func() error { return sameID(ctx, admin, id) })
	if cause := context.Cause(ctx); errors.Is(cause, ErrRecreated) {
		err = cause
	}
	if commitErr := cl.CommitMarkedOffsets(work); commitErr != nil {
		r.log.Warn("offsets not committed: records will be read again", "err", commitErr)
	}
	return err
}

// loop polls until ctx ends or something fails. firstRecords is called once, when the first records
// have come.
func (r *Router) loop(ctx context.Context, cl *consume.Client, e *encoder, gens *generations.Log, firstRecords func() error) error {
	known := false
	r.tails.begin(time.Now())
	waiting, paused := false, []int32(nil)
	for {
		fetches := r.poll(ctx, cl, waiting)
		if ctx.Err() != nil {
			return nil
		}
		if err := r.fetchErrors(fetches); err != nil {
			return err
		}
		if !known && fetches.NumRecords() > 0 {
			if err := firstRecords(); err != nil {
				return err
			}
			known = true
		}
		if err := r.follow(ctx, gens, e); err != nil {
			return err
		}
		r.tails.polled(fetches, time.Now())
		if err := r.handOn(cl, e); err != nil {
			return err
		}
		waiting, paused = r.pause(cl, paused)
		cl.AllowRebalance()
	}
}

// poll waits for records, but not for ever if some wait to be handed on.
func (r *Router) poll(ctx context.Context, cl *consume.Client, waiting bool) kgo.Fetches {
	if waiting {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, waitingPoll)
		defer cancel()
	}
	r.tails.polling(time.Now())
	return cl.PollRecords(ctx, pollRecords)
}

// pause stops fetching partitions of which much waits, and resumes others that were paused before.
// It reports whether any records wait.
func (r *Router) pause(cl *consume.Client, before []int32) (waiting bool, paused []int32) {
	waiting, paused = r.tails.waiting()
	if len(before) > 0 {
		goOn := slices.DeleteFunc(before, func(p int32) bool { return slices.Contains(paused, p) })
		cl.ResumeFetchPartitions(map[string][]int32{topics.Metrics: goOn})
	}
	if len(paused) > 0 {
		cl.PauseFetchPartitions(map[string][]int32{topics.Metrics: paused})
	}
	return waiting, paused
}

// handOn sends all samples that are due, waits for them, and marks their offsets.
func (r *Router) handOn(cl *consume.Client, e *encoder) error {
	var last []*kgo.Record
	err := r.tails.next(time.Now(), func(rec *kgo.Record, waited bool) error {
		e.behind = waited
		if n := len(last); n == 0 || last[n-1].Partition != rec.Partition {
			last = append(last, rec)
		} else {
			last[n-1] = rec
		}
		return e.add(rec)
	})
	if err != nil {
		return err
	}
	if err := e.finish(); err != nil {
		return err
	}
	for _, rec := range last {
		r.far.handed(rec.Partition, rec.Offset+1)
	}
	cl.MarkCommitRecords(last...)
	return nil
}

// fetchErrors returns the first error after which reading does not continue by itself.
func (r *Router) fetchErrors(fetches kgo.Fetches) error {
	for _, f := range fetches.Errors() {
		if errors.Is(f.Err, context.DeadlineExceeded) {
			continue // see poll
		}
		if err := consume.Failed(ConsumerGroup, f); err != nil {
			return err
		}
		r.log.Warn("fetch error, continuing", "topic", f.Topic, "partition", f.Partition, "err", f.Err)
	}
	return nil
}

func (r *Router) groupOptions() []kgo.Opt {
	return []kgo.Opt{
		kgo.ConsumerGroup(ConsumerGroup),
		kgo.ConsumeTopics(topics.Metrics),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), // otherwise records of new partitions would be skipped
		kgo.SessionTimeout(10 * time.Second),
		kgo.BlockRebalanceOnPoll(),
		kgo.AutoCommitMarks(),
		kgo.AutoCommitInterval(r.cfg.Commit.Std()),
		kgo.KeepControlRecords(), // markers of transactions are read, too, to see that nothing more is to come
		kgo.OnPartitionsAssigned(r.assigned),
		kgo.OnPartitionsRevoked(r.revoked),
		kgo.OnPartitionsLost(r.lost),
		kgo.FetchMaxWait(fetchWait),
		kgo.FetchMaxBytes(8 << 20),
		kgo.FetchMaxPartitionBytes(1 << 20),
		kgo.StopProducerOnDataLossDetected(),
		kgo.ProducerLinger(linger), // flush ends the lingering: one request per broker and poll
		kgo.MaxBufferedRecords(100_000),
		kgo.ProducerBatchMaxBytes(samplesBytes), // a dead letter is shorter, too
		kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(func(string) func(*kgo.Record, int) int {
			return func(rec *kgo.Record, n int) int {
				if rec.Topic == topics.DeadLetter {
					return int(schemas.Shard(rec.Key, int32(n)))
				}
				return int(rec.Partition) // set by send
			}
		})),
	}
}

func (r *Router) assigned(_ context.Context, _ *kgo.Client, got map[string][]int32) {
	r.far.gained(got[topics.Metrics])
}

// revoked commits what was handed on. It is called between polls, when everything polled has been
// handed on.
func (r *Router) revoked(ctx context.Context, cl *kgo.Client, gone map[string][]int32) {
	r.tails.lost(gone[topics.Metrics])
	r.far.lost(gone[topics.Metrics])
	if err := cl.CommitMarkedOffsets(ctx); err != nil {
		r.log.Warn("offsets not committed: records will be read again", "err", err)
	}
}

// lost commits nothing: others may already own the partitions.
func (r *Router) lost(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
	r.tails.lost(gone[topics.Metrics])
	r.far.lost(gone[topics.Metrics])
}

// inspect returns the id of metrics, and an error if samples, of any generation, has too few
// partitions.
func (r *Router) inspect(ctx context.Context, admin *kadm.Client, gens *schemas.Generations) (kadm.TopicID, error) {
	names := []string{topics.Metrics}
	for _, g := range gens.Open() {
		names = append(names, topics.SamplesOf(g.Gen))
	}
	list, err := admin.ListTopics(ctx, names...)
	if err != nil {
		return kadm.TopicID{}, fmt.Errorf("list topics: %w", err)
	}
	for _, t := range list.Sorted() {
		if t.Err != nil {
			return kadm.TopicID{}, fmt.Errorf("topic %s: %w", t.Topic, t.Err)
		}
	}
	for _, g := range gens.Open() {
		name := topics.SamplesOf(g.Gen)
		if n := len(list[name].Partitions); n < int(g.Shards) {
			return kadm.TopicID{}, fmt.Errorf("topic %s has %d partitions, must have at least the %d shards on record", name, n, g.Shards)
		}
	}
	return list[topics.Metrics].ID, nil
}

// sameID returns ErrRecreated, wrapped, if the id of metrics is not id.
func sameID(ctx context.Context, admin *kadm.Client, id kadm.TopicID) error {
	list, err := admin.ListTopics(ctx, topics.Metrics)
	if err != nil {
		return fmt.Errorf("list topics: %w", err)
	}
	t := list[topics.Metrics]
	if t.Err != nil {
		return fmt.Errorf("topic %s: %w", topics.Metrics, t.Err)
	}
	if t.ID != id {
		return fmt.Errorf("%s: %w: its id was %s and is %s", topics.Metrics, ErrRecreated, id, t.ID)
	}
	return nil
}

// watch stops the router when metrics gets a new id. Until then nothing goes wrong, but nothing
// comes either.
func (r *Router) watch(ctx context.Context, admin *kadm.Client, id kadm.TopicID, stop context.CancelCauseFunc) {
	tick := time.NewTicker(r.watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := sameID(ctx, admin, id)
		if errors.Is(err, ErrRecreated) {
			stop(err)
		} else if err != nil && ctx.Err() == nil {
			r.log.Warn("cannot look up the topic", "err", err)
		}
	}
}

// producer is the encoder's output.
type producer struct {
	cl    *kgo.Client
	ctx   context.Context
	count *counters
	log   *slog.Logger

	letterLimit *deadletter.Limiter

	mu      sync.Mutex
	err     error
	letters []*kgo.Record // letters that the broker found too large, or that failed with such a one
}

func (p *producer) send(topic string, key []byte, shard int32, value []byte) {
	p.cl.Produce(p.ctx, &kgo.Record{Topic: topic, Partition: shard, Key: key, Value: value},
		func(rec *kgo.Record, err error) { p.done(rec, err) })
}

func (p *producer) refuse(r *kgo.Record, v *verdict) {
	l := letter(r, v)
	if deadletter.Header(l, topics.HeaderCut) != "" {
		p.count.truncated.Inc()
	}
	p.log.Debug("record refused", "topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "reason", v.reasons[0].Reason, "err", v.first)
	if p.letterLimit.Admit(l, time.Now()) {
		p.cl.Produce(p.ctx, l, p.done)
	}
}

func (p *producer) done(rec *kgo.Record, err error) {
	if err == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if rec.Topic == topics.DeadLetter && errors.Is(err, kerr.MessageTooLarge) {
		p.letters = append(p.letters, rec)
	} else if p.err == nil {
		p.err = fmt.Errorf("produce to %s/%d, key %.100q, %d bytes: %w", rec.Topic, rec.Partition, rec.Key, len(rec.Value), err)
	}
}

func (p *producer) flush() error {
	if err := p.cl.Flush(p.ctx); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.letters {
		if err := p.squeeze(l); err != nil && p.err == nil {
			p.err = err
		}
	}
	p.letters = nil
	return p.err
}

// squeeze writes a letter that failed, alone, shorter each time, until the broker accepts it.
func (p *producer) squeeze(l *kgo.Record) error {
	again, err := deadletter.Write(p.ctx, p.cl, &kgo.Record{Topic: l.Topic, Key: l.Key, Value: l.Value, Headers: l.Headers})
	if err == nil && len(again.Value) < len(l.Value) && deadletter.Header(l, topics.HeaderCut) == "" {
		p.count.truncated.Inc()
	}
	return err
}
