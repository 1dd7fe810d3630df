package ruletest

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/windows"
)

const streamRules = `
groups:
- name: g
  rules:
  - {alert: high, expr: x > 80, for: 20s, keep_firing_for: 35s}
  - {alert: low, expr: 'avg(x, "1m") < 30', for: 1m, recover: 'x > 60'}
  - {alert: gone, expr: x < 0, no_data: 30s, on_no_data: firing}
  - {alert: both, expr: x + y > 120, keep_firing_for: 2m}
`

// moves plays a test as weir test does, and returns every transition.
func moves(t *testing.T, x *test, rules *alerts.RuleSet) []string {
	t.Helper()
	var all []string
	p := newPlay(x, windows.Default(), rules, None)
	p.moved = func(a *schemas.Alert) { all = append(all, moveText(a, p.nowMS)) }
	if _, err := p.run(context.Background()); err != nil {
		t.Fatal(err)
	}
	return all
}

func moveText(a *schemas.Alert, nowMS int64) string {
	return fmt.Sprintf("%d known %d %s%v %+v %v %q", a.Last.AtMS, nowMS, a.Rule, a.Labels, a.Last, a.Value, a.Reason)
}

// TestStreamIsTheSame: streaming a recording gives the same transitions, at the same times, as a test with the same
// samples, even if two sets of rules are played at once, and however the samples are cut into batches.
func TestStreamIsTheSame(t *testing.T) {
	rules, err := alerts.Load(alerts.LoadConfig{TiersMS: tiersMS(), GracesMS: []int64{2000, 10_000, 60_000}}, alerts.File{Name: "r", Data: []byte(streamRules)})
	if err != nil {
		t.Fatal(err)
	}
	other, err := alerts.Load(alerts.LoadConfig{TiersMS: tiersMS()}, alerts.File{Name: "r", Data: []byte(someRules)})
	if err != nil {
		t.Fatal(err)
	}
	transitions := 0
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		x := &test{name: "t", startMS: 1_700_000_000_000 + r.Int64N(20_000), intervalMS: 1000 + r.Int64N(15_000)}
		for _, name := range []string{`x{host="a"}`, `y{host="a"}`, `x{host="b"}`, `y{host="b"}`, `x{path="/"}`} {
			s, err := schemas.ParseSeries(name)
			if err != nil {
				t.Fatal(err)
			}
			x.inputs = append(x.inputs, input{series: s, values: someValues(r)})
		}
		x.alerts = []alertCheck{{timeMS: 3600_000, alertname: "high"}}
		want := moves(t, x, rules)
		transitions += len(want)

		var got []string
		s := NewStream(windows.Default(), StreamHooks{Moved: func(rules int, a *schemas.Alert, nowMS int64) {
			if rules == 0 {
				got = append(got, moveText(a, nowMS))
			}
		}}, rules, other)
		points := newPlay(x, windows.Default(), rules, None).points
		for part := range slices.Chunk(points, 1+r.IntN(50)) {
			var samples []schemas.Sample
			for _, p := range part {
				samples = append(samples, schemas.Sample{Series: p.input.series, TimeMS: p.timeMS, Value: p.value})
			}
			if err := s.Samples(samples); err != nil {
				t.Fatal(err)
			}
		}
		s.AdvanceTo(x.startMS + 3600_000)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: streamed\n%s\nas a test\n%s", seed, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	if transitions < 1000 {
		t.Errorf("only %d transitions", transitions)
	}
}

// someValues returns values that wander between 0 and 100, with silences.
func someValues(r *rand.Rand) []float64 {
	values := make([]float64, 150)
	v := 100 * r.Float64()
	for i := range values {
		if v += 40*r.Float64() - 20; v < 0 || v > 100 {
			v = 50
		}
		values[i] = math.Round(v)
		if r.IntN(60) == 0 {
			for k := i; k < min(len(values), i+r.IntN(20)); k++ {
				values[k] = missing
			}
		}
	}
	for i := range values {
		if r.IntN(12) == 0 {
			values[i] = missing
		}
	}
	return values
}

// TestStreamOfLateSamples: a sample that is older than one before it arrives when that one does, and revises its window.
func TestStreamOfLateSamples(t *testing.T) {
	rules, err := alerts.Load(alerts.LoadConfig{TiersMS: tiersMS()}, alerts.File{Name: "r", Data: []byte("groups: [{name: g, rules: [{alert: high, expr: x > 80}]}]")})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	s := NewStream(windows.Default(), StreamHooks{Moved: func(_ int, a *schemas.Alert, nowMS int64) {
		got = append(got, fmt.Sprintf("%s at %d, known at %d", a.State, a.Last.AtMS, nowMS))
	}}, rules)
	x := schemas.Series{Metric: "x"}
	for _, p := range []struct {
		ms int64
		v  float64
	}{{1000, 10}, {12_000, 20}, {9000, 90}, {23_000, 20}, {-400 * 24 * 3600_000, 1}} {
		if err := s.Samples([]schemas.Sample{{Series: x, TimeMS: p.ms, Value: p.v}}); err != nil {
			t.Fatal(err)
		}
	}
	s.AdvanceTo(60_000)
	want := []string{"firing at 10000, known at 12000", "resolved at 20000, known at 22000"}
	if !slices.Equal(got, want) || s.Refused[windows.TooOld] != 1 || s.NowMS() != 60_000 {
		t.Errorf("%q, refused %v, at %d", got, s.Refused, s.NowMS())
	}
	if err := s.Samples([]schemas.Sample{{TimeMS: 61_000}}); err == nil {
		t.Error("a series without a name is accepted")
	}
}

// BenchmarkStream plays an hour of 1,000 series of 100 hosts, with a sample every 10 s, through ten rules. realtime is how
// many times faster than real time that is.
func BenchmarkStream(b *testing.B) {
	var text strings.Builder
	text.WriteString("groups:\n- name: g\n  rules:\n")
	for i := range 10 {
		fmt.Fprintf(&text, "  - {alert: a%d, expr: 'avg(m%d, \"5m\") > 90 and m%d > 95', for: 1m}\n", i, i, i)
	}
	rules, err := alerts.Load(alerts.LoadConfig{TiersMS: tiersMS(), GracesMS: []int64{2000, 10_000, 60_000}}, alerts.File{Name: "r", Data: []byte(text.String())})
	if err != nil {
		b.Fatal(err)
	}
	var series []schemas.Series
	for host := range 100 {
		for m := range 10 {
			s, err := schemas.ParseSeries(fmt.Sprintf(`m%d{host="web%d"}`, m, host))
			if err != nil {
				b.Fatal(err)
			}
			series = append(series, s)
		}
	}
	r := rand.New(rand.NewPCG(1, 1))
	const hourMS = 3600_000
	samples := make([]schemas.Sample, 0, len(series)*hourMS/10_000)
	for at := int64(1_700_000_000_000); at < 1_700_000_000_000+hourMS; at += 10_000 {
		for i, s := range series {
			samples = append(samples, schemas.Sample{Series: s, TimeMS: at + int64(i)*10, Value: 100 * r.Float64()})
		}
	}
	fired := 0
	for b.Loop() {
		s := NewStream(windows.Default(), StreamHooks{Moved: func(int, *schemas.Alert, int64) { fired++ }}, rules)
		if err := s.Samples(samples); err != nil {
			b.Fatal(err)
		}
		s.AdvanceTo(samples[len(samples)-1].TimeMS + 60_000)
	}
	b.ReportMetric(float64(hourMS)/1000*float64(b.N)/b.Elapsed().Seconds(), "x_realtime")
	b.ReportMetric(float64(len(samples))*float64(b.N)/b.Elapsed().Seconds(), "samples/s")
}
