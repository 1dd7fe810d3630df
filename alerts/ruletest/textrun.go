package ruletest

import (
	"fmt"
	"github.com/weir-metrics/weir/schemas"
)

// runTo closes the windows up to toMS, group by group, those of the smallest tier first, as the
// watermark does, and then moves time to their end.
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
		r.group(schemas.GroupOf(v.series, schemas.GroupLabels))
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
		if r.isDue(group, r.nowMS) {
			r.advance(group, r.nowMS)
		}
	}
}

// nameOf is how an alert is printed: its rule, and its labels except alertname.
func nameOf(rule string, labels map[string]string) schemas.Series {
	return schemas.Series{Metric: rule, Labels: withoutName(schemas.NewLabels(labels))}
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

func (r *run) printCondition(c *schemas.Condition) {
	fmt.Fprintf(&r.out, "%s %s", at(c.EndMS), nameOf(c.Rule, c.Labels))
	if c.Revision > 0 {
		fmt.Fprintf(&r.out, " revision %d", c.Revision)
	}
	if c.True {
		fmt.Fprintf(&r.out, " is true: %v\n", c.Value)
	} else {
		fmt.Fprintf(&r.out, " is false: %s\n", c.Reason)
	}
}

func (r *run) printTransition(a *schemas.Alert) {
	t := a.Last
	fmt.Fprintf(&r.out, "%s %s %s -> %s: %s%s\n", at(t.AtMS), nameOf(a.Rule, a.Labels), t.From, t.To, t.Reason, shadowed(t.Shadow))
}

// shadowed marks what is said of the alert of a shadow rule.
func shadowed(shadow bool) string {
	if shadow {
		return " (shadow)"
	}
	return ""
}

// revise replaces windows that end at endMS, and closes them and those of the larger tiers again.
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
			if w := v.window(smallest, tierMS, end); w != nil {
				r.closed(group, tierMS, end, []schemas.Window{*w})
			}
		}
	}
	return nil
}
