package operations

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/pipelines"
	"github.com/weir-metrics/weir/pipelines/pipelinetest"
	"github.com/weir-metrics/weir/processors/generations"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/windows"
	"github.com/weir-metrics/weir/windows/windowtest"
)

// reshardBed is weir with small tiers on a broker, and a load of samples.
type reshardBed struct {
	t       *testing.T
	brokers []string
	client  *kgo.Client
	config  *pipelines.Config
	rules   *alerts.RuleSet

	sent        []schemas.Sample
	dead, falls atomic.Bool // what becomes of two hosts
}

// The host flat is above the limit at all times; between is above it at first, then
// between recover and it, where it goes on firing, and falls when the cut is over; dead
// is above it and falls silent just before the cut; calm is below.
const reshardRules = `groups:
- name: t
  rules:
  - {alert: high, expr: 'load > 80', recover: 'load < 50', no_data: 8s}
  - {alert: average, coverage: 0, expr: 'avg(load, "4s") > 80', no_data: 8s}
`

func newReshardBed(t *testing.T, shards int32) *reshardBed {
	cluster := kafkatest.Cluster(t, kafkatest.Quick())
	c := pipelines.Default()
	c.Brokers = cluster.ListenAddrs()
	c.Topics.Shards, c.Topics.AlertShards, c.Topics.MetricsPartitions = shards, 2, 3
	c.Windows.Tiers = []windows.Tier{
		{Size: conf.Duration(time.Second), Grace: conf.Duration(300 * time.Millisecond), TTL: conf.Duration(time.Hour)},
		{Size: conf.Duration(2 * time.Second), Grace: conf.Duration(400 * time.Millisecond), TTL: conf.Duration(time.Hour)},
	}
	c.Window.Tick, c.Window.Flush = conf.Duration(50*time.Millisecond), conf.Duration(300*time.Millisecond)
	c.Route.Commit = conf.Duration(200 * time.Millisecond)
	b := &reshardBed{t: t, brokers: c.Brokers, config: &c}
	var err error
	if b.rules, err = alerts.Load(c.RuleConfig(), alerts.File{Name: "rules.yaml", Data: []byte(reshardRules)}); err != nil {
		t.Fatal(err)
	}
	b.client = kafkatest.Client(t, b.brokers)
	return b
}

// run starts a process of weir; stop ends it.
func (b *reshardBed) run() (stop func()) {
	c := *b.config
	c.HTTP, c.Data = pipelinetest.FreeAddress(b.t), b.t.TempDir()
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("WEIR_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	p := &pipelines.Process{Config: &c, Rules: b.rules, Roles: []string{"route", "window", "alert"}, Out: io.Discard, Log: log}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	pipelinetest.Await(b.t, p, pipelinetest.Ready)
	return func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Error(err)
		}
	}
}

// feed sends current samples until stop is called, or the test ends.
func (b *reshardBed) feed() (stop func()) {
	began := time.Now()
	stopped, done := make(chan struct{}), &sync.WaitGroup{}
	stop = sync.OnceFunc(func() {
		close(stopped)
		done.Wait()
		if err := b.client.Flush(context.Background()); err != nil {
			b.t.Error(err)
		}
	})
	b.t.Cleanup(stop)
	done.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		now := int64(0)
		for n := 0; ; n++ {
			select {
			case <-stopped:
				return
			case <-tick.C:
			}
			now = max(now+1, time.Now().UnixMilli()) // a tie in time goes to whoever arrives first
			var lines []string
			add := func(host string, v float64) {
				b.sent = append(b.sent, schemas.Sample{Series: schemas.Series{Metric: "load", Labels: schemas.NewLabels(map[string]string{"host": host})}, TimeMS: now, Value: v})
				lines = append(lines, fmt.Sprintf(`{"metricName":"load","tags":{"host":%q},"timestamp":%d,"value":%s}`, host, now, strconv.FormatFloat(v, 'g', -1, 64)))
			}
			add("flat", 90)
			switch {
			case time.Since(began) < 2*time.Second:
				add("between", 90)
			case b.falls.Load():
				add("between", 10)
			default:
				add("between", 60)
			}
			if !b.dead.Load() {
				add("dead", 90)
			}
			for i := range 20 {
				add("calm"+strconv.Itoa(i), 1+rand.Float64())
			}
			for _, l := range lines {
				b.client.Produce(context.Background(), &kgo.Record{Topic: topics.Metrics, Value: []byte(l), Key: []byte(strconv.Itoa(n))}, func(_ *kgo.Record, err error) {
					if err != nil {
						b.t.Errorf("produce: %v", err)
					}
				})
			}
		}
	})
	return stop
}

// all reads all records of a topic.
func (b *reshardBed) all(topic string) []*kgo.Record {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ends, err := kadm.NewClient(b.client).ListEndOffsets(ctx, topic)
	if err != nil {
		b.t.Fatal(err)
	}
	left := int64(0)
	ends.Each(func(o kadm.ListedOffset) { left += o.Offset })
	cl := kafkatest.Client(b.t, b.brokers, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	var records []*kgo.Record
	for left > int64(len(records)) {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			b.t.Fatalf("read %s: %v", topic, err)
		}
		records = append(records, fetches.Records()...)
	}
	return records
}

// exact waits until the windows match the oracle, and returns how many windows each generation has, and how many have parts in
// two generations.
func (b *reshardBed) exact() (have map[int]int, split int) {
	b.t.Helper()
	type window struct {
		series          string
		tierMS, startMS int64
	}
	want := windowtest.Oracle(b.sent, b.config.Windows.TiersMS()...)
	for deadline := time.Now().Add(2 * time.Minute); ; {
		merged, in := windows.Merger{}, map[window]map[int]bool{}
		for _, r := range b.all(topics.Windows) {
			batch, err := schemas.DecodeWindowBatch(r.Value)
			if err != nil {
				b.t.Fatal(err)
			}
			for _, w := range batch.Windows {
				merged.Add(w)
				id := window{w.Series.String(), w.TierMS, w.StartMS}
				if in[id] == nil {
					in[id] = map[int]bool{}
				}
				in[id][int(w.Part>>40)] = true
			}
		}
		err := windowtest.Compare(merged.Windows(), want)
		if err == nil {
			have = map[int]int{}
			for _, gens := range in {
				for g := range gens {
					have[g]++
				}
				if len(gens) > 1 {
					split++
				}
			}
			return have, split
		}
		if time.Now().After(deadline) {
			b.t.Fatal(err)
		}
		<-time.After(100 * time.Millisecond)
	}
}

// alerts returns the transitions of each alert, by its name and host. A partition that moves may repeat transitions: each counts
// once, by its time.
func (b *reshardBed) alerts() map[string]string {
	type transition struct {
		alert string
		schemas.Transition
	}
	told, known := map[string]string{}, map[transition]bool{}
	for _, r := range b.all(topics.Alerts) {
		a, err := schemas.DecodeDoc[schemas.Alert](r.Value)
		if err != nil {
			b.t.Fatal(err)
		}
		if tr := (transition{a.Labels["alertname"] + " " + a.Labels["host"], a.Last}); !known[tr] {
			known[tr] = true
			told[tr.alert] += string(a.State) + " "
		}
	}
	return told
}

// reshard returns a command that cuts soon: routes read the plan every 2 s.
func (b *reshardBed) reshard(shards int32) Reshard {
	return Reshard{Config: b.config, Shards: shards, lead: 3500 * time.Millisecond, lease: time.Second}
}

// untilOdd returns when the end of a smallest window, 1 s, that comes first after lead is
// in the middle of a largest one, 2 s.
func (b *reshardBed) untilOdd(lead time.Duration) {
	for (time.Now().Add(lead).UnixMilli()-20)%2000 > 100 {
		<-time.After(10 * time.Millisecond)
	}
}

func (b *reshardBed) state() *schemas.Generations {
	b.t.Helper()
	l, err := generations.Open(b.config.Topics.Shards, kgo.SeedBrokers(b.brokers...))
	if err != nil {
		b.t.Fatal(err)
	}
	defer l.Close()
	if err := l.Refresh(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	return l.Current()
}

func TestCut(t *testing.T) {
	config := pipelines.Default()
	w := &resharding{Reshard: &Reshard{Config: &config, lead: 25 * time.Second}}
	at := func(s string) time.Time {
		d, err := time.Parse(time.TimeOnly, s)
		if err != nil {
			t.Fatal(err)
		}
		return d.AddDate(2026, 0, 0)
	}
	for _, c := range []struct {
		tiers     []time.Duration
		now       bool
		asked, is string
	}{
		{[]time.Duration{10 * time.Second, time.Minute, time.Hour}, false, "10:20:00", "11:00:00"},
		{[]time.Duration{10 * time.Second, time.Minute, time.Hour}, false, "10:59:36", "12:00:00"},
		{[]time.Duration{10 * time.Second, time.Minute, time.Hour}, true, "10:20:35", "10:21:00"},
		{[]time.Duration{10 * time.Second, time.Minute, time.Hour}, true, "10:20:36", "10:22:00"},
		{[]time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second}, true, "10:20:01", "10:20:30"},
		{[]time.Duration{time.Minute, time.Hour, 24 * time.Hour}, true, "10:20:01", "10:21:00"},
		{[]time.Duration{time.Hour}, true, "10:20:01", "11:00:00"},
	} {
		config.Windows.Tiers = nil
		for _, size := range c.tiers {
			config.Windows.Tiers = append(config.Windows.Tiers, windows.Tier{Size: conf.Duration(size)})
		}
		w.Now = c.now
		if got := time.UnixMilli(w.cut(at(c.asked))).UTC().Format(time.TimeOnly); got != c.is {
			t.Errorf("tiers %v, now %v, asked at %s: the cut is %s, want %s", c.tiers, c.now, c.asked, got, c.is)
		}
	}
}

// TestReshardUnderLoad: weir is resharded to more and to fewer shards, with two processes, one of which joins in the middle. The
// command is interrupted once and run again. With --now the cut is in the middle of a window of the largest tier, which then has
// parts in both generations.
func TestReshardUnderLoad(t *testing.T) {
	for _, c := range []struct {
		from, to int32
		now      bool
	}{{3, 7, false}, {6, 2, true}} {
		t.Run(fmt.Sprintf("%d to %d, now %v", c.from, c.to, c.now), func(t *testing.T) {
			t.Parallel()
			b := newReshardBed(t, c.from)
			defer b.run()()
			stop := b.feed()
			for deadline := time.Now().Add(20 * time.Second); len(b.alerts()) < 6 && time.Now().Before(deadline); {
				<-time.After(50 * time.Millisecond)
			}
			var out bytes.Buffer
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()

			reshard := b.reshard(c.to)
			reshard.Now = c.now
			dry := reshard
			dry.DryRun = true
			if err := dry.Run(ctx, &out, io.Discard); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(out.String(), fmt.Sprintf("generation 1 of %d shards would take", c.to)) || len(b.state().List) != 1 {
				t.Errorf("dry run: %s, %v", out.String(), b.state().List)
			}

			if c.now {
				b.untilOdd(reshard.lead)
			}
			killed, kill := context.WithCancel(ctx)
			defer kill()
			ended := make(chan error, 1)
			go func() { ended <- reshard.Run(killed, &out, io.Discard) }()
			for len(b.state().List) < 2 && ctx.Err() == nil {
				<-time.After(50 * time.Millisecond)
			}
			kill()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Fatalf("interrupted: %v", err)
			}
			if g := b.state().List; len(g) != 2 || g[1].State != schemas.Planned || g[1].Shards != c.to {
				t.Fatalf("after the plan: %+v", g)
			}
			if err := b.reshard(c.to+1).Run(ctx, &out, io.Discard); err == nil || !strings.Contains(err.Error(), "is under way") {
				t.Errorf("another: %v", err)
			}
			b.dead.Store(true)
			defer b.run()() // a second process joins, between plan and cut
			var far bytes.Buffer
			if err := reshard.Run(ctx, &out, &far); err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			if !strings.Contains(far.String(), "cut in") || !strings.Contains(out.String(), fmt.Sprintf("generation 1 of %d shards has everything", c.to)) {
				t.Errorf("it said %s and drew %q", out.String(), far.String())
			}
			if g := b.state().List; g[0].State != schemas.Retired || g[1].State != schemas.Active || g[0].FromMS != math.MinInt64 {
				t.Errorf("at the end: %+v", g)
			}
			var table bytes.Buffer
			if err := (Shards{Config: b.config, Most: 1}).Run(ctx, &table); err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{fmt.Sprintf("generation 1: %d shards, active", c.to), "HOT", "shards above 70 %"} {
				if !strings.Contains(table.String(), want) {
					t.Errorf("no %q in\n%s", want, table.String())
				}
			}
			b.falls.Store(true)
			want := fmt.Sprint(map[string]string{"high flat": "firing ", "average flat": "firing ",
				"high between": "firing resolved ", "average between": "firing resolved ",
				"high dead": "firing resolved ", "average dead": "firing resolved "})
			told := ""
			for deadline := time.Now().Add(20 * time.Second); told != want && time.Now().Before(deadline); {
				<-time.After(50 * time.Millisecond)
				told = fmt.Sprint(b.alerts())
			}
			if told != want {
				t.Errorf("alerts\n%s, want\n%s", told, want)
			}
			stop()
			have, split := b.exact()
			if have[0] == 0 || have[1] == 0 {
				t.Errorf("windows by generation: %v", have)
			}
			tiers := b.config.Windows.Tiers
			between := b.state().List[1].FromMS%tiers[len(tiers)-1].Size.MS() == 0 // by chance
			if (c.now && !between) != (split > 0) {
				t.Errorf("%d windows are in two generations", split)
			}
			t.Logf("%d samples, %d windows in two generations\n%s", len(b.sent), split, out.String()+table.String())
		})
	}
}
