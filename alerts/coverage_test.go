package alerts

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-metrics/weir/schemas"
)

// endsOf returns the ends of windows of 10s: one for each *, the newest at 1,700,000,000 s. Any other character leaves a window out.
func endsOf(pattern string) (ends []int64) {
	for i, c := range pattern {
		if c == '*' {
			ends = append(ends, 1_700_000_000_000-int64(len(pattern)-1-i)*10_000)
		}
	}
	return ends
}

// TestCoverage: when a range is judged.
func TestCoverage(t *testing.T) {
	dots := func(n int) string { return strings.Repeat(".", n) }
	for _, c := range []struct {
		name, rule, windows string
		want                bool
	}{
		{"the first sample of a new host", `expr: 'avg(x, "1m") > 0'`, "*", false},
		{"five windows of six", `expr: 'avg(x, "1m") > 0'`, "*****", false},
		{"the whole range", `expr: 'avg(x, "1m") > 0'`, "******", true},
		{"three of six, the first among them", `expr: 'avg(x, "1m") > 0'`, "**...*", true},
		{"two of six", `expr: 'avg(x, "1m") > 0'`, "*****....*", false},
		{"two of six, and a third of them is enough", `coverage: 0.3, expr: 'avg(x, "1m") > 0'`, "*****....*", true},
		{"five of six, and all are asked for", `coverage: 1, expr: 'avg(x, "1m") > 0'`, "*******.****", false},
		{"all", `coverage: 1, expr: 'avg(x, "1m") > 0'`, "*.******", true},
		{"the first sample, if nothing is asked for", `coverage: 0, expr: 'avg(x, "1m") > 0'`, "*", true},
		{"a bare metric's first sample", `expr: x > 0`, "*", true},
		{"a range of one window", `expr: 'max(x, "10s") > 0'`, "*", true},
		{"a series that sends every 30 s", `expr: 'avg(x, "1m") > 0'`, "*..*..*..*", true},
		{"its first two", `expr: 'avg(x, "1m") > 0'`, "*..*", false},
		{"a series that sends more rarely than the range is long", `expr: 'avg(x, "20s") > 0'`, "*....*....*", true},
		{"one that is not steady", `expr: 'avg(x, "2m") > 0'`, "*..*.*..*..*.*..*..*.*..*", true},
		{"a host that comes back after 4 minutes", `expr: 'avg(x, "5m") > 0'`, "******" + dots(24) + "*", false},
		{"half of the range later", `expr: 'avg(x, "5m") > 0'`, "******" + dots(24) + strings.Repeat("*", 15), true},
		{"a host that comes back after an hour is new", `expr: 'avg(x, "1m") > 0'`, strings.Repeat("*", 30) + dots(360) + "*****", false},
		{"and known after a minute", `expr: 'avg(x, "1m") > 0'`, strings.Repeat("*", 30) + dots(360) + "******", true},
		{"few samples are what count is about", `expr: 'count(x, "1m") < 3'`, "*****....*", true},
		{"but not those of a new host", `expr: 'count(x, "1m") < 3'`, "*", false},
		{"an earlier range that is not there", `expr: 'avg(x, "20s", "1m") > 0'`, "*******", false},
		{"one that is", `expr: 'avg(x, "20s", "1m") > 0'`, "********", true},
		{"a change without the earlier range", `expr: 'change(x, "20s", "40s") > -1'`, "*****", false},
		{"with it", `expr: 'change(x, "20s", "40s") > -1'`, "******", true},
		{"one of two ranges", `expr: 'avg(x, "1m") > 0 or avg(x, "20s") > 0'`, "**", true},
	} {
		e, st := load(t, "{alert: a, "+c.rule+"}").NewEvaluator(), &State{}
		said := false
		for _, end := range endsOf(c.windows) {
			for _, cond := range e.Closed(st, "h", 10_000, end, []schemas.Window{window(t, `x{host="h"}`, end, 1)}, nil) {
				said = cond.True
			}
			e.Advance(st, "h", end, nil)
		}
		if said != c.want {
			t.Errorf("%s (%s of %s): %v, want %v", c.name, c.rule, c.windows, said, c.want)
		}
	}
}

// coverageOracle does what covers does, but over the ends of all windows that ever were.
func coverageOracle(all []int64, rangeMS, end int64, coverage float64) bool {
	const tier = 10_000
	var in, older []int64
	for _, at := range slices.Sorted(slices.Values(all)) {
		switch {
		case at > end-rangeMS && at <= end:
			in = append(in, at)
		case at <= end-rangeMS:
			older = append(older, at)
		}
	}
	broken := max(rangeMS, 300_000)
	if len(in) == 0 {
		return false
	}
	chain := in
	for n := 0; n < 2 && len(older) > 0 && chain[0]-older[len(older)-1] <= broken; n++ {
		chain = append([]int64{older[len(older)-1]}, chain...)
		older = older[:len(older)-1]
	}
	if in[0] > end-rangeMS+tier && len(chain) == len(in) {
		return false
	}
	var gaps []int64
	for i := 1; i < len(chain); i++ {
		gaps = append(gaps, chain[i]-chain[i-1])
	}
	slices.Sort(gaps)
	each := int64(tier)
	if len(gaps) > 0 {
		each = max(tier, gaps[(len(gaps)-1)/2])
	}
	return float64(int64(len(in))*each) >= coverage*float64(rangeMS)
}

// TestCoverageAgainstOracle: rules that are true whenever they are judged are judged exactly when a search through all windows finds
// their range covered, whatever is late, silent, forgotten or restarted.
func TestCoverageAgainstOracle(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 11))
	const tier = 10_000
	judged, not := 0, 0
	for run := range 80 {
		coverage := []float64{0.3, 0.5, 0.8, 1}[rng.IntN(4)]
		ranges := map[string]int64{"20s": 20_000, "1m": 60_000, "3m": 180_000}
		var rules []string
		for name := range ranges {
			rules = append(rules, fmt.Sprintf(`{alert: a%s, coverage: %v, expr: 'max(x, "%s") > -1'}`, name, coverage, name))
		}
		rs := load(t, rules...)
		e, st := rs.NewEvaluator(), &State{}
		var all []int64
		said := map[string]bool{}
		hear := func(cs []schemas.Condition) {
			for _, c := range cs {
				said[strings.TrimPrefix(c.Rule, "g/a")] = c.True
			}
		}
		newest, every := int64(1_700_000_000_000), int64(1+rng.IntN(4))
		back := newest // from the last outage
		for range 80 {
			if rng.IntN(8) == 0 {
				var err error
				if st, err = DecodeState(st.Append(nil)); err != nil {
					t.Fatal(err)
				}
				e = rs.NewEvaluator()
			}
			end := newest + tier*every
			switch rng.IntN(14) {
			case 0: // an outage
				end = newest + tier*int64(1+rng.IntN(50))
				back = end
			case 1:
				end += tier
			case 2, 3: // late, but not within a silence after which the series may have been forgotten
				if newest-back < 10*tier {
					break
				}
				end = newest - tier*int64(rng.IntN(8))
			}
			if end > newest {
				hear(e.Advance(st, "h", end-1, nil))
			}
			newest = max(newest, end)
			w := window(t, `x{host="h"}`, end, 1)
			if slices.Contains(all, end) {
				w.Revision = 1
			} else {
				all = append(all, end)
			}
			hear(e.Closed(st, "h", tier, end, []schemas.Window{w}, nil))
			for name, rangeMS := range ranges {
				want := coverageOracle(all, rangeMS, newest, coverage)
				if said[name] != want {
					t.Fatalf("seed %d, run %d: a range of %s with coverage %v at %d is judged: %v, want %v; windows %v", seed, run, name, coverage, newest, said[name], want, slices.Sorted(slices.Values(all)))
				}
				if want {
					judged++
				} else {
					not++
				}
			}
		}
	}
	if judged < 1000 || not < 1000 {
		t.Errorf("judged %d times, and not judged %d times", judged, not)
	}
}

// TestCoverageIsRead: the bounds of coverage.
func TestCoverageIsRead(t *testing.T) {
	for text, want := range map[string]bool{"0": true, "1": true, "0.5": true, "1.01": false, "-0.1": false, "half": false, "NaN": false, "50%": false, "[0.5]": false} {
		refused, _ := faultsAndWarnings(LoadConfig{TiersMS: tiersMS}, "- name: g\n  rules:\n  - {alert: a, expr: x > 1, coverage: "+text+"}\n")
		if (refused == nil) != want {
			t.Errorf("%s: %v", text, refused)
		}
	}
}

// TestSilenceThatEnds: an alert that fires because its series fell silent, or that keeps firing through the silence, continues until
// there is enough data to judge it again.
func TestSilenceThatEnds(t *testing.T) {
	for policy, wantReason := range map[string]string{"firing": reasonFalse, "keep": reasonFalse} {
		e := load(t, `{alert: a, no_data: 1m, on_no_data: `+policy+`, expr: 'avg(x, "1m") > 50'}`).NewEvaluator()
		var st State
		var out []schemas.Condition
		at := func(end int64, v float64) []schemas.Condition {
			return e.Closed(&st, "h", 10_000, end, []schemas.Window{window(t, `x{host="h"}`, end, v)}, nil)
		}
		value := map[string]float64{"firing": 1, "keep": 90}[policy]
		for end := int64(10_000); end <= 60_000; end += 10_000 {
			out = append(out, at(end, value)...)
		}
		out = append(out, e.Advance(&st, "h", 600_000, nil)...)
		if len(out) != 1 || !out[0].True {
			t.Fatalf("%s: %+v", policy, out)
		}
		for end := int64(610_000); end < 660_000; end += 10_000 {
			if cs := at(end, 1); len(cs) > 0 {
				t.Fatalf("%s: judged at %d: %+v", policy, end, cs)
			}
		}
		if cs := at(660_000, 1); len(cs) != 1 || cs[0].True || cs[0].Reason != wantReason {
			t.Errorf("%s: %+v", policy, cs)
		}
	}
}

// TestDescribe: what weir check --show-rules shows.
func TestDescribe(t *testing.T) {
	rs := load(t, `{alert: a, for: 3 of 5 windows, expr: 'avg(x, "5m") > 1 and y > 1 and max(x, "10s") > 1'}`, `{alert: b, for: 5m, coverage: 0.7, expr: 'change(x, "5m", "1h") > 1 or count(x, "1m") < 3'}`,
		`{alert: c, coverage: 0, expr: 'min(x, "1h") > 1 and hour() > 3'}`)
	want := `rules.yaml:3: g/a is judged when windows of 10s close, and fires if expr was true at 3 of the newest 5 ends
  avg(x, 5m): of a series that has been there for 5m, and has data in 15 of 30 windows, or as often as it sends (coverage: 0.5)
  y: its last value, of the last 5m (no_data)
  max(x, 10s): the window
rules.yaml:4: g/b is judged when windows of 1m close, and fires if expr stays true for 5m
  change(x, 5m, 1h): of a series that has been there for 1h5m, and has data in 4 of 5 windows, or as often as it sends (coverage: 0.7)
  count(x, 1m): the window
rules.yaml:5: g/c is judged when windows of 1m close
  min(x, 1h): what there is of 60 windows (coverage: 0)`
	if got := strings.Join(rs.Describe(), "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
