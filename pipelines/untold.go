package pipelines

import (
	"fmt"
	"maps"
	"slices"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/sinks"
)

// Untold warns of receivers that no alert of the rules can reach, and of rules whose alerts no
// receiver takes. A label that a rule fills in from a template, or that no rule sets and that comes
// with the series, may have any value.
func (c *Config) Untold(rules *alerts.RuleSet) conf.Faults {
	claims, set := rules.Claims(), map[string][]string{} // values that rules set, by label
	for _, claim := range claims {
		for name, value := range claim.Labels {
			if !slices.Contains(set[name], value) {
				set[name] = append(set[name], value)
			}
		}
	}
	takes := func(match map[string]string, claim *alerts.Claim) bool {
		for name, want := range match {
			value, fixed := claim.Labels[name]
			if !claim.Filled[name] && (fixed || set[name] != nil) && value != want {
				return false
			}
		}
		return true
	}
	var warnings conf.Faults
	taken := make([]bool, len(claims))
	for i, r := range c.Notify.Receivers {
		any := false
		for k := range claims {
			if takes(r.Match, &claims[k]) {
				any, taken[k] = true, true
			}
		}
		if any || len(claims) == 0 {
			continue
		}
		field := fmt.Sprintf("notify.receivers[%d].match", i)
		w := conf.Fault{File: c.source.file, Line: c.source.doc.Line(field), Field: field, Bound: fmt.Sprintf("no rule's labels satisfy it: receiver %s is told of nothing", r.Name)}
		for _, name := range slices.Sorted(maps.Keys(r.Match)) {
			if near := conf.Closest(r.Match[name], set[name]); near != "" && !slices.Contains(set[name], r.Match[name]) {
				field += "." + name
				w.Line, w.Field, w.Value = c.source.doc.Line(field), field, r.Match[name]
				w.Bound += fmt.Sprintf("; did you mean %s?", near)
				break
			}
		}
		warnings = append(warnings, w)
	}
	for k, claim := range claims {
		if !taken[k] {
			w := claim.Place
			w.Bound = "no receiver takes its alerts: none matches its labels " + sinks.LabelText(claim.Labels)
			warnings = append(warnings, w)
		}
	}
	return warnings
}
