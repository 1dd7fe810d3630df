package alerts

import (
	"maps"
	"slices"

	"github.com/weir-metrics/weir/schemas"
)

// climb sets the severity of an alert after a true condition, and records its change if the alert
// fires. It returns whether an alert that has been true since a window's end, ms, fires.
func climb(a *schemas.Alert, c *schemas.Condition, revised bool) (fires func(activeMS int64) bool) {
	if c.Level < 0 || c.Level >= len(c.Levels) {
		a.Severity, a.SinceMS, a.BeforeMS = "", nil, nil
		return func(activeMS int64) bool { return c.EndMS >= activeMS+c.ForMS }
	}
	before := a.SinceMS
	if revised {
		before = a.BeforeMS
	}
	since, reached := make([]int64, len(c.Levels)), -1
	for k := range c.Level + 1 {
		since[k] = c.EndMS
		if k < len(before) && before[k] > 0 {
			since[k] = before[k]
		}
		if c.EndMS >= since[k]+c.Levels[k].ForMS {
			reached = k
		}
	}
	a.BeforeMS, a.SinceMS = before, since
	was := -1 // the level with which it fires already
	if a.State == schemas.Firing || revised && a.State == schemas.Resolved {
		was = slices.IndexFunc(c.Levels, func(l schemas.Level) bool { return l.Severity == a.Severity })
	}
	level, old := reached, a.Severity
	switch {
	case a.State == schemas.Firing || was >= 0:
		level = max(reached, min(was, c.Level), 0)
	case reached < 0:
		level = c.Level // which it is waiting for
	}
	a.Severity = c.Levels[level].Severity
	a.Labels = maps.Clone(a.Labels)
	if a.Labels == nil {
		a.Labels = map[string]string{}
	}
	a.Labels["severity"] = a.Severity
	if a.State == schemas.Firing && old != "" && old != a.Severity {
		reseverity(a, c.EndMS, was >= 0 && level < was)
	}
	return func(int64) bool { return reached >= 0 }
}

// reseverity records that a firing alert has another severity.
func reseverity(a *schemas.Alert, endMS int64, falls bool) {
	reason := "severity is now " + a.Severity
	move(a, schemas.Firing, endMS, reason)
	a.Last.Falls = falls
	a.History[len(a.History)-1] = a.Last
}
