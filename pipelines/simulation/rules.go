package simulation

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/schemas"
)

// rule is a rule of the simulation, twice: as text for weir, and as functions for the oracle,
// which shares no code with package alerts.
type rule struct {
	name     string
	metrics  []string
	tierMS   int64
	forMS    int64
	keepMS   int64
	noDataMS int64
	expr     string
	recover  string
	isTrue   func(at lookback) bool
	isOver   func(at lookback) bool // recover; nil: the condition is over when isTrue is false
	misses   bool                   // on_no_data: firing
	most, of int                    // for: M of N windows
	covered  bool                   // ranges must be covered; if false, the rule has coverage: 0
}

// lookback calls f for the windows of a metric that end in (T-rangeMS, T], oldest first, where T
// is the end of the window at which a rule is evaluated.
type lookback func(metric string, rangeMS int64, f func(w *schemas.Window))

func (at lookback) last(metric string, backMS int64) (v float64, ok bool) {
	at(metric, backMS, func(w *schemas.Window) { v, ok = w.Last, true })
	return v, ok
}

// avg is the average over the windows that end in (T-backMS, T-untilMS], NaN if there are none.
func (at lookback) avg(metric string, backMS, untilMS int64) float64 {
	sum, n := 0.0, 0.0
	at(metric, backMS, func(w *schemas.Window) { sum, n = sum+w.Sum, n+float64(w.Count) })
	if untilMS > 0 {
		at(metric, untilMS, func(w *schemas.Window) { sum, n = sum-w.Sum, n-float64(w.Count) })
	}
	return sum / n
}

// judged returns isTrue, but false while a range is not covered. It is covered if the series has existed for the whole range, and
// half of the windows in it have data, or of those that the series can have at the pace at which it sends.
func judged(metric string, rangeMS, tierMS, noDataMS int64, isTrue func(lookback) bool) func(lookback) bool {
	return func(at lookback) bool { return at.covered(metric, rangeMS, tierMS, noDataMS) && isTrue(at) }
}

func (at lookback) covered(metric string, rangeMS, tierMS, noDataMS int64) bool {
	var ends []int64 // those of all windows so far
	at(metric, math.MaxInt64, func(w *schemas.Window) { ends = append(ends, w.EndMS()) })
	first := len(ends)
	at(metric, rangeMS, func(*schemas.Window) { first-- })
	if first == len(ends) {
		return false
	}
	begin := first
	for begin > 0 && begin > first-2 && ends[begin]-ends[begin-1] <= max(rangeMS, noDataMS) {
		begin--
	}
	have, later := int64(len(ends)-first), int64(0)
	at(metric, rangeMS-tierMS, func(*schemas.Window) { later++ })
	if begin == first && later == have { // there is none at the beginning of the range
		return false
	}
	var gaps []int64
	for i := begin + 1; i < len(ends); i++ {
		gaps = append(gaps, ends[i]-ends[i-1])
	}
	slices.Sort(gaps)
	each := tierMS
	if len(gaps) > 0 {
		each = max(each, gaps[(len(gaps)-1)/2])
	}
	return 2*have*each >= rangeMS
}

// grownBeyond returns a condition: a counter has grown by more than a limit, from sample to sample as far as windows tell.
func grownBeyond(metric string, rangeMS int64, limit float64) func(lookback) bool {
	return func(at lookback) bool {
		grown, before := 0.0, -1.0
		at(metric, rangeMS, func(w *schemas.Window) {
			if before >= 0 {
				grown += w.First
				if w.First >= before {
					grown -= before
				}
			}
			if before = w.Last; w.Max > w.Last {
				grown += w.Max - w.First + w.Last
			} else if w.Min < w.First {
				grown += w.Last
			} else {
				grown += w.Last - w.First
			}
		})
		return grown > limit
	}
}

func avgAbove(metric string, rangeMS int64, limit float64) func(lookback) bool {
	return func(at lookback) bool { return at.avg(metric, rangeMS, 0) > limit } // false if there are none
}

// rulesOf returns the rules: many on the smallest tier, a few on every tier, and on each tier the additional sets that more asks for.
func rulesOf(tiers []int64, more int) []rule {
	t0, t1 := tiers[0], tiers[1]
	above := func(metric string, limit float64) func(lookback) bool {
		return func(at lookback) bool { v, ok := at.last(metric, 6*t0); return ok && v > limit }
	}
	rules := []rule{
		{name: "hot", metrics: []string{"a"}, tierMS: t0, noDataMS: 6 * t0, expr: "a > 80", isTrue: above("a", 80)},
		{name: "warm", metrics: []string{"a"}, tierMS: t0, forMS: 2 * t0, noDataMS: 6 * t0,
			expr: fmt.Sprintf(`avg(a, "%ds") > 50`, 3*t0/1000), isTrue: avgAbove("a", 3*t0, 50)},
		{name: "sticky", metrics: []string{"b"}, tierMS: t0, keepMS: 5 * t0 / 2, noDataMS: 6 * t0,
			expr: fmt.Sprintf(`max(b, "%ds") > 85`, 2*t0/1000), isTrue: func(at lookback) bool {
				high := false
				at("b", 2*t0, func(w *schemas.Window) { high = high || w.Max > 85 })
				return high
			}},
		{name: "hysteresis", metrics: []string{"b"}, tierMS: t0, noDataMS: 6 * t0, expr: "b > 70", recover: "b < 30",
			isTrue: above("b", 70), isOver: func(at lookback) bool { v, ok := at.last("b", 6*t0); return ok && v < 30 }},
		{name: "ratio", metrics: []string{"a", "b"}, tierMS: t0, forMS: t0, noDataMS: 6 * t0, expr: "a / b > 1.5",
			isTrue: func(at lookback) bool {
				a, ok := at.last("a", 6*t0)
				b, also := at.last("b", 6*t0)
				return ok && also && a/b > 1.5
			}},
		{name: "slow", metrics: []string{"a"}, tierMS: t1, noDataMS: 3 * t1,
			expr: fmt.Sprintf(`avg(a, "%ds") > 60`, t1/1000), isTrue: avgAbove("a", t1, 60)},
	}
	for i, t := range tiers {
		rules = append(rules,
			rule{name: fmt.Sprintf("range%d", i), metrics: []string{"b"}, tierMS: t, noDataMS: 3 * t,
				expr: fmt.Sprintf(`avg(b, "%ds") > 50`, 3*t/1000), isTrue: avgAbove("b", 3*t, 50)},
			rule{name: fmt.Sprintf("least%d", i), metrics: []string{"c"}, tierMS: t, forMS: t, noDataMS: 4 * t,
				expr: fmt.Sprintf(`min(c, "%ds") > 20`, 2*t/1000), isTrue: func(at lookback) bool {
					low, n := false, 0
					at("c", 2*t, func(w *schemas.Window) { low, n = low || w.Min <= 20, n+1 })
					return n > 0 && !low
				}})
		rules = append(rules, moreRules(i, t, more)...)
	}
	return rules
}

// moreRules returns the rules of the additional sets on a tier.
func moreRules(i int, t int64, more int) []rule {
	var rules []rule
	if more > 1 {
		rules = append(rules, rule{name: fmt.Sprintf("missed%d", i), metrics: []string{"a"}, tierMS: t, noDataMS: 3 * t, misses: true,
			expr: "a > 1e6", isTrue: func(lookback) bool { return false }})
	}
	if more > 0 {
		rules = append(rules,
			rule{name: fmt.Sprintf("seen%d", i), metrics: []string{"b"}, tierMS: t, noDataMS: 6 * t, covered: true,
				expr: fmt.Sprintf(`avg(b, "%ds") > 30`, 3*t/1000), isTrue: judged("b", 3*t, t, 6*t, avgAbove("b", 3*t, 30))},
			rule{name: fmt.Sprintf("often%d", i), metrics: []string{"a"}, tierMS: t, noDataMS: 6 * t, most: 2, of: 4, expr: "a > 60",
				isTrue: func(at lookback) bool { v, ok := at.last("a", 6*t); return ok && v > 60 }},
			rule{name: fmt.Sprintf("grown%d", i), metrics: []string{"b"}, tierMS: t, noDataMS: 3 * t,
				expr: fmt.Sprintf(`increase(b, "%ds") > 120`, 3*t/1000), isTrue: grownBeyond("b", 3*t, 120)},
			rule{name: fmt.Sprintf("changed%d", i), metrics: []string{"a"}, tierMS: t, noDataMS: 3 * t,
				expr: fmt.Sprintf(`change(a, "%ds", "%ds") > 20`, t/1000, 2*t/1000), isTrue: func(at lookback) bool {
					now, before := at.avg("a", t, 0), at.avg("a", 3*t, 2*t)
					return now-before > 20 // false if either is missing
				}})
	}
	return rules
}

// rulesFor renders the rules as text and loads them.
func rulesFor(tiers, graces []int64, more int) *alerts.RuleSet {
	var b strings.Builder
	b.WriteString("groups:\n- name: sim\n  rules:\n")
	for _, r := range rulesOf(tiers, more) {
		fmt.Fprintf(&b, "  - alert: %s\n    expr: '%s'\n    tier: %ds\n    no_data: %ds\n", r.name, r.expr, r.tierMS/1000, r.noDataMS/1000)
		if !r.covered {
			b.WriteString("    coverage: 0\n")
		}
		if r.of > 0 {
			fmt.Fprintf(&b, "    for: %d of %d windows\n", r.most, r.of)
		}
		if r.forMS > 0 {
			fmt.Fprintf(&b, "    for: %ds\n", r.forMS/1000)
		}
		if r.keepMS > 0 {
			fmt.Fprintf(&b, "    keep_firing_for: %ds\n", r.keepMS/1000)
		}
		if r.misses {
			b.WriteString("    on_no_data: firing\n")
		}
		if r.recover != "" {
			fmt.Fprintf(&b, "    recover: '%s'\n", r.recover)
		}
	}
	rs, err := alerts.Load(alerts.LoadConfig{TiersMS: tiers, GracesMS: graces}, alerts.File{Name: "sim.yaml", Data: []byte(b.String())})
	if err != nil {
		panic(fmt.Sprintf("the simulation's rules: %v", err)) // they are constants
	}
	return rs
}

// transition is the part of an alert's transition that a batch evaluation must reproduce.
type transition struct {
	alert string // rule and labels
	to    schemas.AlertState
	atMS  int64
}

func (t transition) String() string {
	return fmt.Sprintf("%s %s at %d", t.alert, t.to, t.atMS-epochMS)
}

// alertOracle evaluates the rules over all windows at once, in the order of their ends.
func alertOracle(tiers []int64, more int, ws []schemas.Window) []transition {
	type set map[string][]*schemas.Window // by metric
	var out []transition
	for _, r := range rulesOf(tiers, more) {
		sets := map[string]set{}
		for i := range ws {
			w := &ws[i]
			if w.TierMS != r.tierMS || !slices.Contains(r.metrics, w.Series.Metric) {
				continue
			}
			name := schemas.Series{Metric: "sim/" + r.name, Labels: w.Series.Labels}.String()
			s := sets[name]
			if s == nil {
				s = set{}
				sets[name] = s
			}
			s[w.Series.Metric] = append(s[w.Series.Metric], w)
		}
		for _, name := range slices.Sorted(maps.Keys(sets)) {
			life := lifeOracle{r: &r, name: name}
			life.run(sets[name])
			out = append(out, life.out...)
		}
	}
	return out
}

// lifeOracle works out the transitions of one alert.
type lifeOracle struct {
	r     *rule
	name  string
	state schemas.AlertState
	since int64 // when it became pending
	due   int64 // kept firing until; 0: it is not being kept
	out   []transition
}

func (l *lifeOracle) run(byMetric map[string][]*schemas.Window) {
	var ends []int64
	for _, ws := range byMetric {
		slices.SortFunc(ws, func(a, b *schemas.Window) int { return cmp.Compare(a.StartMS, b.StartMS) })
		for _, w := range ws {
			ends = append(ends, w.EndMS())
		}
	}
	slices.Sort(ends)
	l.state = schemas.Inactive
	active, lastTrue, lastEnd := false, int64(0), int64(0)
	were := map[int64]bool{}                               // the ends at which the expression was true
	silent := func() int64 { return l.silentMS(lastTrue) } // when a true condition ends for want of windows
	missed := func() int64 { return l.silentMS(lastEnd) }  // when a silent series is missed
	for _, end := range slices.Compact(ends) {
		if l.r.misses && lastEnd > 0 && missed() < end {
			l.isTrue(missed())
			active, lastTrue = true, missed()
		}
		lastEnd = end
		if active && !l.r.misses && silent() < end {
			l.isFalse(silent())
			active = false
		}
		at := lookback(func(metric string, rangeMS int64, f func(*schemas.Window)) {
			for _, w := range byMetric[metric] {
				if w.EndMS() > end-rangeMS && w.EndMS() <= end {
					f(w)
				}
			}
		})
		is := l.r.isTrue(at)
		if l.r.of > 0 {
			were[end] = is
			is = l.oftenEnough(were, end)
		}
		if active && l.r.isOver != nil {
			is = !l.r.isOver(at)
		}
		switch {
		case is:
			l.isTrue(end)
			lastTrue = end
		case active:
			l.isFalse(end)
		}
		active = is
	}
	switch {
	case l.r.misses && lastEnd > 0:
		l.isTrue(missed())
	case active:
		l.isFalse(silent())
	}
	if l.due > 0 {
		l.to(schemas.Resolved, l.due)
	}
}

// silentMS returns the first window end at which no_data has passed since another end.
func (l *lifeOracle) silentMS(since int64) int64 {
	return (since + l.r.noDataMS + l.r.tierMS - 1) / l.r.tierMS * l.r.tierMS
}

// oftenEnough reports whether the expression was true at M of the last N window ends (for: M of N windows).
func (l *lifeOracle) oftenEnough(were map[int64]bool, end int64) bool {
	n := 0
	for at := range were {
		if were[at] && at > end-int64(l.r.of)*l.r.tierMS {
			n++
		}
	}
	return n >= l.r.most
}

func (l *lifeOracle) to(s schemas.AlertState, atMS int64) {
	l.state = s
	l.out = append(l.out, transition{l.name, s, atMS})
}

func (l *lifeOracle) isTrue(end int64) {
	if l.due > 0 && l.due < end {
		l.to(schemas.Resolved, l.due)
	}
	l.due = 0
	switch {
	case l.state == schemas.Pending && end-l.since >= l.r.forMS:
		l.to(schemas.Firing, end)
	case l.state == schemas.Pending, l.state == schemas.Firing:
	case l.r.forMS > 0:
		l.since = end
		l.to(schemas.Pending, end)
	default:
		l.to(schemas.Firing, end)
	}
}

func (l *lifeOracle) isFalse(end int64) {
	switch {
	case l.state == schemas.Pending:
		l.to(schemas.Inactive, end)
	case l.state == schemas.Firing && l.r.keepMS > 0:
		if l.due == 0 {
			l.due = end + l.r.keepMS
		}
	case l.state == schemas.Firing:
		l.to(schemas.Resolved, end)
	}
}
