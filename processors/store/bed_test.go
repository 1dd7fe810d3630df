package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/sinks"
)

// flaky is a TierStore that holds up the calls for chosen groups.
type flaky struct {
	sinks.TierStore // its other methods are not called

	mu      sync.Mutex
	holds   func(group string) bool
	fault   func(group string) error
	changed chan struct{}  // closed when holds changes
	calls   int            // in flight
	most    int            // most calls in flight at the same time
	written map[string]int // acknowledged, by group
}

func newFlaky() *flaky {
	return &flaky{holds: nothing, fault: func(string) error { return nil }, changed: make(chan struct{}), written: map[string]int{}}
}

func nothing(string) bool    { return false }
func everything(string) bool { return true }

// hold makes calls for these groups wait until another hold without them.
func (f *flaky) hold(groups func(group string) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.holds = groups
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *flaky) WriteWindows(ctx context.Context, b *schemas.WindowBatch) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	defer func() { f.calls-- }()
	f.most = max(f.most, f.calls)
	for f.holds(b.Group) {
		changed := f.changed
		f.mu.Unlock()
		select {
		case <-changed:
			f.mu.Lock()
		case <-ctx.Done():
			f.mu.Lock()
			return ctx.Err()
		}
	}
	if err := f.fault(b.Group); err != nil {
		return err
	}
	f.written[b.Group]++
	return nil
}

func (f *flaky) look(see func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	see()
}

// bed is a broker with the topics, with what tests need.
type bed struct {
	*testing.T
	cluster *kfake.Cluster
	client  *kgo.Client
	admin   *kadm.Client
	store   *flaky
	fed     int
}

func newBed(t *testing.T, partitions int32) *bed {
	t.Helper()
	cluster := kafkatest.Cluster(t, kfake.GroupMinSessionTimeout(100*time.Millisecond),
		kfake.SeedTopics(partitions, topics.Windows), kfake.SeedTopics(1, topics.DeadLetter))
	client := kafkatest.Client(t, cluster.ListenAddrs(), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	return &bed{T: t, cluster: cluster, client: client, admin: kadm.NewClient(client), store: newFlaky()}
}

func name(i int) string { return fmt.Sprintf("g%05d", i) }

// value returns the value of a record of windows.
func value() []byte {
	return schemas.AppendWindowBatch(nil, &schemas.WindowBatch{EmitMS: 1, NewestMS: 1, Windows: []schemas.Window{{
		Series: schemas.Series{Metric: "m"}, TierMS: 10_000, StartMS: 10_000, Aggregate: schemas.Aggregate{
			Count: 1, Sum: 1, Min: 1, Max: 1, First: 1, Last: 1}}}})
}

func (b *bed) produce(rs ...*kgo.Record) {
	b.Helper()
	if err := b.client.ProduceSync(b.Context(), rs...).FirstErr(); err != nil {
		b.Fatal(err)
	}
}

// feed produces n records, to the partitions in turn, with keys that count on.
func (b *bed) feed(n int, partitions int32) {
	b.Helper()
	var rs []*kgo.Record
	for range n {
		rs = append(rs, &kgo.Record{Topic: topics.Windows, Partition: int32(b.fed) % partitions, Key: []byte(name(b.fed)), Value: value()})
		b.fed++
	}
	b.produce(rs...)
}

// run is a running processor.
type run struct {
	*Processor
	reg    *prometheus.Registry
	cancel context.CancelFunc
	done   chan error
}

// start starts a processor with a short session, so that tests notice a member that is kicked out.
func (b *bed) start(cfg Config, drain time.Duration) *run {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &run{reg: prometheus.NewRegistry(), cancel: cancel, done: make(chan error, 1)}
	r.Processor = New(cfg, Deps{Tiers: b.store, Registry: r.reg, Log: slog.New(slog.DiscardHandler),
		Options: []kgo.Opt{kgo.SeedBrokers(b.cluster.ListenAddrs()...), kgo.SessionTimeout(time.Second), kgo.HeartbeatInterval(50 * time.Millisecond)}})
	r.drain = drain
	go func() { r.done <- r.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		b.store.hold(nothing)
	})
	return r
}

func (b *bed) stop(r *run) {
	b.Helper()
	r.cancel()
	if err := b.ended(r); err != nil {
		b.Fatalf("Run: %v", err)
	}
}

func (b *bed) ended(r *run) error {
	b.Helper()
	select {
	case err := <-r.done:
		return err
	case <-time.After(10 * time.Second):
		b.Fatal("Run does not end")
		return nil
	}
}

// committed returns the sum of the group's committed offsets.
func (b *bed) committed() (sum int64) {
	b.Helper()
	offsets, err := b.admin.FetchOffsets(b.Context(), ConsumerGroup)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) { // the group exists once it has a member
		b.Fatal(err)
	}
	offsets.Each(func(o kadm.OffsetResponse) {
		if o.Err == nil && o.At > 0 {
			sum += o.At
		}
	})
	return sum
}

// writtenAll reports whether all records that were fed are written.
func (b *bed) writtenAll() (all bool) {
	b.store.look(func() { all = len(b.store.written) == b.fed })
	return all
}
