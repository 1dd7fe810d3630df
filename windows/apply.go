package windows

import (
	"cmp"
	"math"
	"slices"

	"weir/schemas"
)

// ordered is a point that is to be applied, in order of time.
type ordered struct {
	ts  int64
	v   float64
	idx int32  // of the group's series, or, at most idxCollapsed, of an overflow series
	pos uint32 // in the batch's points
}

// Apply counts the samples of a batch, once each. offset is the offset of its
// record in the samples topic, and names the late partials it makes; nowMS is the
// wall clock when the record was written there. What closed, was revised or was too late
// goes to r, and so does everything that was not counted, by reason.
func (g *Group) Apply(co *Core, b *schemas.SampleBatch, offset, nowMS int64, r *Result) {
	nowMS = sane(nowMS)
	co.index = slices.Grow(co.index[:0], len(b.IDs))[:len(b.IDs)]
	for i, id := range b.IDs {
		co.index[i] = int32(g.series.find(id)) // -1 is idxUnknown: defined when a sample asks
	}
	if g.series.overflows > 0 {
		g.indexOverflow(co)
	}
	if !g.clock.started {
		g.clock.floor = nowMS - co.maxAge
	}
	if g.astray(co, b, nowMS) {
		g.heal(co, offset, nowMS, r)
	}
	co.order, co.fullMetric = co.order[:0], ""
	co.applied, co.refused = co.applied[:0], co.refused[:0]
	known := len(g.series.ids)
	tight := g.budget(co, len(b.Points))
	in := g.take(co, b, nowMS, r)
	co.setSenders(b)
	if len(g.series.ids) > known {
		g.series.clip()
	}
	if len(co.order) > 0 {
		if !in.sorted {
			slices.SortStableFunc(co.order, func(a, b ordered) int { return cmp.Compare(a.ts, b.ts) })
		}
		g.learnFrom(&in, nowMS)
		if in.waited && !g.clock.started {
			g.origins.expectOthers(co.order[0].ts)
		}
		g.applyOrdered(co, b, &clockLimits{now: nowMS, ahead: g.EventTimeAt(nowMS), lead: co.maxLead, hold: g.origins.hold(in.waited)}, offset, tight, r)
	}
	g.repeats.remember(b, co.applied, co.refused)
	if g.Fresh() { // it may be forgotten at any time, so nothing may depend on whether it was
		doubt := g.clock.doubt
		*g = *NewGroup(co)
		g.clock.doubt = doubt
	}
}

// taken is what a batch has brought.
type taken struct {
	sorted bool  // the points in Core.order are in order of time
	waited bool  // some had waited for route
	late   int64 // the oldest of those that were newer than all before, which the usual delay follows from, or math.MaxInt64
	newest int64 // of those that were not ahead of the clock, or none
	ahead  int64 // the oldest of those that were ahead of the clock, and newer than all before, or math.MaxInt64
}

// take sorts out what of a batch was applied before and what is refused, whatever the other
// samples are, and puts the others into Core.order.
func (g *Group) take(co *Core, b *schemas.SampleBatch, nowMS int64, r *Result) taken {
	in := taken{sorted: true, late: math.MaxInt64, newest: none, ahead: math.MaxInt64}
	newest, onTime := int64(none), g.clock.onTime // before
	if g.clock.started {
		newest = g.clock.newest
	}
	for si := range b.Sections {
		s := &b.Sections[si]
		if g.origins.replayed(s) {
			r.Replayed += s.To - s.From
			continue
		}
		repeated, only := g.repeats.find(s)
		if repeated {
			r.Duplicates += s.To - s.From
			continue
		}
		co.applied = append(co.applied, si)
		in.waited = in.waited || s.Behind
		first := int64(math.MaxInt64) // of the section's samples that are newer than all before
		from := &g.origins[len(g.origins)-1].newest
		for pos := s.From; pos < s.To; pos++ {
			p := &b.Points[pos]
			if only != nil && !inRuns(only, uint32(pos-s.From)) {
				r.Duplicates++
				continue
			}
			idx := co.index[p.Series]
			if p.TimeMS > nowMS+co.maxFuture {
				g.refuse(co, b, uint32(pos), idx, TooNew, r)
				continue
			}
			if p.TimeMS < g.clock.floor || g.clock.started && p.TimeMS < g.clock.at-co.maxAge {
				g.refuse(co, b, uint32(pos), idx, TooOld, r)
				continue
			}
			if idx < 0 && idx > idxCollapsed {
				if idx = g.resolve(co, b, uint32(pos), r); idx < 0 && idx > idxCollapsed {
					continue
				}
			}
			*from = max(*from, min(p.TimeMS, nowMS))
			if n := len(co.order); n > 0 && p.TimeMS < co.order[n-1].ts {
				in.sorted = false
			}
			if p.TimeMS > nowMS {
				if p.TimeMS > newest {
					in.ahead = min(in.ahead, p.TimeMS)
				}
			} else {
				if p.TimeMS < first && p.TimeMS > onTime {
					first = p.TimeMS
				}
				in.newest = max(in.newest, p.TimeMS)
			}
			v := p.Value
			if v == 0 { // 0 and -0 are one value
				v = 0
			}
			co.order = append(co.order, ordered{p.TimeMS, v, idx, uint32(pos)})
		}
		switch {
		case first == math.MaxInt64:
		case s.Behind && in.late != math.MaxInt64: // what waited is as late as the last that its sender sent
			in.late = max(in.late, first)
		default:
			in.late = min(in.late, first)
		}
	}
	return in
}

// setSenders notes who sent the points of a batch.
func (co *Core) setSenders(b *schemas.SampleBatch) {
	co.sender, co.senders = 0, co.senders[:0]
	for i := range b.Sections {
		if s := &b.Sections[i]; i == 0 {
			co.sender = s.Sender
		} else if s.Sender != co.sender {
			for k := range b.Sections[:] {
				for range b.Sections[k].To - b.Sections[k].From {
					co.senders = append(co.senders, b.Sections[k].Sender)
				}
			}
			return
		}
	}
}

// senderOf is who sent the point.
func (co *Core) senderOf(pos uint32) uint64 {
	if len(co.senders) == 0 {
		return co.sender
	}
	return co.senders[pos]
}

// resolve defines the series of a point, or finds what it is collapsed into, or refuses the point.
func (g *Group) resolve(co *Core, b *schemas.SampleBatch, pos uint32, r *Result) int32 {
	p := &b.Points[pos]
	idx := co.index[p.Series]
	s, err := b.Series(int(p.Series))
	if err != nil {
		co.refuse(r, schemas.Series{}, b, pos, BadSeries, err)
		return idx
	}
	if idx == idxUnknown {
		idx = g.define(co, s, b.IDs[p.Series], p.TimeMS)
	}
	if idx < 0 && idx > idxCollapsed {
		co.refuse(r, s, b, pos, refusals[-idx], nil)
		if idx == idxTotalLimit { // of this sample; the next may be late enough
			return idxUnknown
		}
	}
	co.index[p.Series] = idx
	return idx
}

func (g *Group) applyOrdered(co *Core, b *schemas.SampleBatch, c *clockLimits, offset int64, tight bool, r *Result) {
	size0, nowMS := co.sizes[0], c.now
	if !g.clock.started {
		g.clock.started = true
		co.groups++
		g.clock.newest = co.order[0].ts
		g.clock.at = c.reach(g.clock.newest)
	}
	var f *frame    // the open frame of the smallest tier that the last sample fell into
	n, room := 0, 0 // samples of sender counted in f since it was found, and how many may be
	sender := co.sender
	row := int64(none) // the time of the last sample
	for i := range co.order {
		p := &co.order[i]
		g.clock.newest = max(g.clock.newest, p.ts)
		if to := c.reach(p.ts); to > g.clock.at {
			g.clock.at = to
			if g.clock.at >= g.frames.nextClose {
				f.counted(sender, n, r)
				f, n = nil, 0
				g.close(co, nowMS, r)
			}
		}
		made := f == nil || p.ts < f.start || p.ts >= f.start+size0
		if made {
			f.counted(sender, n, r)
			n = 0
			if f = g.open(co, 0, p.ts); f == nil {
				g.addLate(co, b, p, tight, r)
				continue
			}
		}
		if s := co.sender; made || len(co.senders) > 0 && co.senders[p.pos] != sender {
			if len(co.senders) > 0 {
				s = co.senders[p.pos]
			}
			f.counted(sender, n, r)
			n, sender = 0, s
			room = f.room(co, sender)
		}
		off := uint32(p.ts - f.start)
		if n >= room || tight {
			if f.holds(co, b, p, off) {
				r.Duplicates++
				continue
			}
			if n >= room {
				g.refuse(co, b, p.pos, p.idx, RateLimit, r)
				continue
			}
			f.counted(sender, n, r)
			room, n = room-n, 0
			if !g.growBySample(co, made, p.ts != row) {
				g.refuse(co, b, p.pos, p.idx, BytesLimit, r)
				continue
			}
			row = p.ts
		}
		if !f.addAny(co, b, p, len(g.series.ids), off) {
			r.Duplicates++
			continue
		}
		r.countCollapsed(p.idx)
		n++
	}
	f.counted(sender, n, r)
	if to := c.reach(g.clock.newest); to > g.clock.at { // nothing is held back any more, or what was ahead is no more
		g.clock.at = to
		if g.clock.at >= g.frames.nextClose {
			g.close(co, nowMS, r)
		}
	}
	g.emitRevised(co, nowMS, r)
	g.emitLate(co, offset, nowMS, r)
	g.flush(co, nowMS, r)
	g.evict(co)
}

// counted notes that n samples more of a sender were counted in f, if there is one.
func (f *frame) counted(sender uint64, n int, r *Result) {
	if f != nil && n > 0 {
		f.count(sender, n)
		r.Applied += n
	}
}
