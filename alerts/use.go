package alerts

import "math"

// RuleUse is what evaluators have seen of a rule since the process began, or since a reload changed
// what decides its outcome.
type RuleUse struct {
	Evaluations uint64
	EndMS       int64   // the newest window's end at which it was evaluated; 0: it never was
	Value       float64 // at that end, of one of the label sets; NaN: it had none
	// TimedNS is how long the Timed evaluations took, ns: a sample of the latest.
	TimedNS int64
	Timed   uint64
	// Sets is how many label sets the rule applies to, and Bytes what the windows and outcomes take
	// that are kept for them. A window that several rules read counts for each.
	Sets, Bytes int64
	Shards      int // in how many partitions it applies to something

	WhereErrors uint64 // label sets to which it was not applied, because its where failed
	LastError   string // the last of those failures
}

// Seconds estimates how long all evaluations took, from those that were timed.
func (u *RuleUse) Seconds() float64 { return u.Mean() * float64(u.Evaluations) }

// Mean estimates how long an evaluation takes, s.
func (u *RuleUse) Mean() float64 {
	if u.Timed == 0 {
		return 0
	}
	return float64(u.TimedNS) / float64(u.Timed) / 1e9
}

// Add adds what another evaluator has seen of the rule.
func (u *RuleUse) Add(v *RuleUse) {
	if v.EndMS > u.EndMS {
		u.EndMS, u.Value = v.EndMS, v.Value
	}
	u.Evaluations += v.Evaluations
	u.TimedNS += v.TimedNS
	u.Timed += v.Timed
	u.Sets += v.Sets
	u.Bytes += v.Bytes
	u.Shards += v.Shards
	u.WhereErrors += v.WhereErrors
	if v.LastError != "" {
		u.LastError = v.LastError
	}
}

// usesPerPage is how many rules' uses are made at once: of thousands of rules, a partition mostly
// evaluates a few that stand together.
const usesPerPage = 16

// uses are what an evaluator has seen of its rules, by their index. An evaluation counts in its
// binding, which it has at hand, and what is there comes here from time to time: looking up the rule
// costs a healthy evaluation a tenth of its time.
type uses []*[usesPerPage]RuleUse

func newUses(rules int) uses { return make(uses, (rules+usesPerPage-1)/usesPerPage) }

// of returns the use of a rule, making it if there is none.
func (us uses) of(r *rule) *RuleUse {
	p := &us[r.index/usesPerPage]
	if *p == nil {
		*p = &[usesPerPage]RuleUse{}
	}
	return &(*p)[r.index%usesPerPage]
}

// Uses calls f with the index of each rule that was evaluated or applies to something, and its use,
// as of the last count.
func (e *Evaluator) Uses(f func(i int, u *RuleUse)) {
	for k, p := range e.uses {
		if p == nil {
			continue
		}
		for i := range p {
			if u := &p[i]; u.Evaluations > 0 || u.Sets > 0 || u.WhereErrors > 0 {
				f(k*usesPerPage+i, u)
			}
		}
	}
}

// ContinueUses takes over what an evaluator of the rules before a reload has counted of rules whose
// outcome is decided as before.
func (e *Evaluator) ContinueUses(before *Evaluator) {
	before.Uses(func(i int, u *RuleUse) {
		was := before.rules.rules[i]
		if r := e.rules.byName[was.name]; r != nil && r.hash == was.hash {
			e.uses.of(r).Add(u)
		}
	})
}

// CountFrom begins a count of what Uses tells. Count must then be called with each state.
func (e *Evaluator) CountFrom() {
	for _, p := range e.uses {
		if p == nil {
			continue
		}
		for i := range p {
			p[i].Sets, p[i].Bytes, p[i].Shards = 0, 0, 0
		}
	}
}

// Count counts a state, unless it is still bound to other rules.
func (e *Evaluator) Count(st *State) {
	if st.rules != e.rules {
		return
	}
	for _, set := range st.sets {
		e.collect(set)
		for i := range set.bound {
			b := &set.bound[i]
			u := e.uses.of(b.rule)
			u.Sets++
			u.Shards = 1
			u.Bytes += bindingBytes + int64(2*len(b.in)+8*len(b.limits))
			for _, k := range b.in {
				if k >= 0 {
					u.Bytes += set.series[k].ring.bytes()
				}
			}
			if end := b.newestInput(set); end > u.EndMS {
				u.EndMS = end
				_, u.Value = e.judge(set, b, end)
			}
		}
	}
}

// collect takes over the evaluations that a set's bindings have counted.
func (e *Evaluator) collect(set *labelSet) {
	for i := range set.bound {
		if b := &set.bound[i]; b.evaluations > 0 {
			e.uses.of(b.rule).Evaluations += uint64(b.evaluations)
			b.evaluations = 0
		}
	}
}

// bindingBytes is what a binding takes beside its slices.
const bindingBytes = 88

// bytes is what the ring's windows take in memory.
func (r *ring) bytes() int64 { return int64(16*cap(r.at) + 8*cap(r.vals)) }

// timeEvery is of about how many evaluations one is timed, once some thousand have been: the first
// ones are timed more often, so that something is soon known of each rule. mostTimedNS is the most
// that one counts: one that took longer was interrupted. A rule's mean is of the latest: after
// mostTimed, those before count half.
const (
	timeEvery   = 256
	mostTimedNS = 1_000_000
	mostTimed   = 64
)

// SetNanos has a sample of the evaluations timed by a clock: ns since any time.
func (e *Evaluator) SetNanos(nanos func() int64) {
	e.nanos, e.untimed, e.nanosTake = nanos, 1, math.MaxInt64
	for range 8 { // the least that reading the clock twice takes
		began := nanos()
		e.nanosTake = min(e.nanosTake, nanos()-began)
	}
}

// timed records how long the check of a binding took, ns, if that evaluated it; otherwise the next
// check is timed. The distances between two that are timed differ, as rules are evaluated in turn.
func (e *Evaluator) timed(b *binding, tookNS int64, evaluated bool) {
	if e.untimed = 1; !evaluated {
		return
	}
	e.everTimed++
	every := min(timeEvery, 1+e.everTimed/8)
	e.random = e.random*1664525 + 1013904223
	e.untimed = max(1, int(every/2+e.random>>16%every))
	u := e.uses.of(b.rule)
	if u.Timed == mostTimed {
		u.TimedNS, u.Timed = u.TimedNS/2, u.Timed/2
	}
	u.TimedNS += min(max(tookNS-e.nanosTake, 0), mostTimedNS)
	u.Timed++
}
