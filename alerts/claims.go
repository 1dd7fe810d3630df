package alerts

import (
	"fmt"
	"maps"
	"slices"

	"github.com/weir-metrics/weir/deploy/conf"
)

// Claim is what is known about the alerts of one rule before any is raised.
type Claim struct {
	Rule string // group/alert
	// Labels are those of the rule that are the same for all of its alerts, including alertname.
	// Filled are those that templates make.
	Labels map[string]string
	Filled map[string]bool
	// Place is where the rule is: a fault without a bound.
	Place conf.Fault
}

// Claims are the rules' claims, in the order of the files.
func (rs *RuleSet) Claims() []Claim {
	claims := make([]Claim, len(rs.rules))
	for i, r := range rs.rules {
		c := Claim{Rule: r.name, Labels: map[string]string{"alertname": r.alert}, Filled: map[string]bool{}, Place: r.place}
		for _, l := range r.labels {
			if l.tmpl != nil {
				c.Filled[l.name] = true
			} else {
				c.Labels[l.name] = l.text
			}
		}
		if len(r.levels) > 0 {
			c.Filled[severityLabel] = true
		}
		claims[i] = c
	}
	return claims
}

// Metrics returns the names that rules read, sorted.
func (rs *RuleSet) Metrics() []string { return slices.Sorted(maps.Keys(rs.readers)) }

// Unseen warns of each place that reads one of these metrics, of which nobody has seen a sample.
// known are some that have been seen, to suggest what may be meant.
func (rs *RuleSet) Unseen(metrics, known []string) conf.Faults {
	var ws conf.Faults
	for _, r := range rs.rules {
		told := map[string]bool{}
		for i, in := range r.inputs {
			if i >= len(r.places) || told[in.metric] || !in.windows() || !slices.Contains(metrics, in.metric) {
				continue
			}
			told[in.metric] = true
			w := r.places[i]
			w.Value, w.Bound = in.metric, "is a metric that the running weir has not seen"
			if near := conf.Closest(in.metric, known); near != "" {
				w.Bound += fmt.Sprintf("; did you mean %s?", near)
			}
			ws = append(ws, w)
		}
	}
	return ws
}
