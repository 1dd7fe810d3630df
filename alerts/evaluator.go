package alerts

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/expr-lang/expr/vm"

	"github.com/weir-metrics/weir/schemas"
)

// Evaluator evaluates rules on windows. It belongs to one partition and is not safe for concurrent
// use, while the RuleSet and its compiled rules are shared.
type Evaluator struct {
	rules     *RuleSet
	machine   vm.VM
	in        []float64   // inputs of the current rule
	uncovered bool        // one of them is unknown as its range is not covered
	touched   []*labelSet // by the current Closed

	uses      uses
	nanos     func() int64 // see SetNanos; nil: nothing is timed
	nanosTake int64        // what reading it takes, ns
	untimed   int          // checks until one is timed; not above 0: none is
	everTimed uint32       // how many were
	random    uint32

	// WhereErrors counts label sets to which a rule was not applied because its where failed while
	// it ran; LastWhereError is the last failure.
	WhereErrors    uint64
	LastWhereError error
}

// NewEvaluator returns an evaluator of the rules.
func (rs *RuleSet) NewEvaluator() *Evaluator {
	return &Evaluator{rules: rs, in: make([]float64, maxInputs), uses: newUses(len(rs.rules))}
}

// Closed takes windows of one tier that closed together in the series group, or that late samples
// revised. It appends to out a condition for each rule that is true for the labels of one of them,
// and for each that was true and no longer is. Windows of metrics that no rule reads on that tier
// are skipped, and so are late partials.
//
// A rule is evaluated at the newest end among its inputs, so that a revision of an older window
// confirms or retracts what was said of that end. Windows that are given again produce the same
// conditions again, with the same revisions.
func (e *Evaluator) Closed(st *State, group string, tierMS, endMS int64, ws []schemas.Window, out []schemas.Condition) []schemas.Condition {
	out = e.takeOver(st, group, endMS, out)
	wanted := e.rules.tiers[tierMS]
	if wanted == nil {
		return out
	}
	st.epoch++
	e.touched = e.touched[:0]
	for i := range ws {
		w := &ws[i]
		if _, ok := wanted[w.Series.Metric]; !ok || w.Late() {
			continue
		}
		set := st.find(w.Series.Labels)
		x := set.seriesOf(w.Series.Metric, tierMS)
		if x == nil {
			x = e.newSeries(st, set, w.Series.Metric, tierMS, w.EndMS())
		}
		if x.ring.cols == 0 { // no rule selects it
			continue
		}
		did := x.ring.put(w)
		if did == ignored {
			continue
		}
		if x.epoch != st.epoch {
			x.epoch, x.change, x.revision = st.epoch, did, w.Revision
		} else {
			x.change, x.revision = max(x.change, did), max(x.revision, w.Revision)
		}
		if set.epoch != st.epoch {
			set.epoch = st.epoch
			e.touched = append(e.touched, set)
		}
	}
	for _, set := range e.touched {
		for i := range set.bound {
			b := &set.bound[i]
			if b.rule.tierMS != tierMS {
				continue
			}
			if e.untimed--; e.untimed != 0 {
				out = e.check(st, set, b, group, out)
				continue
			}
			before, began := b.evaluations, e.nanos()
			out = e.check(st, set, b, group, out)
			e.timed(b, e.nanos()-began, b.evaluations != before)
		}
	}
	return out
}

func (e *Evaluator) newSeries(st *State, set *labelSet, metric string, tierMS, endMS int64) *series {
	set.series = append(set.series, series{metric: metric, tierMS: tierMS})
	e.collect(set)
	e.bind(set)
	st.dueBy(endMS + set.keepMS)
	st.dueByMissing(set, endMS) // its window has come now
	return &set.series[len(set.series)-1]
}

func (e *Evaluator) bind(set *labelSet) {
	var labels map[string]string
	set.bind(e.rules, func(r *rule) bool {
		if labels == nil {
			labels = set.labels.Map()
		}
		applies, err := runWhere(&e.machine, r.where, labels)
		if err != nil {
			e.WhereErrors++
			e.LastWhereError = err
			u := e.uses.of(r)
			u.WhereErrors++
			u.LastError = err.Error()
		}
		return applies
	})
}

// takeOver binds a state that other rules left, or that was just decoded, and ends the conditions
// of rules that are gone.
func (e *Evaluator) takeOver(st *State, group string, nowMS int64, out []schemas.Condition) []schemas.Condition {
	if st.rules == e.rules {
		return out
	}
	st.rules = e.rules
	for _, set := range st.sets {
		e.bind(set)
		for _, s := range set.saved {
			if s.last.truth != yes {
				continue
			}
			out = append(out, removed(set, &s, group, nowMS))
		}
		set.saved = nil
		if newest := set.newest(); newest > math.MinInt64 {
			st.dueBy(newest + set.keepMS)
		}
		for i := range set.bound {
			b := &set.bound[i]
			if b.last.truth == yes {
				st.dueBy(b.deadlineMS())
			}
			if b.last.truth == yes && b.last.shadow != b.rule.shadow {
				out = e.sayAgain(set, b, group, out)
			}
		}
		st.dueByMissing(set, set.oldestEnd())
	}
	return out
}

// sayAgain repeats a true condition whose rule became a shadow, or no longer is one: a series that
// is silent would not say it before data is back.
func (e *Evaluator) sayAgain(set *labelSet, b *binding, group string, out []schemas.Condition) []schemas.Condition {
	b.last.shadow = b.rule.shadow
	b.last.revision++
	b.last.level = min(b.last.level, uint8(len(b.rule.levels)))
	value, reason := math.NaN(), reasonNoData
	if !b.last.missing {
		_, value = e.judge(set, b, b.last.endMS)
		reason = ""
	}
	c := e.condition(set, b, group, value)
	c.EndMS, c.Revision, c.Reason = b.last.endMS, b.last.revision, reason
	if b.last.missing {
		c.ForMS = 0
	}
	return append(out, c)
}

// check evaluates one rule on one label set, if one of its inputs was touched.
func (e *Evaluator) check(st *State, set *labelSet, b *binding, group string, out []schemas.Condition) []schemas.Condition {
	end, did, revision := int64(math.MinInt64), ignored, uint32(0)
	for _, i := range b.in {
		if i < 0 {
			continue
		}
		x := &set.series[i]
		end = max(end, x.ring.newest())
		if x.epoch == st.epoch {
			did, revision = max(did, x.change), max(revision, x.revision)
		}
	}
	if did == ignored || b.last.truth != unknown && end < b.last.endMS {
		return out
	}
	b.evaluations++
	if b.last.truth == yes && !b.last.missing && b.rule.onNoData == endOnNoData && b.silentMS() < end {
		out = e.endSilent(set, b, group, out)
	}
	again := b.last.truth != unknown && b.last.endMS == end
	wasTrue, was := b.last.truth == yes, b.last.level
	if again {
		wasTrue, was = b.last.wasTrue, b.last.wasLevel
	}
	if wasTrue = wasTrue && !b.last.other && !b.last.missing; !wasTrue {
		was = 0
	}
	t, level, value, why := e.outcome(set, b, end, wasTrue, was)
	switch {
	case t == unknown: // it was true, and has neither recovered nor been seen to be true: no_data will end it
		return out
	case t == no && b.last.truth == unknown && !e.mustSay(st, b, end, why): // healthy
		return out
	case t == no && b.last.truth == no && !again: // healthy since an earlier end
		b.last = outcome{settled: b.last.settled}
		return out
	case t == no && b.last.truth == no && did != repeated: // revised, and false as before
		return out
	case again && did == repeated:
		revision = b.last.revision
	case again:
		revision = max(revision, b.last.revision+1)
	}
	old := b.last.old && (again || b.last.truth == yes)
	b.last = outcome{truth: t, wasTrue: wasTrue, old: old, settled: st.lostMS > 0, shadow: t == yes && b.rule.shadow,
		level: level, wasLevel: was, endMS: end, revision: revision}
	if t == yes || b.rule.onNoData == fireOnNoData {
		st.dueBy(b.deadlineMS())
	}
	c := e.condition(set, b, group, value)
	c.EndMS, c.Revision, c.Reason = end, revision, why
	return append(out, c)
}

// mustSay reports whether the binding, of which nothing has been said, must say that it is false at
// the end, for a reason; see State.Lost. e.in has the rule's inputs.
func (e *Evaluator) mustSay(st *State, b *binding, end int64, why string) bool {
	switch {
	case st.lostMS == 0 || b.last.settled:
		return false
	case why == reasonNoData:
		return end >= st.lostMS+max(b.rule.noDataMS, b.rule.longestMS())
	case b.rule.recover != nil:
		recovered, _ := b.rule.recover.truth(e.in)
		return recovered == yes
	}
	return true
}

// silentMS is the end at which a true condition is over if no window comes.
func (b *binding) silentMS() int64 {
	tier := b.rule.tierMS
	return (b.last.endMS + b.rule.noDataMS + tier - 1) / tier * tier
}

// deadlineMS is when no window with that end can close any more, ms.
func (b *binding) deadlineMS() int64 { return b.silentMS() + b.rule.graceMS }

func (e *Evaluator) endSilent(set *labelSet, b *binding, group string, out []schemas.Condition) []schemas.Condition {
	return e.end(set, b, group, b.silentMS(), reasonNoData, out)
}

// end says at a window's end, and for what reason, that a true condition is over, though no window
// has told so.
func (e *Evaluator) end(set *labelSet, b *binding, group string, endMS int64, reason string, out []schemas.Condition) []schemas.Condition {
	b.last = outcome{truth: no, old: b.last.old, settled: b.last.settled, endMS: endMS}
	c := e.condition(set, b, group, math.NaN())
	c.EndMS, c.Reason = endMS, reason
	return append(out, c)
}

// outcome is evaluate, for rules with levels, too; level is the highest that is true, from 1.
func (e *Evaluator) outcome(set *labelSet, b *binding, end int64, wasTrue bool, was uint8) (t truth, level uint8, value float64, why string) {
	if len(b.rule.levels) == 0 {
		t, value, why = e.evaluate(set, b, end, wasTrue)
		return t, 0, value, why
	}
	k, value, why := e.rise(set, b, end, int(was))
	switch {
	case k > 0:
		return yes, uint8(k), value, ""
	case why == reasonNoData && e.uncovered && wasTrue && b.rule.onNoData == keepOnNoData:
		return unknown, 0, value, ""
	}
	return no, 0, value, why
}

// evaluate returns the rule's outcome at a window's end: yes, or no and why. It is unknown only if
// the condition was true, or its series were missed, and nothing tells that this is over.
func (e *Evaluator) evaluate(set *labelSet, b *binding, end int64, wasTrue bool) (truth, float64, string) {
	r := b.rule
	t, value := e.judge(set, b, end)
	if wasTrue && r.recover != nil {
		recovered, v := r.recover.truth(e.in)
		switch {
		case recovered == yes:
			return no, first(value, v), reasonRecovered
		case recovered == unknown && t != yes:
			return unknown, value, ""
		}
		return yes, first(value, v), ""
	}
	switch t {
	case yes:
		return yes, value, ""
	case no:
		return no, value, reasonFalse
	}
	if e.uncovered && (b.last.missing || wasTrue && r.onNoData == keepOnNoData) {
		return unknown, value, "" // data is back, and too little to tell whether it is over
	}
	return no, value, reasonNoData
}

// read puts what the rule's inputs are at a window's end into e.in.
// e.uncovered tells whether one is unknown as its range is not covered.
func (e *Evaluator) read(set *labelSet, b *binding, end int64) {
	r := b.rule
	e.uncovered = false
	for k := range r.inputs {
		in := &r.inputs[k]
		e.in[k] = math.NaN()
		if i := b.in[k]; i >= 0 {
			x := &set.series[i].ring
			switch {
			case in.rangeMS == 0:
				e.in[k] = x.over(in, end, r.noDataMS) // Prometheus's lookback
			case r.covers(x, in, end):
				e.in[k] = x.over(in, end, in.rangeMS)
			default:
				e.uncovered = true
			}
		} else if in.zone != nil {
			e.in[k] = in.fn.at(time.UnixMilli(end).In(in.zone))
		} else if in.limits != nil {
			e.in[k] = b.limits[k]
		}
	}
}

// Advance ends the conditions whose series got no window for the rule's no_data, up to nowMS, the
// series group's watermark, and forgets series that fell silent. Call it after Closed, when
// State.DueMS has passed, and once for each group after the rules were reloaded.
func (e *Evaluator) Advance(st *State, group string, nowMS int64, out []schemas.Condition) []schemas.Condition {
	out = e.takeOver(st, group, nowMS, out)
	if st.due == 0 || nowMS < st.due {
		return out
	}
	st.due, st.cursor = 0, 0
	st.sets = slices.DeleteFunc(st.sets, func(set *labelSet) bool {
		active := false
		for i := range set.bound {
			b := &set.bound[i]
			switch policy := b.rule.onNoData; {
			case policy == fireOnNoData:
				out = e.miss(st, set, b, group, nowMS, out)
				active = active || b.last.truth == yes
			case policy == keepOnNoData:
				st.dueBy(nowMS + lookAgainMS)
				out = e.retire(st, set, b, group, nowMS, out)
				active = active || b.last.truth == yes
			case b.last.truth != yes:
			case b.deadlineMS() <= nowMS:
				out = e.endSilent(set, b, group, out)
			default:
				active = true
				st.dueBy(b.deadlineMS())
			}
		}
		if forget := set.newest() + set.keepMS; forget > nowMS {
			st.dueBy(forget)
			return false
		}
		if active {
			return false
		}
		e.collect(set)
		st.unlink(set)
		return true
	})
	return out
}

// condition describes what was just said about a rule on a label set. A value that is not finite is
// shown as 1 for a true condition, and as 0 for a false one.
func (e *Evaluator) condition(set *labelSet, b *binding, group string, value float64) schemas.Condition {
	r, last := b.rule, &b.last
	isTrue := last.truth == yes
	c := schemas.Condition{
		Rule: r.name, Fingerprint: last.fingerprint(r.name, group, set.labels), Group: group, True: isTrue,
		Value: value, ForMS: r.forMS, KeepMS: r.keepMS, TierMS: r.tierMS, Shadow: r.shadow,
	}
	if last.level > 0 && int(last.level) <= len(r.levels) {
		c.Levels, c.Level = r.levelsOf(), int(last.level)-1
	}
	if !finite(value) {
		c.Value = 0
		if isTrue {
			c.Value = 1
		}
	}
	t := texts{data: templateData{Labels: set.labels.Map(), Value: c.Value, Budget: newBudget()}, left: maxAllTextBytes}
	c.Labels = set.labels.Map()
	for i := range r.labels {
		if v := t.fill(&r.labels[i]); v != "" {
			c.Labels[r.labels[i].name] = v
		} else {
			delete(c.Labels, r.labels[i].name)
		}
	}
	c.Labels["alertname"] = r.alert
	if isTrue && len(r.annotations) > 0 {
		c.Annotations = make(map[string]string, len(r.annotations))
		for i := range r.annotations {
			c.Annotations[r.annotations[i].name] = t.fill(&r.annotations[i])
		}
	}
	return c
}

// removed is the end of a condition whose rule is gone, or no longer selects the series.
func removed(set *labelSet, s *saved, group string, nowMS int64) schemas.Condition {
	c := schemas.Condition{
		Rule: s.rule, Fingerprint: s.last.fingerprint(s.rule, group, set.labels), Group: group,
		Labels: set.labels.Map(), EndMS: nowMS, Reason: reasonRemoved, Shadow: s.last.shadow,
	}
	c.Labels["alertname"] = s.rule[strings.LastIndexByte(s.rule, '/')+1:]
	if nowMS <= s.last.endMS {
		c.EndMS, c.Revision = s.last.endMS, s.last.revision+1
	}
	return c
}
