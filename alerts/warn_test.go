package alerts

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/weir-metrics/weir/deploy/conf"
)

// TestImpossibleRules: rules that can never fire, or always do, are refused, with their place; those that may not do what they
// seem to do (! in the table) get a warning.
func TestImpossibleRules(t *testing.T) {
	for _, c := range []struct {
		rule string // the fields of a rule, in YAML
		at   string // the text under whose start the caret stands, or ""
		want string // part of the fault, or, after !, of the warning; "" for neither
	}{
		{"expr: http-requests > 5", "http-requests", `!metric("http-requests")`}, {"expr: a.b-c.d-e > 5", "a.b-c.d-e", `!metric("a.b-c.d-e")`},
		{"expr: (http-requests) / 2 > 5", "http-requests", `!http - requests`},
		{"expr: http - requests > 5", "", ""}, {`expr: metric("http-requests") > 5`, "", ""}, {"expr: http -requests > 5", "", ""}, {"expr: x-5 > 5", "", ""}, {"expr: max(a, b)-c > 5", "", ""},
		{`expr: 'delta(x, "10s") > 0'`, "x, ", "has 1 window of 10s, and needs 2"}, {`expr: 'delta(x, "20s") > 0'`, "", ""}, {"tier: 1m\n    expr: 'delta(x, \"1m\") > 0'", "x, ", `a range of "2m"`},
		{`expr: 'count(up, "5m") == 0'`, "== 0", "count is at least 1"}, {`expr: 'count(up, "5m") < 1'`, "< 1", "count is at least 1"}, {`expr: '0 == count(up, "5m")'`, "== count", "count is at least 1"},
		{`expr: 'count(up, "5m") < 2'`, "", ""}, {`expr: 'count(up, "5m") > 0'`, "> 0", "!true whenever there is data"}, {`expr: 'x > 3 or count(up, "5m") == 0'`, "== 0", "never true"},
		{"expr: x > 5 and x < 3", "and", "contradict"}, {"expr: x > 5 and x < 6", "", ""}, {"expr: x > 5 and x <= 5", "and", "contradict"}, {"expr: x >= 5 and x <= 5", "", ""},
		{"expr: x > 5 and y < 3", "", ""}, {"expr: x - 2 > 5 and 3 > x", "and", "contradict"}, {"expr: not (x > 5 or x < 6)", "not", "contradict"}, {"expr: -x > 5 and x > 0", "and", "contradict"},
		{"expr: x == 1 and x == 2", "and", "contradict"}, {"expr: x == 1 and x != 1", "and", "contradict"}, {"expr: x == 1 or x == 2", "", ""}, {"expr: 5 < x < 3", "", "contradict"},
		{"expr: x > 5 or x <= 5", "or", "whenever there is data"}, {"expr: x > 5 or x < 6", "or", "whenever"}, {"expr: x == x", "==", "whenever"}, {"expr: x != x", "!=", "never true"},
		{"expr: abs(x) < 0", "< 0", "never true"}, {"expr: abs(x) >= 0", ">= 0", "whenever"}, {"expr: max(x, 5) < 5", "< 5", "never true"}, {"expr: min(x, 5) > 5", "> 5", "never"},
		{"expr: x / 0 > 1", "/ ", "divides by 0"}, {"expr: x / (y - y) > 1", "/ ", "divides by 0"}, {"expr: 1 / 0 > x", "/ ", "divides by 0"}, {"expr: x / y > 1", "", ""}, {"expr: x * 0 > 1", "> 1", "never"},
		{"expr: x > NaN", "NaN", "!taken for a metric"}, {"expr: x == null", "null", "!taken for a metric"}, {"expr: 'x > 1 and (x < 0 ? y > 1 : z > 1)'", "", ""},
		{"expr: 'x > 1 ? x < 0 : x > 2'", "", "contradict"}, {"expr: x > 1 and 1 > 2", "> 2", "compares constants, and is always false"}, {"expr: x > 1 or 1 < 2 * 3", "< 2", "compares constants, and is always true"},
		{"expr: x > 1 and hour() > 25", "> 25", "the left side is 0 to 23, and the right 25"}, {"expr: x > 1 and hour() > 8", "", ""}, {"expr: sqrt(x) < -1", "< -1", "the left side is at least 0, and the right -1"},
		{"expr: 'count(up, \"5m\") == 0'\n    on_no_data: firing", "== 0", "!fires on silence only"}, {"expr: x != x\n    on_no_data: firing", "!=", "!both sides are the same"},
		{"expr: x == x\n    on_no_data: firing", "==", "whenever there is data"}, {"expr: x / (2 - 2) > 1\n    on_no_data: firing", "/ ", "divides by 0"},
		{`expr: 'rate(x, "10s") > 1'`, "x, ", `take a range of "20s" or more`}, {`expr: 'zscore(x, "50s") > 3'`, "x, ", `take a range of "1m" or more`}, {`expr: 'zscore(x, "1m") > 3'`, "", ""},
		{"expr: x > 80\n    recover: x > 70", "x > 70", "!true whenever expr is"}, {"expr: x > 80\n    recover: x < 70", "", ""}, {"expr: x > 80\n    recover: x < 3 and x > 4", "and", "contradict"},
		{"expr: x > 80\n    recover: y < 70", "", ""},
		{"expr: x > 1\n    for: 5s", "", "!for: \"5s\": is shorter than a window, 10s"}, {"expr: x > 1\n    for: 10s\n    keep_firing_for: 10s", "", ""}, {"expr: x > 1\n    tier: 1m\n    keep_firing_for: 30s", "", "!keep_firing_for: \"30s\""},
		{"expr: x > 1\n    where: labels.a == \"b\" and labels.a == \"c\"", "labels.a == \"b\"", "never true, whatever the labels"}, {"expr: x > 1\n    where: labels.a == \"b\" and labels.c == \"c\"", "", ""},
		{"expr: x > 1\n    where: labels.a in [\"b\"] and labels.a != \"b\"", "labels", "never"}, {"expr: x > 1\n    where: labels.a in [\"b\", \"c\"] and labels.a != \"b\"", "", ""},
		{"expr: x > 1\n    where: lower(labels.a) == \"Prod\"", "lower", "never"}, {"expr: x > 1\n    where: '\"a\" == \"b\"'", "", "never"}, {"expr: x > 1\n    where: not (labels.a == \"b\" or labels.a != \"b\")", "not", "never"},
		{"expr: x > 1\n    where: labels.a == \"b\" or labels.a == \"c\"", "", ""}, {"expr: x > 1\n    where: labels.a in []", "", "never"}, {"expr: x > 1\n    where: labels.a matches \"x\" and labels.a == \"b\"", "", ""},
	} {
		text := "- name: g\n  rules:\n  - alert: a\n    " + c.rule + "\n"
		refused, warned := faultsAndWarnings(LoadConfig{TiersMS: tiersMS}, text)
		want, isWarning := strings.CutPrefix(c.want, "!")
		ws, others := refused, warned
		if isWarning {
			ws, others = others, ws
		}
		if len(others) > 0 || c.want == "" && len(ws) > 0 {
			t.Errorf("%s: refused for %v, warned of %v, want %q", c.rule, refused, warned, c.want)
		}
		if c.want == "" {
			continue
		}
		if len(ws) != 1 || !strings.Contains(ws[0].Error(), want) || ws[0].File != "r.yaml" || ws[0].Line < 4 {
			t.Errorf("%s: %v, want one with %q", c.rule, ws, want)
			continue
		}
		if c.at != "" {
			line := []rune(strings.Split(text, "\n")[ws[0].Line-1])
			if got := string(line[min(ws[0].Column-1, len(line)):]); !strings.HasPrefix(got, c.at) {
				t.Errorf("%s: the caret is at %q, want %q", c.rule, got, c.at)
			}
		}
	}
}

func faultsAndWarnings(cfg LoadConfig, text string) (refused, warned conf.Faults) {
	rs, err := Load(cfg, File{"r.yaml", []byte(text)})
	if errors.As(err, &refused) {
		return refused, nil
	}
	return nil, rs.Warnings()
}

// TestRangesBeyondTheTTL: a range that is longer than its tier's rows are kept gets a warning, with its place; a range that is
// just as long does not.
func TestRangesBeyondTheTTL(t *testing.T) {
	for _, c := range []struct{ rule, want string }{
		{"tier: 10s\n    expr: 'avg(x, \"20m\") > 5'", `r.yaml:5:16: [0].rules[0].expr: "avg(x, \"20m\") > 5": a range of 20m reaches back further than windows of 10s are kept, 10m (windows.tiers ttl): name a tier that is kept for long enough, tier: 1m`},
		{"tier: 10s\n    expr: 'avg(x, \"10m\") > 5'", ""},
		{"tier: 1m\n    expr: 'avg(x, \"20m\") > 5'", ""}, // its tier keeps rows for that long
		{"tier: 10s\n    expr: 'x > 5'\n    recover: 'max(x, \"11m\") < 3'", `rules[0].recover: "max(x, \"11m\") < 3": a range of 11m`},
		{"tier: 10s\n    expr: 'avg(x, \"5m\", \"10m\") > 5'", "a range of 5m that ended 10m earlier reaches back further"}, {"tier: 1m\n    expr: 'avg(x, \"5h\", \"1d\") > 5'", "must be at most 400"},
		{"expr: x > 5\n    for: 11m", `for: "11m": is longer than windows of 10s are kept, 10m`},
		{"expr: x > 5\n    keep_firing_for: 1h", `keep_firing_for: "1h": is longer than`},
		{"expr: x > 5\n    for: 10m", ""},
	} {
		text := "- name: g\n  rules:\n  - alert: a\n    " + c.rule + "\n"
		refused, warned := faultsAndWarnings(LoadConfig{TiersMS: tiersMS, TTLsMS: []int64{600_000, 86_400_000}}, text)
		ws := append(refused, warned...)
		if c.want == "" && len(ws) > 0 || c.want != "" && (len(ws) != 1 || !strings.Contains(ws[0].Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.rule, ws, c.want)
		}
	}
}

// TestVerdictsAreRight: an expression that is said never to be true, or never to be false, never is, on any values.
func TestVerdictsAreRight(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 5))
	never := 0
	for range 4000 {
		text := randomExpr(rng, true, 3)
		var inputs []input
		n, err := compileExpr(text, &inputs)
		if err != nil {
			continue
		}
		v := &verdict{inputs: inputs}
		may := map[truth]bool{yes: v.may(goal{n, true}), no: v.may(goal{n, false}), unknown: true}
		if !may[yes] || !may[no] {
			never++
		}
		in := make([]float64, len(inputs))
		for range 50 {
			for i := range in {
				in[i] = []float64{0, 1, 1.5, 2, -1, math.Round(rng.NormFloat64()*4) / 2, rng.NormFloat64() * 1e6, math.NaN()}[rng.IntN(8)]
			}
			if got, _ := n.truth(in); !may[got] {
				t.Fatalf("%s with %v is %v, which it can never be", text, in, got == yes)
			}
		}
	}
	if never < 50 {
		t.Errorf("only %d verdicts", never)
	}
}

// TestVerdictsEnd: the search for a verdict ends in time, however many combinations an expression has.
func TestVerdictsEnd(t *testing.T) {
	var b strings.Builder
	for i := range 24 {
		fmt.Fprintf(&b, "(x%d > 1 or y > 2) and ", i)
	}
	start := time.Now()
	load(t, fmt.Sprintf("{alert: a, expr: '%sy < 0'}", b.String()))
	if took := time.Since(start); took > 20*time.Second {
		t.Error(took)
	}
}
