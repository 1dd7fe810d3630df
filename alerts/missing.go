package alerts

import (
	"math"
	"slices"

	"github.com/weir-metrics/weir/schemas"
)

// lookAgainMS is how soon silent series are checked again, ms: whatever waits for their group, such
// as a change of generations, waits no longer.
const lookAgainMS = 5 * 60_000

// newestInput returns the end of the newest window among the inputs of a binding, ms, or
// math.MinInt64.
func (b *binding) newestInput(set *labelSet) int64 {
	newest := int64(math.MinInt64)
	for _, i := range b.in {
		if i >= 0 {
			newest = max(newest, set.series[i].ring.newest())
		}
	}
	return newest
}

// missedMS returns the end of the window at which a series is missed if nothing comes after the
// newest; deadlineMS is when no window with that end can close any more.
func (b *binding) missedMS(newest int64) (end, deadlineMS int64) {
	tier := b.rule.tierMS
	end = (newest + b.rule.noDataMS + tier - 1) / tier * tier
	return end, end + b.rule.graceMS
}

// dueByMissing records when series of the set are missed whose newest window ends at newest, ms.
func (st *State) dueByMissing(set *labelSet, newest int64) {
	for i := range set.bound {
		if b := &set.bound[i]; b.rule.onNoData != endOnNoData && newest > math.MinInt64 {
			_, deadline := b.missedMS(newest)
			st.dueBy(deadline)
		}
	}
}

// miss reports a rule that fires on silence as true once its inputs have been silent for no_data,
// and as false once they have been for so long that they are taken for retired.
func (e *Evaluator) miss(st *State, set *labelSet, b *binding, group string, nowMS int64, out []schemas.Condition) []schemas.Condition {
	newest := b.newestInput(set)
	if newest == math.MinInt64 {
		return out
	}
	end, deadline := b.missedMS(newest)
	if deadline > nowMS {
		st.dueBy(deadline)
		return out
	}
	if newest+retireMS <= nowMS {
		return e.retire(st, set, b, group, nowMS, out)
	}
	st.dueBy(min(newest+retireMS, nowMS+lookAgainMS))
	if b.last.truth == yes && b.last.missing || b.last.endMS >= end && b.last.truth != unknown {
		return out
	}
	b.last = outcome{truth: yes, missing: true, old: b.last.old && b.last.truth == yes, settled: st.lostMS > 0, shadow: b.rule.shadow, endMS: end}
	c := e.condition(set, b, group, math.NaN())
	c.EndMS, c.Reason, c.ForMS = end, reasonNoData, 0
	return append(out, c)
}

// retire ends a condition that silence has kept true for retireMS.
func (e *Evaluator) retire(st *State, set *labelSet, b *binding, group string, nowMS int64, out []schemas.Condition) []schemas.Condition {
	newest := max(b.newestInput(set), math.MinInt64/2)
	if b.last.truth != yes {
		return out
	}
	if newest+retireMS > nowMS {
		st.dueBy(min(newest+retireMS, nowMS+lookAgainMS))
		return out
	}
	tier := b.rule.tierMS
	return e.end(set, b, group, max(b.last.endMS+tier, (newest+retireMS)/tier*tier), reasonRetired, out)
}

// Retire forgets the label sets that gone selects, as their series will not come back, and ends what
// is true of them. Should a window of theirs close later, they are new.
func (e *Evaluator) Retire(st *State, group string, nowMS int64, gone func(schemas.Labels) bool, out []schemas.Condition) []schemas.Condition {
	out = e.takeOver(st, group, nowMS, out)
	st.sets = slices.DeleteFunc(st.sets, func(set *labelSet) bool {
		if !gone(set.labels) {
			return false
		}
		for i := range set.bound {
			if b, tier := &set.bound[i], set.bound[i].rule.tierMS; b.last.truth == yes {
				out = e.end(set, b, group, max(b.last.endMS+tier, nowMS/tier*tier), reasonByHand, out)
			}
		}
		e.collect(set)
		st.unlink(set)
		return true
	})
	st.cursor = 0
	return out
}
