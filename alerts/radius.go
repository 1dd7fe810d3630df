package alerts

import "github.com/weir-metrics/weir/schemas"

// Radius is how much there is for a rule to do.
type Radius struct {
	Rule   string // group/alert
	Series int    // that it reads, of those label sets
	Sets   int    // label sets that it is judged on: as many alerts may fire at once
	Groups int    // series groups, mostly hosts, that have them
	// PerSecond is how often it is evaluated if each series has all its windows.
	PerSecond float64
	// Bytes is what is kept for it in memory once its ranges are full. A window that several rules
	// read counts for each.
	Bytes int64
}

// Radii works out what rules would have to do with series. Add all series of the metrics that the
// rules read (RuleSet.Metrics), and then call Of.
type Radii struct {
	evaluator *Evaluator
	states    map[string]*State
}

// NewRadii returns one without series.
func (rs *RuleSet) NewRadii() *Radii {
	return &Radii{rs.NewEvaluator(), map[string]*State{}}
}

// Add adds a series of a series group.
func (x *Radii) Add(group string, s schemas.Series) {
	for tier, metrics := range x.evaluator.rules.tiers {
		if _, reads := metrics[s.Metric]; !reads {
			continue
		}
		st := x.states[group]
		if st == nil {
			st = &State{}
			x.states[group] = st
		}
		if set := st.find(s.Labels); set.seriesOf(s.Metric, tier) == nil {
			set.series = append(set.series, series{metric: s.Metric, tierMS: tier})
		}
	}
}

// Of returns the radius of each rule, in the order of the files.
func (x *Radii) Of() []Radius {
	all := make([]Radius, x.evaluator.rules.Len())
	for i, name := range x.evaluator.rules.Names() {
		all[i].Rule = name
	}
	for _, st := range x.states {
		in := map[int]bool{} // rules, by their index
		for _, set := range st.sets {
			x.evaluator.bind(set)
			for i := range set.bound {
				b := &set.bound[i]
				r := &all[b.rule.index]
				if !in[b.rule.index] {
					in[b.rule.index] = true
					r.Groups++
				}
				r.Sets++
				r.PerSecond += 1000 / float64(b.rule.tierMS)
				r.Bytes += bindingBytes + int64(2*len(b.in)+8*len(b.limits))
				for _, k := range b.in {
					if k >= 0 {
						r.Series++
						r.Bytes += set.series[k].ring.fullBytes(set.series[k].tierMS)
					}
				}
			}
		}
	}
	return all
}

// fullBytes is what the ring takes once it holds all that it will.
func (r *ring) fullBytes(tierMS int64) int64 {
	windows := int64(1)
	if r.span > 0 {
		windows = r.span/tierMS + olderWindows + slackWindows/2
	}
	return windows * int64(16+8*r.cols.len())
}
