package windows

import (
	"cmp"
	"math"
	"slices"

	"weir/schemas"
)

// ordered is a point that is to be applied, in order of time.
type ordered struct {
	ts     int64
	v      float64
	idx    int32  // of the group's series, or, at most idxCollapsed, of an overflow series
	series uint32 // in the batch
}

func (p *ordered) point() schemas.Point {
	return schemas.Point{TimeMS: p.ts, Value: p.v, Series: p.series}
}

// Apply counts the samples of a batch, once each. offset is the offset of its
// record in the samples topic, and names the late partials it makes; nowMS is the
// wall clock when the record was written there. What closed, was revised or was too late
// goes to r, and so does everything that was not counted, by reason.
func (g *Group) Apply(co *Core, b *schemas.SampleBatch, offset, nowMS int64, r *Result) {
	co.index = slices.Grow(co.index[:0], len(b.IDs))[:len(b.IDs)]
	for i, id := range b.IDs {
		co.index[i] = int32(g.find(id)) // -1 is idxUnknown: defined when a sample asks
	}
	if g.overflows > 0 {
		g.indexOverflow(co)
	}
	if !g.started {
		g.floor = nowMS - co.maxAge
	}
	co.order, co.fullMetric = co.order[:0], ""
	known := len(g.ids)
	sorted := true
	newTS, newestBefore := int64(math.MaxInt64), g.newest
	waited := false
	for si := range b.Sections {
		s := &b.Sections[si]
		if reason, done := g.applied(s); done {
			r.drop(reason, s.To-s.From)
			continue
		}
		waited = waited || s.Behind
		first := int64(math.MaxInt64) // of the section's samples that are newer than all before
		newest := &g.origins[len(g.origins)-1].newest
		for _, p := range b.Points[s.From:s.To] {
			idx := co.index[p.Series]
			if idx < 0 && idx > idxCollapsed {
				if idx = g.resolve(co, b, p, nowMS, r); idx < 0 && idx > idxCollapsed {
					continue
				}
			}
			if p.TimeMS > nowMS+co.maxFuture {
				g.refuse(b, p, idx, TooNew, r)
				continue
			}
			if p.TimeMS < g.floor || g.started && p.TimeMS < g.clock-co.maxAge {
				g.refuse(b, p, idx, TooOld, r)
				continue
			}
			*newest = max(*newest, p.TimeMS)
			if n := len(co.order); n > 0 && p.TimeMS < co.order[n-1].ts {
				sorted = false
			}
			if p.TimeMS < first && (!g.started || p.TimeMS > newestBefore) {
				first = p.TimeMS
			}
			co.order = append(co.order, ordered{p.TimeMS, p.Value, idx, p.Series})
		}
		switch {
		case first == math.MaxInt64:
		case s.Behind && newTS != math.MaxInt64: // what waited is as late as the last that its sender sent
			newTS = max(newTS, first)
		default:
			newTS = min(newTS, first)
		}
	}
	if len(g.ids) > known {
		g.clip()
	}
	if len(co.order) == 0 {
		return
	}
	if !sorted {
		slices.SortStableFunc(co.order, func(a, b ordered) int { return cmp.Compare(a.ts, b.ts) })
	}
	if newTS != math.MaxInt64 {
		if newest := co.order[len(co.order)-1].ts; newest-newTS > maxSpan {
			newTS = newest // a replay or a backlog: what it spans is not a delay
		}
		g.learn(nowMS-newTS, waited)
	}
	if waited && !g.started {
		g.expectOthers(co.order[0].ts)
	}
	g.applyOrdered(co, b, g.hold(waited), offset, nowMS, r)
}

// maxSpan is the longest time, ms, that a sender is taken to gather samples for before
// it sends them.
const maxSpan = 5 * 60_000

// resolve defines the series of p, or finds what it is collapsed into, or refuses p.
func (g *Group) resolve(co *Core, b *schemas.SampleBatch, p schemas.Point, nowMS int64, r *Result) int32 {
	idx := co.index[p.Series]
	s, err := b.Series(int(p.Series))
	if err != nil {
		r.refuse(schemas.Series{}, p, BadSeries, err)
		return idx
	}
	if idx == idxUnknown {
		idx = g.define(co, s, b.IDs[p.Series], p.TimeMS, nowMS)
	}
	switch idx {
	case idxSeriesLimit:
		r.refuse(s, p, SeriesLimit, nil)
	case idxMetricLimit:
		r.refuse(s, p, MetricLimit, nil)
	case idxTotalLimit: // of this sample; the next may be late enough
		r.refuse(s, p, TotalLimit, nil)
		return idxUnknown
	case idxTooNew: // the same
		r.refuse(s, p, TooNew, nil)
		return idxUnknown
	}
	co.index[p.Series] = idx
	return idx
}

func (g *Group) applyOrdered(co *Core, b *schemas.SampleBatch, hold, offset, nowMS int64, r *Result) {
	size0 := co.sizes[0]
	if !g.started {
		g.started = true
		g.newest = co.order[0].ts
		g.clock = min(g.newest, hold)
	}
	var f *frame    // the open frame of the smallest tier that the last sample fell into
	n, room := 0, 0 // samples counted in f since it was found, and how many may be
	for i := range co.order {
		p := &co.order[i]
		g.newest = max(g.newest, p.ts)
		if to := min(p.ts, hold); to > g.clock {
			g.clock = to
			if g.clock >= g.nextClose {
				f.counted(n, r)
				f, n = nil, 0
				g.close(co, nowMS, r)
			}
		}
		if f == nil || p.ts < f.start || p.ts >= f.start+size0 {
			f.counted(n, r)
			n = 0
			if f = g.open(co, 0, p.ts); f == nil {
				g.addLate(co, b, p, r)
				continue
			}
			room = int(co.maxSamples) - int(f.samples)
		}
		off := uint32(p.ts - f.start)
		if n >= room {
			g.refuse(b, p.point(), p.idx, RateLimit, r)
			continue
		}
		if p.idx < 0 {
			i, _ := collapsed(p.idx)
			if !f.addCollapsed(f.at(co, i, len(g.ids)), off, p.v, b.IDs[p.series]) {
				r.drop(Duplicate, 1)
				continue
			}
			f.next = max(f.next, off+1)
			r.countCollapsed(p.idx)
		} else if !f.add(co, int(p.idx), len(g.ids), off, p.v) {
			r.drop(Duplicate, 1)
			continue
		}
		n++
	}
	f.counted(n, r)
	if to := min(g.newest, hold); to > g.clock { // nothing is held back any more
		g.clock = to
		if g.clock >= g.nextClose {
			g.close(co, nowMS, r)
		}
	}
	g.emitRevised(co, nowMS, r)
	g.emitLate(co, offset, nowMS, r)
	g.flush(co, nowMS, r)
	g.evict(co)
}

// counted notes that n samples more were counted in f, if there is one.
func (f *frame) counted(n int, r *Result) {
	if f != nil {
		f.samples += uint32(n)
		r.Applied += n
	}
}

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

// lateKey names a late partial.
type lateKey struct {
	start int64
	tier  int32
	idx   int32
}

// lateRepeat says whether the batch at hand has had this late sample already, of the
// series id. The window that would know it is gone.
func (co *Core) lateRepeat(id schemas.ID, p *ordered) bool {
	k := lateSample{id, p.ts, math.Float64bits(p.v)}
	if _, ok := co.lateSeen[k]; ok {
		return true
	}
	co.lateSeen[k] = struct{}{}
	return false
}

// lateSample names a sample of a batch.
type lateSample struct {
	id   schemas.ID // as it was sent, not that of an overflow series
	ts   int64
	bits uint64
}

// addLate counts a sample whose window of the smallest tier has closed: it revises
// that window if it is still kept, else it makes a late partial; and then, tier by
// tier, the same for the larger windows, up to the first that is open, which hands
// it on by itself when it closes.
func (g *Group) addLate(co *Core, b *schemas.SampleBatch, p *ordered, r *Result) {
	idx := int(p.idx)
	if p.idx < 0 {
		idx, _ = collapsed(p.idx)
	}
	for t, size := range co.sizes {
		start := floor(p.ts, size)
		off := uint32(p.ts - start)
		end := start + size
		watermark := g.clock - co.graces[t]
		if end > watermark && end > g.doubt { // open
			f := g.frameAt(co, t, start)
			f.thaw(co, t, len(g.ids))
			f.at(co, idx, len(g.ids)).add(off, p.v)
			break
		}
		if end > watermark-size && end > g.doubt { // kept
			f := g.frameAt(co, t, start)
			f.closed = true
			f.thaw(co, t, len(g.ids))
			a := f.at(co, idx, len(g.ids))
			if a.rev < math.MaxUint16 {
				known := a.count > 0
				switch {
				case t > 0:
					a.add(off, p.v)
				case f.samples >= co.maxSamples:
					g.refuse(b, p.point(), p.idx, RateLimit, r)
					return
				case p.idx >= 0 && !f.addOnce(a, idx, off, p.v), p.idx < 0 && !f.addCollapsed(a, off, p.v, b.IDs[p.series]):
					r.drop(Duplicate, 1)
					return
				default:
					f.samples++
				}
				if !a.dirty {
					if known {
						a.rev++
					}
					a.dirty = true
					f.dirty++
				}
				continue
			}
		}
		if t == 0 && co.lateRepeat(b.IDs[p.series], p) {
			r.drop(Duplicate, 1)
			return
		}
		k := lateKey{start, int32(t), int32(idx)}
		a := co.late[k]
		if a == nil {
			a = new(agg)
			co.late[k] = a
			co.lates = append(co.lates, k)
		}
		a.add(off, p.v)
	}
	r.countCollapsed(p.idx)
	r.Applied++
	r.Late++
}

// Advance moves the group's clock to TimeAt(nowMS) if a window closes by that, and
// changes nothing otherwise: what it does must be done again by whoever replays the
// log after a crash, so call it with times that stand in the log, when what was sent
// before has been applied. It returns whether something closed.
func (g *Group) Advance(co *Core, nowMS int64, r *Result) bool {
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
