package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/processors/deadletter"
	"github.com/weir-metrics/weir/processors/lag"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/consume"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/sinks"
)

// ConsumerGroup is the name of store's consumer group.
const ConsumerGroup = "weir-store"

const (
	// drainTime is how long writes may take when their partition is given up.
	drainTime = 5 * time.Second
	// sessionTimeout is how long the partitions of a dead instance wait.
	sessionTimeout = 10 * time.Second
	// fetchWait is how long the broker holds a fetch when there is nothing. A partition that is
	// assigned meanwhile waits for the fetch to end: kgo's 5 s is too long.
	fetchWait = 500 * time.Millisecond
)

// Processor is one instance of the group. Make it with New.
type Processor struct {
	cfg     Config
	deps    Deps
	metrics *metrics
	log     *slog.Logger
	drain   time.Duration // the constant, except in tests

	member atomic.Pointer[kgo.Client] // while running
	fail   context.CancelCauseFunc    // ends Run from a write
	slots  chan struct{}              // one for each record in flight

	mu         sync.Mutex
	partitions map[int32]*partition // that this instance owns
}

// Deps are what a processor needs besides its config. All but Letters are required.
type Deps struct {
	// Options are how to reach the brokers, and come after the processor's own: an instance id, a session timeout.
	Options  []kgo.Opt
	Tiers    sinks.TierStore       // where it writes; it does not close them
	Letters  *deadletter.Limiter   // bounds what is written to deadletter; nil: no bound
	Registry prometheus.Registerer // of metrics named weir_store_…, once
	Log      *slog.Logger
}

// New returns a processor. cfg is valid.
func New(cfg Config, d Deps) *Processor {
	return &Processor{cfg: cfg, deps: d, metrics: newMetrics(d.Registry), log: d.Log.With("processor", "store"), drain: drainTime}
}

// Waiting tells what the processor waits for before it is ready, in words; "" if nothing.
func (p *Processor) Waiting() string {
	if p.Ready() {
		return ""
	}
	return "joining its group"
}

// Ready reports whether the processor runs and is a member of its group.
func (p *Processor) Ready() bool {
	cl := p.member.Load()
	if cl == nil {
		return false
	}
	_, generation := cl.GroupMetadata()
	return generation >= 0
}

// Run writes windows until ctx ends, then gives those in flight 5 s, commits what is acknowledged,
// and returns nil. It returns an error if windows cannot be read, a record cannot be written to
// deadletter, or the store fails in a way that is neither an outage, which it bridges itself, nor
// sinks.ErrRefused. Nothing is lost then: call it again, after a pause. It must not run twice at
// once.
func (p *Processor) Run(ctx context.Context) error {
	outer := ctx
	ctx, p.fail = context.WithCancelCause(outer)
	defer p.fail(nil)
	p.slots = make(chan struct{}, p.cfg.InFlight)
	p.partitions = map[int32]*partition{}
	cl, err := consume.New(consume.Counted("store", p.deps.Registry, p.log), slices.Concat(p.options(), p.deps.Options)...)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	defer lag.Follow(cl.Client, ConsumerGroup, topics.Windows, p.metrics.lag)()
	p.member.Store(cl.Client)
	err = p.poll(ctx, cl)
	p.member.Store(nil)
	cl.CloseAllowingRebalance() // gives up all partitions: drains and commits
	if err == nil && outer.Err() == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

func (p *Processor) options() []kgo.Opt {
	return []kgo.Opt{
		kgo.ConsumerGroup(ConsumerGroup),
		kgo.ConsumeTopics(topics.Windows),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), // otherwise what was written before the first start would be skipped
		kgo.SessionTimeout(sessionTimeout),
		kgo.KeepControlRecords(), // so that the commit gets to the end
		kgo.BlockRebalanceOnPoll(),
		kgo.AutoCommitMarks(),
		kgo.AutoCommitInterval(p.cfg.Commit.Std()),
		kgo.OnPartitionsAssigned(p.assigned),
		kgo.OnPartitionsRevoked(p.revoked),
		kgo.OnPartitionsLost(p.lost),
		kgo.FetchMaxWait(fetchWait),
		kgo.FetchMaxBytes(8 << 20), // what waits in the client while nothing is polled
		kgo.FetchMaxPartitionBytes(1 << 20),
		kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(func(string) func(*kgo.Record, int) int {
			return func(r *kgo.Record, n int) int { return int(schemas.Shard(r.Key, int32(n))) }
		})),
	}
}

// poll reads records and starts their writes until ctx ends, which is no error, or something fails.
// It polls no more than there are free slots, and nothing while there are none; the group may
// rebalance meanwhile, and kgo sends its heartbeats.
func (p *Processor) poll(ctx context.Context, cl *consume.Client) error {
	for {
		select {
		case p.slots <- struct{}{}:
			<-p.slots // only this goroutine takes slots, so this one stays free
		case <-ctx.Done():
			return nil
		}
		fetches := cl.PollRecords(ctx, p.cfg.InFlight-len(p.slots))
		if ctx.Err() != nil {
			return nil
		}
		if err := p.fetchErrors(fetches); err != nil {
			return err
		}
		fetches.EachPartition(func(f kgo.FetchTopicPartition) {
			for _, r := range f.Records {
				p.slots <- struct{}{}
				p.metrics.inFlight.Inc()
				p.start(cl.Client, r)
			}
		})
		cl.AllowRebalance()
	}
}

// fetchErrors returns the first error after which reading does not continue by itself.
func (p *Processor) fetchErrors(fetches kgo.Fetches) error {
	for _, f := range fetches.Errors() {
		if err := consume.Failed(ConsumerGroup, f); err != nil {
			return err
		}
		p.log.Warn("fetch error, continuing", "topic", f.Topic, "partition", f.Partition, "err", f.Err)
	}
	return nil
}

// start writes a record of an owned partition: rebalances wait until everything polled has been
// started.
func (p *Processor) start(cl *kgo.Client, r *kgo.Record) {
	p.mu.Lock()
	part := p.partitions[r.Partition]
	p.mu.Unlock()
	it := part.add(r)
	begin := time.Now()
	part.writes.Go(func() {
		if err := p.write(part.ctx, cl, r); err != nil {
			if part.ctx.Err() == nil {
				p.fail(fmt.Errorf("%s/%d offset %d: %w", r.Topic, r.Partition, r.Offset, err))
			}
			return
		}
		p.metrics.seconds.Observe(time.Since(begin).Seconds())
		p.free(part.ack(it, func(last *kgo.Record) { cl.MarkCommitRecords(last) }))
	})
}

// write returns nil when the record is acknowledged, by the store or by deadletter.
func (p *Processor) write(ctx context.Context, cl *kgo.Client, r *kgo.Record) error {
	if r.Attrs.IsControl() {
		return nil // the marker of a transaction
	}
	batch, err := schemas.DecodeWindowBatch(r.Value)
	if err != nil {
		return p.refuse(ctx, cl, r, undecodable, err)
	}
	batch.Group = string(r.Key)
	err = p.deps.Tiers.WriteWindows(ctx, batch)
	if errors.Is(err, sinks.ErrRefused) {
		return p.refuse(ctx, cl, r, refused, err)
	}
	if err != nil {
		return err
	}
	p.metrics.records.Inc()
	p.metrics.windows.Add(float64(len(batch.Windows)))
	return nil
}

// free gives back the slots of n records.
func (p *Processor) free(n int) {
	for range n {
		<-p.slots
	}
	p.metrics.inFlight.Sub(float64(n))
}

func (p *Processor) assigned(_ context.Context, _ *kgo.Client, got map[string][]int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range got[topics.Windows] {
		p.partitions[n] = newPartition()
	}
}

// revoked waits for the writes of partitions that are given up, at most p.drain, and commits what
// is acknowledged.
func (p *Processor) revoked(ctx context.Context, cl *kgo.Client, gone map[string][]int32) {
	p.giveUp(gone, p.drain)
	if err := cl.CommitMarkedOffsets(ctx); err != nil {
		p.log.Warn("offsets not committed: records will be written again", "err", err)
	}
}

// lost abandons the writes of partitions that others may already own.
func (p *Processor) lost(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
	p.giveUp(gone, 0)
}

func (p *Processor) giveUp(gone map[string][]int32, patience time.Duration) {
	var leaving []*partition
	p.mu.Lock()
	for _, n := range gone[topics.Windows] {
		if part := p.partitions[n]; part != nil {
			leaving = append(leaving, part)
			delete(p.partitions, n)
		}
	}
	p.mu.Unlock()
	over, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	for _, part := range leaving {
		p.free(part.drain(over))
	}
}
