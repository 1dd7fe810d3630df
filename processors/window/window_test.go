package window

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/processors/writeback"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/windows"
	"github.com/weir-metrics/weir/windows/windowtest"
)

// stage is a broker with the topics, with what tests need to feed and read it.
type stage struct {
	t       testing.TB
	brokers []string
	topics  topics.Config
	client  *kgo.Client
	rules   *alerts.RuleSet
	log     *slog.Logger
	flush   time.Duration
	offsets map[string]int64 // next origin offset by group
	seen    map[int32]int64  // next offset of windows to read
	merged  windows.Merger
	emitted int

	registry *prometheus.Registry // of the running processor
	running  *Processor
}

func newStage(t testing.TB, rules string) *stage {
	c := kafkatest.Cluster(t)
	cfg := topics.Default()
	cfg.Shards, cfg.AlertShards = 4, 2
	s := newStageOn(t, c.ListenAddrs(), cfg, rules)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := topics.Ensure(ctx, kadm.NewClient(s.client), topics.All(cfg)); err != nil {
		t.Fatal(err)
	}
	return s
}

func newStageOn(t testing.TB, brokers []string, cfg topics.Config, rules string) *stage {
	s := &stage{t: t, brokers: brokers, topics: cfg, log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		flush: 200 * time.Millisecond, offsets: map[string]int64{}, seen: map[int32]int64{}, merged: windows.Merger{}}
	if os.Getenv("WEIR_TEST_LOG") != "" {
		s.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	var err error
	s.client = kafkatest.Client(t, s.brokers, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	wcfg := windows.Default()
	if s.rules, err = alerts.Load(alerts.LoadConfig{TiersMS: wcfg.TiersMS()}, alerts.File{Name: "rules.yaml", Data: []byte(rules)}); err != nil {
		t.Fatal(err)
	}
	return s
}

// counted returns how many samples the running processor has counted or dropped.
func (s *stage) counted() int64 {
	families, err := s.registry.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	var n float64
	for _, f := range families {
		if f.GetName() == "weir_window_samples_total" {
			for _, m := range f.GetMetric() {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return int64(n)
}

// start runs a processor on the state folder dir. stop ends it: cleanly with nil, or, with an error, without a
// last checkpoint.
func (s *stage) start(dir string, behind func(*schemas.Tick)) (stop func(error)) {
	store, err := writeback.OpenStore(dir, s.log)
	if err != nil {
		s.t.Fatal(err)
	}
	s.registry = prometheus.NewRegistry()
	cfg := Default()
	cfg.Tick, cfg.Flush = conf.Duration(20*time.Millisecond), conf.Duration(s.flush)
	p := New(cfg, Deps{Brokers: s.brokers, Windows: windows.Default(), Rules: s.rules, Topics: s.topics,
		Instance: "test", Store: store, Behind: behind, Registry: s.registry, Log: s.log})
	s.running = p
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	kafkatest.Eventually(s.t, "the processor is ready", p.Ready)
	return func(crash error) {
		if crash != nil {
			cancel(fmt.Errorf("%w: %w", writeback.ErrKilled, crash))
		} else {
			cancel(nil)
		}
		err := <-done
		if crash == nil && err != nil {
			s.t.Errorf("clean stop: %v", err)
		}
		if crash != nil && !errors.Is(err, crash) {
			s.t.Errorf("crash: %v", err)
		}
		if err := store.Close(); err != nil {
			s.t.Error(err)
		}
	}
}

// send produces samples as route does: one batch per group.
func (s *stage) send(samples []schemas.Sample, atMS int64) {
	builders := map[string]*schemas.BatchBuilder{}
	var keys []string
	for i := range samples {
		key := schemas.GroupOf(samples[i].Series, schemas.GroupLabels)
		b := builders[key]
		if b == nil {
			b = &schemas.BatchBuilder{}
			b.Begin(schemas.Origin{Epoch: 1, Offset: s.offsets[key]}, 0)
			s.offsets[key]++
			builders[key] = b
			keys = append(keys, key)
		}
		b.Add(&samples[i].Series, samples[i].Series.Hash(), samples[i].TimeMS, samples[i].Value)
	}
	for _, key := range keys {
		r := &kgo.Record{Topic: topics.Samples, Key: []byte(key), Value: builders[key].AppendTo(nil),
			Partition: schemas.Shard([]byte(key), s.topics.Shards), Timestamp: time.UnixMilli(atMS)}
		s.client.Produce(context.Background(), r, func(_ *kgo.Record, err error) {
			if err != nil {
				s.t.Errorf("produce: %v", err)
			}
		})
	}
	if err := s.client.Flush(context.Background()); err != nil {
		s.t.Fatal(err)
	}
}

// read passes the new records of a topic to f.
func (s *stage) read(topic string, f func(*kgo.Record)) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	adm := kadm.NewClient(s.client)
	ends, err := adm.ListEndOffsets(ctx, topic)
	if err != nil {
		s.t.Fatal(err)
	}
	from := map[string]map[int32]kgo.Offset{topic: {}}
	left := int64(0)
	ends.Each(func(o kadm.ListedOffset) {
		if at := s.seen[o.Partition]; o.Offset > at {
			from[topic][o.Partition] = kgo.NewOffset().At(at)
			left += o.Offset - at
		}
	})
	if left == 0 {
		return
	}
	c := kafkatest.Client(s.t, s.brokers, kgo.ConsumePartitions(from))
	for left > 0 {
		fs := c.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			s.t.Fatalf("read %s: %v, %d records left", topic, err, left)
		}
		fs.EachRecord(func(r *kgo.Record) {
			left--
			s.seen[r.Partition] = r.Offset + 1
			f(r)
		})
	}
}

func (s *stage) readWindows() {
	s.read(topics.Windows, func(r *kgo.Record) {
		if want := schemas.Shard(r.Key, s.topics.Shards); r.Partition != want {
			s.t.Fatalf("windows of %s in partition %d, want %d", r.Key, r.Partition, want)
		}
		b, err := schemas.DecodeWindowBatch(r.Value)
		if err != nil {
			s.t.Fatal(err)
		}
		s.emitted += len(b.Windows)
		for _, w := range b.Windows {
			s.merged.Add(w)
		}
	})
}

// hosts makes rounds of samples of n hosts: one sample per host, metric and step.
func hosts(rnd *rand.Rand, n, metrics, rounds int, fromMS, stepMS int64) [][]schemas.Sample {
	out := make([][]schemas.Sample, rounds)
	for r := range out {
		for h := range n {
			for m := range metrics {
				out[r] = append(out[r], schemas.Sample{Series: schemas.Series{Metric: "m" + strconv.Itoa(m),
					Labels: schemas.NewLabels(map[string]string{"host": fmt.Sprintf("web%02d", h)})},
					TimeMS: fromMS + int64(r)*stepMS + int64(rnd.IntN(900)), Value: rnd.Float64() * 100})
			}
		}
	}
	return out
}

func flatten(rounds [][]schemas.Sample) []schemas.Sample {
	var all []schemas.Sample
	for _, r := range rounds {
		all = append(all, r...)
	}
	return all
}

var errCrash = errors.New("crash")

// TestCrashes kills the processor without a checkpoint again and again while samples arrive, and restarts it on its state
// folder or on an empty one. The wall clock closes windows early, so that many samples are late. At the end, every window
// matches the oracle.
func TestCrashes(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if v := os.Getenv("WEIR_SEED"); v != "" {
		seed, _ = strconv.ParseUint(v, 10, 64)
	}
	t.Logf("seed %d (set WEIR_SEED to repeat)", seed)
	rnd := rand.New(rand.NewPCG(seed, 3))
	s := newStage(t, "groups: []")
	dir := t.TempDir()
	now := time.Now().UnixMilli()
	from := now - now%3600_000 - 3*3600_000
	rounds := hosts(rnd, 10, 5, 150, from, 1000)
	stop := s.start(dir, nil)
	for i, r := range rounds {
		// Now and then arrival times jump ahead of the samples' times, so that the clock closes windows to which
		// later samples still belong.
		s.send(r, from+int64(i)*1000+int64(rnd.IntN(40_000)))
		if rnd.IntN(6) == 0 { // let the clock close what was sent, so that what follows is late
			before := s.emitted
			kafkatest.Eventually(s.t, "windows are emitted", func() bool { s.readWindows(); return s.emitted > before })
		}
		switch rnd.IntN(30) {
		case 0:
			stop(errCrash)
			stop = s.start(dir, nil)
		case 1:
			stop(errCrash)
			dir = t.TempDir()
			stop = s.start(dir, nil)
		case 2:
			stop(nil)
			stop = s.start(dir, nil)
		}
	}
	// A last sample two hours on closes everything before it.
	end := hosts(rnd, 10, 1, 1, from+2*3600_000+3600_000/2, 0)
	s.send(end[0], end[0][0].TimeMS)
	want := flatten(rounds)
	wcfg := windows.Default()
	oracle := windowtest.Oracle(want, wcfg.TiersMS()...)
	deadline := time.Now().Add(60 * time.Second)
	for {
		s.readWindows()
		got := s.merged.Windows()
		n := 0
		for _, w := range got { // the last sample's own windows may close by the wall clock
			if w.StartMS < from+2*3600_000 {
				got[n] = w
				n++
			}
		}
		err := windowtest.Compare(got[:n], oracle)
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after 60 s: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Logf("%d windows, %d emitted", len(oracle), s.emitted)
	stop(nil)
}
