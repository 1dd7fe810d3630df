package ruletest

import (
	"fmt"
	"maps"
	"slices"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/schemas"
)

// runTo closes the windows up to toMS: those of the smallest tier first, as the
// watermark does, group by group, and then lets time pass to their end.
func (r *run) runTo(toMS int64) {
	smallest := r.tiersMS[0]
	for end := (r.nowMS/smallest + 1) * smallest; end <= toMS; end += smallest {
		r.nowMS = end
		r.close(end, r.series)
		r.expire()
	}
}

// close closes the windows of all tiers that end at endMS, of the given series.
func (r *run) close(endMS int64, series []*values) {
	for _, v := range series {
		if group := schemas.GroupOf(v.series, schemas.GroupLabels); r.groups[group] == nil {
			r.groups[group] = &alerts.State{}
		}
	}
	for _, group := range r.groupNames() {
		for _, tierMS := range r.tiersMS {
			if endMS%tierMS != 0 {
				continue
			}
			var ws []schemas.Window
			for _, v := range series {
				if schemas.GroupOf(v.series, schemas.GroupLabels) != group {
					continue
				}
				if w := v.window(r.tiersMS[0], tierMS, endMS); w != nil {
					ws = append(ws, *w)
				}
			}
			if len(ws) > 0 {
				r.closed(group, tierMS, endMS, ws)
			}
		}
		st := r.groups[group]
		if due := st.DueMS(); due > 0 && due <= r.nowMS {
			r.apply(r.evaluator.Advance(st, group, r.nowMS, nil))
		}
	}
}

func (r *run) closed(group string, tierMS, endMS int64, ws []schemas.Window) {
	st := r.groups[group]
	r.apply(r.evaluator.Closed(st, group, tierMS, endMS, ws, nil))
	switch r.disturbance {
	case Restarts:
		decoded, err := alerts.DecodeState(st.Append(nil))
		if err != nil {
			fmt.Fprintf(&r.out, "error: %v\n", err)
			return
		}
		r.groups[group] = decoded
	case Replays:
		printed := r.conditions
		r.conditions = false
		r.apply(r.evaluator.Closed(st, group, tierMS, endMS, ws, nil))
		r.conditions = printed
	}
}

// apply gives conditions to their alerts and prints what changes.
func (r *run) apply(cs []schemas.Condition) {
	for i := range cs {
		c := &cs[i]
		name := schemas.Series{Metric: c.Rule, Labels: schemas.NewLabels(c.Labels)}
		name.Labels = withoutName(name.Labels)
		if r.conditions {
			r.printCondition(name, c)
		}
		r.step(name, c)
		if r.disturbance == Replays {
			r.step(name, c)
		}
	}
}

func withoutName(labels schemas.Labels) schemas.Labels {
	out := schemas.Labels{}
	for _, l := range labels {
		if l.Name != "alertname" {
			out = append(out, l)
		}
	}
	return out
}

func (r *run) printCondition(name schemas.Series, c *schemas.Condition) {
	fmt.Fprintf(&r.out, "%s %s", at(c.EndMS), name)
	if c.Revision > 0 {
		fmt.Fprintf(&r.out, " revision %d", c.Revision)
	}
	if c.True {
		fmt.Fprintf(&r.out, " is true: %v\n", c.Value)
	} else {
		fmt.Fprintf(&r.out, " is false: %s\n", c.Reason)
	}
}

func (r *run) step(name schemas.Series, c *schemas.Condition) {
	before := r.alerts[c.Fingerprint]
	after, changed := alerts.Step(before, c)
	if !changed {
		return
	}
	r.alerts[c.Fingerprint] = after
	r.printTransitions(name, before, after)
}

func (r *run) printTransitions(name schemas.Series, before, after *schemas.Alert) {
	if before != nil && before.Last == after.Last {
		return
	}
	t := after.Last
	fmt.Fprintf(&r.out, "%s %s %s -> %s: %s\n", at(t.AtMS), name, t.From, t.To, t.Reason)
}

// expire lets the alerts' timers run.
func (r *run) expire() {
	for _, fp := range slices.Sorted(maps.Keys(r.alerts)) {
		a := r.alerts[fp]
		if after, changed := alerts.Expire(a, r.nowMS); changed {
			r.alerts[fp] = after
			name := schemas.Series{Metric: a.Rule, Labels: withoutName(schemas.NewLabels(a.Labels))}
			r.printTransitions(name, a, after)
		}
	}
}

// revise replaces windows that end at endMS and closes them and those above again.
func (r *run) revise(endMS int64, text string) error {
	smallest := r.tiersMS[0]
	if endMS%smallest != 0 || endMS == 0 || endMS > r.nowMS {
		return fmt.Errorf("no window that ends at %s is closed", at(endMS))
	}
	given := run{tiersMS: r.tiersMS}
	if err := given.addSeries(text); err != nil {
		return err
	}
	var revised []*values
	for _, g := range given.series {
		v := r.find(g.series)
		i := int(endMS / smallest)
		for len(v.windows) < i {
			v.windows = append(v.windows, nil)
		}
		if v.windows[i-1] != nil {
			v.revision[endMS]++
		}
		v.windows[i-1] = g.windows[0]
		revised = append(revised, v)
	}
	for _, tierMS := range r.tiersMS {
		end := (endMS + tierMS - 1) / tierMS * tierMS
		if end > r.nowMS {
			break // still open
		}
		for _, v := range revised {
			group := schemas.GroupOf(v.series, schemas.GroupLabels)
			if r.groups[group] == nil {
				r.groups[group] = &alerts.State{}
			}
			if w := v.window(smallest, tierMS, end); w != nil {
				r.closed(group, tierMS, end, []schemas.Window{*w})
			}
		}
	}
	return nil
}
