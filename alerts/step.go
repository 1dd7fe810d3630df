package alerts

import (
	"slices"

	"github.com/weir-metrics/weir/schemas"
)

// maxHistory is how many transitions an alert keeps.
const maxHistory = 16

// Why an alert changed its state (schemas.Transition.Reason), in addition to the reasons of false
// conditions.
const (
	reasonTrue      = "true"                 // for the first time
	reasonFor       = "true for long enough" // for the rule's for
	reasonRetracted = "retracted"            // a late sample showed that it was not true at that end
	reasonConfirmed = "confirmed"            // a late sample showed that it was true at that end after all
	reasonKept      = "keep_firing_for passed"
	reasonShadow    = "its rule is a shadow now"
	reasonPromoted  = schemas.ReasonPromoted
)

// Step returns the alert's next state after a condition, and whether that differs from prev, which
// is not changed; nil stands for an alert that never existed. The caller saves what has changed; it
// was a transition if next.Last differs from prev.Last.
//
//   - A true condition makes the alert pending, and firing at the first window end at least ForMS
//     after the first true one; at once if ForMS is 0.
//   - A false one makes a pending alert inactive and a firing one resolved; with KeepMS, the latter
//     happens only when Expire finds that Due has passed. A true one before Expire has run keeps it
//     firing.
//   - Ends without any condition in between (a series that is seen once a minute, on 10s windows)
//     do not interrupt for: a series that falls silent for its rule's no_data gets a false
//     condition from Evaluator.Advance.
//   - A condition at or below (LastMS, LastRev) is a replay and changes nothing. A higher revision
//     of the same end undoes what the lower one did: false retracts an alert that became firing
//     with it, whatever KeepMS is, and true restores the alert that false ended, with its ActiveMS.
//   - A firing alert whose rule became a shadow ends for those who were told of it, and continues as
//     a shadow; one whose rule is a shadow no longer begins for them.
//   - If the rule has levels, the alert fires with the highest that was true, or a higher one was, for
//     as long as it asks. A firing alert whose severity changes goes from firing to firing, up as
//     before, and down at once, to the highest level that is true.
//   - After resolved or inactive, a true condition begins a new life: a new ActiveMS.
//
// Labels, annotations and value are those of the last true condition.
func Step(prev *schemas.Alert, c *schemas.Condition) (next *schemas.Alert, changed bool) {
	switch {
	case prev == nil && !c.True:
		return nil, false
	case prev == nil:
		return stepTrue(schemas.Alert{Fingerprint: c.Fingerprint, State: schemas.Inactive}, c), true
	case c.EndMS < prev.LastMS || c.EndMS == prev.LastMS && c.Revision <= prev.LastRev:
		return prev, false
	case c.True:
		return stepTrue(*prev, c), true
	}
	return stepFalse(prev, c)
}

func stepTrue(a schemas.Alert, c *schemas.Condition) *schemas.Alert {
	revised := c.EndMS == a.LastMS
	if a.State == schemas.Firing && a.Shadow != c.Shadow {
		flip(&a, c.EndMS)
	}
	a.Shadow = c.Shadow
	a.Rule, a.Group, a.Labels, a.Annotations = c.Rule, c.Group, c.Labels, c.Annotations
	a.ForMS, a.KeepMS, a.TierMS = c.ForMS, c.KeepMS, c.TierMS
	a.LastMS, a.LastRev, a.LastTrueMS, a.Reason = c.EndMS, c.Revision, c.EndMS, c.Reason
	if finite(c.Value) {
		a.Value = c.Value
	}
	became := reasonTrue
	if c.Reason != "" {
		became = c.Reason
	}
	fires := climb(&a, c, revised)
	if a.State == schemas.Inactive || a.State == schemas.Resolved {
		switch undone := a.Last; {
		case revised && undone.To == a.State && undone.AtMS >= c.EndMS:
			a.ResolvedMS = 0
			move(&a, undone.From, c.EndMS, reasonConfirmed)
		case !fires(c.EndMS):
			a.ActiveMS, a.FiredMS, a.ResolvedMS = c.EndMS, 0, 0
			move(&a, schemas.Pending, c.EndMS, became)
		default:
			a.ActiveMS, a.FiredMS, a.ResolvedMS = c.EndMS, c.EndMS, 0
			move(&a, schemas.Firing, c.EndMS, became)
		}
	}
	if a.State == schemas.Pending && fires(a.ActiveMS) {
		a.FiredMS = c.EndMS
		move(&a, schemas.Firing, c.EndMS, reasonFor)
	}
	return &a
}

// flip makes a firing alert one of a shadow rule, or no longer one. Receivers know it as firing only
// while it is not.
func flip(a *schemas.Alert, endMS int64) {
	reason := reasonPromoted
	if !a.Shadow {
		reason = reasonShadow
		move(a, schemas.Resolved, endMS, reason)
	}
	a.Shadow = !a.Shadow
	move(a, schemas.Firing, endMS, reason)
	a.FiredMS = a.Last.AtMS
}

func stepFalse(prev *schemas.Alert, c *schemas.Condition) (*schemas.Alert, bool) {
	a := *prev
	reason := c.Reason
	if c.EndMS == prev.LastMS && reason != reasonRemoved {
		reason = reasonRetracted
	}
	waits := Due(prev) > 0
	a.LastMS, a.LastRev, a.KeepMS, a.Reason = c.EndMS, c.Revision, c.KeepMS, reason
	if c.EndMS != prev.LastMS {
		a.BeforeMS = a.SinceMS
	}
	a.SinceMS = nil
	a.LastTrueMS = min(a.LastTrueMS, c.EndMS-1) // not true at this end, whatever was said before
	switch {
	case a.State == schemas.Pending:
		move(&a, schemas.Inactive, c.EndMS, reason)
	case a.State != schemas.Firing || waits && c.KeepMS > 0:
		return prev, false
	case c.KeepMS > 0 && a.FiredMS < c.EndMS:
	default:
		a.ResolvedMS = c.EndMS
		move(&a, schemas.Resolved, c.EndMS, reason)
	}
	return &a, true
}

// move records a transition at a window's end. Receivers are told each transition once, by state
// and time: one that returns to a state of the very same end, after two revisions of it, is dated a
// millisecond later.
func move(a *schemas.Alert, to schemas.AlertState, atMS int64, reason string) {
	for slices.ContainsFunc(a.History, func(t schemas.Transition) bool { return t.To == to && t.AtMS == atMS }) {
		atMS++
	}
	a.Last = schemas.Transition{From: a.State, To: to, AtMS: atMS, Reason: reason, Shadow: a.Shadow, Severity: a.Severity}
	a.State = to
	a.History = append(slices.Clip(slices.Clone(a.History[max(0, len(a.History)-maxHistory+1):])), a.Last)
}

// Due returns when a firing alert that only keep_firing_for keeps firing resolves, ms; 0 for any
// other.
func Due(a *schemas.Alert) int64 {
	if a.State != schemas.Firing || a.KeepMS <= 0 || a.LastMS <= a.LastTrueMS {
		return 0
	}
	return a.LastMS + a.KeepMS
}

// Expire resolves the alert, as of Due, if that has passed at nowMS. It returns the resolved alert
// and true, or a itself and false.
func Expire(a *schemas.Alert, nowMS int64) (next *schemas.Alert, changed bool) {
	due := Due(a)
	if due == 0 || nowMS < due {
		return a, false
	}
	resolved := *a
	resolved.ResolvedMS = due
	move(&resolved, schemas.Resolved, due, reasonKept)
	return &resolved, true
}
