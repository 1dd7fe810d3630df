package windows

import (
	"slices"

	"github.com/weir-metrics/weir/schemas"
)

// shape is a list of series that batches have had, in that order; see schemas.SampleBatch.Shape.
type shape struct {
	id     schemas.ID
	places []uint16 // of the series
}

// shapes is what a group remembers of shapes, the oldest first. It is no part of the state: without
// it, a batch is applied in the same way, but slower.
type shapes []shape

// maxShapes bounds how many shapes a group remembers. Their series together are at most
// shapeSeries times as many as the group has, plus shapeRoom.
const maxShapes, shapeSeries, shapeRoom = 64, 4, 64

// Knows reports whether the group knows which n series a shape stands for. It is a reader's
// argument for schemas.SampleBatch.DecodeFor, if the batch is to be applied to this group next.
func (g *Group) Knows(id schemas.ID, n int) bool {
	s := g.series.shapeOf(id)
	return s != nil && len(s.places) == n
}

// shapeOf returns what a shape stands for, or nil. It knows no shape while there are overflow
// series: which series a sample is counted in may then depend on its name.
func (x *seriesIndex) shapeOf(id schemas.ID) *shape {
	if x.overflows > 0 {
		return nil
	}
	for i := len(x.shapes) - 1; i >= 0; i-- {
		if x.shapes[i].id == id {
			return &x.shapes[i]
		}
	}
	return nil
}

// learnShape remembers that the series at these places have the shape id, if all of them have a
// place of their own.
func (x *seriesIndex) learnShape(id schemas.ID, places []int32) {
	if id == (schemas.ID{}) || x.overflows > 0 {
		return
	}
	s := shape{id, make([]uint16, len(places))}
	for i, at := range places {
		if at < 0 {
			return
		}
		s.places[i] = uint16(at)
	}
	room := shapeSeries*len(x.ids) + shapeRoom - len(places)
	if room < 0 {
		return
	}
	for i := range x.shapes {
		room -= len(x.shapes[i].places)
	}
	drop := max(0, len(x.shapes)+1-maxShapes)
	for i := 0; room < 0 || i < drop; i++ {
		room += len(x.shapes[i].places)
		drop = max(drop, i+1)
	}
	x.shapes = append(slices.Delete(x.shapes, 0, drop), s)
}

// index sets sh.batch.index to the places of the series of a batch, and reports whether their shape
// was known.
func (g *Group) index(sh *Shard, b *schemas.SampleBatch) (known bool) {
	sh.batch.index = slices.Grow(sh.batch.index[:0], b.Len())[:b.Len()]
	if len(b.IDs) == 0 && b.Len() > 0 {
		for i, at := range g.series.shapeOf(b.Shape).places {
			sh.batch.index[i] = int32(at)
		}
		return true
	}
	for i, id := range b.IDs {
		sh.batch.index[i] = int32(g.series.find(id)) // -1 is idxUnknown: defined when a sample needs it
	}
	if g.series.overflows > 0 {
		g.indexOverflow(sh)
	}
	return false
}
