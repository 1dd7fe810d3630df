package alerts

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/expr-lang/expr"

	"github.com/weir-metrics/weir/schemas"
)

// usesOf counts the states and returns the uses of rules by name.
func usesOf(e *Evaluator, states ...*State) map[string]RuleUse {
	e.CountFrom()
	for _, st := range states {
		e.Count(st)
	}
	all := map[string]RuleUse{}
	e.Uses(func(i int, u *RuleUse) { all[e.rules.rules[i].name] = *u })
	return all
}

func closeWindows(t *testing.T, e *Evaluator, st *State, endMS int64, value float64, series ...string) {
	t.Helper()
	var ws []schemas.Window
	for _, s := range series {
		ws = append(ws, window(t, s, endMS, value))
	}
	e.Closed(st, "h", 10_000, endMS, ws, nil)
}

// TestRuleUse: the use of each rule is counted exactly, even if series go, join others or are decoded.
func TestRuleUse(t *testing.T) {
	rules := load(t, `{alert: high, expr: x > 1}`, `{alert: long, expr: 'avg(x, "1m") > 1', coverage: 0}`, `{alert: other, expr: z > 1}`,
		`{alert: odd, expr: x > 1, where: 'labels.host == "a"'}`)
	var err error
	if rules.rules[3].where, err = expr.Compile(`[true][len(labels.host) + 5]`, expr.Env(whereEnv{}), expr.AsBool()); err != nil {
		t.Fatal(err)
	}
	e, st, more := rules.NewEvaluator(), &State{}, &State{}
	for i := range int64(3) {
		closeWindows(t, e, st, 10_000*(i+1), float64(7+i), `x{cpu="0",host="a"}`, `x{cpu="1",host="a"}`)
		closeWindows(t, e, more, 10_000*(i+1), float64(7+i), `x{cpu="0",host="b"}`)
	}
	got := usesOf(e, st, more)
	high := got["g/high"]
	if high.Sets != 3 || high.Evaluations != 9 || high.EndMS != 30_000 || high.Value != 9 || high.Shards != 1 || high.WhereErrors != 0 {
		t.Errorf("high: %+v", high)
	}
	long := got["g/long"]
	if long.Sets != 3 || long.Evaluations != 9 || long.Value != 8 || long.Bytes < high.Bytes {
		t.Errorf("long: %+v", long)
	}
	if ring := st.sets[0].series[0].ring.bytes(); ring < 3*24 || high.Bytes < 3*ring {
		t.Errorf("%d bytes, a ring has %d", high.Bytes, ring)
	}
	if u, there := got["g/other"]; there {
		t.Errorf("a rule that matches nothing: %+v", u)
	}
	if odd := got["g/odd"]; odd.WhereErrors != 3 || !strings.Contains(odd.LastError, "out of range") || odd.Sets != 0 {
		t.Errorf("odd: %+v", odd)
	}
	if again := usesOf(e, st, more); fmt.Sprint(again) != fmt.Sprint(got) {
		t.Errorf("counted again: %v, was %v", again, got)
	}
	// When a series joins, its set is bound again; a forgotten series is gone. Their counts stay.
	closeWindows(t, e, st, 40_000, 9, `x{cpu="0",host="a"}`, `z{cpu="0",host="a"}`)
	got = usesOf(e, st, more)
	if got["g/high"].Evaluations != 10 || got["g/other"].Evaluations != 1 || got["g/other"].Sets != 1 {
		t.Errorf("after a series joined: %+v", got)
	}
	closeWindows(t, e, more, 40_000, 9, `x{cpu="0",host="b"}`)
	e.Advance(more, "h", 40_000_000, nil)
	if u := usesOf(e, st, more)["g/high"]; u.Evaluations != 11 || u.Sets != 2 {
		t.Errorf("after a series was forgotten: %+v", u)
	}
	// Other rules: those that decide as before keep their counts.
	next := load(t, `{alert: first, expr: x > 5}`, `{alert: long, expr: 'avg(x, "1m") > 2', coverage: 0}`, `{alert: high, expr: x > 1}`).NewEvaluator()
	next.ContinueUses(e)
	if got := usesOf(next); got["g/high"].Evaluations != 11 || got["g/long"].Evaluations != 0 || got["g/high"].Sets != 0 {
		t.Errorf("after a reload: %+v", got)
	}
	next.Count(st) // the state is still bound to the old rules
	if got := usesOf(next, st); got["g/high"].Sets != 0 {
		t.Errorf("of other rules: %+v", got)
	}
	closeWindows(t, next, st, 50_000, 9, `x{cpu="0",host="a"}`)
	if got := usesOf(next, st); got["g/high"].Evaluations != 12 || got["g/high"].Sets != 2 {
		t.Errorf("after the next window: %+v", got)
	}
}

// TestTimedEvaluations: a sample of the evaluations is timed, less the time that the clock itself takes, and an
// interruption does not count in full.
func TestTimedEvaluations(t *testing.T) {
	rules := load(t, `{alert: fast, expr: x > 100}`, `{alert: untouched, expr: z > 1}`)
	e, st := rules.NewEvaluator(), &State{}
	now, take := int64(0), int64(10)
	e.SetNanos(func() int64 { now += take; return now })
	closeWindows(t, e, st, 10_000, 1, `x{host="h"}`, `z{host="h"}`)
	take = 510 // evaluations take 500 ns from here on
	const n = 100_000
	for i := range int64(n) {
		closeWindows(t, e, st, 20_000+10_000*i, 1, `x{host="h"}`)
	}
	u := usesOf(e, st)["g/fast"]
	if u.Evaluations != n+1 || u.Timed < mostTimed/2 || u.Timed > mostTimed {
		t.Errorf("of %d evaluations, %d count for the mean", u.Evaluations, u.Timed)
	}
	if timed := e.everTimed; timed < 1500 || timed > 2100 { // more often at first, then once in 256 checks
		t.Errorf("%d of %d evaluations were timed", timed, n)
	}
	e.everTimed = 1 << 20
	for i := range int64(n) {
		closeWindows(t, e, st, 20_000+10_000*(n+i), 1, `x{host="h"}`)
	}
	if timed, checks := e.everTimed-(1<<20), uint32(2*n); timed < checks/timeEvery*9/10 || timed > checks/timeEvery*11/10 { // untouched is checked, too
		t.Errorf("later, %d of %d checks were timed", timed, checks)
	}
	if mean := u.Mean(); math.Abs(mean-500e-9) > 2e-9 {
		t.Errorf("an evaluation takes %v s, want 500 ns", mean)
	}
	if u = usesOf(e, st)["g/fast"]; u.Seconds() != u.Mean()*float64(2*n+1) {
		t.Errorf("all took %v s", u.Seconds())
	}
	e.untimed, take = 1, 1e9
	e.uses.of(rules.rules[0]).Timed = 1
	before := u.TimedNS
	closeWindows(t, e, st, 20_000+20_000*n, 1, `x{host="h"}`)
	if u := usesOf(e, st)["g/fast"]; u.TimedNS != before+mostTimedNS {
		t.Errorf("an interruption counts %d ns", u.TimedNS-before)
	}
	if none := (&RuleUse{}); none.Mean() != 0 || none.Seconds() != 0 {
		t.Error("nothing took some time")
	}
}
