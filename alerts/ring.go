package alerts

import (
	"math"
	"math/bits"
	"slices"

	"github.com/weir-metrics/weir/schemas"
)

// columns is a set of a window's numbers: its count, which is the second, and those of
// schemas.Columns before and after it. It is part of encoded states.
type columns uint8

const (
	colSum columns = 1 << iota
	colCount
	colMin
	colMax
	colFirst
	colLast
	allColumns columns = 1<<(len(schemas.Columns)+1) - 1
)

func (c columns) len() int { return bits.OnesCount8(uint8(c)) }

// index returns the place of column col among those of c, or -1.
func (c columns) index(col columns) int {
	if c&col == 0 {
		return -1
	}
	return (c & (col - 1)).len()
}

// ring holds the newest closed windows of one series and tier, oldest first, and of each only the
// columns that rules read. Its zero value is empty.
type ring struct {
	cols columns
	// span is how far back from the newest end windows are kept, ms; 0 keeps only the newest.
	// Otherwise the newest olderWindows from before that are kept, too.
	span int64
	at   []slot
	vals []float64 // cols.len() for each slot; NaN where a rule reads what was not kept before
}

type slot struct {
	endMS    int64
	revision uint32
}

// change tells what put did.
type change uint8

const (
	ignored  change = iota // too old, or an older revision than the one held
	repeated               // the same revision is held already: a replay
	changed
)

// newest returns the end of the newest window, ms, or math.MinInt64.
func (r *ring) newest() int64 {
	if len(r.at) == 0 {
		return math.MinInt64
	}
	return r.at[len(r.at)-1].endMS
}

func (r *ring) put(w *schemas.Window) change {
	end, width := w.EndMS(), r.cols.len()
	if newest := r.newest(); end > newest {
		if r.span == 0 && len(r.at) == 1 { // only the newest is kept
			r.at[0] = slot{end, w.Revision}
			r.fill(r.vals, w)
			return changed
		}
		r.evict(end)
		r.grow()
		n := len(r.vals)
		r.at, r.vals = append(r.at, slot{end, w.Revision}), append(r.vals, noColumns[:width]...)
		r.fill(r.vals[n:], w)
		return changed
	} else if end <= newest-r.span && end != newest {
		if r.span > 0 && r.putOlder(end, w.Revision, newest) {
			return changed
		}
		return ignored
	}
	i := len(r.at) - 1
	for i >= 0 && r.at[i].endMS > end {
		i--
	}
	if i < 0 || r.at[i].endMS != end {
		i++
		r.insert(i, slot{end, w.Revision})
	} else if r.at[i].revision > w.Revision {
		return ignored
	} else if r.at[i].revision == w.Revision {
		return repeated
	}
	r.at[i].revision = w.Revision
	r.fill(r.vals[i*width:], w)
	return changed
}

var noColumns [8]float64

// surplus is how many of the oldest windows are beyond the span, and those that are kept from before
// it, when the newest ends at end.
func (r *ring) surplus(end int64) int {
	n := 0
	for n < len(r.at) && r.at[n].endMS <= end-r.span {
		n++
	}
	if r.span > 0 {
		n -= olderWindows
	}
	return max(n, 0)
}

// slackWindows is how many windows more than needed a ring may come to hold. Nothing reads them: they
// are there so that the others, a few hundred bytes, are not moved for each window that comes.
const slackWindows = 4

// evict drops what a window that ends at end pushes out, if it is enough to be worth it.
func (r *ring) evict(end int64) {
	if n := slackWindows - 1 + olderWindows; r.span > 0 && (len(r.at) <= n || r.at[n].endMS > end-r.span) {
		return
	}
	r.drop(r.surplus(end))
}

// trim drops what a ring holds beyond what it needs.
func (r *ring) trim() {
	if r.span > 0 {
		r.drop(r.surplus(r.newest()))
	}
}

// grow makes room for a window: not for twice as many, as a ring soon has all that it will.
func (r *ring) grow() {
	if n := len(r.at); n == cap(r.at) {
		width := r.cols.len()
		r.at = append(make([]slot, 0, n+1+n/8), r.at...)
		r.vals = append(make([]float64, 0, (n+1+n/8)*width), r.vals...)
	}
}

// drop drops the oldest n windows.
func (r *ring) drop(n int) {
	if n == 0 {
		return
	}
	r.at = r.at[:copy(r.at, r.at[n:])]
	r.vals = r.vals[:copy(r.vals, r.vals[n*r.cols.len():])]
}

// insert makes room for a window at index i, with values that are 0.
func (r *ring) insert(i int, s slot) {
	width := r.cols.len()
	r.at = slices.Insert(r.at, i, s)
	r.vals = slices.Insert(r.vals, i*width, noColumns[:width]...)
}

func (r *ring) fill(to []float64, w *schemas.Window) {
	numbers := w.Numbers()
	k := 0
	for rest := r.cols; rest != 0; rest &= rest - 1 {
		switch i := bits.TrailingZeros8(uint8(rest)); i { // as in columns
		case 0:
			to[k] = *numbers[0]
		case 1:
			to[k] = float64(w.Count)
		default:
			to[k] = *numbers[i-1]
		}
		k++
	}
}

// reshape keeps other columns and another span from now on.
func (r *ring) reshape(cols columns, span int64) {
	if cols == 0 {
		*r = ring{}
		return
	}
	if cols != r.cols {
		vals := make([]float64, 0, len(r.at)*cols.len())
		for i := range r.at {
			for col := colSum; col&allColumns != 0; col <<= 1 {
				if cols&col != 0 {
					vals = append(vals, r.value(i, col))
				}
			}
		}
		r.cols, r.vals = cols, vals
	}
	r.span = span
	if n := len(r.at); n > 0 {
		newest := r.at[n-1]
		last := slices.Clone(r.vals[(n-1)*cols.len():])
		r.at, r.vals = r.at[:n-1], r.vals[:(n-1)*cols.len()]
		r.evict(newest.endMS)
		r.at, r.vals = append(r.at, newest), append(r.vals, last...)
	}
}

// value returns a column of the i-th window, or NaN if it was not kept.
func (r *ring) value(i int, col columns) float64 {
	k := r.cols.index(col)
	if k < 0 {
		return math.NaN()
	}
	return r.vals[i*r.cols.len()+k]
}

// over returns what an input reads at a window's end, from the windows that end in (end-backMS,
// end], or earlier by the input's offset; NaN if there are none. A range that is not full is computed
// on what there is: see rule.covers.
func (r *ring) over(in *input, end, backMS int64) float64 {
	w := reach{end: end, input: in}
	if in.fn.extra == anOffset {
		w.end -= in.beforeMS
	}
	if w.from, w.to = r.ending(w.end, backMS); w.from == w.to {
		return math.NaN()
	}
	return in.fn.over(r, w)
}

// ending returns the windows that end in (end-backMS, end]: from one index to before another.
func (r *ring) ending(end, backMS int64) (from, to int) {
	to = len(r.at)
	for to > 0 && r.at[to-1].endMS > end {
		to--
	}
	for from < to && r.at[from].endMS <= end-backMS {
		from++
	}
	return from, to
}

func (r *ring) lastOf(col columns, from, to int) float64 {
	for i := to - 1; i >= from; i-- {
		if v := r.value(i, col); v == v {
			return v
		}
	}
	return math.NaN()
}

func (r *ring) firstOf(col columns, from, to int) float64 {
	for i := from; i < to; i++ {
		if v := r.value(i, col); v == v {
			return v
		}
	}
	return math.NaN()
}

func (r *ring) sumOf(col columns, from, to int) float64 {
	k, width := r.cols.index(col), r.cols.len()
	sum, any := 0.0, false
	for i := from; i < to; i++ {
		if v := r.vals[i*width+k]; v == v {
			sum, any = sum+v, true
		}
	}
	if !any {
		return math.NaN()
	}
	return sum
}

// avgOf divides sums by counts of the same windows: either may be missing in windows that were kept
// before a rule needed it.
func (r *ring) avgOf(from, to int) float64 {
	k, j, width := r.cols.index(colSum), r.cols.index(colCount), r.cols.len()
	sum, count := 0.0, 0.0
	for i := from; i < to; i++ {
		s, c := r.vals[i*width+k], r.vals[i*width+j]
		if s == s && c == c {
			sum, count = sum+s, count+c
		}
	}
	return sum / count // 0 / 0 is NaN
}

func (r *ring) extremeOf(col columns, from, to int, better func(a, b float64) bool) float64 {
	best := math.NaN()
	for i := from; i < to; i++ {
		if v := r.value(i, col); v == v && (best != best || better(v, best)) {
			best = v
		}
	}
	return best
}
