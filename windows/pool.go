package windows

import "github.com/weir-metrics/weir/schemas"

// pool is memory that frames have given back, for the next frames, and scratch space.
type pool struct {
	aggs       map[int][][]agg     // by length
	aggsPooled int                 // in aggs
	vals       map[int][][]float64 // of rows, by length
	valsPooled int                 // in vals
	folded     []agg               // see frame.aggregated
	blob       []byte
	over       map[schemas.ID]struct{} // see frame.over
}

func newPool() pool { return pool{aggs: map[int][][]agg{}, vals: map[int][][]float64{}} }

// maxSpare bounds the memory kept for the next frames: aggregates and values for one in sixteen
// series, and at least for a few groups.
func (sh *Shard) maxSpare() int { return max(4<<10, sh.total/16) }

// newAggs returns n empty aggregates.
func (sh *Shard) newAggs(n int) []agg {
	if l := sh.pool.aggs[n]; len(l) > 0 {
		sh.pool.aggs[n] = l[:len(l)-1]
		sh.pool.aggsPooled -= n
		return l[len(l)-1]
	}
	return make([]agg, n)
}

// freeAggs takes aggregates back for newAggs.
func (sh *Shard) freeAggs(aggs []agg) {
	n := len(aggs)
	if n == 0 || n != cap(aggs) || sh.pool.aggsPooled+n > sh.maxSpare() {
		return
	}
	clear(aggs)
	sh.pool.aggs[n] = append(sh.pool.aggs[n], aggs)
	sh.pool.aggsPooled += n
}

// maxSpareOver bounds the samples of a map that is kept for the next frame.
const maxSpareOver = 128 << 10

// newOver returns an empty map for the samples of overflow series: that of the last flood, if there
// was one, which has grown already.
func (sh *Shard) newOver() map[schemas.ID]struct{} {
	if spare := sh.pool.over; spare != nil {
		sh.pool.over = nil
		return spare
	}
	return map[schemas.ID]struct{}{}
}

// freeOver takes a map back for newOver.
func (sh *Shard) freeOver(over map[schemas.ID]struct{}) {
	if over != nil && len(over) <= maxSpareOver {
		clear(over)
		sh.pool.over = over
	}
}

// newVals returns n absent values.
func (sh *Shard) newVals(n int) []float64 {
	var vals []float64
	if l := sh.pool.vals[n]; len(l) > 0 {
		vals = l[len(l)-1]
		sh.pool.vals[n] = l[:len(l)-1]
		sh.pool.valsPooled -= n
	} else {
		vals = make([]float64, n)
	}
	for at := 0; at < n; {
		at += copy(vals[at:], absentRow)
	}
	return vals
}

// freeVals takes values back for newVals.
func (sh *Shard) freeVals(vals []float64) {
	if n := len(vals); sh.pool.valsPooled+n <= sh.maxSpare() {
		sh.pool.vals[n] = append(sh.pool.vals[n], vals)
		sh.pool.valsPooled += n
	}
}
