package alerts

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/vm"

	"github.com/weir-metrics/weir/schemas"
)

var tiersMS = []int64{10_000, 60_000, 3_600_000}

func load(t testing.TB, rules ...string) *RuleSet {
	t.Helper()
	text := "- name: g\n  rules:\n  - " + strings.Join(rules, "\n  - ") + "\n"
	rs, err := Load(LoadConfig{TiersMS: tiersMS}, File{"rules.yaml", []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

// window is a 10s window with one sample.
func window(t testing.TB, series string, endMS int64, value float64) schemas.Window {
	s, err := schemas.ParseSeries(series)
	if err != nil {
		t.Fatal(err)
	}
	return schemas.Window{Series: s, TierMS: 10_000, StartMS: endMS - 10_000, Aggregate: schemas.Aggregate{
		Count: 1, Sum: value, Min: value, Max: value, First: value, Last: value}}
}

func TestWants(t *testing.T) {
	rs := load(t, `{alert: a, expr: mem.used / mem.total > 0.9}`, `{alert: b, expr: 'avg(x, "1h") > 1', recover: y < 1}`)
	for metric, want := range map[string]bool{"mem.used": true, "mem.total": true, "x": true, "y": true, "mem": false, "": false} {
		if rs.Wants(metric) != want {
			t.Errorf("Wants(%q) is %v", metric, !want)
		}
	}
	for tier, want := range map[int64]bool{10_000: true, 60_000: true, 3_600_000: false} {
		if rs.WantsTier(tier) != want {
			t.Errorf("WantsTier(%d) is %v", tier, !want)
		}
	}
	if names := rs.Names(); rs.Len() != 2 || !slices.Equal(names, []string{"g/a", "g/b"}) {
		t.Error(rs.Len(), names)
	}
}

func TestLoadAcrossFiles(t *testing.T) {
	a := File{"a.yaml", []byte("groups:\n- name: g\n  rules:\n  - {alert: a, expr: up == 0}\n")}
	b := File{"b.yaml", []byte("- name: g\n  rules:\n  - {alert: a, expr: up == 0}\n  - {alert: b, expr: up}\n")}
	_, err := Load(LoadConfig{TiersMS: tiersMS}, a, b)
	if err == nil || !strings.Contains(err.Error(), "b.yaml:3: [0].rules[0].alert: \"a\": names a rule twice in its group, first at a.yaml:4") ||
		!strings.Contains(err.Error(), "b.yaml:4:22: ") {
		t.Error(err)
	}
	if _, err := Load(LoadConfig{}, a); err == nil {
		t.Error("loaded without tiers")
	}
	if rs, err := Load(LoadConfig{TiersMS: tiersMS}); err != nil || rs.Len() != 0 {
		t.Error(rs, err)
	}
}

func TestCondition(t *testing.T) {
	rs := load(t, `{alert: a, expr: x > 1, for: 1m, keep_firing_for: 2m, labels: {severity: page, host: other}, annotations: {s: "at {{ .Value }}"}}`)
	var st State
	w := window(t, `x{host="web01",cpu="0"}`, 20_000, 5)
	w.Revision = 3
	got := rs.NewEvaluator().Closed(&st, "web01", 10_000, 20_000, []schemas.Window{w}, nil)
	want := []schemas.Condition{{
		Rule: "g/a", Fingerprint: "e14fa61b3b101b5a0a5dab17a03fab43", Group: "web01", EndMS: 20_000, Revision: 3, True: true, Value: 5,
		Labels:      map[string]string{"alertname": "a", "host": "other", "cpu": "0", "severity": "page"},
		Annotations: map[string]string{"s": "at 5"}, ForMS: 60_000, KeepMS: 120_000, TierMS: 10_000,
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	if st.DueMS() != 320_000 {
		t.Errorf("due at %d, want 5 minutes after the end", st.DueMS())
	}
}

func TestLatePartialsAreSkipped(t *testing.T) {
	w := window(t, `x{host="a"}`, 20_000, 5)
	w.Part = schemas.NewPart(0, 7)
	var st State
	if got := load(t, `{alert: a, expr: x > 1}`).NewEvaluator().Closed(&st, "a", 10_000, 20_000, []schemas.Window{w}, nil); got != nil {
		t.Errorf("%+v", got)
	}
}

// TestAdvanceForgets: series that fall silent leave no state behind.
func TestAdvanceForgets(t *testing.T) {
	e := load(t, `{alert: a, coverage: 0, expr: 'avg(x, "10m") > 1'}`).NewEvaluator()
	var st State
	var out []schemas.Condition
	for i := range 50 {
		out = e.Closed(&st, "a", 10_000, 20_000, []schemas.Window{window(t, fmt.Sprintf(`x{pod="%d"}`, i), 20_000, 0)}, out)
	}
	if len(st.sets) != 50 || len(out) != 0 {
		t.Fatal(len(st.sets), out)
	}
	if out = e.Advance(&st, "a", st.DueMS()-1, out); len(st.sets) != 50 {
		t.Error("forgot before it was due")
	}
	out = e.Advance(&st, "a", 620_000, out)
	if len(st.sets) != 0 || len(st.byHash) != 0 || st.DueMS() != 0 || len(out) != 0 {
		t.Errorf("%d sets, due %d, %+v", len(st.sets), st.DueMS(), out)
	}
	e.Closed(&st, "a", 10_000, 700_000, []schemas.Window{window(t, `x{pod="1"}`, 700_000, 0)}, nil)
	if len(st.sets) != 1 {
		t.Error("not found again")
	}
}

// TestWhereErrorsAreCounted plants a where that fails while it runs, which compileWhere would
// refuse.
func TestWhereErrorsAreCounted(t *testing.T) {
	rs := load(t, `{alert: a, expr: x > 1, where: labels.host == "a"}`)
	var err error
	if rs.rules[0].where, err = expr.Compile(`[true][len(labels.host) + 5]`, expr.Env(whereEnv{}), expr.AsBool()); err != nil {
		t.Fatal(err)
	}
	e := rs.NewEvaluator()
	var st State
	out := e.Closed(&st, "a", 10_000, 20_000, []schemas.Window{window(t, `x{host="a"}`, 20_000, 5)}, nil)
	if len(out) != 0 || e.WhereErrors != 1 || e.LastWhereError == nil {
		t.Errorf("%+v, %d errors, %v", out, e.WhereErrors, e.LastWhereError)
	}
}

func TestWhere(t *testing.T) {
	for text, want := range map[string]bool{
		`labels.env == "prod"`: true, `labels.env != "prod"`: false, `labels.none == ""`: true, `labels["env"] in ["dev", "prod"]`: true,
		`labels.env startsWith "pr" and not (labels.host contains "x")`: true, `labels.host matches "^web[0-9]+$"`: true,
		`lower("PROD") == labels.env && len(labels.host) == 5`: true, `labels["service.name"] == "api"`: true,
	} {
		p, err := compileWhere(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		labels := map[string]string{"env": "prod", "host": "web01", "service.name": "api"}
		if got, err := runWhere(&vm.VM{}, p, labels); got != want || err != nil {
			t.Errorf("%s is %v, %v", text, got, err)
		}
	}
}

// TestHealthyAllocatesNothing: a rule on healthy series costs no allocations.
func TestHealthyAllocatesNothing(t *testing.T) {
	for _, rule := range []string{
		`{alert: a, expr: up == 0}`,
		`{alert: a, expr: 'avg(cpu.usage, "5m") > 80'}`,
		`{alert: a, expr: mem.used / mem.total > 0.9 and mem.used > 100, where: labels.host != ""}`,
		`{alert: a, expr: 'max(cpu.usage, "5m") > 80 ? up == 0 : min(mem.used, "1m") > 100'}`,
	} {
		e := load(t, rule).NewEvaluator()
		var st State
		ws := healthy(t)
		end := int64(0)
		step := func() {
			end += 10_000
			for i := range ws {
				ws[i].StartMS = end - 10_000
			}
			if out := e.Closed(&st, "web01", 10_000, end, ws, nil); len(out) > 0 {
				t.Fatalf("%+v", out)
			}
		}
		for range 100 {
			step()
		}
		if n := testing.AllocsPerRun(1000, step); n != 0 {
			t.Errorf("%s: %v allocations", rule, n)
		}
	}
}

var wellValues = map[string]float64{"up": 1, "cpu.usage": 30, "mem.used": 3, "mem.total": 10}

func healthy(t testing.TB) []schemas.Window {
	var ws []schemas.Window
	for metric, v := range wellValues {
		for host := range 3 {
			ws = append(ws, window(t, fmt.Sprintf(`%s{host="web%d"}`, metric, host), 10_000, v))
		}
	}
	return ws
}

// TestRingAgainstOracle: with windows in any order, revised and repeated, a ring gives what a search
// through all of them gives.
func TestRingAgainstOracle(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	for range 300 {
		span := rng.Int64N(8) * 10_000
		r := ring{cols: columns(1 + rng.IntN(int(allColumns))), span: span}
		known := map[int64]schemas.Window{}
		newest, older := int64(0), olderOracle{}
		for range 60 {
			w := schemas.Window{TierMS: 10_000, StartMS: (newest/10_000 + rng.Int64N(12) - 8) * 10_000, Revision: uint32(rng.IntN(3)),
				Aggregate: schemas.Aggregate{Count: 1 + rng.Uint32N(9), Sum: rng.Float64(), Min: rng.Float64(), Max: rng.Float64(), First: rng.Float64(), Last: rng.Float64()}}
			old, had := known[w.EndMS()]
			want := changed
			switch {
			case len(known) > 0 && w.EndMS() != newest && w.EndMS() <= newest-span:
				if want = ignored; span > 0 && older.isNew(w.EndMS()) {
					want = changed
				}
			case had && old.Revision > w.Revision:
				want = ignored
			case had && old.Revision == w.Revision:
				want = repeated
			}
			if got := r.put(&w); got != want {
				t.Fatalf("put of %+v is %v, want %v", w, got, want)
			}
			if want != changed {
				continue
			}
			if known[w.EndMS()] = w; span > 0 {
				older.add(w.EndMS())
			}
			if len(known) == 1 || w.EndMS() > newest {
				newest = w.EndMS()
			}
			older.keep(newest - span)
			if n := r.surplus(newest); span > 0 && n >= slackWindows || span == 0 && len(r.at) > 1 {
				t.Fatalf("%d windows, of which %d are not needed", len(r.at), n)
			}
			trimmed := ring{cols: r.cols, span: span, at: slices.Clone(r.at), vals: slices.Clone(r.vals)}
			trimmed.trim()
			if got := trimmed.at[:len(trimmed.at)-len(within(known, newest-span))]; span > 0 && !slices.EqualFunc(got, older.ends, func(s slot, end int64) bool { return s.endMS == end }) {
				t.Fatalf("older windows %v, want %v", got, older.ends)
			}
			for end := range known {
				if end != newest && end <= newest-span {
					delete(known, end)
				}
			}
			for _, fn := range []*function{fnLast, byName["first"], fnAvg, byName["min"], byName["max"], byName["sum"], fnCount, fnDelta} {
				if fn.reads&r.cols != fn.reads {
					continue
				}
				for _, back := range []int64{span, span / 2, 10_000} {
					got, want := r.over(&input{fn: fn}, newest, back), overOracle(known, fn.name, newest, back)
					if math.Float64bits(got) != math.Float64bits(want) && !(got != got && want != want) {
						t.Fatalf("%s over %d ms is %v, want %v", fn.name, back, got, want)
					}
				}
			}
		}
	}
}

// olderOracle has the ends of all windows, and works out which of them a ring must keep from before its span.
type olderOracle struct{ all, ends []int64 }

func (o *olderOracle) add(end int64) {
	if !slices.Contains(o.all, end) {
		o.all = append(o.all, end)
	}
}

func (o *olderOracle) isNew(end int64) bool {
	return !slices.Contains(o.all, end) && (len(o.ends) < olderWindows || end > o.ends[0])
}

func (o *olderOracle) keep(until int64) {
	slices.Sort(o.all)
	o.ends = nil
	for _, end := range o.all {
		if end <= until {
			o.ends = append(o.ends, end)
		}
	}
	o.ends = o.ends[max(0, len(o.ends)-olderWindows):]
}

// within returns the ends of the known windows after an end.
func within(known map[int64]schemas.Window, after int64) (ends []int64) {
	for end := range known {
		if end > after {
			ends = append(ends, end)
		}
	}
	return ends
}

func overOracle(known map[int64]schemas.Window, fn string, end, back int64) float64 {
	var ws []schemas.Window
	for _, w := range known {
		if w.EndMS() > end-back && w.EndMS() <= end {
			ws = append(ws, w)
		}
	}
	slices.SortFunc(ws, func(a, b schemas.Window) int { return int(a.StartMS - b.StartMS) })
	if len(ws) == 0 {
		return math.NaN()
	}
	var sum, count float64
	least, most := math.Inf(1), math.Inf(-1)
	for _, w := range ws {
		sum, count = sum+w.Sum, count+float64(w.Count)
		least, most = min(least, w.Min), max(most, w.Max)
	}
	first, last := ws[0].First, ws[len(ws)-1].Last
	return map[string]float64{"last": last, "first": first, "avg": sum / count, "min": least,
		"max": most, "sum": sum, "count": count, "delta": last - first}[fn]
}

// TestReshape: columns that were kept stay, and those that were not are missing instead of wrong.
func TestReshape(t *testing.T) {
	r := ring{cols: colSum | colLast, span: 30_000}
	put := func(end int64, v float64) {
		r.put(&schemas.Window{TierMS: 10_000, StartMS: end - 10_000, Aggregate: schemas.Aggregate{Count: 2, Sum: 2 * v, Min: v, Max: v, First: v, Last: v}})
	}
	put(10_000, 1)
	put(20_000, 2)
	r.reshape(colSum|colCount|colMax, 60_000)
	put(30_000, 3)
	for fn, want := range map[*function]float64{byName["sum"]: 12, fnCount: 2, fnAvg: 3, byName["max"]: 3} {
		if got := r.over(&input{fn: fn}, 30_000, 60_000); got != want {
			t.Errorf("%s is %v, want %v", fn.name, got, want)
		}
	}
	r.reshape(colSum, 20_000)
	if got := r.over(&input{fn: byName["sum"]}, 30_000, 60_000); got != 12 || len(r.at) != 3 || len(r.vals) != 3 {
		t.Errorf("%v, %+v", got, r)
	}
	r.reshape(colSum, 0)
	if got := r.over(&input{fn: byName["sum"]}, 30_000, 60_000); got != 6 || len(r.at) != 1 {
		t.Errorf("%v, %+v", got, r)
	}
}

func BenchmarkClosed(b *testing.B) {
	for _, c := range []struct{ name, rule string }{
		{"bare", `{alert: a, expr: up == 0}`},
		{"avg5m", `{alert: a, expr: 'avg(cpu.usage, "5m") > 80'}`},
		{"join", `{alert: a, expr: mem.used / mem.total > 0.9}`},
	} {
		b.Run("rule="+c.name, func(b *testing.B) {
			e := load(b, c.rule).NewEvaluator()
			began := time.Now()
			e.SetNanos(func() int64 { return int64(time.Since(began)) }) // as in a process
			var st State
			var ws []schemas.Window
			for i := range 100 {
				for _, metric := range []string{"up", "cpu.usage", "mem.used", "mem.total"} {
					if e.rules.Wants(metric) {
						ws = append(ws, window(b, fmt.Sprintf(`%s{host="web01",cpu="%d"}`, metric, i), 10_000, wellValues[metric]))
					}
				}
			}
			end := int64(0)
			b.ReportAllocs()
			for b.Loop() {
				end += 10_000
				for i := range ws {
					ws[i].StartMS = end - 10_000
				}
				e.Closed(&st, "web01", 10_000, end, ws, nil)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(ws)), "ns/window")
			b.ReportMetric(float64(len(st.Append(nil)))/100, "B/labelset")
		})
	}
}

// TestNothingIsAbsentBeforeItsWindowCloses: the window that ends when a condition's no_data has passed
// may still come until the tier's grace has passed as well.
func TestNothingIsAbsentBeforeItsWindowCloses(t *testing.T) {
	rs, err := Load(LoadConfig{TiersMS: tiersMS, GracesMS: []int64{2_000, 10_000, 60_000}},
		File{"rules.yaml", []byte("- name: g\n  rules:\n  - {alert: a, expr: x > 1, no_data: 30s}\n")})
	if err != nil {
		t.Fatal(err)
	}
	e, st := rs.NewEvaluator(), &State{}
	if cs := e.Closed(st, "h", 10_000, 10_000, []schemas.Window{window(t, `x{host="h"}`, 10_000, 2)}, nil); len(cs) != 1 {
		t.Fatal(cs)
	}
	if due := st.DueMS(); due > 42_000 {
		t.Errorf("due at %d, want at most 42000", due)
	}
	if cs := e.Advance(st, "h", 41_999, nil); len(cs) != 0 {
		t.Errorf("absent before the window up to 40s could close: %+v", cs)
	}
	cs := e.Advance(st, "h", 42_000, nil)
	if len(cs) != 1 || cs[0].True || cs[0].EndMS != 40_000 || cs[0].Reason != "no data" {
		t.Errorf("%+v, want false, for want of data, at 40000", cs)
	}
}
