package windows

import (
	"math"
	"slices"
)

// Advance moves the group's clock to EventTimeAt(nowMS) if that closes a window, and otherwise
// changes nothing. Whoever replays the log after a crash must do the same again, so call it only
// with times that are recorded in the log, after what was sent before them has been applied. It
// reports whether something closed.
func (g *Group) Advance(sh *Shard, nowMS int64, r *Result) bool {
	nowMS = sane(nowMS)
	to := g.EventTimeAt(nowMS)
	if !g.clock.started || to <= g.clock.at || to < g.frames.nextClose {
		return false
	}
	g.clock.at = to
	closed := g.close(sh, nowMS, r)
	g.flush(sh, nowMS, r)
	g.evict(sh)
	return closed
}

// CloseAll closes every open window, as at the end of a file.
func (g *Group) CloseAll(sh *Shard, nowMS int64, r *Result) {
	for t := range g.frames.tiers {
		for _, f := range g.frames.tiers[t] {
			g.clock.at = max(g.clock.at, f.start+sh.sizes[t]+sh.graces[t])
		}
	}
	g.close(sh, nowMS, r)
	// A closing window opens the one above, which may end later.
	for t := range g.frames.tiers {
		for slices.ContainsFunc(g.frames.tiers[t], func(f *frame) bool { return !f.closed }) {
			g.clock.at = max(g.clock.at, g.frames.nextClose)
			g.close(sh, nowMS, r)
		}
	}
	g.flush(sh, nowMS, r)
}

// close closes, tier by tier, the windows whose time has come, hands each on to the tier above, and
// drops those that need no longer be kept.
func (g *Group) close(sh *Shard, nowMS int64, r *Result) bool {
	g.emitRevised(sh, nowMS, r) // samples applied so far belong to the windows as they were
	closed, dropped := false, false
	g.frames.nextClose = math.MaxInt64
	for t, size := range sh.sizes {
		watermark := g.clock.at - sh.graces[t]
		keep := g.frames.tiers[t][:0]
		for _, f := range g.frames.tiers[t] {
			end := f.start + size
			if !f.closed {
				if end > watermark {
					g.frames.nextClose = min(g.frames.nextClose, end+sh.graces[t])
					f.rest(sh, t)
					keep = append(keep, f)
					continue
				}
				f.closed = true
				closed = true
				f.thaw(sh, t, len(g.series.ids))
				aggs := f.aggregated(sh, len(g.series.ids))
				g.handOn(sh, t, f.start, aggs)
				g.emitFrame(sh, t, f.start, aggs, nowMS, r)
			}
			if end > watermark-size {
				f.freeze(sh, t)
				keep = append(keep, f)
				g.frames.nextClose = min(g.frames.nextClose, end+size+sh.graces[t])
				continue
			}
			sh.freeAggs(f.aggs)
			f.freeRows(sh)
			dropped = dropped || t == len(sh.sizes)-1
		}
		clear(g.frames.tiers[t][len(keep):])
		g.frames.tiers[t] = keep
	}
	g.frames.evictable = g.frames.evictable || dropped
	return closed
}

// handOn merges a closing frame of tier t into the frame above.
func (g *Group) handOn(sh *Shard, t int, start int64, aggs []agg) {
	if t+1 == len(sh.sizes) || len(aggs) == 0 {
		return
	}
	up := g.frameAt(sh, t+1, floor(start, sh.sizes[t+1]))
	up.thaw(sh, t+1, len(g.series.ids))
	shift := uint32(start - up.start)
	up.at(sh, len(aggs)-1, len(g.series.ids))
	for i := range aggs {
		if c := &aggs[i]; c.Count > 0 {
			up.aggs[i].Merge(&c.Aggregate, shift)
		}
	}
}
