package alerts

import "slices"

// HandOver appends to dst what st remembers of one tier, encoded for the Inherit of the same series
// group in another generation, and removes it from st. st must have been given to Advance before,
// so that it is bound to the evaluator's rules. HandOver returns nil if there is nothing to hand
// over.
func (e *Evaluator) HandOver(st *State, tierMS int64, dst []byte) []byte {
	given := &State{lostMS: st.lostMS}
	st.sets = slices.DeleteFunc(st.sets, func(set *labelSet) bool {
		sub := &labelSet{hash: set.hash, labels: set.labels}
		set.unbindIf(func(b *binding) bool { return b.rule.tierMS == tierMS }, sub)
		set.series = slices.DeleteFunc(set.series, func(x series) bool {
			if x.tierMS == tierMS {
				sub.series = append(sub.series, x)
			}
			return x.tierMS == tierMS
		})
		if sub.worthKeeping() {
			given.add(sub)
		}
		if len(set.series) == 0 {
			st.unlink(set)
			return true
		}
		e.bind(set)
		return false
	})
	st.cursor = 0
	if len(st.sets) == 0 {
		st.due = 0
	}
	if len(given.sets) == 0 {
		return nil
	}
	return given.Append(dst)
}

// unbindIf moves what was said under the matching rules to the outcomes of to.
func (s *labelSet) unbindIf(match func(*binding) bool, to *labelSet) {
	s.bound = slices.DeleteFunc(s.bound, func(b binding) bool {
		if !match(&b) {
			return false
		}
		if b.last.kept() {
			to.saved = append(to.saved, saved{b.rule.name, b.rule.hash, b.last})
		}
		return true
	})
}

// Inherit adds to st what HandOver encoded. What st itself has said in the meantime stays; windows
// from before its own are put in front of them. It returns schemas.ErrVersion or
// schemas.ErrCorrupt, wrapped, and then st is unchanged.
func (e *Evaluator) Inherit(st *State, b []byte) error {
	from, err := DecodeState(b)
	if err != nil {
		return err
	}
	st.Lost(from.lostMS)
	for _, given := range from.sets {
		set := st.find(given.labels)
		for i := range given.series {
			x := &given.series[i]
			if own := set.seriesOf(x.metric, x.tierMS); own != nil {
				own.ring.precede(&x.ring)
			} else {
				set.series = append(set.series, *x)
			}
		}
		for _, s := range given.saved {
			if !set.said(s.rule) {
				set.saved = append(set.saved, s)
			}
		}
	}
	// The next Closed or Advance binds all sets, and finds out when they are due.
	for _, set := range st.sets {
		set.unbind()
	}
	st.rules, st.cursor = nil, 0
	if len(st.sets) > 0 {
		st.due = 1 // at once
	}
	return nil
}

// said reports whether the set has an outcome of the rule.
func (s *labelSet) said(rule string) bool {
	return slices.ContainsFunc(s.saved, func(v saved) bool { return v.rule == rule }) ||
		slices.ContainsFunc(s.bound, func(b binding) bool { return b.rule.name == rule && b.last.truth != unknown })
}

// precede puts the windows of old that end before r's first in front of it.
func (r *ring) precede(old *ring) {
	if len(r.at) == 0 {
		if len(old.at) > 0 {
			*r = *old
		}
		return
	}
	old.reshape(r.cols, max(r.span, old.span))
	n := 0
	for n < len(old.at) && old.at[n].endMS < r.at[0].endMS {
		n++
	}
	r.at = slices.Insert(r.at, 0, old.at[:n]...)
	r.vals = slices.Insert(r.vals, 0, old.vals[:n*r.cols.len()]...)
}
