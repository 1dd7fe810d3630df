package backtest

import (
	"cmp"
	"slices"
	"strings"
)

// Diff is how the alerts of two sets of rules differ.
type Diff struct {
	More    []Alert  `json:"fired_more"` // that only the rules fire
	Less    []Alert  `json:"fired_less"` // that only the rules compared with fire
	Earlier []Change `json:"earlier"`    // that the rules fire earlier
	Later   []Change `json:"later"`      // … or later
	Ended   []Change `json:"ended"`      // that fire at the same time, but end earlier or later
	Same    int      `json:"same"`       // alerts with the same times
	// Added and Removed are names of rules that only one of the sets has.
	Added   []string `json:"rules_added,omitempty"`
	Removed []string `json:"rules_removed,omitempty"`
}

// Change is an alert that both sets of rules fire, at different times.
type Change struct {
	Now    Alert `json:"now"`
	Before Alert `json:"before"`
}

// compare finds, for each alert of the rules, the alert of the others of the same rule and series that was active at
// the same time.
func (b *Backtest) compare(now, before []Alert) *Diff {
	d := &Diff{More: []Alert{}, Less: []Alert{}, Earlier: []Change{}, Later: []Change{}, Ended: []Change{}}
	names, old := b.config.Rules.Names(), b.config.Against.Names()
	d.Added = without(names, old)
	d.Removed = without(old, names)
	rest := slices.Clone(before)
	for _, a := range now {
		i := slices.IndexFunc(rest, func(o Alert) bool {
			return o.Fingerprint == a.Fingerprint && o.ActiveMS <= b.end(&a) && a.ActiveMS <= b.end(&o)
		})
		if i < 0 {
			d.More = append(d.More, a)
			continue
		}
		c := Change{a, rest[i]}
		rest = slices.Delete(rest, i, i+1)
		switch {
		case c.Now.FiredMS < c.Before.FiredMS:
			d.Earlier = append(d.Earlier, c)
		case c.Now.FiredMS > c.Before.FiredMS:
			d.Later = append(d.Later, c)
		case c.Now.ResolvedMS != c.Before.ResolvedMS:
			d.Ended = append(d.Ended, c)
		default:
			d.Same++
		}
	}
	d.Less = append(d.Less, rest...)
	slices.SortStableFunc(d.Less, func(a, b Alert) int {
		return cmp.Or(cmp.Compare(a.FiredMS, b.FiredMS), strings.Compare(a.Rule, b.Rule))
	})
	return d
}

// without returns the names that others lack.
func without(names, others []string) []string {
	var rest []string
	for _, n := range names {
		if !slices.Contains(others, n) {
			rest = append(rest, n)
		}
	}
	return rest
}
