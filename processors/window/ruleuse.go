package window

import (
	"sync/atomic"
	"time"

	"github.com/weir-metrics/weir/alerts"
)

const (
	countAfter = int64(2000)   // ms of records' time between two counts of rules that somebody asked for
	countEvery = int64(60_000) // and of others
	countFirst = int64(15_000) // and before the first one, when the first windows have closed
)

// ruleUse is what a partition's evaluator has seen of its rules, as last counted. Counting looks at
// all groups, and others read what was counted, so evaluating costs no lock.
type ruleUse struct {
	countedMS int64
	asked     atomic.Bool // since it was counted
	counted   atomic.Pointer[counted]
}

type counted struct {
	rules *alerts.RuleSet
	uses  []ruleOf
}

type ruleOf struct {
	index int // in rules
	alerts.RuleUse
}

// nanos is the clock by which evaluations are timed.
func nanos() int64 { return int64(time.Since(loaded)) }

var loaded = time.Now()

func newEvaluator(rules *alerts.RuleSet) *alerts.Evaluator {
	e := rules.NewEvaluator()
	e.SetNanos(nanos)
	return e
}

// look is called after each record and tick, with its time, and counts when it is time to.
func (u *ruleUse) look(p *partition, nowMS int64) {
	if u.countedMS == 0 {
		u.countedMS = nowMS + countFirst - countEvery
	}
	if since := nowMS - u.countedMS; since < countAfter || since < countEvery && !u.asked.Load() {
		return
	}
	u.countedMS = nowMS
	u.asked.Store(false)
	p.Local.eval.CountFrom()
	p.Values(func(e *entry) { p.Local.eval.Count(&e.V.rules) })
	u.publish(p.Local)
}

// publish shows others what was counted.
func (u *ruleUse) publish(loc *local) {
	c := &counted{rules: loc.rules}
	loc.eval.Uses(func(i int, use *alerts.RuleUse) { c.uses = append(c.uses, ruleOf{i, *use}) })
	u.counted.Store(c)
}

// addTo adds what was counted to the uses of the rules, by index, and asks for another count.
func (u *ruleUse) addTo(rules *alerts.RuleSet, all []alerts.RuleUse) {
	u.asked.Store(true)
	c := u.counted.Load()
	if c == nil || c.rules != rules { // it has not switched yet
		return
	}
	for i := range c.uses {
		all[c.uses[i].index].Add(&c.uses[i].RuleUse)
	}
}

// RuleUse returns the rules, and what this process's partitions have seen of each, by its place in the
// files. It may be called at any time, by anyone, and knows nothing about what other processes own.
// It is as last counted, up to a minute before, and has the next records bring a newer count.
func (a *All) RuleUse() (*alerts.RuleSet, []alerts.RuleUse) {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make([]alerts.RuleUse, a.deps.Rules.Len())
	for _, m := range a.running {
		m.addUses(a.deps.Rules, all)
	}
	return a.deps.Rules, all
}

func (p *Processor) addUses(rules *alerts.RuleSet, all []alerts.RuleUse) {
	if e := p.Engine(); e != nil {
		for _, loc := range e.Locals() {
			loc.use.addTo(rules, all)
		}
	}
}
