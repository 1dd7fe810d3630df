package windows

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/windows/windowtest"
)

// many returns n series of three metrics, with one or two labels in addition to the host.
func many(n int) []schemas.Series {
	out := make([]schemas.Series, n)
	for i := range out {
		labels := map[string]string{"host": "web01", "path": "/" + strconv.Itoa(i)}
		if i%5 == 0 {
			labels["zone"] = "z" + strconv.Itoa(i%2)
		}
		out[i] = schemas.Series{Metric: "m" + strconv.Itoa(i%3), Labels: schemas.NewLabels(labels)}
	}
	return out
}

// distinct drops samples with the same series, time and value as an earlier one.
func distinct(samples []schemas.Sample) []schemas.Sample {
	type point struct {
		series uint64
		ts     int64
		v      float64
	}
	seen := map[point]bool{}
	return slices.DeleteFunc(slices.Clone(samples), func(s schemas.Sample) bool {
		p := point{s.Series.Hash(), s.TimeMS, s.Value}
		was := seen[p]
		seen[p] = true
		return was
	})
}

// feeder applies samples to a group as the log would, and keeps what the group emits.
type feeder struct {
	t      testing.TB
	cfg    Config
	sh     *Shard
	g      *Group
	offset int64
	merged Merger
	last   Result // of the last batch
	total  Result // only its counts
}

func newFeeder(t testing.TB, cfg Config) *feeder {
	sh := NewShard(&cfg, 0, nil)
	return &feeder{t: t, cfg: cfg, sh: sh, g: NewGroup(sh), merged: Merger{}}
}

func (f *feeder) batch(samples []schemas.Sample) []byte {
	var b schemas.BatchBuilder
	b.Begin(schemas.Origin{Epoch: 1, Offset: f.offset}, 0)
	for _, s := range samples {
		b.Add(&s.Series, s.Series.Hash(), s.TimeMS, s.Value)
	}
	return b.AppendTo(nil)
}

// apply delivers a batch, with the wall clock at the newest sample's time.
func (f *feeder) apply(v []byte) {
	f.t.Helper()
	var sb schemas.SampleBatch
	if err := sb.Decode(v); err != nil {
		f.t.Fatal(err)
	}
	now := f.g.clock.newest
	for _, p := range sb.Points {
		now = max(now, p.TimeMS)
	}
	for _, fs := range f.g.frames.tiers {
		for _, w := range fs {
			if w.blob != nil && w.over != nil {
				f.t.Fatal("a frozen frame holds on to its samples")
			}
		}
	}
	r := &f.last
	r.Reset()
	f.g.Apply(f.sh, &sb, f.offset, now, r)
	f.offset++
	f.emitted()
	f.total.Applied += r.Applied
	f.total.OverSeries += r.OverSeries
	f.total.OverMetric += r.OverMetric
	f.total.Duplicates += r.Duplicates
	if n := r.Applied + r.Replayed + r.Duplicates + len(r.Refused); n != len(sb.Points) {
		f.t.Fatalf("%d of %d samples are accounted for: %+v", n, len(sb.Points), r)
	}
}

func (f *feeder) emitted() {
	if err := f.merged.AddValues(f.last.Values); err != nil {
		f.t.Fatal(err)
	}
}

func (f *feeder) restart() {
	f.t.Helper()
	state := f.g.AppendTo(f.sh, nil)
	sh := NewShard(&f.cfg, 0, nil)
	g, err := DecodeGroup(sh, state)
	if err != nil {
		f.t.Fatal(err)
	}
	if string(g.AppendTo(sh, nil)) != string(state) {
		f.t.Fatal("state does not survive a round trip")
	}
	if sh.Series() != g.Series() {
		f.t.Fatalf("shard counts %d series, the group has %d", sh.Series(), g.Series())
	}
	f.sh, f.g = sh, g
}

func (f *feeder) windows() []schemas.Window {
	f.last.Reset()
	f.g.CloseAll(f.sh, farFuture, &f.last)
	f.emitted()
	return f.merged.Windows()
}

// renamed merges windows whose series have the same name after rename. If series share a time, first and last are
// ambiguous, so renamed sets both to 0.
func renamed(ws []schemas.Window, rename func(schemas.Series) schemas.Series) []schemas.Window {
	at := map[string]int{}
	var out []schemas.Window
	for _, w := range ws {
		if name := rename(w.Series); name.String() != w.Series.String() || isOverflow(name) {
			w.Series, w.First, w.Last = name, 0, 0
		}
		k := fmt.Sprint(w.Series, w.TierMS, w.StartMS)
		if i, ok := at[k]; ok {
			out[i].MergeParts(&w)
			continue
		}
		at[k] = len(out)
		out = append(out, w)
	}
	return out
}

func isOverflow(s schemas.Series) bool {
	return slices.ContainsFunc(s.Labels, func(l schemas.Label) bool { return l.Value == "__overflow__" })
}

func metricOnly(s schemas.Series) schemas.Series { return schemas.Series{Metric: s.Metric} }

func same(s schemas.Series) schemas.Series { return s }

// over is the label that tests put on a sample that belongs in an overflow series.
const over = "zz_over"

// folded returns, by its own rules, the overflow series of a series with the label over.
func folded(s schemas.Series) schemas.Series {
	labels := s.Labels.Map()
	if labels[over] == "" {
		return s
	}
	delete(labels, over)
	for name := range labels {
		if name != "host" {
			labels[name] = "__overflow__"
		}
	}
	return schemas.Series{Metric: s.Metric, Labels: schemas.NewLabels(labels)}
}

// model tells which series have a place of their own in the feeder's group.
type model struct {
	own    map[schemas.ID]bool
	metric map[string]int
}

func (f *feeder) model(series []schemas.Series) *model {
	m := &model{map[schemas.ID]bool{}, map[string]int{}}
	for _, s := range series {
		if f.g.series.find(s.ID()) >= 0 {
			m.own[s.ID()] = true
			m.metric[s.Metric]++
		}
	}
	return m
}

// tag gives the series of a sample a place if there is one, and labels the sample with over otherwise.
func (m *model) tag(cfg *Config, s schemas.Sample) schemas.Sample {
	fp := s.Series.ID()
	if !m.own[fp] && len(m.own) < cfg.MaxSeries && m.metric[s.Series.Metric] < cfg.MaxSeriesPerMetric {
		m.own[fp] = true
		m.metric[s.Series.Metric]++
	}
	if !m.own[fp] {
		labels := s.Series.Labels.Map()
		labels[over] = "1"
		s.Series.Labels = schemas.NewLabels(labels)
	}
	return s
}

// TestOverflowIsExact feeds more series than the limits allow, with late samples, repeats in new records, restarts, and
// series that are forgotten and give their place to others. The windows of own series match the oracle, those of overflow
// series match the oracle of all series that were collapsed, and the totals of each metric match, too.
func TestOverflowIsExact(t *testing.T) {
	rnd := rand.New(rand.NewPCG(seed(t), 4))
	forgot, repeated := 0, 0
	for round := range 25 {
		cfg := Default()
		cfg.MaxSeries, cfg.MaxSeriesPerMetric = 1+rnd.IntN(40), 1+rnd.IntN(20)
		series := many(20 + rnd.IntN(60))
		samples := trace(rnd, series, 200+rnd.IntN(1200))
		for i := range samples { // make samples of different series look alike
			samples[i].Value = float64(1 + rnd.IntN(3))
			samples[i].TimeMS -= samples[i].TimeMS % 500
		}
		samples = distinct(samples)
		f := newFeeder(t, cfg)
		var tagged []schemas.Sample
		beyond := 0
		for at := 0; at < len(samples); {
			n := min(1+rnd.IntN(40), len(samples)-at)
			if rnd.IntN(50) == 0 { // one series continues alone for hours
				for i := at; i < len(samples); i++ {
					samples[i].TimeMS += 3 * 3600_000
				}
			}
			m := f.model(series)
			for _, s := range samples[at : at+n] {
				s = m.tag(&cfg, s)
				tagged = append(tagged, s)
				if s.Series.Labels.Get(over) != "" {
					beyond++
				}
			}
			before := f.g.Series()
			f.apply(f.batch(samples[at : at+n]))
			if f.g.Series() < before {
				forgot++
			}
			if len(f.last.Refused) > 0 {
				t.Fatalf("round %d: refused %+v", round, f.last.Refused[0])
			}
			s := samples[at+rnd.IntN(n)]
			kept := floor(s.TimeMS, 10_000)+10_000 > f.g.clock.at-2_000-10_000
			f.sh.batch.fullMetric = "" // as at the beginning of a batch
			own := f.model(series).own[s.Series.ID()] || f.g.over(f.sh, s.Series) == idxUnknown
			if kept && own == m.own[s.Series.ID()] {
				f.apply(f.batch([]schemas.Sample{s}))
				if f.last.Applied != 0 {
					t.Fatalf("round %d: %+v counts again", round, s)
				}
				repeated++
			}
			if rnd.IntN(6) == 0 {
				f.restart()
			}
			at += n
		}
		if f.total.Applied != len(samples) || f.total.OverSeries+f.total.OverMetric != beyond {
			t.Fatalf("round %d: %d of %d samples, %d + %d of %d beyond the limits", round,
				f.total.Applied, len(samples), f.total.OverSeries, f.total.OverMetric, beyond)
		}
		got := f.windows()
		want := windowtest.Oracle(tagged, cfg.TiersMS()...)
		if err := windowtest.Compare(renamed(got, same), renamed(want, folded)); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if err := windowtest.Compare(renamed(got, metricOnly), renamed(windowtest.Oracle(samples, cfg.TiersMS()...), metricOnly)); err != nil {
			t.Fatalf("round %d: totals: %v", round, err)
		}
	}
	t.Logf("%d times series were forgotten, %d samples repeated", forgot, repeated)
	if forgot == 0 || repeated == 0 {
		t.Errorf("%d times series were forgotten, %d samples repeated: too few to prove anything", forgot, repeated)
	}
}

// TestRateIsExact: samples beyond the rate are refused and the others match the oracle, also with restarts. No window
// on time holds more than the limit, whatever the order of samples.
func TestRateIsExact(t *testing.T) {
	rnd := rand.New(rand.NewPCG(seed(t), 5))
	refused := 0
	for round := range 25 {
		cfg := Default()
		cfg.MaxRate, cfg.MaxSeries = 1, 5
		series := many(8)
		samples := distinct(trace(rnd, series, 800))
		f := newFeeder(t, cfg)
		dropped := map[schemas.Point]bool{}
		inWindow := map[int64]int{}
		for at := 0; at < len(samples); {
			n := min(1+rnd.IntN(40), len(samples)-at)
			f.apply(f.batch(samples[at : at+n]))
			for _, x := range f.last.Refused {
				if x.Reason != RateLimit || x.Err != nil {
					t.Fatalf("round %d: %+v", round, x)
				}
				found := slices.IndexFunc(samples[at:at+n], func(s schemas.Sample) bool {
					return s.TimeMS == x.TimeMS && s.Value == x.Value && s.Series.String() == x.Series.String()
				})
				if found < 0 {
					t.Fatalf("round %d: refused %+v, which was not sent", round, x)
				}
				dropped[schemas.Point{TimeMS: x.TimeMS, Value: x.Value}] = true
				refused++
			}
			if rnd.IntN(4) == 0 {
				f.restart()
			}
			at += n
		}
		var counted []schemas.Sample
		for _, s := range samples {
			if !dropped[schemas.Point{TimeMS: s.TimeMS, Value: s.Value}] {
				counted = append(counted, s)
			}
		}
		f.last.Reset()
		f.g.CloseAll(f.sh, farFuture, &f.last)
		f.emitted()
		for _, parts := range f.merged {
			for part, w := range parts {
				if part == 0 && w.TierMS == 10_000 {
					inWindow[w.StartMS] += int(w.Count)
				}
			}
		}
		for start, n := range inWindow {
			if n > 10 {
				t.Fatalf("round %d: the window at %d holds %d samples, at most 10 are allowed", round, start, n)
			}
		}
		if err := windowtest.Compare(renamed(f.merged.Windows(), metricOnly), renamed(windowtest.Oracle(counted, cfg.TiersMS()...), metricOnly)); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	if refused == 0 {
		t.Error("nothing was refused")
	}
}

// TestSeriesTotal: a full Shard refuses new series and continues the old ones. When it has room again, it takes new ones
// only from the next window of the largest tier on.
func TestSeriesTotal(t *testing.T) {
	cfg := Default()
	cfg.MaxSeriesTotal = 3
	sh := NewShard(&cfg, 0, nil)
	groups := map[string]*Group{}
	const hour = 3600_000
	epoch := int64(traceEpoch)
	offset := int64(0)
	send := func(host, metric string, at int64) Reason {
		t.Helper()
		g := groups[host]
		if g == nil {
			g = NewGroup(sh)
			groups[host] = g
		}
		offset++
		var b schemas.BatchBuilder
		b.Begin(schemas.Origin{Epoch: 1, Offset: offset}, 0)
		s := schemas.Series{Metric: metric, Labels: schemas.Labels{{Name: "host", Value: host}}}
		b.Add(&s, s.Hash(), epoch+at, float64(offset))
		var sb schemas.SampleBatch
		if err := sb.Decode(b.AppendTo(nil)); err != nil {
			t.Fatal(err)
		}
		var r Result
		g.Apply(sh, &sb, offset, epoch+at, &r)
		switch {
		case r.Applied == 1 && len(r.Refused) == 0:
			return ""
		case r.Applied == 0 && len(r.Refused) == 1:
			return r.Refused[0].Reason
		}
		t.Fatalf("%d applied, %d refused", r.Applied, len(r.Refused))
		return ""
	}
	for i, step := range []struct {
		host, metric string
		at           int64
		want         Reason
	}{
		{"a", "m", 0, ""}, {"b", "m", 0, ""}, {"c", "m", 0, ""},
		{"d", "m", 1000, TotalLimit},    // full
		{"a", "n", 1000, TotalLimit},    // even in a known group
		{"a", "m", 2000, ""},            // a known series continues
		{"b", "m", 2*hour + 61_000, ""}, // forgets nothing: all of b is one series
		{"d", "m", 2*hour + 1000, TotalLimit},
		{"d", "m", 2*hour + hour/2, TotalLimit}, // though c is about to be forgotten
	} {
		if got := send(step.host, step.metric, step.at); got != step.want {
			t.Fatalf("step %d, %+v: %q", i, step, got)
		}
	}
	if n := sh.Series(); n != 3 {
		t.Fatalf("%d series", n)
	}
	// c's series is forgotten when its last window is dropped.
	var r Result
	if groups["c"].Advance(sh, epoch+3*hour, &r); groups["c"].Series() != 0 || sh.Series() != 2 {
		t.Fatalf("c has %d series, the shard %d", groups["c"].Series(), sh.Series())
	}
	for i, step := range []struct {
		at   int64
		want Reason
	}{
		{3*hour - 1, TotalLimit}, // there is room, but the window was refused in part
		{3 * hour, ""},
	} {
		if got := send("d", "m", step.at); got != step.want {
			t.Fatalf("after there is room, step %d: %q, want %q", i, got, step.want)
		}
	}
	sh.SetSeries(7)
	if got := send("d", "n", 4*hour); got != TotalLimit {
		t.Fatalf("after SetSeries(7): %q", got)
	}
}

// TestOverflowIsBounded: a sender that makes up metrics and label names fills the group and its overflow series; then it
// is refused.
func TestOverflowIsBounded(t *testing.T) {
	cfg := Default()
	cfg.MaxSeries, cfg.MaxSeriesPerMetric = 10, 5
	for every := range 3 { // how often a name is not that of an overflow series: never, always, every other time
		f := newFeeder(t, cfg)
		refused := 0
		for i := range 1000 {
			s := schemas.Series{Metric: "m" + strconv.Itoa(i), Labels: schemas.NewLabels(map[string]string{"host": "web01", "x": "__overflow__"})}
			if every > 0 && i%every == 0 {
				s.Labels = schemas.NewLabels(map[string]string{"host": "web01", "x" + strconv.Itoa(i): "y"})
			}
			f.apply(f.batch([]schemas.Sample{{Series: s, TimeMS: traceEpoch, Value: 1}}))
			for _, x := range f.last.Refused {
				if refused++; x.Reason != SeriesLimit || x.Series.String() != s.String() {
					t.Fatalf("%+v", x)
				}
			}
		}
		if n := f.g.Series(); n != cfg.MaxSeries+maxOverflow || refused != 1000-n {
			t.Errorf("every %d: %d series, %d refused", every, n, refused)
		}
		if metric, n := f.g.LargestMetric(); n != 1 || metric != "m0" {
			t.Errorf("largest metric %q of %d", metric, n)
		}
	}
}

// TestNothingToCollapse: a series without a group label is its own group, and one without any other label cannot be
// collapsed.
func TestNothingToCollapse(t *testing.T) {
	sh := NewShard(&Config{Tiers: Default().Tiers, GroupLabels: []string{"instance", "host"}}, 0, nil)
	for _, tc := range []struct{ series, want string }{
		{`m{path="/"}`, `m{path="/"}`},
		{`m{host="a"}`, `m{host="a"}`},
		{`m{host="a",path="/"}`, `m{host="a",path="__overflow__"}`},
		{`m{host="a",instance="b",path="/"}`, `m{host="__overflow__",instance="b",path="__overflow__"}`},
		{`m{host="a",path="__overflow__"}`, `m{host="a",path="__overflow__"}`},
	} {
		s, err := schemas.ParseSeries(tc.series)
		if err != nil {
			t.Fatal(err)
		}
		o := sh.overflowOf(s)
		if o.String() != tc.want {
			t.Errorf("%s: %s, want %s", tc.series, o, tc.want)
		}
		if got, want := sh.overflowMark(o) != 0, isOverflow(o); got != want {
			t.Errorf("%s: marked %v", o, got)
		}
		if k := schemas.GroupOf(o, sh.groupLabels); k != schemas.GroupOf(s, sh.groupLabels) {
			t.Errorf("%s is of group %q", o, k)
		}
	}
}
