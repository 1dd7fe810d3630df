package alerts

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/weir-metrics/weir/schemas"
)

// TestLost: after their state was lost, rules report once even what is false, also when the state is stored and taken over.
func TestLost(t *testing.T) {
	const from = int64(1_700_000_000_000)
	for _, tc := range []struct {
		name, rule string
		values     []float64 // of windows of 10 s
		want       string    // the conditions, and their windows
	}{
		{"false", `{alert: a, expr: x > 5}`, []float64{1, 1, 1}, "0 false false"},
		{"true first", `{alert: a, expr: x > 5}`, []float64{9, 1, 1}, "0 true , 1 false false"},
		{"false, true, false", `{alert: a, expr: x > 5}`, []float64{1, 9, 1, 1}, "0 false false, 1 true , 2 false false"},
		{"held", `{alert: a, expr: x > 5, recover: x < 2}`, []float64{3, 3, 1, 3}, "2 false false"},
		{"the other input is not there", `{alert: a, expr: x / y > 5, no_data: 30s}`, []float64{1, 1, 1, 1}, "3 false no data"},
	} {
		e := load(t, tc.rule).NewEvaluator()
		st := &State{}
		st.Lost(from)
		var said []string
		for i, v := range tc.values {
			end := from + int64(i)*10_000
			closed := func() (all []string) {
				for _, c := range e.Closed(st, "a", 10_000, end, []schemas.Window{window(t, `x{host="a"}`, end, v)}, nil) {
					all = append(all, fmt.Sprintf("%d %v %s", i, c.True, c.Reason))
				}
				return all
			}
			first := closed()
			if again := closed(); !slices.Equal(first, again) {
				t.Errorf("%s: %q, and for the same windows again %q", tc.name, first, again)
			}
			said = append(said, first...)
			var err error
			if st, err = DecodeState(st.Append(nil)); err != nil {
				t.Fatal(err)
			}
			given := e.HandOver(e.bound(st), 10_000, nil)
			next := &State{}
			if err := e.Inherit(next, given); err != nil {
				t.Fatal(err)
			}
			st = next
		}
		if got := strings.Join(said, ", "); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

// bound binds the state to the rules, as HandOver needs it.
func (e *Evaluator) bound(st *State) *State {
	e.takeOver(st, "a", 0, nil)
	return st
}
