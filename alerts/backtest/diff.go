package backtest

import (
	"cmp"
	"slices"
	"strings"
)

// Diff tells how the alerts of the rules differ from those of the rules that they are compared with.
type Diff struct {
	More    []Alert  `json:"fired_more"` // only the rules fire these
	Less    []Alert  `json:"fired_less"` // only the other rules fire these
	Earlier []Change `json:"earlier"`    // the rules fire these earlier than the others
	Later   []Change `json:"later"`      // the rules fire these later
	Ended   []Change `json:"ended"`      // these fire at the same time, but end earlier or later
	Same    int      `json:"same"`       // number of alerts with the same times
	// Added and Removed name the rules that only one of the sets has.
	Added   []string `json:"rules_added,omitempty"`
	Removed []string `json:"rules_removed,omitempty"`
}

// Change is an alert that both sets of rules fire, at different times.
type Change struct {
	Now    Alert `json:"now"`
	Before Alert `json:"before"`
}

// compare matches each alert of the rules with an alert of the others that has the same rule and series and was active
// at the same time.
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
