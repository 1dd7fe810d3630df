package windows

import (
	"math"

	"weir/schemas"
)

// lateKey names a late partial.
type lateKey struct {
	start int64
	tier  int32
	idx   int32
}

// lateSample names a sample of a batch whose window of the smallest tier is gone: that would
// know whether it is a repeat.
type lateSample struct {
	id    schemas.ID // as it was sent, not that of an overflow series
	ts    int64
	subNS uint32
	bits  uint64
}

// addLate counts a sample whose window of the smallest tier has closed: it revises
// that window if it is still kept, else it makes a late partial; and then, tier by
// tier, the same for the larger windows, up to the first that is open, which hands
// it on by itself when it closes.
func (g *Group) addLate(co *Core, b *schemas.SampleBatch, p *ordered, tight bool, r *Result) {
	point := &b.Points[p.pos]
	idx := int(p.idx)
	if p.idx < 0 {
		idx, _ = collapsed(p.idx)
	}
	for t, size := range co.sizes {
		start := floor(p.ts, size)
		off := uint32(p.ts - start)
		end := start + size
		watermark := g.clock.at - co.graces[t]
		if end > watermark && end > g.clock.doubt { // open
			f := g.frameAt(co, t, start)
			f.thaw(co, t, len(g.series.ids))
			f.at(co, idx, len(g.series.ids)).add(off, p.v)
			break
		}
		if end > watermark-size && end > g.clock.doubt { // kept
			f := g.frameAt(co, t, start)
			f.closed = true
			f.thaw(co, t, len(g.series.ids))
			a := f.at(co, idx, len(g.series.ids))
			if a.rev < math.MaxUint16 {
				known := a.count > 0
				if t > 0 {
					a.add(off, p.v)
				} else if !g.addKept(co, b, p, f, a, tight, r) {
					return
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
		if t == 0 {
			sample := lateSample{b.IDs[point.Series], p.ts, point.SubNS, math.Float64bits(p.v)}
			if _, repeated := co.lateSeen[sample]; repeated {
				r.Duplicates++
				return
			}
			if tight && !g.growBySample(co, true, false) {
				g.refuse(co, b, p.pos, p.idx, BytesLimit, r)
				return
			}
			co.lateSeen[sample] = struct{}{}
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

// addKept adds a sample to a, the aggregate of its series in a closed frame of the smallest tier
// that is kept, or says why not in r.
func (g *Group) addKept(co *Core, b *schemas.SampleBatch, p *ordered, f *frame, a *agg, tight bool, r *Result) bool {
	sender, off := co.senderOf(p.pos), uint32(p.ts-f.start)
	switch {
	case f.holds(co, b, p, off):
		r.Duplicates++
		return false
	case f.room(co, sender) <= 0:
		g.refuse(co, b, p.pos, p.idx, RateLimit, r)
		return false
	case tight && !g.growBySample(co, true, false):
		g.refuse(co, b, p.pos, p.idx, BytesLimit, r)
		return false
	}
	point := &b.Points[p.pos]
	switch {
	case p.idx < 0:
		f.addCollapsed(a, off, p, point, b.IDs[point.Series])
	case point.SubNS != 0:
		f.addFine(a, int(p.idx), off, point.SubNS, p.v)
	default:
		f.addOnce(a, int(p.idx), off, p.v)
	}
	f.count(sender, 1)
	return true
}
