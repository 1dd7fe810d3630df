package ruletest

import (
	"errors"
	"maps"
	"slices"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/schemas"
)

// player checks rules on closed windows and plays the lives of alerts, as the processors window and alert do. The zero
// value has no rules.
type player struct {
	disturbance Disturbance
	evaluator   *alerts.Evaluator
	groups      map[string]*alerts.State // by series group
	alerts      map[string]*life         // by fingerprint
	keeping     map[string]*life         // those that only keep_firing_for keeps firing
	nowMS       int64                    // the wall clock
	err         error                    // the first fault of a state's encoding

	said  func(c *schemas.Condition) // called with each condition, unless nil
	moved func(after *schemas.Alert) // called with each alert whose state has changed, unless nil
}

// life is an alert, and when the last condition that changed it arrived: keep_firing_for runs from then.
type life struct {
	alert  *schemas.Alert
	seenMS int64
}

// group returns the rules' state of a series group.
func (p *player) group(name string) *alerts.State {
	st := p.groups[name]
	if st == nil {
		st = &alerts.State{}
		if p.groups == nil {
			p.groups = map[string]*alerts.State{}
		}
		p.groups[name] = st
	}
	return st
}

func (p *player) groupNames() []string { return slices.Sorted(maps.Keys(p.groups)) }

// load replaces the rules, as a reload does.
func (p *player) load(rules *alerts.RuleSet) {
	p.evaluator = rules.NewEvaluator()
	for _, group := range p.groupNames() {
		p.advance(group, p.nowMS)
	}
}

// closed checks the rules on closed or revised windows of one tier with the same end.
func (p *player) closed(group string, tierMS, endMS int64, ws []schemas.Window) {
	st := p.group(group)
	p.apply(p.evaluator.Closed(st, group, tierMS, endMS, ws, nil))
	switch p.disturbance {
	case Restarts:
		decoded, err := alerts.DecodeState(st.Append(nil))
		if err != nil {
			p.err = errors.Join(p.err, err)
			return
		}
		p.groups[group] = decoded
	case Replays:
		said := p.said
		p.said = nil
		p.apply(p.evaluator.Closed(st, group, tierMS, endMS, ws, nil))
		p.said = said
	}
}

// advance moves a group's event time forward.
func (p *player) advance(group string, timeMS int64) {
	p.apply(p.evaluator.Advance(p.group(group), group, timeMS, nil))
}

// isDue reports whether something is due in a group at an event time.
func (p *player) isDue(group string, timeMS int64) bool {
	due := p.group(group).DueMS()
	return due > 0 && due <= timeMS
}

func (p *player) apply(cs []schemas.Condition) {
	for i := range cs {
		if p.said != nil {
			p.said(&cs[i])
		}
		p.step(&cs[i])
		if p.disturbance == Replays {
			p.step(&cs[i])
		}
	}
}

func (p *player) step(c *schemas.Condition) {
	before := p.alerts[c.Fingerprint]
	if before == nil {
		before = &life{}
	}
	after, changed := alerts.Step(before.alert, c)
	if changed {
		p.become(before.alert, after)
	}
}

func (p *player) become(before, after *schemas.Alert) {
	if p.alerts == nil {
		p.alerts, p.keeping = map[string]*life{}, map[string]*life{}
	}
	l := &life{alert: after, seenMS: p.nowMS}
	p.alerts[after.Fingerprint] = l
	if l.dueMS() > 0 {
		p.keeping[after.Fingerprint] = l
	} else {
		delete(p.keeping, after.Fingerprint)
	}
	if p.moved != nil && (before == nil || before.Last != after.Last) {
		p.moved(after)
	}
}

// dueMS is when keep_firing_for of the alert is over; 0 if it does not run.
func (l *life) dueMS() int64 {
	if alerts.Due(l.alert) == 0 {
		return 0
	}
	return l.seenMS + l.alert.KeepMS
}

// keptMS is when the next keep_firing_for is over; 0 if none runs.
func (p *player) keptMS() int64 {
	next := int64(0)
	for _, l := range p.keeping {
		if due := l.dueMS(); next == 0 || due < next {
			next = due
		}
	}
	return next
}

// expire resolves the alerts whose keep_firing_for is over.
func (p *player) expire() {
	var over []string
	for fingerprint, l := range p.keeping {
		if l.dueMS() <= p.nowMS {
			over = append(over, fingerprint)
		}
	}
	slices.Sort(over)
	for _, fingerprint := range over {
		l := p.alerts[fingerprint]
		if after, changed := alerts.Expire(l.alert, alerts.Due(l.alert)); changed {
			p.become(l.alert, after)
		}
	}
}
