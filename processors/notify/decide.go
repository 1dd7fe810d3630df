package notify

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weir-metrics/weir/schemas"
)

const (
	// unsent starts the result of a delivery that is FAILED without any call.
	unsent = "not sent: "
	// reasonUnseen is the reason of a resolve whose transition was compacted away.
	reasonUnseen = "ended unseen"
	// reasonShadow is the reason of a resolve of which only the shadow's record is left.
	reasonShadow = "its rule is a shadow"
	// maxAttempts is how many attempts an entry keeps.
	maxAttempts = 16
)

// planned is a delivery that observe found due, or ended, and that is not in the ledger yet. Its
// entry is identified by its number.
type planned struct {
	l *lane
	d *schemas.Delivery
}

// observation is one look at an alert's state, with the lock of its partition held.
type observation struct {
	p     *Processor
	part  *partition
	key   string         // fingerprint
	a     *schemas.Alert // nil: the alert no longer exists
	nowMS int64
	due   []planned
}

// observe returns what the state of an alert makes due. What to tell follows from the ledger (who
// knows that it fires) and the state (whether it does), so that records which compaction removed
// are not missed:
//
//   - Transitions in the alert's history after the newest one in the ledger are told in their
//     order, as if each had come in a record of its own.
//   - A receiver with an open trigger is told the end when the alert no longer fires, or no longer
//     exists, whatever its labels are by now; or when it is a shadow, of which nobody is told.
//   - A receiver with an open trigger of an earlier firing is told the end of that first.
//
// A state older than the ledger, as a replay brings it, makes nothing due.
func (p *Processor) observe(part *partition, key string, a *schemas.Alert, nowMS int64) []planned {
	part.mu.Lock()
	defer part.mu.Unlock()
	delete(part.unsure, key)
	o := &observation{p: p, part: part, key: key, a: a, nowMS: nowMS}
	if a == nil {
		o.end(schemas.Transition{From: schemas.Firing, To: schemas.Resolved, AtMS: nowMS, Reason: reasonUnseen}, nil)
		return o.due
	}
	all := transitions(a)
	if older(a, all, part.alerts[key]) {
		return nil
	}
	for _, t := range news(all, part.alerts[key]) {
		switch {
		case !told(t):
		case t.To == schemas.Firing && changes(t):
			o.leave(t)
			o.fire(t)
		case t.To == schemas.Firing:
			o.end(schemas.Transition{From: schemas.Firing, To: schemas.Resolved, AtMS: t.AtMS, Reason: reasonUnseen}, &t)
			o.fire(t)
		default:
			o.end(t, nil)
		}
	}
	switch {
	case a.Shadow:
		o.end(schemas.Transition{From: schemas.Firing, To: schemas.Resolved, AtMS: a.LastMS, Reason: reasonShadow}, nil)
	case a.State != schemas.Firing:
		at := max(a.ResolvedMS, 0)
		if at == 0 {
			at = a.LastMS
		}
		o.end(schemas.Transition{From: schemas.Firing, To: schemas.Resolved, AtMS: at, Reason: reasonUnseen}, nil)
	}
	return o.due
}

// told reports whether receivers are told the transition at all.
func told(t schemas.Transition) bool {
	return !t.Shadow && (t.To == schemas.Firing || t.To == schemas.Resolved && t.From == schemas.Firing)
}

// transitions returns what the alert's record tells about its life, oldest first.
func transitions(a *schemas.Alert) []schemas.Transition {
	if n := len(a.History); n > 0 && a.History[n-1] == a.Last {
		return a.History
	}
	return append(slices.Clip(a.History), a.Last)
}

// older reports whether the state is older than what a lane knows: a replay, or the late write of a
// process that lost its partition.
func older(a *schemas.Alert, all []schemas.Transition, lanes []*lane) bool {
	newest := max(a.LastMS, a.LastTrueMS)
	for _, t := range all {
		newest = max(newest, t.AtMS)
	}
	for _, l := range lanes {
		for i := len(l.entries) - 1; i >= 0; i-- {
			e := &l.entries[i]
			if e.unseen {
				continue // weir's own; alerts never had it
			}
			if !has(all, e) && (e.atMS > newest || told(a.Last) && l.find(a.Last.To == schemas.Firing, a.Last.AtMS) != nil) {
				return true
			}
			break
		}
	}
	return false
}

func has(all []schemas.Transition, e *entry) bool {
	return slices.ContainsFunc(all, func(t schemas.Transition) bool {
		return t.AtMS == e.atMS && (t.To == schemas.Firing) == e.firing
	})
}

// news returns the part of all that may have to be told: everything after the newest transition
// that a lane knows, or the newest of all. One lane knowing the newest does not mean that all do:
// an alert's labels may by now match another receiver.
func news(all []schemas.Transition, lanes []*lane) []schemas.Transition {
	known := -1
	for i, t := range all {
		if told(t) && slices.ContainsFunc(lanes, func(l *lane) bool { return l.find(t.To == schemas.Firing, t.AtMS) != nil }) {
			known = i
		}
	}
	if known < 0 || known == len(all)-1 {
		return all[len(all)-1:]
	}
	return all[known+1:]
}

// end enters the resolve of each open trigger, except those of the firing except.
func (o *observation) end(t schemas.Transition, except *schemas.Transition) {
	lanes := o.part.alerts[o.key]
	for _, l := range lanes {
		if from := l.began(len(l.entries)); l.open() && (except == nil || !slices.ContainsFunc(l.entries[from:], func(e entry) bool { return e.atMS == except.AtMS })) {
			o.endOf(l, t)
		}
	}
	if len(lanes) > 0 || o.a == nil || t != o.a.Last || !told(t) {
		return
	}
	for _, r := range o.p.order { // nobody knows that it fired: enter it nevertheless, so that it is visible and counted
		if r.Matches(o.a.Labels) {
			reason := "nobody was told that it fires"
			if age := o.nowMS - t.AtMS; age > o.p.cfg.MaxAge.MS() {
				reason = fmt.Sprintf("too old: resolved %v ago, max_age is %v", ms(age), o.p.cfg.MaxAge)
			}
			l := o.part.laneOf(o.p, r.ID(), o.key)
			o.enter(l, o.delivery(l, t), reason)
		}
	}
}

// endOf enters the resolve of a lane's open trigger.
func (o *observation) endOf(l *lane, t schemas.Transition) {
	from, trigger := l.began(len(l.entries)), l.last()
	t.AtMS = max(t.AtMS, trigger.atMS)
	for l.find(false, t.AtMS) != nil {
		t.AtMS++
	}
	d := o.delivery(l, t)
	d.Alert.FiredMS, d.Alert.ResolvedMS = l.entries[from].atMS, t.AtMS
	reason := ""
	switch {
	case l.r == nil:
		reason = goneReason
	case !l.heardOf(len(l.entries)):
		reason = "its trigger was not sent either"
		if !trigger.unsent {
			reason = "its trigger was not accepted"
		}
	}
	o.enter(l, d, reason)
}

// leave ends the alert, whose severity fell, for the receivers that were told of it and do not take
// alerts of the milder one. Those that do not take the more severe ones stay: it is still at least as
// bad as they were told.
func (o *observation) leave(t schemas.Transition) {
	if !t.Falls {
		return
	}
	for _, l := range o.part.alerts[o.key] {
		if l.open() && l.r != nil && !l.r.Matches(labelsAt(o.a, t)) && l.find(true, t.AtMS) == nil {
			o.endOf(l, schemas.Transition{From: schemas.Firing, To: schemas.Resolved, AtMS: t.AtMS, Reason: t.Reason, Severity: t.Severity})
		}
	}
}

// changes reports whether a firing alert only has another severity since the transition.
func changes(t schemas.Transition) bool {
	return t.From == schemas.Firing && t.To == schemas.Firing && t.Severity != "" && t.Reason != schemas.ReasonPromoted
}

// labelsAt are the alert's labels as of a transition.
func labelsAt(a *schemas.Alert, t schemas.Transition) map[string]string {
	if t.Severity == "" || a.Labels["severity"] == t.Severity {
		return a.Labels
	}
	labels := maps.Clone(a.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels["severity"] = t.Severity
	return labels
}

const goneReason = "the receiver is no longer in the config"

// fire enters the trigger for each receiver that matches the alert's labels now.
func (o *observation) fire(t schemas.Transition) {
	matched := false
	for _, r := range o.p.order {
		if !r.Matches(labelsAt(o.a, t)) {
			continue
		}
		matched = true
		l := o.part.laneOf(o.p, r.ID(), o.key)
		if l.find(true, t.AtMS) != nil {
			continue
		}
		seen := t.AtMS
		if t == o.a.Last {
			seen = max(seen, o.a.LastTrueMS)
		}
		reason := ""
		// A rule that is a shadow no longer begins to fire when somebody says so, not when its
		// series, which may be silent, was last seen.
		if age := o.nowMS - seen; age > o.p.cfg.MaxAge.MS() && t.Reason != schemas.ReasonPromoted {
			reason = fmt.Sprintf("too old: last true %v ago, max_age is %v", ms(age), o.p.cfg.MaxAge)
		}
		d := o.delivery(l, t)
		l.urgency = o.p.urgency(d.Alert.Labels)
		if d.Alert.FiredMS = t.AtMS; l.open() {
			d.Alert.FiredMS = l.entries[l.began(len(l.entries))].atMS
		}
		o.enter(l, d, reason)
	}
	if !matched && t == o.a.Last {
		o.p.metrics.unmatched.Inc()
		o.p.log.Warn("alert without a receiver", "rule", o.a.Rule, "fingerprint", o.a.Fingerprint, "to", t.To)
	}
}

func (o *observation) delivery(l *lane, t schemas.Transition) *schemas.Delivery {
	a := o.a
	if a == nil { // what was told about it is in the ledger, and is read when the end is sent
		a = &schemas.Alert{Fingerprint: o.key}
	}
	return deliveryOf(a, t, l.receiver)
}

// enter plans d, as FAILED if there is a reason not to send it.
func (o *observation) enter(l *lane, d *schemas.Delivery, reason string) {
	if reason != "" {
		fail(d, o.nowMS, unsent+reason)
	}
	l.add(d)
	o.due = append(o.due, planned{l, d})
	for _, d := range l.collapse() {
		addAttempt(d, o.nowMS, unsent+fmt.Sprintf("over, or of an earlier severity, and %d newer transitions of the alert are waiting", maxWaiting))
		o.due = append(o.due, planned{l, d})
	}
}

// newDelivery returns the PENDING delivery of the alert's newest transition.
func newDelivery(a *schemas.Alert, receiver string) *schemas.Delivery {
	return deliveryOf(a, a.Last, receiver)
}

// deliveryOf returns the PENDING delivery of a transition of the alert, without the history, which
// no receiver is told.
func deliveryOf(a *schemas.Alert, t schemas.Transition, receiver string) *schemas.Delivery {
	told := *a
	if t != a.Last { // the newest is another: its reason does not concern this one
		told.Reason, told.LastTrueMS = "", min(a.LastTrueMS, t.AtMS)
	}
	told.Labels = labelsAt(a, t)
	told.History, told.Last, told.State, told.Shadow = nil, t, t.To, t.Shadow
	return &schemas.Delivery{
		Receiver: receiver, Fingerprint: a.Fingerprint, To: t.To, AtMS: t.AtMS,
		Status: schemas.DeliveryPending, Heard: schemas.HeardNo, Alert: &told,
	}
}

// fail ends a delivery without a call.
func fail(d *schemas.Delivery, nowMS int64, result string) {
	d.Status = schemas.DeliveryFailed
	addAttempt(d, nowMS, result)
}

func addAttempt(d *schemas.Delivery, nowMS int64, result string) {
	d.Attempts = append(d.Attempts, schemas.Attempt{AtMS: nowMS, Result: result})
	if over := len(d.Attempts) - maxAttempts; over > 0 {
		d.Attempts = d.Attempts[over:]
	}
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// unneeded returns why the lane's i-th entry, its first pending one, need no longer be sent when
// its turn has come, or "".
func (l *lane) unneeded(i int, nowMS, maxAgeMS int64) string {
	e := &l.entries[i]
	if !e.firing {
		if l.triggerOf(i) != nil && !l.heardOf(i) {
			return "its trigger was not accepted"
		}
		return ""
	}
	end := l.endAfter(i)
	switch {
	case end == nil:
		return ""
	case e.doubtful:
		return fmt.Sprintf("too old: it fired %v ago, and is over", ms(nowMS-e.atMS))
	case nowMS-end.atMS > maxAgeMS:
		return fmt.Sprintf("over for %v before it could be told, max_age is %v", ms(nowMS-end.atMS), ms(maxAgeMS))
	}
	return ""
}
