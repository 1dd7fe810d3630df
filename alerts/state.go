package alerts

import (
	"math"
	"slices"

	"github.com/weir-metrics/weir/schemas"
)

// State is what rules remember of one series group: the newest windows of the series that they
// read, as far back as their ranges go, and which conditions are true. The zero value is ready. It
// is not safe for concurrent use; an Evaluator of other rules may take it over at any time (a
// reload).
type State struct {
	rules  *RuleSet // to which sets are bound; nil after DecodeState
	sets   []*labelSet
	byHash map[uint64]*labelSet // the last of those with the hash
	cursor int                  // in sets: windows mostly come in the same order as last time
	epoch  uint64               // the current call of Closed, to mark what it touches
	due    int64                // at most the first deadline, ms; 0: none
	lostMS int64                // see Lost; 0: nothing was
}

// labelSet is the series of a group that have the same labels, and the rules
// over them: PromQL's one-to-one matching, with the metric's name left out.
type labelSet struct {
	hash   uint64
	same   *labelSet // another set with the same hash, or nil
	labels schemas.Labels
	series []series
	bound  []binding // in the order of RuleSet.rules
	saved  []saved   // conditions waiting for their rule to be bound
	epoch  uint64
	keepMS int64 // how long after the newest window the set is remembered
}

// series is one series on one tier.
type series struct {
	metric string
	tierMS int64
	ring   ring
	// What the Closed of this epoch did to the series.
	epoch    uint64
	change   change
	revision uint32
}

// binding is a rule on a label set.
type binding struct {
	rule *rule
	in   []int16 // for each of the rule's inputs, its place in labelSet.series, or -1
	last outcome

	limits []float64 // for each input that is one, its limit; nil if none is

	evaluations uint32 // since they were collected last
}

// outcome is the last thing that was said about a rule and label set. The zero value means nothing
// was said.
type outcome struct {
	truth truth // no is kept until a later window, so that a replay repeats it
	// wasTrue: the condition was true at the end before endMS, so recover decided.
	wasTrue bool
	// other: said by another version of the rule, whose recover does not count.
	other bool
	// old: said under the fingerprint of states of version 1, under which it must end.
	old bool
	// settled: something was said since State.Lost, even if only that it is false. truth may be
	// unknown then: nothing is said any more.
	settled bool
	// missing: the condition is true because no window came.
	missing bool
	// shadow: it was said as that of a shadow rule; only of a true condition.
	shadow bool
	// level is that of a true condition whose rule has levels, from 1, and wasLevel that of the end
	// before endMS, if wasTrue.
	level, wasLevel uint8
	endMS           int64
	revision        uint32
}

// kept reports whether the outcome must be kept.
func (o *outcome) kept() bool { return o.truth != unknown || o.settled }

// saved is an outcome whose rule is known only by name.
type saved struct {
	rule string // group/alert
	hash uint64
	last outcome
}

// Why a condition is false: schemas.Condition.Reason.
const (
	reasonFalse     = "false"
	reasonRecovered = "recovered"
	reasonNoData    = schemas.ReasonNoData
	reasonRemoved   = "rule removed"
	reasonByHand    = "retired"
	reasonRetired   = "no data for a week: taken for retired"
)

// Lost declares that what the rules remembered before atMS, ms, above 0, is lost: a condition may
// have been true, and whoever took it for true must be told if it is not. So the first outcome of
// each rule and label set is said even if it is false. A rule with recover says no until it has
// recovered, as it may have been true; a rule whose inputs are missing says nothing before no_data
// is over.
func (st *State) Lost(atMS int64) { st.lostMS = max(st.lostMS, atMS) }

// DueMS is the earliest time at which Advance has something to do, ms; 0: never.
func (st *State) DueMS() int64 { return st.due }

// Active reports whether a condition is true.
func (st *State) Active() bool {
	return st.any(func(o *outcome) bool { return o.truth == yes })
}

// any reports whether an outcome is such a one.
func (st *State) any(such func(o *outcome) bool) bool {
	for _, s := range st.sets {
		for i := range s.bound {
			if such(&s.bound[i].last) {
				return true
			}
		}
		for i := range s.saved {
			if such(&s.saved[i].last) {
				return true
			}
		}
	}
	return false
}

func (st *State) dueBy(ms int64) {
	if st.due == 0 || ms < st.due {
		st.due = ms
	}
}

// find returns the set of the labels, making it if there is none.
func (st *State) find(labels schemas.Labels) *labelSet {
	for range min(2, len(st.sets)) { // the same set as before, or the next one
		if s := st.sets[st.cursor]; slices.Equal(s.labels, labels) {
			return s
		}
		if st.cursor++; st.cursor == len(st.sets) {
			st.cursor = 0
		}
	}
	hash := schemas.Series{Labels: labels}.Hash()
	if s := st.lookup(hash, labels); s != nil {
		st.cursor = slices.Index(st.sets, s)
		return s
	}
	s := &labelSet{hash: hash, labels: slices.Clone(labels)}
	st.add(s)
	return s
}

// lookup returns the set of the labels, or nil. The hash only finds candidates: anybody can
// construct labels with the hash of others.
func (st *State) lookup(hash uint64, labels schemas.Labels) *labelSet {
	s := st.byHash[hash]
	for s != nil && !slices.Equal(s.labels, labels) {
		s = s.same
	}
	return s
}

// unlink removes the set from lookup.
func (st *State) unlink(set *labelSet) {
	first := st.byHash[set.hash]
	switch {
	case first != set:
		for first != nil && first.same != set {
			first = first.same
		}
		if first != nil {
			first.same = set.same
		}
	case set.same != nil:
		st.byHash[set.hash] = set.same
	default:
		delete(st.byHash, set.hash)
	}
	set.same = nil
}

func (st *State) add(s *labelSet) {
	if st.byHash == nil {
		st.byHash = map[uint64]*labelSet{}
	}
	s.same = st.byHash[s.hash]
	st.byHash[s.hash] = s
	st.cursor = len(st.sets)
	st.sets = append(st.sets, s)
}

// seriesOf returns the set's series of the metric and tier, or nil.
func (s *labelSet) seriesOf(metric string, tierMS int64) *series {
	for i := range s.series {
		if x := &s.series[i]; x.tierMS == tierMS && x.metric == metric {
			return x
		}
	}
	return nil
}

// newest returns the end of the set's newest window, ms, or math.MinInt64.
func (s *labelSet) newest() int64 {
	newest := int64(math.MinInt64)
	for i := range s.series {
		newest = max(newest, s.series[i].ring.newest())
	}
	return newest
}

// oldestEnd returns the earliest of the ends of its series' newest windows, ms.
func (s *labelSet) oldestEnd() int64 {
	end := int64(math.MaxInt64)
	for i := range s.series {
		end = min(end, s.series[i].ring.newest())
	}
	return end
}

// unbind keeps what was said, under the rules' names.
func (s *labelSet) unbind() {
	for _, b := range s.bound {
		if b.last.kept() {
			s.saved = append(s.saved, saved{b.rule.name, b.rule.hash, b.last})
		}
	}
	s.bound = nil
}

// bind attaches the rules that read one of the set's series and, if they have a where, apply to its
// labels (which selects reports), and makes each series keep what they read. Conditions of rules
// that are no longer bound stay in saved.
func (s *labelSet) bind(rs *RuleSet, selects func(*rule) bool) {
	s.unbind()
	s.keepMS = defaultNoDataMS(0)
	var rules []*rule
	for i := range s.series {
		for _, r := range rs.readers[s.series[i].metric] {
			if r.tierMS == s.series[i].tierMS && !slices.Contains(rules, r) {
				rules = append(rules, r)
			}
		}
	}
	slices.SortFunc(rules, func(a, b *rule) int { return a.index - b.index })
	cols, span := make([]columns, len(s.series)), make([]int64, len(s.series))
	for _, r := range rules {
		if r.where != nil && !selects(r) {
			continue
		}
		b := binding{rule: r, in: make([]int16, len(r.inputs))}
		for k, in := range r.inputs {
			b.in[k] = -1
			if in.limits != nil {
				b.setLimit(k, in.limitOf(s.labels))
				continue
			}
			for i := range s.series {
				if x := &s.series[i]; x.tierMS == r.tierMS && x.metric == in.metric {
					b.in[k] = int16(i)
					cols[i] |= in.fn.reads
					span[i] = max(span[i], r.keepsMS(&r.inputs[k]))
				}
			}
			s.keepMS = max(s.keepMS, r.remembersMS(&r.inputs[k]))
		}
		s.keepMS = max(s.keepMS, r.noDataMS)
		if r.onNoData != endOnNoData {
			s.keepMS = max(s.keepMS, retireMS)
		}
		if i := slices.IndexFunc(s.saved, func(v saved) bool { return v.rule == r.name }); i >= 0 {
			b.last = s.saved[i].last
			b.last.other = b.last.other || s.saved[i].hash != r.hash
			s.saved = slices.Delete(s.saved, i, i+1)
		}
		s.bound = append(s.bound, b)
	}
	for i := range s.series {
		s.series[i].ring.reshape(cols[i], span[i])
	}
}
