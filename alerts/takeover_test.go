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

	"github.com/weir-metrics/weir/schemas"
)

// takeover feeds the same windows to two evaluators. One keeps its state; the other's state is encoded, decoded
// and given to a new evaluator, at any point.
type takeover struct {
	t     *testing.T
	rng   *rand.Rand
	rules *RuleSet
	eval  [2]*Evaluator
	state [2]*State
	said  int
}

func (o *takeover) both(what string, do func(e *Evaluator, st *State) []schemas.Condition) {
	o.t.Helper()
	if o.rng.IntN(3) == 0 {
		b := o.state[1].Append(nil)
		decoded, err := DecodeState(b)
		if err != nil {
			o.t.Fatal(err)
		}
		if again := decoded.Append(nil); !slices.Equal(again, b) {
			o.t.Fatalf("%s: decoded and encoded\n%x\nwas\n%x", what, again, b)
		}
		o.state[1], o.eval[1] = decoded, o.rules.NewEvaluator()
	}
	kept, taken := do(o.eval[0], o.state[0]), do(o.eval[1], o.state[1])
	o.said += len(kept)
	if len(kept) == 0 && len(taken) == 0 {
		return
	}
	// The order of label sets does not matter; the conditions of each do.
	order := func(a, b schemas.Condition) int { return strings.Compare(a.Fingerprint, b.Fingerprint) }
	slices.SortStableFunc(kept, order)
	slices.SortStableFunc(taken, order)
	for i := range kept {
		if i < len(taken) && math.Float64bits(kept[i].Value) != math.Float64bits(taken[i].Value) {
			o.t.Fatalf("%s: value %v of %s, after a takeover %v", what, kept[i].Value, kept[i].Rule, taken[i].Value)
		}
	}
	if !reflect.DeepEqual(kept, taken) {
		o.t.Fatalf("%s: conditions\n%+v\nafter a takeover\n%+v", what, kept, taken)
	}
}

// allRules returns rules with every function, on every tier, with every field that a rule can have.
func allRules(rng *rand.Rand) []string {
	var rules []string
	for _, tier := range []string{"10s", "1m", "1h"} {
		span := map[string][]string{"10s": {"10s", "30s", "5m"}, "1m": {"1m", "5m"}, "1h": {"1h", "6h"}}[tier]
		for _, fn := range []string{"avg", "min", "max", "sum", "count", "first", "last", "delta"} {
			long := span[rng.IntN(len(span))]
			if fn == "delta" {
				long = span[1+rng.IntN(len(span)-1)] // needs two windows
			}
			rule := fmt.Sprintf(`{alert: %s_%s, tier: %s, expr: '%s(x, "%s") > 3', labels: {v: '{{ .Value }}'}, annotations: {a: '{{ .Labels.cpu }} {{ .Value | humanize }}'}`, fn, tier, tier, fn, long)
			switch rng.IntN(4) {
			case 0:
				rule += fmt.Sprintf(`, recover: '%s(x, "%s") < 1.5'`, fn, long)
			case 1:
				rule += fmt.Sprintf(`, recover: y < 2, no_data: %s`, map[string]string{"10s": "30s", "1m": "3m", "1h": "3h"}[tier])
			case 2:
				rule += `, where: labels.cpu != "1"`
			case 3:
				rule += `, shadow: true`
			}
			rules = append(rules, rule+"}")
		}
		rules = append(rules, fmt.Sprintf(`{alert: join_%s, tier: %s, expr: 'x / y > 1.5 and abs(x - y) > 1', no_data: %s}`, tier, tier, map[string]string{"10s": "20s", "1m": "2m", "1h": "2h"}[tier]),
			fmt.Sprintf(`{alert: levels_%s, tier: %s, levels: [{severity: low, expr: y > 1, for: 1m}, {severity: mid, expr: y > 3, recover: y < 2}, {severity: high, expr: 'y > 6 and z > 0'}], no_data: %s}`,
				tier, tier, map[string]string{"10s": "20s", "1m": "2m", "1h": "2h"}[tier]),
			fmt.Sprintf(`{alert: bare_%s, tier: %s, expr: y > 4 or z > 4, for: 1m, keep_firing_for: 2m}`, tier, tier))
	}
	return rules
}

// TestTakeoverSaysTheSame: rules with all functions, on all tiers, give the same conditions, to the bit, wherever a
// state is encoded, decoded and given to a new evaluator. Windows come late, are revised, repeated, missing or NaN,
// and there are silences.
func TestTakeoverSaysTheSame(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	said := 0
	for run := range 12 {
		rng := rand.New(rand.NewPCG(seed, uint64(run)))
		o := &takeover{t: t, rng: rng, rules: load(t, allRules(rng)...), state: [2]*State{{}, {}}}
		o.eval = [2]*Evaluator{o.rules.NewEvaluator(), o.rules.NewEvaluator()}
		start := int64(1_700_000_000_000) / 3_600_000 * 3_600_000
		revisions := map[string]uint32{}
		for end := start; end < start+3_600_000*3; end += 10_000 {
			if rng.IntN(200) == 0 {
				end += rng.Int64N(3_000) * 10_000 / 10 / 10_000 * 10_000 // all series are silent
				end = end / 10_000 * 10_000
			}
			for _, tierMS := range tiersMS {
				at := end / tierMS * tierMS
				late := rng.IntN(8) == 0
				if !late && at != end {
					continue
				}
				if late {
					at -= rng.Int64N(4) * tierMS
				}
				var ws []schemas.Window
				for _, metric := range []string{"x", "y", "z", "other"} {
					for cpu := range 3 {
						if rng.IntN(6) == 0 {
							continue
						}
						w := window(t, fmt.Sprintf(`%s{cpu="%d",host="h"}`, metric, cpu), at, math.Round(rng.NormFloat64()*30)/7)
						w.TierMS, w.StartMS = tierMS, at-tierMS
						if rng.IntN(3) == 0 {
							w.Count, w.Sum, w.Min, w.Max, w.First = 3, 3*w.Last+rng.Float64(), w.Last-rng.Float64(), w.Last+rng.Float64(), w.Last+rng.NormFloat64()
						}
						switch rng.IntN(40) {
						case 0:
							w.Last = math.NaN()
						case 1:
							w.Sum, w.First = math.Inf(1), math.Copysign(0, -1)
						}
						key := fmt.Sprint(metric, cpu, tierMS, at)
						if rev, again := revisions[key]; again && rng.IntN(3) > 0 {
							w.Revision = rev + 1
						}
						revisions[key] = w.Revision
						ws = append(ws, w)
					}
				}
				o.both(fmt.Sprintf("run %d, windows of %d up to %d", run, tierMS, at), func(e *Evaluator, st *State) []schemas.Condition {
					return e.Closed(st, "h", tierMS, at, ws, nil)
				})
			}
			if due := o.state[0].DueMS(); due > 0 && due <= end || rng.IntN(50) == 0 {
				o.both(fmt.Sprintf("run %d, at %d", run, end), func(e *Evaluator, st *State) []schemas.Condition { return e.Advance(st, "h", end, nil) })
			}
		}
		o.both("the end", func(e *Evaluator, st *State) []schemas.Condition { return e.Advance(st, "h", start+100*3_600_000, nil) })
		said += o.said
	}
	if said < 10_000 {
		t.Errorf("only %d conditions", said)
	}
}
