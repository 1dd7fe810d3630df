package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"weir/processors/deadletter"
	"weir/schemas"
	"weir/schemas/consume"
	"weir/schemas/topics"
	"weir/sinks"
)

// Group is the consumer group.
const Group = "weir-notify"

const (
	// drain is how long calls in flight may take when a partition is given up.
	drain = 5 * time.Second
	// sessionTimeout is how long the partitions of a dead instance wait.
	sessionTimeout = 10 * time.Second
	// fetchWait is how long the broker holds a fetch when there are no alerts. A
	// partition that is assigned meanwhile waits for its end: kgo's 5 s is too long.
	fetchWait = 500 * time.Millisecond
)

// Processor is one instance of the group. Use New; Run it once.
type Processor struct {
	// Letters bounds what is written to deadletter; nil: nothing does. Set it before Run.
	Letters *deadletter.Limiter

	cfg       Config
	opts      []kgo.Opt
	receivers map[string]*receiver // by ID
	order     []*receiver          // as given
	metrics   *metrics
	reg       prometheus.Registerer
	log       *slog.Logger
	drain     time.Duration // the constant, but in tests

	out    *kgo.Client             // writes the ledger and deadletter
	group  *consume.Client         // reads alerts
	fail   context.CancelCauseFunc // ends Run from a callback of group
	pruned time.Time

	mu         sync.Mutex
	partitions map[int32]*partition // that this instance owns
}

// New returns a processor that tells the receivers. opts is how to reach the
// brokers, without anything about consuming or producing. cfg is valid, and the
// receivers' IDs are unique.
func New(cfg Config, opts []kgo.Opt, receivers []sinks.Receiver, reg prometheus.Registerer, log *slog.Logger) *Processor {
	p := &Processor{
		cfg: cfg, opts: opts, receivers: map[string]*receiver{},
		metrics: newMetrics(reg), reg: reg, log: log.With("processor", "notify"),
		drain: drain, partitions: map[int32]*partition{},
	}
	for _, r := range receivers {
		own := newReceiver(r, cfg.Concurrency, p.metrics.pending.WithLabelValues(r.Name))
		p.receivers[r.ID()] = own
		p.order = append(p.order, own)
	}
	return p
}

// Run delivers until ctx ends, then lets calls in flight finish, at most 5 s, and
// returns nil. It returns an error when alerts or the ledger cannot be read or
// written; what was not delivered is PENDING in the ledger for the next Run.
func (p *Processor) Run(ctx context.Context) error {
	outer := ctx
	ctx, p.fail = context.WithCancelCause(outer)
	defer p.fail(nil)
	var err error
	p.out, err = kgo.NewClient(append(slices.Clone(p.opts),
		kgo.ProducerLinger(0), kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(partitionOf)))...)
	if err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	defer p.out.Close()
	if err := p.checkPartitions(ctx); err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	p.group, err = consume.New(consume.Counted("notify", p.reg, p.log), append(slices.Clone(p.opts),
		kgo.ConsumerGroup(Group), kgo.ConsumeTopics(topics.Alerts),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(), kgo.SessionTimeout(sessionTimeout), kgo.FetchMaxWait(fetchWait),
		kgo.OnPartitionsAssigned(p.assigned), kgo.OnPartitionsRevoked(p.revoked), kgo.OnPartitionsLost(p.revoked))...)
	if err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	err = p.poll(ctx)
	p.group.CloseAllowingRebalance() // revokes what is owned
	if err == nil && outer.Err() == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	return nil
}

// partitionOf puts a ledger entry where its alert's partition is, and every other
// record where its key belongs.
func partitionOf(topic string) func(*kgo.Record, int) int {
	if topic == topics.NotificationLog {
		return func(r *kgo.Record, _ int) int { return int(r.Partition) }
	}
	return func(r *kgo.Record, n int) int { return int(schemas.Shard(r.Key, int32(n))) }
}

func (p *Processor) checkPartitions(ctx context.Context) error {
	listed, err := kadm.NewClient(p.out).ListTopics(ctx, topics.Alerts, topics.NotificationLog)
	if err != nil {
		return fmt.Errorf("list topics: %w", err)
	}
	if err := listed.Error(); err != nil {
		return fmt.Errorf("list topics: %w", err)
	}
	alerts, ledger := len(listed[topics.Alerts].Partitions), len(listed[topics.NotificationLog].Partitions)
	if alerts != ledger {
		return fmt.Errorf("topic %s has %d partitions and %s has %d: they must have the same", topics.Alerts, alerts, topics.NotificationLog, ledger)
	}
	return nil
}

// poll reads alerts until ctx ends, which is no error, or something fails.
func (p *Processor) poll(ctx context.Context) error {
	for {
		fetches := p.group.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		for _, e := range fetches.Errors() {
			var lost *kgo.ErrGroupSession
			if !errors.As(e.Err, &lost) {
				return fmt.Errorf("read %s/%d: %w", e.Topic, e.Partition, e.Err)
			}
			p.log.Warn("group session lost, joining again", "error", e.Err)
		}
		if err := p.take(ctx, fetches.Records()); err != nil && ctx.Err() == nil {
			return err
		} else if err != nil {
			return nil
		}
		if err := p.group.CommitUncommittedOffsets(ctx); err != nil {
			// What was read is in the ledger: reading it again starts nothing.
			p.log.Warn("offsets not committed", "error", err)
		}
		p.group.AllowRebalance()
	}
}

// take enters what records ask to be told in the ledger, and only then starts it.
func (p *Processor) take(ctx context.Context, records []*kgo.Record) error {
	now := time.Now()
	var writes []*kgo.Record
	var starts []func()
	for _, r := range records {
		if r.Value == nil {
			continue // a tombstone: the alert was deleted, nothing to tell
		}
		a, err := schemas.DecodeDoc[schemas.Alert](r.Value)
		if err != nil {
			p.metrics.undecodable.WithLabelValues(r.Topic).Inc()
			p.log.Error("alert refused", "partition", r.Partition, "offset", r.Offset, "error", err)
			if letter := deadletter.Of(r, "notify", "undecodable", err); p.Letters.Admit(letter, now) {
				writes = append(writes, letter)
			}
			continue
		}
		if !told(a.Last) {
			continue
		}
		part := p.partition(r.Partition)
		if part == nil {
			return fmt.Errorf("record of partition %d, which is not assigned", r.Partition)
		}
		for _, d := range p.plan(part, a, now) {
			writes = append(writes, ledgerRecord(d, part.id))
			starts = append(starts, func() { p.start(part, d) })
		}
	}
	if len(writes) > 0 {
		if err := p.produce(ctx, writes); err != nil {
			return err
		}
	}
	for _, start := range starts {
		start()
	}
	if now.Sub(p.pruned) > time.Hour {
		p.pruned = now
		return p.prune(ctx, now)
	}
	return nil
}

// plan returns the deliveries of the alert's newest transition that the ledger
// does not have, and notes them as entered.
func (p *Processor) plan(part *partition, a *schemas.Alert, now time.Time) []*schemas.Delivery {
	var ds []*schemas.Delivery
	matched := false
	part.mu.Lock()
	defer part.mu.Unlock()
	for _, r := range p.order {
		if !r.Matches(a.Labels) {
			continue
		}
		matched = true
		d := newDelivery(a, r.ID())
		if _, known := part.entries[d.Key()]; known {
			continue
		}
		if reason := stale(d, part.entries, now.UnixMilli(), p.cfg.MaxAge.MS()); reason != "" {
			fail(d, now.UnixMilli(), unsent+reason)
		} else if !r.reserve(p.cfg.Queue) {
			fail(d, now.UnixMilli(), fmt.Sprintf(unsent+"%d deliveries are pending, as many as queue allows", p.cfg.Queue))
		}
		part.entries[d.Key()] = entryOf(d)
		ds = append(ds, d)
	}
	if !matched {
		p.metrics.unmatched.Inc()
		p.log.Warn("alert without a receiver", "rule", a.Rule, "fingerprint", a.Fingerprint, "to", a.Last.To)
	}
	return ds
}

// start makes a delivery that is in the ledger, or reports one that ended there.
func (p *Processor) start(part *partition, d *schemas.Delivery) {
	r := p.receivers[d.Receiver]
	if d.Status == schemas.DeliveryPending {
		part.enqueue(p, r, d)
		return
	}
	p.report(d)
}

// prune deletes entries that ended long ago. One that is PENDING stays.
func (p *Processor) prune(ctx context.Context, now time.Time) error {
	var tombstones []*kgo.Record
	for _, part := range p.owned() {
		part.mu.Lock()
		for key, e := range part.entries {
			if e.status != schemas.DeliveryPending && now.UnixMilli()-e.atMS > keepEntries.Milliseconds() {
				delete(part.entries, key)
				tombstones = append(tombstones, &kgo.Record{Topic: topics.NotificationLog, Partition: part.id, Key: []byte(key)})
			}
		}
		part.mu.Unlock()
	}
	if len(tombstones) == 0 {
		return nil
	}
	return p.produce(ctx, tombstones)
}
