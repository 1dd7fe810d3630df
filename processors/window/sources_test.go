package window

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/processors/writeback"
	"github.com/weir-metrics/weir/processors/writeback/disk"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/windows"
)

// spy remembers the partitions that were opened.
type spy struct {
	*logic
	opened []*local
	part   *partition // of the last record
}

func (s *spy) Apply(p *partition, e *entry, r writeback.Record) {
	s.part = p
	s.logic.Apply(p, e, r)
}

func (s *spy) Open(p *partition) *local {
	loc := s.logic.Open(p)
	s.opened = append(s.opened, loc)
	return loc
}

// bench is a processor on one partition that a test drives, without a broker.
type bench struct {
	t       *testing.T
	p       *Processor
	spy     *spy
	driven  writeback.Driven
	offset  int64
	nowMS   int64
	letters []*kgo.Record
	table   []*kgo.Record // the changelog
	conds   []*schemas.Condition
	metrics *prometheus.Registry
}

func newBench(t *testing.T, cfg windows.Config) *bench {
	t.Helper()
	return newBenchOf(t, cfg, &alerts.RuleSet{})
}

func newBenchOf(t *testing.T, cfg windows.Config, rules *alerts.RuleSet) *bench {
	t.Helper()
	tcfg := topics.Default()
	tcfg.Shards = 1
	b := &bench{t: t, nowMS: 1_800_000_000_000, metrics: prometheus.NewRegistry()}
	b.p = New(Default(), Deps{Windows: cfg, Rules: rules, Topics: tcfg, Registry: b.metrics, Log: slog.New(slog.DiscardHandler)})
	b.spy = &spy{logic: b.p.logic}
	local := disk.New(writeback.ErrBroken)
	b.driven = writeback.Drive(b.p.options(), b.spy, writeback.Host{Table: func(id int32) writeback.Table { return local.Table(id) }, Produce: func(r *kgo.Record, done func(*kgo.Record, error)) {
		if r.Topic == topics.DeadLetter {
			b.letters = append(b.letters, r)
		}
		if r.Topic == topics.Conditions {
			c, err := schemas.DecodeDoc[schemas.Condition](r.Value)
			if err != nil {
				t.Error(err)
			}
			b.conds = append(b.conds, c)
		}
		if r.Topic == topics.WindowTable {
			r.Offset = int64(len(b.table))
			b.table = append(b.table, r)
		}
		done(r, nil)
	}})
	if _, err := b.driven.Open(0); err != nil {
		t.Fatal(err)
	}
	if err := b.driven.Recovered(0); err != nil {
		t.Fatal(err)
	}
	b.driven.Joined()
	return b
}

// send delivers samples of a host that are ageMS old and arrive afterMS after the last ones.
func (b *bench) send(host string, afterMS, ageMS int64, series ...string) {
	b.t.Helper()
	b.nowMS += afterMS
	var bb schemas.BatchBuilder
	bb.Begin(schemas.Origin{Epoch: 1, Offset: b.offset}, 0)
	for _, name := range series {
		s, err := schemas.ParseSeries(name)
		if err != nil {
			b.t.Fatal(err)
		}
		s.Labels = append(s.Labels, schemas.Label{Name: "host", Value: host})
		s.Labels.Sort()
		bb.Add(&s, s.Hash(), b.nowMS-ageMS, float64(b.offset))
	}
	b.driven.Record(0, &kgo.Record{Key: []byte(host), Value: bb.AppendTo(nil), Offset: b.offset, Timestamp: time.UnixMilli(b.nowMS)})
	b.offset++
	if err := b.driven.Failed(); err != nil {
		b.t.Fatal(err)
	}
}

// counter returns the value of a counter with one label.
func (b *bench) counter(name, value string) float64 {
	b.t.Helper()
	families, err := b.metrics.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == value {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

// watch returns the partition's watch.
func (b *bench) watch() *watch { return &b.spy.opened[0].watch }

// told returns what is reported about the source now.
func (b *bench) told(source string) schemas.Source {
	for _, s := range b.watch().sources(b.nowMS) {
		if s.Source == source {
			return s
		}
	}
	return schemas.Source{}
}

// paths returns n series of a metric.
func paths(metric string, from, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf(`%s{path="/%d"}`, metric, from+i)
	}
	return out
}

func TestBusiestAreTold(t *testing.T) {
	b := newBench(t, windows.Default())
	for round := range 21 {
		for h := range 100 {
			b.send(fmt.Sprintf("h%02d", h), 10, 0, "up")
		}
		b.send("busy", 0, 0, paths("q", 0, 40)...)
		if round == 0 {
			b.send("wide", 0, 0, append(paths("q", 0, 300), "r", "s")...)
		}
	}
	if n := len(b.watch().sources(b.nowMS)); n < topSources || n > 2*topSources {
		t.Errorf("%d sources told", n)
	}
	if got := b.told("busy"); got.SamplesPerSecond < 38 || got.SamplesPerSecond > 42 || got.Series != 40 || got.Named() {
		t.Errorf("busy: %+v", got)
	}
	if got := b.told("wide"); got.SamplesPerSecond != 0 || got.Series != 302 || got.LargestMetric != "q" || got.LargestSeries != 300 {
		t.Errorf("wide: %+v", got)
	}
	if n := b.watch().series; n != 100+40+302 || b.spy.opened[0].core.Series() != n {
		t.Errorf("%d series told, the core has %d", n, b.spy.opened[0].core.Series())
	}
	b.nowMS += staleMS + walkAfter
	if got := b.told("busy"); got.SamplesPerSecond != 0 || got.Series != 40 {
		t.Errorf("minutes later: %+v", got)
	}
}

func TestLimitsAreNamed(t *testing.T) {
	cfg := windows.Default()
	cfg.MaxSeries, cfg.MaxSeriesPerMetric, cfg.MaxRate = 6, 4, 1
	b := newBench(t, cfg)
	b.send("fine", 0, 0, "up")
	b.send("many", 1000, 0, paths("q", 0, 7)...)              // 3 are collapsed
	b.send("many", 1000, 0, append(paths("r", 0, 3), "s")...) // 2 more fit, then 1, and s that cannot be
	b.send("fast", 1000, -5*60_000, "up", "load")             // from the future
	b.send("fine", 2000, 0, "up")                             // time passes
	if got := b.told("many"); got.Collapsed["metric_limit"] != 3 || got.Collapsed["series_limit"] != 1 || got.Refused["series_limit"] != 1 ||
		got.LargestMetric != "q" || got.LargestSeries != 5 || got.FirstMS != b.nowMS-4000 || got.LastMS != b.nowMS-3000 {
		t.Errorf("many: %+v", got)
	}
	if got := b.told("fast"); got.Refused["future"] != 2 || got.AheadMS != 5*60_000 || got.Clock != schemas.FastClock {
		t.Errorf("fast: %+v", got)
	}
	if got := b.told("fine"); got.Named() {
		t.Errorf("fine: %+v", got)
	}
	if n := b.counter("weir_window_overflow_samples_total", "metric_limit"); n != 3 {
		t.Errorf("%v samples beyond the metric's limit are counted", n)
	}
	if n := b.counter("weir_window_samples_total", "future"); n != 2 {
		t.Errorf("%v future samples are counted", n)
	}

	// Ten samples fit into a window; the rest become dead letters, as JSON.
	b.letters = nil
	b.nowMS += 10_000 - b.nowMS%10_000
	for range 12 {
		b.send("loud", 10, 0, "up")
	}
	b.send("fine", 2000, 0, "up")
	if got := b.told("loud"); got.Refused["rate_limit"] != 2 {
		t.Errorf("loud: %+v", got)
	}
	var sample []struct {
		MetricName string
		Tags       map[string]string
	}
	if len(b.letters) != 2 || json.Unmarshal(b.letters[1].Value, &sample) != nil || sample[0].MetricName != "up" || sample[0].Tags["host"] != "loud" {
		t.Fatalf("letters: %+v %+v", b.letters, sample)
	}
	reason := slices.IndexFunc(b.letters[1].Headers, func(h kgo.RecordHeader) bool { return h.Key == "weir.reason" && string(h.Value) == "rate_limit" })
	if reason < 0 {
		t.Errorf("headers: %v", b.letters[1].Headers)
	}

	// After an hour it is no longer named.
	b.send("fine", namedFor+60_001, 0, "up")
	for _, host := range []string{"many", "fast", "loud"} {
		if got := b.told(host); got.Named() {
			t.Errorf("after an hour: %+v", got)
		}
	}
}

// TestNamedAreBounded: of many sources with a fault, only the last are remembered.
func TestNamedAreBounded(t *testing.T) {
	b := newBench(t, windows.Default())
	for i := range 3 * maxNamed {
		b.send(fmt.Sprintf("h%04d", i), 10, -3600_000, "up")
	}
	b.send("fine", 2000, 0, "up")
	if n := len(b.watch().named); n != maxNamed {
		t.Errorf("%d are remembered", n)
	}
	if got := b.told(fmt.Sprintf("h%04d", 3*maxNamed-1)); got.Refused["future"] != 1 {
		t.Errorf("the last is not told: %+v", got)
	}
	if got := b.told("h0000"); got.Named() {
		t.Errorf("the first is told: %+v", got)
	}
}

// TestClocksAreNamed: a source whose samples are all late, or all ahead, is named, unless those of most sources are: then it
// is not because of their clocks.
func TestClocksAreNamed(t *testing.T) {
	b := newBench(t, windows.Default())
	round := func(slow int) {
		for h := range 12 {
			age := int64(0)
			if h < slow {
				age = 300_000
			}
			b.send(fmt.Sprintf("h%02d", h), 100, age, "up")
		}
		b.send("ahead", 100, -20_000, "up")
	}
	for range 20 {
		round(1)
	}
	b.send("h01", 61_000, 0, "up")
	if got := b.told("h00"); got.Clock != schemas.SlowClock || got.DelayMS != 300_000 || got.LastMS != b.nowMS {
		t.Errorf("slow: %+v", got)
	}
	if got := b.told("ahead"); got.Clock != schemas.FastClock || got.DelayMS != -20_000 {
		t.Errorf("ahead: %+v", got)
	}
	if got := b.told("h01"); got.Named() {
		t.Errorf("fine: %+v", got)
	}

	b = newBench(t, windows.Default())
	for range 20 {
		round(11)
	}
	b.send("h11", 61_000, 0, "up")
	if got := b.told("h00"); got.Clock != "" || got.DelayMS != 300_000 {
		t.Errorf("one of many: %+v", got)
	}
}

// TestShareOfTotal: max_series_total is shared by all partitions.
func TestShareOfTotal(t *testing.T) {
	cfg := windows.Default()
	cfg.MaxSeriesTotal = 5
	tcfg := topics.Default()
	tcfg.Shards = 2
	p := New(Default(), Deps{Windows: cfg, Rules: &alerts.RuleSet{}, Topics: tcfg, Registry: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
	if n := p.logic.windows.MaxSeriesTotal; n != 3 {
		t.Errorf("a partition's share is %d", n)
	}
	b := newBench(t, cfg)
	b.send("a", 0, 0, paths("q", 0, 4)...)
	b.send("b", 1000, 0, paths("q", 0, 4)...)
	b.send("a", 2000, 0, "q")
	if got := b.told("b"); got.Refused["total_limit"] != 3 || got.Series != 1 {
		t.Errorf("b: %+v", got)
	}
	if got := b.told("a"); got.Refused["total_limit"] != 1 {
		t.Errorf("a: %+v", got)
	}
}
