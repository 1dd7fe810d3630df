package alert

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
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
)

// stage is a broker with the topics. Tests feed it conditions and read the alerts.
type stage struct {
	t       *testing.T
	brokers []string
	topics  topics.Config
	cfg     Config
	log     *slog.Logger
	client  *kgo.Client
	reader  *kgo.Client
	metrics *prometheus.Registry

	alerts  map[string]*schemas.Alert       // the newest record of each key; nil: deleted
	told    map[string][]schemas.Transition // distinct transitions, in order, by key
	letters []*kgo.Record
}

func newStage(t *testing.T) *stage {
	c := kafkatest.Cluster(t)
	s := &stage{t: t, brokers: c.ListenAddrs(), topics: topics.Default(), cfg: Default(),
		log: slog.New(slog.NewTextHandler(io.Discard, nil)), alerts: map[string]*schemas.Alert{}, told: map[string][]schemas.Transition{}}
	if os.Getenv("WEIR_TEST_LOG") != "" {
		s.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	s.topics.Shards, s.topics.AlertShards = 2, 2
	s.cfg.Tick, s.cfg.Flush = conf.Duration(20*time.Millisecond), conf.Duration(150*time.Millisecond)
	s.client = kafkatest.Client(t, s.brokers, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := topics.Ensure(ctx, kadm.NewClient(s.client), topics.All(s.topics)); err != nil {
		t.Fatal(err)
	}
	s.reader = kafkatest.Client(t, s.brokers, kgo.ConsumeTopics(topics.Alerts, topics.DeadLetter),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(50*time.Millisecond))
	return s
}

// start runs a processor on the state folder dir. stop ends it: cleanly with nil, or, with an error, without a
// last checkpoint.
func (s *stage) start(dir string) (stop func(error)) {
	store, err := writeback.OpenStore(dir, s.log)
	if err != nil {
		s.t.Fatal(err)
	}
	s.metrics = prometheus.NewRegistry()
	p := New(s.cfg, Deps{Brokers: s.brokers, Topics: s.topics, Instance: "test", Store: store, Registry: s.metrics, Log: s.log})
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	deadline := time.Now().Add(30 * time.Second)
	for !p.Ready() {
		if time.Now().After(deadline) {
			s.t.Fatal("the processor is not ready after 30 s")
		}
		time.Sleep(2 * time.Millisecond)
	}
	return func(crash error) {
		if crash != nil {
			cancel(fmt.Errorf("%w: %w", writeback.ErrKilled, crash))
		} else {
			cancel(nil)
		}
		err := <-done
		if crash == nil && err != nil || crash != nil && !errors.Is(err, crash) {
			s.t.Errorf("stopped with %v, ended with %v", crash, err)
		}
		if err := store.Close(); err != nil {
			s.t.Error(err)
		}
	}
}

// counted returns weir_alert_conditions_total of the processor that was started last.
func (s *stage) counted(result string) float64 {
	return s.metric("weir_alert_conditions_total", result)
}

// metric returns a counter of the processor that was started last.
func (s *stage) metric(name, label string) float64 {
	families, err := s.metrics.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == label {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func (s *stage) send(key string, value []byte) {
	r := &kgo.Record{Topic: topics.Conditions, Key: []byte(key), Value: value, Partition: schemas.Shard([]byte(key), s.topics.AlertShards)}
	if err := s.client.ProduceSync(context.Background(), r).FirstErr(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) condition(key string, endMS int64, truth bool, change func(*schemas.Condition)) *schemas.Condition {
	c := &schemas.Condition{Rule: "g/a", Fingerprint: key, Group: "web01", Labels: map[string]string{"host": "web01"},
		EndMS: endMS, True: truth, Value: 1, TierMS: 10_000}
	if !truth {
		c.Reason = "false"
	}
	if change != nil {
		change(c)
	}
	s.send(key, schemas.EncodeDoc(c))
	return c
}

// until reads alerts and dead letters until ok returns true.
func (s *stage) until(what string, ok func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for !ok() {
		fs := s.reader.PollFetches(ctx)
		if ctx.Err() != nil {
			s.t.Fatalf("waited 30 s until %s", what)
		}
		fs.EachRecord(s.read)
	}
}

func (s *stage) read(r *kgo.Record) {
	key := string(r.Key)
	switch {
	case r.Topic == topics.DeadLetter:
		s.letters = append(s.letters, r)
	case r.Value == nil:
		s.alerts[key] = nil
	default:
		if want := schemas.Shard(r.Key, s.topics.AlertShards); r.Partition != want {
			s.t.Errorf("alert %s in partition %d, want %d", key, r.Partition, want)
		}
		a, err := schemas.DecodeDoc[schemas.Alert](r.Value)
		if err != nil {
			s.t.Fatal(err)
		}
		before := s.alerts[key]
		if before != nil && (a.LastMS < before.LastMS || a.LastMS == before.LastMS && a.LastRev < before.LastRev) {
			return // sent again after a crash
		}
		if before == nil || before.Last != a.Last {
			s.told[key] = append(s.told[key], a.Last)
		}
		s.alerts[key] = a
	}
}

func (s *stage) state(key string) schemas.AlertState {
	if a := s.alerts[key]; a != nil {
		return a.State
	}
	return ""
}

func TestLife(t *testing.T) {
	s := newStage(t)
	stop := s.start(t.TempDir())
	withFor := func(c *schemas.Condition) { c.ForMS = 10_000 }
	s.condition("a", 10_000, true, withFor)
	s.until("pending", func() bool { return s.state("a") == schemas.Pending })
	s.condition("a", 20_000, true, withFor)
	s.until("firing", func() bool { return s.state("a") == schemas.Firing })
	s.condition("a", 30_000, true, withFor) // changes nothing
	s.condition("a", 40_000, true, func(c *schemas.Condition) { c.ForMS, c.Value = 10_000, 5 })
	s.until("the value is new", func() bool { return s.alerts["a"].Value == 5 })
	s.condition("a", 50_000, false, nil)
	s.until("resolved", func() bool { return s.state("a") == schemas.Resolved })
	for result, want := range map[string]float64{"transition": 3, "update": 2, "none": 0} {
		if got := s.counted(result); got != want {
			t.Errorf("%v conditions counted as %s, want %v", got, result, want)
		}
	}
	stop(nil)
}

// TestShadow: a shadow rule has an alert, which is marked and counted separately. If the rule stops being a shadow in
// the middle, that is known after a crash.
func TestShadow(t *testing.T) {
	s := newStage(t)
	dir := t.TempDir()
	stop := s.start(dir)
	shadow := func(c *schemas.Condition) { c.Shadow = true }
	s.condition("a", 10_000, true, shadow)
	s.until("a shadow fires", func() bool { return s.state("a") == schemas.Firing && s.alerts["a"].Shadow })
	s.condition("b", 10_000, true, func(c *schemas.Condition) { c.Shadow, c.ForMS = true, 20_000 })
	s.until("a shadow is pending", func() bool { return s.state("b") == schemas.Pending && s.alerts["b"].Shadow })
	s.condition("b", 20_000, true, func(c *schemas.Condition) { c.ForMS = 20_000 })
	s.until("it is promoted", func() bool { return !s.alerts["b"].Shadow })
	if shadows, others := s.metric("weir_alert_shadow_transitions_total", "firing"), s.metric("weir_alert_transitions_total", "firing"); shadows != 1 || others != 0 {
		t.Errorf("%v shadows and %v others fired, want 1 and 0", shadows, others)
	}
	stop(errCrash)
	stop = s.start(dir)
	s.condition("a", 10_000, true, func(c *schemas.Condition) { c.Revision = 1 })
	s.until("it is promoted", func() bool { return !s.alerts["a"].Shadow })
	s.condition("a", 20_000, true, shadow)
	s.until("it is a shadow", func() bool { return s.alerts["a"].Shadow })
	for name, want := range map[string]float64{"resolved": 1, "firing": 1} {
		if got := s.metric("weir_alert_transitions_total", name); got != want {
			t.Errorf("%v are %s, want %v", got, name, want)
		}
	}
	s.condition("a", 30_000, false, shadow)
	s.until("it is over", func() bool { return s.state("a") == schemas.Resolved })
	var told []schemas.AlertState
	for _, tr := range s.alerts["a"].History {
		if !tr.Shadow {
			told = append(told, tr.To)
		}
	}
	if want := []schemas.AlertState{schemas.Firing, schemas.Resolved}; !slices.Equal(told, want) {
		t.Errorf("%v are no shadow's, want %v", told, want)
	}
	stop(nil)
}

// TestKeptAndForgotten: the clock resolves an alert that keep_firing_for keeps, even with samples that are years old and
// after a restart, and deletes alerts that are over.
func TestKeptAndForgotten(t *testing.T) {
	s := newStage(t)
	s.cfg.Forget = conf.Duration(400 * time.Millisecond)
	dir := t.TempDir()
	stop := s.start(dir)
	keep := func(c *schemas.Condition) { c.KeepMS = 500 }
	s.condition("kept", 10_000, true, keep)
	s.condition("kept", 20_000, false, keep)
	s.condition("other", 20_000, true, nil)
	s.until("firing", func() bool { return s.state("kept") == schemas.Firing && s.state("other") == schemas.Firing })
	stop(nil)
	stop = s.start(dir)
	resolved := schemas.Transition{From: schemas.Firing, To: schemas.Resolved, AtMS: 20_500, Reason: "keep_firing_for passed"}
	s.until("resolved by the clock", func() bool { return slices.Contains(s.told["kept"], resolved) })
	s.until("deleted", func() bool { return s.alerts["kept"] == nil })
	if s.state("other") != schemas.Firing {
		t.Error("an alert that fires was forgotten")
	}
	s.condition("kept", 30_000, true, nil)
	s.until("alive again", func() bool { return s.state("kept") == schemas.Firing })
	if a := s.alerts["kept"]; len(a.History) != 1 || a.ActiveMS != 30_000 {
		t.Errorf("%+v", a)
	}
	stop(nil)
}

func TestRefused(t *testing.T) {
	s := newStage(t)
	stop := s.start(t.TempDir())
	s.send("x", []byte("\x09{}"))
	s.send("x", nil)
	s.condition("y", 10_000, true, func(c *schemas.Condition) { c.Fingerprint = "z" })
	s.condition("y", 20_000, true, nil)
	s.until("three dead letters and an alert", func() bool { return len(s.letters) == 3 && s.state("y") == schemas.Firing })
	reasons := map[string]int{}
	for _, r := range s.letters {
		for _, h := range r.Headers {
			if h.Key == "weir.reason" {
				reasons[string(h.Value)]++
			}
		}
	}
	if want := map[string]int{"undecodable": 2, "wrong_key": 1}; !reflect.DeepEqual(reasons, want) {
		t.Errorf("%v, want %v", reasons, want)
	}
	if s.alerts["y"].ActiveMS != 20_000 {
		t.Errorf("a condition under a wrong key counted: %+v", s.alerts["y"])
	}
	stop(nil)
}

var errCrash = errors.New("crash")

// TestCrashes kills the processor again and again while conditions arrive, some of them twice: every alert ends, and all
// transitions are those of Step.
func TestCrashes(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if v := os.Getenv("WEIR_SEED"); v != "" {
		seed, _ = strconv.ParseUint(v, 10, 64)
	}
	t.Logf("seed %d (set WEIR_SEED to repeat)", seed)
	rng := rand.New(rand.NewPCG(seed, 4))
	s := newStage(t)
	dir := t.TempDir()
	stop := s.start(dir)
	want, told := map[string]*schemas.Alert{}, map[string][]schemas.Transition{}
	sent := map[string][]*schemas.Condition{}
	crashes := 0
	for i := range 400 {
		key := fmt.Sprintf("%016x", rng.IntN(6))
		c := s.condition(key, int64(i+1)*10_000, rng.IntN(3) > 0, func(c *schemas.Condition) {
			c.ForMS, c.Value = 20_000, float64(rng.IntN(3))
			if key >= "0000000000000003" && c.True { // of a rule with severities
				c.Levels, c.Level = []schemas.Level{{Severity: "low", ForMS: 20_000}, {Severity: "mid"}, {Severity: "high", ForMS: 10_000}}, rng.IntN(3)
			}
		})
		sent[key] = append(sent[key], c)
		next, changed := alerts.Step(want[key], c)
		if changed && (want[key] == nil || want[key].Last != next.Last) {
			told[key] = append(told[key], next.Last)
		}
		want[key] = next
		if again := sent[key]; rng.IntN(5) == 0 {
			s.send(key, schemas.EncodeDoc(again[rng.IntN(len(again))]))
		}
		switch rng.IntN(60) {
		case 0:
			stop(errCrash)
			dir = t.TempDir() // rebuilt from the changelog
			stop = s.start(dir)
			crashes++
		case 1, 2:
			stop(errCrash)
			stop = s.start(dir)
			crashes++
		}
	}
	shown := func(a *schemas.Alert) string { // the part of an alert of which every change is sent
		return fmt.Sprint(a.State, a.ActiveMS, a.FiredMS, a.ResolvedMS, a.Value, a.Last)
	}
	s.until("every alert is as Step makes it", func() bool {
		for key, a := range want {
			if a != nil && (s.alerts[key] == nil || shown(s.alerts[key]) != shown(a)) {
				return false
			}
		}
		return true
	})
	for key := range told {
		if !reflect.DeepEqual(s.told[key], told[key]) {
			t.Errorf("alert %s: told\n%v\nwant\n%v", key, s.told[key], told[key])
		}
	}
	t.Logf("%d crashes", crashes)
	stop(nil)
}

func FuzzDecodeLife(f *testing.F) {
	l := &logic{}
	a, _ := alerts.Step(nil, &schemas.Condition{Fingerprint: "f", True: true, EndMS: 10})
	f.Add(l.Append(nil, nil, &life{alert: a, seenMS: 3, forgetMS: 4}))
	f.Add(l.Append(nil, nil, &life{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := decodeLife(b)
		if err != nil {
			if !errors.Is(err, schemas.ErrCorrupt) && !errors.Is(err, schemas.ErrVersion) {
				t.Error(err)
			}
			return
		}
		again, err := decodeLife(l.Append(nil, nil, v))
		if err != nil || !reflect.DeepEqual(v, again) {
			t.Errorf("%+v became %+v, %v", v, again, err)
		}
	})
}

func TestConfig(t *testing.T) {
	good := Default()
	d := conf.Parse("f", nil, &struct{}{})
	good.Validate("alert", d)
	if err := d.Err(); err != nil {
		t.Error(err)
	}
	bad := Config{Tick: conf.Duration(9 * time.Millisecond), Flush: conf.Duration(11 * time.Minute), Forget: conf.Duration(59 * time.Second)}
	bad.Validate("alert", d)
	if fs, ok := d.Err().(conf.Faults); !ok || len(fs) != 3 {
		t.Errorf("%v", d.Err())
	}
}
