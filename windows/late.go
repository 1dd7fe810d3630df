package windows

import (
	"math"

	"github.com/weir-metrics/weir/schemas"
)

// lateKey names a late partial.
type lateKey struct {
	start int64
	tier  int32
	idx   int32
}

// lateSample names a sample of a batch whose window of the smallest tier is gone: that window would
// have known whether the sample is a repeat.
type lateSample struct {
	id    schemas.ID // of the series as sent, not of an overflow series
	ts    int64
	subNS uint32
	bits  uint64
}

// late is the late partials of a batch.
type late struct {
	partials map[lateKey]*agg
	order    []lateKey // of the partials, in the order in which they began
	seen     map[lateSample]struct{}
}

func newLate() late { return late{partials: map[lateKey]*agg{}, seen: map[lateSample]struct{}{}} }

// addLate counts a sample whose window of the smallest tier has closed. The sample revises that
// window if it is still kept, and otherwise makes a late partial; then, tier by tier, it does the
// same to the larger windows, up to the first open one, which hands the sample on by itself when it
// closes.
func (g *Group) addLate(sh *Shard, b *schemas.SampleBatch, p *ordered, r *Result) {
	idx := int(p.idx)
	if p.idx < 0 {
		idx, _ = collapsed(p.idx)
	}
	for t, size := range sh.sizes {
		start := floor(p.ts, size)
		off := uint32(p.ts - start)
		end := start + size
		watermark := g.clock.at - sh.graces[t]
		if end > watermark && end > g.clock.doubt { // open
			f := g.frameAt(sh, t, start)
			f.thaw(sh, t, g.Series())
			f.at(sh, idx, g.Series()).Add(off, p.v)
			break
		}
		if end > watermark-size && end > g.clock.doubt { // kept
			f := g.frameAt(sh, t, start)
			f.closed = true
			f.thaw(sh, t, g.Series())
			a := f.at(sh, idx, g.Series())
			if a.revision() < math.MaxUint16 {
				if !g.revise(sh, b, p, t, f, a, r) {
					return
				}
				continue
			}
		}
		if t == 0 && !g.admitLate(sh, b, p, r) {
			return
		}
		sh.late.add(lateKey{start, int32(t), int32(idx)}, off, p.v)
	}
	r.countCollapsed(p.idx)
	r.Applied++
	r.Late++
}

// revise adds a sample to a, the aggregate of its series in a closed frame of tier t that is kept;
// if it cannot, r gets the reason.
func (g *Group) revise(sh *Shard, b *schemas.SampleBatch, p *ordered, t int, f *frame, a *agg, r *Result) bool {
	known := a.Count > 0
	if t > 0 {
		a.Add(uint32(p.ts-f.start), p.v)
	} else if !g.addKept(sh, b, p, f, a, r) {
		return false
	}
	if !a.dirty() {
		if known {
			a.Mark++
		}
		a.Mark |= aggDirty
		f.dirty++
	}
	return true
}

// admitLate reports whether a sample may begin late partials; if not, r gets the reason. Within a
// batch, a repeat counts once.
func (g *Group) admitLate(sh *Shard, b *schemas.SampleBatch, p *ordered, r *Result) bool {
	point := &b.Points[p.pos]
	sample := lateSample{g.idOf(b, p), p.ts, point.SubNS, math.Float64bits(p.v)}
	if _, repeated := sh.late.seen[sample]; repeated {
		r.Duplicates++
		return false
	}
	if sh.budget.tight && !g.growBySample(sh, true, false) {
		g.refuse(sh, b, p.pos, p.idx, BytesLimit, r)
		return false
	}
	sh.late.seen[sample] = struct{}{}
	return true
}

// idOf returns the ID of the series of a sample, as it was sent.
func (g *Group) idOf(b *schemas.SampleBatch, p *ordered) schemas.ID {
	if p.idx >= 0 {
		return g.series.ids[p.idx]
	}
	return b.IDs[b.Points[p.pos].Series]
}

// add adds a sample to the late partial k.
func (l *late) add(k lateKey, off uint32, v float64) {
	a := l.partials[k]
	if a == nil {
		a = new(agg)
		l.partials[k] = a
		l.order = append(l.order, k)
	}
	a.Add(off, v)
}

// addKept adds a sample to a, the aggregate of its series in a closed frame of the smallest tier
// that is kept; if it cannot, r gets the reason.
func (g *Group) addKept(sh *Shard, b *schemas.SampleBatch, p *ordered, f *frame, a *agg, r *Result) bool {
	sender, off := sh.senderOf(p.pos), uint32(p.ts-f.start)
	switch {
	case f.holds(b, p, off):
		r.Duplicates++
		return false
	case f.room(sh, sender) <= 0:
		g.refuse(sh, b, p.pos, p.idx, RateLimit, r)
		return false
	case sh.budget.tight && !g.growBySample(sh, true, false):
		g.refuse(sh, b, p.pos, p.idx, BytesLimit, r)
		return false
	}
	point := &b.Points[p.pos]
	switch {
	case p.idx < 0:
		f.addCollapsed(sh, a, off, p, point, b.IDs[point.Series])
	case point.SubNS != 0:
		f.addFine(a, int(p.idx), off, point.SubNS, p.v)
	default:
		f.addOnce(a, int(p.idx), off, p.v)
	}
	f.count(sender, 1)
	return true
}
