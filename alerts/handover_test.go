package alerts

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/weir-metrics/weir/schemas"
)

const handoverRules = `groups:
- name: g
  rules:
  - {alert: last, expr: 'm > 50', recover: 'm < 30', no_data: 1m}
  - {alert: range, expr: 'avg(m, "1m") > 50', no_data: 1m}
  - {alert: coarse, expr: 'avg(m, "5m") > 50', no_data: 5m, tier: 1m}
`

func handoverSet(t *testing.T) *RuleSet {
	t.Helper()
	rs, err := Load(LoadConfig{TiersMS: []int64{10_000, 60_000}}, File{Name: "r.yaml", Data: []byte(handoverRules)})
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

// TestHandOverSplitsNothing: rules give the same conditions whether or not their state moves to another
// evaluator in the middle, encoded and tier by tier.
func TestHandOverSplitsNothing(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	rs := handoverSet(t)
	for round := range 200 {
		whole, first, second := rs.NewEvaluator(), rs.NewEvaluator(), rs.NewEvaluator()
		var one, before, after State
		cut := int64(60_000 * (1 + rnd.IntN(8)))
		last := cut + int64(60_000*rnd.IntN(6)) // after that, all series are silent
		var want, got []schemas.Condition
		for end := int64(10_000); end <= 1200_000; end += 10_000 {
			for _, tier := range []int64{10_000, 60_000} {
				if end%tier != 0 || end > last {
					continue
				}
				var ws []schemas.Window
				for h := range 3 {
					if rnd.IntN(5) > 0 {
						v := rnd.Float64() * 100
						ws = append(ws, schemas.Window{Series: schemas.Series{Metric: "m", Labels: schemas.NewLabels(map[string]string{"h": fmt.Sprint(h)})},
							TierMS: tier, StartMS: end - tier, Aggregate: schemas.Aggregate{Count: 1, Sum: v, Min: v, Max: v, First: v, Last: v}})
					}
				}
				want = whole.Closed(&one, "g", tier, end, ws, want)
				if end <= cut {
					got = first.Closed(&before, "g", tier, end, ws, got)
				} else {
					got = second.Closed(&after, "g", tier, end, ws, got)
				}
			}
			want = whole.Advance(&one, "g", end, want)
			got = first.Advance(&before, "g", min(end, cut), got)
			if end == cut {
				for _, tier := range []int64{10_000, 60_000} {
					if b := first.HandOver(&before, tier, nil); b != nil {
						if err := second.Inherit(&after, b); err != nil {
							t.Fatal(err)
						}
					}
				}
				if before.DueMS() != 0 || len(before.sets) != 0 {
					t.Fatalf("%d sets are left, due at %d", len(before.sets), before.DueMS())
				}
			}
			if end >= cut {
				got = second.Advance(&after, "g", end, got)
			}
		}
		if len(want) == 0 {
			t.Fatal("there were no conditions")
		}
		text := func(cs []schemas.Condition) []string {
			var lines []string
			for i := range cs {
				lines = append(lines, string(schemas.EncodeDoc(&cs[i])))
			}
			slices.Sort(lines) // conditions of different alerts may come in another order
			return lines
		}
		if g, w := text(got), text(want); !slices.Equal(g, w) {
			for i := range min(len(g), len(w)) {
				if g[i] != w[i] {
					t.Fatalf("round %d, cut %d: condition %d\n got %s\nwant %s", round, cut, i, g[i], w[i])
				}
			}
			t.Fatalf("round %d, cut %d: %d conditions, want %d", round, cut, len(g), len(w))
		}
	}
}

// TestInheritLate: conditions that the new evaluator gave by itself stay, those that it could not know are
// added, and nothing that continues is ended.
func TestInheritLate(t *testing.T) {
	text := strings.ReplaceAll(handoverRules, "expr:", "coverage: 0, expr:")
	rs, err := Load(LoadConfig{TiersMS: []int64{10_000, 60_000}}, File{Name: "r.yaml", Data: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	e := rs.NewEvaluator()
	window := func(end int64, v float64) []schemas.Window {
		return []schemas.Window{{Series: schemas.Series{Metric: "m"}, TierMS: 10_000, StartMS: end - 10_000, Aggregate: schemas.Aggregate{Count: 1, Sum: v, Min: v, Max: v, First: v, Last: v}}}
	}
	var before, after State
	if cs := e.Closed(&before, "g", 10_000, 10_000, window(10_000, 90), nil); len(cs) != 2 {
		t.Fatalf("%+v", cs)
	}
	if cs := e.Closed(&after, "g", 10_000, 20_000, window(20_000, 40), nil); len(cs) != 0 { // hysteresis would hold it, if the condition were known
		t.Fatalf("%+v", cs)
	}
	b := e.HandOver(&before, 10_000, nil)
	if err := e.Inherit(&after, b); err != nil {
		t.Fatal(err)
	}
	cs := e.Closed(&after, "g", 10_000, 30_000, window(30_000, 45), nil)
	if len(cs) != 2 {
		t.Fatalf("%+v", cs)
	}
	for _, c := range cs { // 45 is above recover; the average of 90, 40 and 45 is above 50
		if !c.True {
			t.Errorf("%+v", c)
		}
	}
	if cs := e.Advance(&after, "g", 200_000, nil); len(cs) != 2 || cs[0].True || cs[0].Reason != reasonNoData {
		t.Errorf("after silence: %+v", cs)
	}
	if err := e.Inherit(&after, b[:len(b)-1]); !errors.Is(err, schemas.ErrCorrupt) {
		t.Errorf("cut short: %v", err)
	}
	if b := e.HandOver(&State{}, 10_000, nil); b != nil {
		t.Errorf("of nothing: %x", b)
	}
}
