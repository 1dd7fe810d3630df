package alerts

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weir-metrics/weir/schemas"
)

// TestTextReadsBack: what an expression is shown as means what the expression means.
func TestTextReadsBack(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 7))
	compared := 0
	check := func(text string) {
		t.Helper()
		var inputs []input
		n, err := compileExpr(text, &inputs)
		if err != nil {
			return // randomExpr also writes what is refused
		}
		compared++
		shown := n.text(inputs)
		again := make([]input, 0, len(inputs))
		m, err := compileExpr(shown, &again)
		if err != nil {
			t.Fatalf("%s is shown as %s: %v", text, shown, err)
		}
		if len(again) != len(inputs) || m.text(again) != shown {
			t.Fatalf("%s is shown as %s, and that as %s", text, shown, m.text(again))
		}
		for range 10 {
			in, other := make([]float64, len(inputs)), make([]float64, len(inputs))
			for i := range in {
				in[i] = math.Round(rng.NormFloat64()*4) / 2
				for k := range again {
					if again[k].at = inputs[i].at; again[k] == inputs[i] {
						other[k] = in[i]
					}
				}
			}
			ta, va := n.truth(in)
			tb, vb := m.truth(other)
			if ta != tb || va != vb && (va == va || vb == vb) {
				t.Fatalf("%s is shown as %s; with %v they are %v, %v and %v, %v", text, shown, in, ta, va, tb, vb)
			}
		}
	}
	for range 3000 {
		check(randomExpr(rng, true, 3))
	}
	before := compared
	for _, text := range []string{
		`avg(x, "5m", "1w") > 1`, `predict_linear(metric("a-b"), "1h", "4h") > 100`, `holt_winters(x, "10m", 0.5, 0.25) > 1`,
		`zscore(x, "14d", "1d") < -3`, `change(x, "1h", "1d") > 1 and hour("Europe/Zurich") >= 8 and minute() < 5`,
		`not (a > 1 or b > 2) and (a > 1 ? b : -a) < 3`, `x > limit("disk", labels.host, labels["a b"])`, `max(a, b) - (a - b) > 2 ^ -1`,
	} {
		check(text)
	}
	if compared-before != 8 || before < 1500 {
		t.Errorf("%d random expressions and %d of 8 others were compared", before, compared-before)
	}
}

// TestExplain: the parts of an expression, what they read, and why what is unknown is unknown.
func TestExplain(t *testing.T) {
	rs := load(t, `{alert: a, expr: 'avg(x, "30s") > 5 and y < 3', recover: 'max(x, "20s") < 2', for: 20s}`, `{alert: b, expr: 'change(x, "10s", "20s") > 1', for: 2 of 3 windows}`)
	e, st := rs.NewEvaluator(), &State{}
	for i, v := range []float64{1, 9, 8} {
		end := int64(i+1) * 10_000
		e.Closed(st, "h", 10_000, end, []schemas.Window{window(t, `x{host="h"}`, end, v)}, nil)
	}
	encoded := st.Append(nil)
	all := e.Explain(st, "h", "g/a")
	if len(all) != 1 {
		t.Fatalf("%d label sets", len(all))
	}
	x := all[0]
	if x.EndMS != 30_000 || x.TierMS != 10_000 || x.Said != "" || !reflect.DeepEqual(x.Labels, map[string]string{"host": "h"}) {
		t.Errorf("%+v", x)
	}
	if got, want := shownTerms(x.Expr), `unknown avg(x, "30s") > 5 and y < 3|. true avg(x, "30s") > 5|.. 6 avg(x, "30s")|. unknown y < 3|.. unknown y`; got != want {
		t.Errorf("expr %s, want %s", got, want)
	}
	if got, want := shownTerms(x.Recover), `false max(x, "20s") < 2|. 9 max(x, "20s")`; got != want {
		t.Errorf("recover %s, want %s", got, want)
	}
	if len(x.Reads) != 3 || x.Reads[1].Why != "the label set has no y" || x.Reads[1].Value != nil || len(x.Reads[0].Windows) != 3 || len(x.Reads[2].Windows) != 2 {
		t.Fatalf("reads %+v", x.Reads)
	}
	if w := x.Reads[0].Windows[2]; w.EndMS != 30_000 || w.Numbers["sum"] != 8 || w.Numbers["count"] != 1 {
		t.Errorf("the newest window is %+v", w)
	}

	b := e.Explain(st, "h", "g/b")[0]
	if b.Most != 2 || b.Of != 3 || !reflect.DeepEqual(b.Trues, []int64{30_000}) {
		t.Errorf("%d of %d: %v", b.Most, b.Of, b.Trues)
	}
	if len(b.Reads) != 2 || b.Reads[0].ToMS != 30_000 || b.Reads[1].ToMS != 10_000 || *b.Reads[1].Value != 7 {
		t.Errorf("reads %+v", b.Reads)
	}
	if string(st.Append(nil)) != string(encoded) {
		t.Error("the state has changed")
	}
	if none := e.Explain(st, "h", "g/c"); len(none) != 0 {
		t.Errorf("a rule that is not there: %+v", none)
	}
}

// TestExplainSaysWhatIsNotCovered: a range of a new series is not judged.
func TestExplainSaysWhatIsNotCovered(t *testing.T) {
	rs := load(t, `{alert: a, expr: 'avg(x, "5m") > 5'}`)
	e, st := rs.NewEvaluator(), &State{}
	e.Closed(st, "h", 10_000, 10_000, []schemas.Window{window(t, "x", 10_000, 9)}, nil)
	x := e.Explain(st, "h", "g/a")[0]
	if r := x.Reads[0]; r.Value != nil || !strings.HasPrefix(r.Why, "not covered: avg(x, 5m): of a series that has been there for 5m") || len(r.Windows) != 1 || r.Expects != 30 {
		t.Errorf("%+v", r)
	}
}

func shownTerms(all []Term) string {
	var lines []string
	for _, x := range all {
		lines = append(lines, strings.TrimPrefix(fmt.Sprintf("%s %s %s", strings.Repeat(".", x.Depth), x.Value, x.Text), " "))
	}
	return strings.Join(lines, "|")
}
