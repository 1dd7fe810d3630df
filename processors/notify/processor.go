package notify

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/processors/deadletter"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/consume"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/sinks"
)

// ConsumerGroup is the name of notify's consumer group.
const ConsumerGroup = "weir-notify"

const (
	// drain is how long calls in flight may take when a partition is given up.
	drain = 5 * time.Second
	// sessionTimeout is how long the partitions of a dead instance wait.
	sessionTimeout = 10 * time.Second
	// fetchWait is how long the broker holds a fetch when there are no alerts. A partition that is
	// assigned meanwhile waits for the fetch to end: kgo's 5 s is too long.
	fetchWait = 500 * time.Millisecond
	// maxTake bounds the records taken at once: the first alerts of a storm are told while the
	// others are read.
	maxTake = 500
	// lettersTimeout bounds how long letters hold up what comes after them.
	lettersTimeout = 10 * time.Second
)

// Processor is one instance of the group. Use New; Run it once.
type Processor struct {
	cfg       Config
	deps      Deps
	receivers map[string]*receiver // by ID
	order     []*receiver          // as given
	channels  map[string]*channel  // by name
	metrics   *metrics
	log       *slog.Logger
	drain     time.Duration // the constant, except in tests
	settle    time.Duration // the constant, except in tests

	out    *kgo.Client             // writes the ledger and deadletter
	group  *consume.Client         // reads alerts
	fence  *fence                  // uses member
	fail   context.CancelCauseFunc // ends Run from a callback of group
	pruned time.Time

	watcher *consume.Client // reads what former owners write to the ledger; nil before the first partition
	unwatch func()          // ends that reading

	memory   memory
	refusing refusing
	reading  sync.Mutex // allows one readBack at a time

	member atomic.Pointer[kgo.Client] // group, once it has been given partitions

	mu         sync.Mutex
	partitions map[int32]*partition // that this instance owns
}

// Deps are what a processor needs besides its config. All but Letters are required.
type Deps struct {
	Options   []kgo.Opt           // how to reach the brokers, without anything about consuming or producing
	Receivers []sinks.Receiver    // the receivers to tell; their IDs are unique
	Letters   *deadletter.Limiter // bounds what is written to deadletter; nil: no bound
	Registry  prometheus.Registerer
	Log       *slog.Logger
}

// New returns a processor. cfg is valid.
func New(cfg Config, d Deps) *Processor {
	if cfg.Retry.RetryAfter == 0 {
		cfg.Retry.RetryAfter = Default().Retry.RetryAfter
	}
	p := &Processor{
		cfg: cfg, deps: d, receivers: map[string]*receiver{}, channels: map[string]*channel{},
		metrics: newMetrics(d.Registry), log: d.Log.With("processor", "notify"),
		drain: drain, settle: settle, partitions: map[int32]*partition{},
	}
	p.fence = newFence(&p.member)
	for _, r := range d.Receivers {
		c := p.channels[r.Name]
		if c == nil {
			c = newChannel(r.Name, cfg.Concurrency, p.metrics.pending.WithLabelValues(r.Name), p.metrics.rate.WithLabelValues(r.Name))
			p.channels[r.Name] = c
			p.metrics.misconfigured.WithLabelValues(r.Name).Set(0)
		}
		own := &receiver{Receiver: r, id: r.ID(), channel: c}
		p.receivers[own.id] = own
		p.order = append(p.order, own)
	}
	return p
}

// keepMS is how long an ended entry stays in the ledger, ms.
func (p *Processor) keepMS() int64 { return max(keepEntries.Milliseconds(), 2*p.cfg.MaxAge.MS()) }

// Run delivers until ctx ends, then lets calls in flight finish, for at most 5 s, and returns nil.
// It returns an error if alerts or the ledger cannot be read or written; what was not delivered is
// PENDING in the ledger for the next Run.
func (p *Processor) Run(ctx context.Context) error {
	outer := ctx
	ctx, p.fail = context.WithCancelCause(outer)
	defer p.fail(nil)
	var err error
	p.out, err = kgo.NewClient(append(slices.Clone(p.deps.Options),
		kgo.ProducerLinger(0), kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(partitionOf)))...)
	if err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	defer p.out.Close()
	if err := p.checkPartitions(ctx); err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	stop := p.deliver()
	defer stop()
	p.group, err = consume.New(consume.Counted("notify", p.deps.Registry, p.log), append(slices.Clone(p.deps.Options),
		kgo.ConsumerGroup(ConsumerGroup), kgo.ConsumeTopics(topics.Alerts),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(), kgo.SessionTimeout(sessionTimeout), kgo.FetchMaxWait(fetchWait),
		kgo.OnPartitionsAssigned(p.assigned), kgo.OnPartitionsRevoked(p.revoked), kgo.OnPartitionsLost(p.lost))...)
	if err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	err = p.poll(ctx)
	p.group.CloseAllowingRebalance() // revokes the partitions
	if p.unwatch != nil {
		p.unwatch()
	}
	if err == nil && outer.Err() == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	return nil
}

// partitionOf puts a ledger entry into the partition of its alert, and any other record where its
// key belongs.
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

// deliver begins to choose what is delivered next to each receiver, until stop.
func (p *Processor) deliver() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, c := range p.channels {
		running.Go(func() { c.run(ctx, func(l *lane) { p.begin(c, l) }) })
	}
	return func() { cancel(); running.Wait() }
}

// poll reads alerts until ctx ends, which is no error, or something fails.
func (p *Processor) poll(ctx context.Context) error {
	for {
		fetches := p.group.PollRecords(ctx, maxTake)
		if ctx.Err() != nil {
			return nil
		}
		for _, e := range fetches.Errors() {
			if err := consume.Failed(ConsumerGroup, e); err != nil {
				return err
			}
			p.log.Warn("fetch error, continuing", "partition", e.Partition, "err", e.Err)
		}
		if err := p.take(ctx, fetches.Records()); err != nil && ctx.Err() == nil {
			return err
		} else if err != nil {
			return nil
		}
		if err := p.group.CommitUncommittedOffsets(ctx); err != nil {
			// What was read is in the ledger already, so reading it again starts nothing.
			p.log.Warn("offsets not committed", "err", err)
		}
		p.group.AllowRebalance()
	}
}

// take enters what the records ask to be told in the ledger, and only then starts it.
func (p *Processor) take(ctx context.Context, records []*kgo.Record) error {
	records = p.surelyOurs(ctx, records)
	now := time.Now()
	var letters []*kgo.Record
	due := map[*partition][]planned{}
	for _, r := range records {
		part := p.partition(r.Partition)
		if part == nil {
			continue // given up meanwhile, and not committed: its new owner reads it
		}
		var a *schemas.Alert
		if r.Value != nil {
			var err error
			if a, err = decodeAlert(r); err != nil {
				p.metrics.undecodable.WithLabelValues(r.Topic).Inc()
				p.log.Error("alert refused", "partition", r.Partition, "offset", r.Offset, "bytes", len(r.Value), "err", err)
				if letter := deadletter.Of(r, "notify", "undecodable", err); p.deps.Letters.Admit(letter, now) {
					letters = append(letters, letter)
				}
				continue
			}
		}
		if ps := p.observe(part, string(r.Key), a, now.UnixMilli()); len(ps) > 0 {
			due[part] = append(due[part], ps...)
		}
	}
	for part, ps := range due {
		if err := p.enter(ctx, part, ps); err != nil {
			return err
		}
	}
	p.sendLetters(ctx, letters)
	if now.Sub(p.pruned) > time.Hour {
		p.pruned = now
		p.prune(now)
	}
	return nil
}

// surelyOurs returns, once this process is certainly a member of the group, the records of
// partitions that it has had since they were read. A process that was suspended continues in the
// middle of this, with records that its successor dealt with long ago; what it then entered in the
// ledger, from outdated knowledge, would be told again.
func (p *Processor) surelyOurs(ctx context.Context, records []*kgo.Record) []*kgo.Record {
	if len(records) == 0 || p.fence.check() {
		return records
	}
	had := map[int32]*partition{}
	for _, r := range records {
		had[r.Partition] = p.partition(r.Partition)
	}
	for !p.fence.check() {
		p.group.AllowRebalance() // a rebalance may be what it has to learn about
		if !wait(fenceAgain, ctx.Done()) {
			return nil
		}
	}
	return slices.DeleteFunc(records, func(r *kgo.Record) bool {
		part := p.partition(r.Partition)
		return part == nil || part != had[r.Partition]
	})
}

// decodeAlert reads a record of alerts, whose key must be its fingerprint.
func decodeAlert(r *kgo.Record) (*schemas.Alert, error) {
	a, err := schemas.DecodeDoc[schemas.Alert](r.Value)
	if err == nil && (a.Fingerprint == "" || a.Fingerprint != string(r.Key)) {
		err = fmt.Errorf("fingerprint %.100q under the key %.100q: %w", a.Fingerprint, r.Key, schemas.ErrCorrupt)
	}
	if err != nil {
		return nil, err
	}
	return a, nil
}

// sendLetters writes letters. Letters that cannot be written within lettersTimeout are counted and
// left out: no letter keeps anybody from being told.
func (p *Processor) sendLetters(ctx context.Context, letters []*kgo.Record) {
	ctx, cancel := context.WithTimeout(ctx, lettersTimeout)
	defer cancel()
	for _, letter := range letters {
		if _, err := deadletter.Write(ctx, p.out, letter); err != nil {
			p.metrics.lettersLost.Inc()
			p.log.Error("letter not written", "err", err)
		}
	}
}

// prune deletes entries that are no longer needed.
func (p *Processor) prune(now time.Time) {
	for _, part := range p.owned() {
		part.mu.Lock()
		var keys []string
		for fingerprint, lanes := range part.alerts {
			for _, l := range lanes {
				keys = append(keys, l.trim(now.UnixMilli(), p.keepMS())...)
			}
			if !slices.ContainsFunc(lanes, func(l *lane) bool { return len(l.entries) > 0 }) {
				delete(part.alerts, fingerprint)
			}
		}
		part.mu.Unlock()
		p.forget(part, keys)
	}
}
