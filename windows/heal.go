package windows

import (
	"math"

	"github.com/weir-metrics/weir/schemas"
)

// strayAfter is how far, ms, a group's clock must be ahead of the samples' arrival, beyond what
// max_future allows, to count as led astray: by a tick of a wrong clock, before ticks were bounded,
// or by a route whose clock was wrong. The clocks of machines differ by less.
const strayAfter = 2 * 60_000

// healed records that a group was once led astray. The windows that the wrong clock closed are
// gone; samples that come for them later make a part of their own, named by the record at which the
// clock was set right, which readers merge and rules skip.
type healed struct {
	part     int64 // offset+1 of that record; 0: never
	clock    int64 // the wrong clock
	newestMS int64 // event time of the newest sample before
}

// astray reports whether the group's clock cannot be right: it is far ahead of a batch that arrives
// at nowMS with samples of that time. A batch of old samples alone proves nothing, as the clock by
// which it arrived may be the wrong one.
func (g *Group) astray(sh *Shard, b *schemas.SampleBatch, nowMS int64) bool {
	if !g.clock.started || g.clock.at <= nowMS+sh.limits.maxFuture+strayAfter {
		return false
	}
	for i := range b.Points {
		if at := b.Points[i].TimeMS; at >= nowMS-maxSpan && at <= nowMS+sh.limits.maxFuture {
			return true
		}
	}
	return false
}

// heal sets the clock to where it would be at nowMS without the wrong one, and drops the windows
// that are closed: samples that come for them make parts named by offset.
func (g *Group) heal(sh *Shard, offset, nowMS int64, r *Result) {
	g.emitRevised(sh, nowMS, r)
	g.clock.healed = healed{part: offset + 1, clock: max(g.clock.at, g.clock.healed.clock), newestMS: max(g.clock.newest, g.clock.healed.newestMS)}
	limit := nowMS + sh.limits.maxFuture
	g.delay.forget(-sh.limits.maxFuture-strayAfter, nowMS) // learnt from the wrong clock
	g.clock.at = min(nowMS, g.EventTimeAt(nowMS))
	if g.clock.newest > limit { // newest comes from the wrong clock, too
		g.clock.newest = g.clock.at
	}
	if g.clock.onTime > limit {
		g.clock.onTime = g.clock.at
	}
	for i := range g.origins {
		if m := &g.origins[i]; m.newest > limit {
			m.newest = g.clock.at
		}
	}
	g.frames.nextClose = math.MaxInt64
	for t, fs := range g.frames.tiers {
		keep := fs[:0]
		for _, f := range fs {
			if f.closed {
				sh.freeAggs(f.aggs)
				f.freeRows(sh)
				continue
			}
			keep = append(keep, f)
			g.frames.nextClose = min(g.frames.nextClose, f.start+sh.sizes[t]+sh.graces[t])
		}
		clear(fs[len(keep):])
		g.frames.tiers[t] = keep
	}
}

// EmittedMS is the time, ms, by which all windows end that the group may have emitted; largestMS is
// the size of its largest windows. That is the group's clock, unless a wrong clock closed more
// before it was set right.
func (g *Group) EmittedMS(largestMS int64) int64 {
	h := &g.clock.healed
	if h.part == 0 {
		return g.clock.at
	}
	return max(g.clock.at, min(h.clock, h.newestMS+largestMS))
}

// part is the part of the windows of a tier and start.
func (g *Group) part(sh *Shard, t int, start int64) int64 {
	h := &g.clock.healed
	if h.part != 0 && start <= h.newestMS && start+sh.sizes[t] <= h.clock-sh.graces[t] {
		return schemas.NewPart(sh.generation, h.part)
	}
	return schemas.NewPart(sh.generation, 0)
}
