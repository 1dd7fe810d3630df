package window

import (
	"github.com/weir-metrics/weir/alerts"
)

// SetRules swaps the rules. Each partition switches between two records, within a moment. Rules
// with the same name keep their state. The conditions of rules that are gone end.
//
// The windows do not depend on it. The records at which it happened do not stand in the
// log: see docs/rules.md for what a crash at that moment may change.
func (p *Processor) SetRules(rules *alerts.RuleSet) {
	p.logic.rules.Store(rules)
	if e := p.Engine(); e != nil {
		e.Renew()
	}
}

// Renew implements writeback.Renewer. What rules that are gone said last ends at the
// very window of which they said it. The other groups' states are taken over by the new
// rules when their next windows close.
func (l *logic) Renew(p *partition) {
	loc, rules := p.Local, l.rules.Load()
	if loc.rules == rules {
		return
	}
	loc.rules, loc.eval = rules, rules.NewEvaluator()
	p.Values(func(e *entry) {
		e.V.windows.MarkRead(loc.core)
		if !e.V.rules.Active() {
			return
		}
		loc.conds = loc.eval.Advance(&e.V.rules, e.Key, 0, loc.conds[:0])
		l.emitConditions(p, e)
		loc.note(e.V)
	})
}
