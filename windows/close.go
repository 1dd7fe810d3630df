package windows

import (
	"math"
	"slices"
)

// open returns the open frame of tier t that holds ts, making it if need be, or nil
// if that window has closed.
func (g *Group) open(co *Core, t int, ts int64) *frame {
	start := floor(ts, co.sizes[t])
	if end := start + co.sizes[t]; end <= g.clock-co.graces[t] || end <= g.doubt {
		return nil
	}
	return g.frameAt(co, t, start)
}

// frameAt returns the frame, making an open one if need be.
func (g *Group) frameAt(co *Core, t int, start int64) *frame {
	fs := g.tiers[t]
	i := len(fs)
	for i > 0 && fs[i-1].start > start {
		i--
	}
	if i > 0 && fs[i-1].start == start {
		return fs[i-1]
	}
	f := &frame{start: start, flat: t > 0}
	g.tiers[t] = slices.Insert(fs, i, f)
	// A state that is decoded knows no more than its frames: what nextClose is must
	// follow from them. One made for a late sample is closed, and let go of a window
	// later; one that closes as soon as it is made, see handOn, close looks at next.
	next := start + co.sizes[t] + co.graces[t]
	if next <= g.clock {
		next += co.sizes[t]
	}
	if next > g.clock {
		g.nextClose = min(g.nextClose, next)
	}
	return f
}

// floor is the start of the window of that size that holds ts.
func floor(ts, size int64) int64 {
	m := ts % size
	if m < 0 {
		m += size
	}
	return ts - m
}

// Advance moves the group's clock to TimeAt(nowMS) if a window closes by that, and
// changes nothing otherwise: what it does must be done again by whoever replays the
// log after a crash, so call it with times that stand in the log, when what was sent
// before has been applied. It returns whether something closed.
func (g *Group) Advance(co *Core, nowMS int64, r *Result) bool {
	nowMS = sane(nowMS)
	to := g.TimeAt(nowMS)
	if !g.started || to <= g.clock || to < g.nextClose {
		return false
	}
	g.clock = to
	closed := g.close(co, nowMS, r)
	g.flush(co, nowMS, r)
	g.evict(co)
	return closed
}

// CloseAll closes every open window, as at the end of a file.
func (g *Group) CloseAll(co *Core, nowMS int64, r *Result) {
	for t := range g.tiers {
		for _, f := range g.tiers[t] {
			g.clock = max(g.clock, f.start+co.sizes[t]+co.graces[t])
		}
	}
	g.close(co, nowMS, r)
	// A closing window opens the one above it, and that may end later.
	for t := range g.tiers {
		for slices.ContainsFunc(g.tiers[t], func(f *frame) bool { return !f.closed }) {
			g.clock = max(g.clock, g.nextClose)
			g.close(co, nowMS, r)
		}
	}
	g.flush(co, nowMS, r)
}

// close closes, tier by tier, the windows whose time has come, hands each on to the
// tier above, and lets go of those that need no longer be kept.
func (g *Group) close(co *Core, nowMS int64, r *Result) bool {
	g.emitRevised(co, nowMS, r) // samples applied before belong to the windows as they were
	closed, dropped := false, false
	g.nextClose = math.MaxInt64
	for t, size := range co.sizes {
		watermark := g.clock - co.graces[t]
		keep := g.tiers[t][:0]
		for _, f := range g.tiers[t] {
			end := f.start + size
			if !f.closed {
				if end > watermark {
					g.nextClose = min(g.nextClose, end+co.graces[t])
					f.rest(co, t)
					keep = append(keep, f)
					continue
				}
				f.closed = true
				closed = true
				f.thaw(co, t, len(g.ids))
				aggs := f.aggregated(co, len(g.ids))
				g.handOn(co, t, f.start, aggs)
				g.emitFrame(co, t, f.start, aggs, nowMS, r)
			}
			if end > watermark-size {
				f.freeze(co, t)
				keep = append(keep, f)
				g.nextClose = min(g.nextClose, end+size+co.graces[t])
				continue
			}
			co.freeAggs(f.aggs)
			f.freeRows(co)
			dropped = dropped || t == len(co.sizes)-1
		}
		clear(g.tiers[t][len(keep):])
		g.tiers[t] = keep
	}
	g.evictable = g.evictable || dropped
	return closed
}

// handOn merges a closing frame of tier t into the frame above.
func (g *Group) handOn(co *Core, t int, start int64, aggs []agg) {
	if t+1 == len(co.sizes) || len(aggs) == 0 {
		return
	}
	up := g.frameAt(co, t+1, floor(start, co.sizes[t+1]))
	up.thaw(co, t+1, len(g.ids))
	shift := uint32(start - up.start)
	up.at(co, len(aggs)-1, len(g.ids))
	for i := range aggs {
		if c := &aggs[i]; c.count > 0 {
			up.aggs[i].merge(c, shift)
		}
	}
}
