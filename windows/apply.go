package windows

import (
	"cmp"
	"math"
	"slices"

	"github.com/weir-metrics/weir/schemas"
)

// ordered is a point to be applied, in order of time.
type ordered struct {
	ts  int64
	v   float64
	idx int32  // of a series of the group; idxCollapsed or less: of an overflow series
	pos uint32 // in the batch's points
}

// batch is what Apply knows about the batch at hand.
type batch struct {
	index      []int32   // batch series → group series, or an idx… constant
	sender     uint64    // of all sections, if senders is empty
	senders    []uint64  // of each point, if there are several
	applied    []int     // the sections that had not been applied before
	refused    []uint32  // the points that were refused
	order      []ordered // the others, in order of time
	fullMetric string    // a metric that is at its limit of series; no series is forgotten while a batch is applied
}

// Apply counts the samples of a batch, each once. offset is the offset of the batch's record in the
// samples topic, and names the late partials that the batch makes; nowMS is the wall clock when the
// record was written there. Windows that closed or were revised, and late partials, go to r,
// together with everything that was not counted and the reason. b has the IDs of its series, or a
// shape that g Knows.
func (g *Group) Apply(sh *Shard, b *schemas.SampleBatch, offset, nowMS int64, r *Result) {
	nowMS = sane(nowMS)
	known := g.index(sh, b)
	if !g.clock.started {
		g.clock.floor = nowMS - sh.limits.maxAge
	}
	if g.astray(sh, b, nowMS) {
		g.heal(sh, offset, nowMS, r)
	}
	sh.batch.order, sh.batch.fullMetric = sh.batch.order[:0], ""
	sh.batch.applied, sh.batch.refused = sh.batch.applied[:0], sh.batch.refused[:0]
	series := len(g.series.ids)
	sh.budget = g.budget(sh, len(b.Points))
	in := g.take(sh, b, nowMS, r)
	sh.setSenders(b)
	if len(g.series.ids) > series {
		g.series.clip()
	}
	if !known {
		g.series.learnShape(b.Shape, sh.batch.index)
	}
	if len(sh.batch.order) > 0 {
		if !in.sorted {
			slices.SortStableFunc(sh.batch.order, func(a, b ordered) int { return cmp.Compare(a.ts, b.ts) })
		}
		g.learnFrom(&in, nowMS)
		if in.waited && !g.clock.started {
			g.origins.expectOthers(sh.batch.order[0].ts)
		}
		g.applyOrdered(sh, b, &clockReach{now: nowMS, ahead: g.EventTimeAt(nowMS), lead: sh.limits.maxLead, limit: g.origins.clockLimit(in.waited)}, offset, r)
	}
	g.repeats.remember(b, sh.batch.applied, sh.batch.refused)
	if g.Fresh() { // it may be forgotten at any time, so nothing may depend on whether that has happened
		doubt := g.clock.doubt
		*g = *NewGroup(sh)
		g.clock.doubt = doubt
	}
}

// taken is what a batch brought.
type taken struct {
	newestBefore, onTimeBefore int64 // of the group, or none

	sorted bool  // the points in batch.order are already in order of time
	waited bool  // some points had queued for route
	late   int64 // the oldest point newer than all before, from which the usual delay is learnt, or math.MaxInt64
	newest int64 // the newest point not ahead of the clock, or none
	ahead  int64 // the oldest point ahead of the clock and newer than all before, or math.MaxInt64
}

// take sets aside the points of a batch that were applied before or that are refused whatever the
// other samples are, and puts the rest into batch.order.
func (g *Group) take(sh *Shard, b *schemas.SampleBatch, nowMS int64, r *Result) taken {
	in := taken{sorted: true, late: math.MaxInt64, newest: none, ahead: math.MaxInt64, newestBefore: none, onTimeBefore: g.clock.onTime}
	if g.clock.started {
		in.newestBefore = g.clock.newest
	}
	for i := range b.Sections {
		s := &b.Sections[i]
		if g.origins.replayed(s) {
			r.Replayed += s.To - s.From
			continue
		}
		repeated, only := g.repeats.find(s)
		if repeated {
			r.Duplicates += s.To - s.From
			continue
		}
		sh.batch.applied = append(sh.batch.applied, i)
		in.waited = in.waited || s.Behind
		switch first := g.takeSection(sh, b, s, only, nowMS, &in, r); {
		case first == math.MaxInt64:
		case s.Behind && in.late != math.MaxInt64: // what queued measures route's lag: the least late section counts
			in.late = max(in.late, first)
		default:
			in.late = min(in.late, first)
		}
	}
	return in
}

// takeSection is take for one section; if only is not nil, only the samples at these places are
// new. It returns the time of the oldest sample that is newer than all before and not ahead of the
// clock, ms, or math.MaxInt64.
func (g *Group) takeSection(sh *Shard, b *schemas.SampleBatch, s *schemas.Section, only []uint32, nowMS int64, in *taken, r *Result) int64 {
	first := int64(math.MaxInt64)
	from := &g.origins[len(g.origins)-1].newest
	for pos := s.From; pos < s.To; pos++ {
		p := &b.Points[pos]
		if only != nil && !inRuns(only, uint32(pos-s.From)) {
			r.Duplicates++
			continue
		}
		idx := sh.batch.index[p.Series]
		if p.TimeMS > nowMS+sh.limits.maxFuture {
			g.refuse(sh, b, uint32(pos), idx, TooNew, r)
			continue
		}
		if p.TimeMS < g.clock.floor || g.clock.started && p.TimeMS < g.clock.at-sh.limits.maxAge {
			g.refuse(sh, b, uint32(pos), idx, TooOld, r)
			continue
		}
		if idx < 0 && idx > idxCollapsed {
			if idx = g.resolve(sh, b, uint32(pos), r); idx < 0 && idx > idxCollapsed {
				continue
			}
		}
		*from = max(*from, min(p.TimeMS, nowMS))
		if n := len(sh.batch.order); n > 0 && p.TimeMS < sh.batch.order[n-1].ts {
			in.sorted = false
		}
		switch {
		case p.TimeMS <= nowMS:
			if p.TimeMS < first && p.TimeMS > in.onTimeBefore {
				first = p.TimeMS
			}
			in.newest = max(in.newest, p.TimeMS)
		case p.TimeMS > in.newestBefore:
			in.ahead = min(in.ahead, p.TimeMS)
		}
		v := p.Value
		if v == 0 { // 0 and -0 are one value
			v = 0
		}
		sh.batch.order = append(sh.batch.order, ordered{p.TimeMS, v, idx, uint32(pos)})
	}
	return first
}

// setSenders notes who sent each point of a batch.
func (sh *Shard) setSenders(b *schemas.SampleBatch) {
	sh.batch.sender, sh.batch.senders = 0, sh.batch.senders[:0]
	for i := range b.Sections {
		if s := &b.Sections[i]; i == 0 {
			sh.batch.sender = s.Sender
		} else if s.Sender != sh.batch.sender {
			for k := range b.Sections[:] {
				for range b.Sections[k].To - b.Sections[k].From {
					sh.batch.senders = append(sh.batch.senders, b.Sections[k].Sender)
				}
			}
			return
		}
	}
}

// senderOf returns the sender of a point.
func (sh *Shard) senderOf(pos uint32) uint64 {
	if len(sh.batch.senders) == 0 {
		return sh.batch.sender
	}
	return sh.batch.senders[pos]
}

// resolve returns the index of a point's series. It defines a new series, finds the overflow series
// that a new one is collapsed into, or refuses the point.
func (g *Group) resolve(sh *Shard, b *schemas.SampleBatch, pos uint32, r *Result) int32 {
	p := &b.Points[pos]
	idx := sh.batch.index[p.Series]
	s, err := b.Series(int(p.Series))
	if err != nil {
		sh.refuse(r, schemas.Series{}, b, pos, BadSeries, err)
		return idx
	}
	if idx == idxUnknown {
		idx = g.define(sh, s, b.IDs[p.Series], p.TimeMS)
	}
	if idx < 0 && idx > idxCollapsed {
		sh.refuse(r, s, b, pos, refusals[-idx], nil)
		if idx == idxTotalLimit { // holds for this sample only; the next may be late enough
			return idxUnknown
		}
	}
	sh.batch.index[p.Series] = idx
	return idx
}

// applyOrdered counts the samples of the batch, in order of time, and closes windows as the clock
// advances.
func (g *Group) applyOrdered(sh *Shard, b *schemas.SampleBatch, c *clockReach, offset int64, r *Result) {
	nowMS := c.now
	if !g.clock.started {
		g.clock.started = true
		sh.groups++
		g.clock.newest = sh.batch.order[0].ts
		g.clock.at = c.of(g.clock.newest)
	}
	in := intake{sender: sh.batch.sender, row: none}
	for i := range sh.batch.order {
		p := &sh.batch.order[i]
		g.clock.newest = max(g.clock.newest, p.ts)
		if to := c.of(p.ts); to > g.clock.at {
			g.clock.at = to
			if g.clock.at >= g.frames.nextClose {
				in.leave(r)
				g.close(sh, nowMS, r)
			}
		}
		if !in.holds(p.ts, sh.sizes[0]) {
			in.leave(r)
			if in.frame = g.open(sh, 0, p.ts); in.frame == nil {
				g.addLate(sh, b, p, r)
				continue
			}
			in.turn(sh, sh.senderOf(p.pos), r)
			in.made = true
		} else if len(sh.batch.senders) > 0 && sh.batch.senders[p.pos] != in.sender {
			in.turn(sh, sh.batch.senders[p.pos], r)
		}
		off := uint32(p.ts - in.frame.start)
		if (in.n >= in.room || sh.budget.tight) && !g.admit(sh, b, p, &in, off, r) {
			continue
		}
		if !in.frame.addAny(sh, b, p, len(g.series.ids), off) {
			r.Duplicates++
			continue
		}
		r.countCollapsed(p.idx)
		in.n++
	}
	in.leave(r)
	if to := c.of(g.clock.newest); to > g.clock.at { // nothing is held back any more, or what was ahead of the clock no longer is
		g.clock.at = to
		if g.clock.at >= g.frames.nextClose {
			g.close(sh, nowMS, r)
		}
	}
	g.emitRevised(sh, nowMS, r)
	g.emitLate(sh, offset, nowMS, r)
	g.flush(sh, nowMS, r)
	g.evict(sh)
}

// intake is the open frame of the smallest tier that the last sample fell into, with the count of
// the samples that one sender has added since.
type intake struct {
	frame  *frame // or nil
	made   bool   // new: no sample has asked for room in the frame yet
	sender uint64
	n      int   // samples of sender counted since room was computed
	room   int   // how many may be counted
	row    int64 // the time of the last sample that had to ask for room
}

// holds reports whether the time ts lies in the frame.
func (in *intake) holds(ts, size int64) bool {
	return in.frame != nil && ts >= in.frame.start && ts < in.frame.start+size
}

// settle records in the frame what was counted.
func (in *intake) settle(r *Result) {
	if in.frame != nil && in.n > 0 {
		in.frame.count(in.sender, in.n)
		r.Applied += in.n
	}
	in.n = 0
}

// leave leaves the frame.
func (in *intake) leave(r *Result) {
	in.settle(r)
	in.frame = nil
}

// turn continues with another sender.
func (in *intake) turn(sh *Shard, sender uint64, r *Result) {
	in.settle(r)
	in.made, in.sender = false, sender
	in.room = in.frame.room(sh, sender)
}

// admit reports whether the frame of the intake has room for a sample; if not, r gets the reason.
func (g *Group) admit(sh *Shard, b *schemas.SampleBatch, p *ordered, in *intake, off uint32, r *Result) bool {
	made := in.made
	in.made = false
	if in.frame.holds(b, p, off) {
		r.Duplicates++
		return false
	}
	if in.n >= in.room {
		g.refuse(sh, b, p.pos, p.idx, RateLimit, r)
		return false
	}
	room := in.room - in.n
	in.settle(r)
	in.room = room
	if !g.growBySample(sh, made, p.ts != in.row) {
		g.refuse(sh, b, p.pos, p.idx, BytesLimit, r)
		return false
	}
	in.row = p.ts
	return true
}
