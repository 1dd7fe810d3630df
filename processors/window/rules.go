package window

import (
	"time"

	"github.com/weir-metrics/weir/alerts"
)

// SetRules swaps the rules. Each partition switches between two records, within a moment. Rules
// with the same name keep their state. The conditions of rules that are gone end.
//
// The windows do not depend on rules. The log does not record where a partition switched: see
// docs/rules.md for what a crash at that moment may change.
func (p *Processor) SetRules(rules *alerts.RuleSet) {
	p.logic.rules.Store(rules)
	if e := p.Engine(); e != nil {
		e.Renew()
	}
}

// Renew implements writeback.Renewer. What rules that are gone last reported ends at the very
// window for which they reported it. The new rules take over the other groups' states when their
// next windows close.
func (l *logic) Renew(p *partition) {
	loc, rules := p.Local, l.rules.Load()
	if loc.rules == rules {
		return
	}
	began := time.Now()
	defer func() { l.switched.Observe(time.Since(began).Seconds()) }()
	before := loc.eval
	loc.rules, loc.eval = rules, newEvaluator(rules)
	before.CountFrom()
	p.Values(func(e *entry) {
		before.Count(&e.V.rules)
		e.V.windows.MarkRead(loc.core)
		if !e.V.rules.Active() {
			return
		}
		loc.conds = loc.eval.Advance(&e.V.rules, e.Key, 0, loc.conds[:0])
		l.emitConditions(p, e)
		loc.note(e.V)
	})
	loc.eval.ContinueUses(before)
	loc.use.publish(loc)
}
