package alerts

import "math"

func lastOver(r *ring, w reach) float64  { return r.lastOf(colLast, w.from, w.to) }
func firstOver(r *ring, w reach) float64 { return r.firstOf(colFirst, w.from, w.to) }
func avgOver(r *ring, w reach) float64   { return r.avgOf(w.from, w.to) }
func sumOver(r *ring, w reach) float64   { return r.sumOf(colSum, w.from, w.to) }
func countOver(r *ring, w reach) float64 { return r.sumOf(colCount, w.from, w.to) }

func deltaOver(r *ring, w reach) float64 {
	return r.lastOf(colLast, w.from, w.to) - r.firstOf(colFirst, w.from, w.to)
}

func minOver(r *ring, w reach) float64 {
	return r.extremeOf(colMin, w.from, w.to, func(a, b float64) bool { return a < b })
}

func maxOver(r *ring, w reach) float64 {
	return r.extremeOf(colMax, w.from, w.to, func(a, b float64) bool { return a > b })
}

func rangeOver(r *ring, w reach) float64 { return maxOver(r, w) - minOver(r, w) }

// each calls f with the average and the end, ms, of each window that has one.
func (r *ring) each(w reach, f func(avg float64, endMS int64)) {
	for i := w.from; i < w.to; i++ {
		if v := r.value(i, colSum) / r.value(i, colCount); v == v {
			f(v, r.at[i].endMS)
		}
	}
}

// moments are the count, the mean and the (population) standard deviation of numbers, by Welford's
// method.
type moments struct{ n, mean, squares float64 }

func (m *moments) add(v float64) {
	m.n++
	d := v - m.mean
	m.mean += d / m.n
	m.squares += d * (v - m.mean)
}

func (m *moments) stddev() float64 { return math.Sqrt(m.squares / m.n) }

func stddevOver(r *ring, w reach) float64 {
	var m moments
	r.each(w, func(v float64, _ int64) { m.add(v) })
	return m.stddev()
}

// counterColumns are the columns that increase reads.
const counterColumns = colFirst | colLast | colMin | colMax

// increaseOver adds up how much a counter grew within windows and between them.
func increaseOver(r *ring, w reach) float64 {
	first, rest := r.growth(w)
	return first + rest
}

// rateOver leaves out the growth within the first window: from the last sample of that window to
// the last sample of the newest it is as long as from end to end.
func rateOver(r *ring, w reach) float64 {
	_, rest := r.growth(w)
	return rest * 1000 / float64(r.at[w.to-1].endMS-r.at[w.from].endMS)
}

// growth returns how much a counter grew within the first window, and after its end; NaN if there
// is no window.
func (r *ring) growth(w reach) (first, rest float64) {
	first = math.NaN()
	before := 0.0
	for i := w.from; i < w.to; i++ {
		from, to := r.value(i, colFirst), r.value(i, colLast)
		inside := grownInside(from, to, r.value(i, colMin), r.value(i, colMax))
		switch {
		case inside != inside: // a column was not yet kept
			continue
		case first != first:
			first = inside
		default:
			rest += grown(before, from) + inside
		}
		before = to
	}
	return first, rest
}

// grown returns how much a counter grew from one value to the next.
func grown(from, to float64) float64 {
	if to < from {
		return to // it was reset
	}
	return to - from
}

// grownInside is the same within a window. A counter that was not reset has its smallest value
// first and its largest last. One that was grew to the largest value, and from 0 to the last; if it
// overtook its old value, the largest value before the reset is unknown, and it counts as having
// fallen from the first.
func grownInside(first, last, least, most float64) float64 {
	switch {
	case least != least || most != most:
		return math.NaN()
	case most > last:
		return most - first + last
	case least < first:
		return last
	}
	return last - first
}

// line fits a line through the windows' averages: the slope per ms, and the value at the range's
// end.
func (r *ring) line(w reach) (slope, atEnd float64) {
	half := float64(w.input.tierMS) / 2 // an average belongs to the middle of its window
	var n, t, v float64
	r.each(w, func(avg float64, end int64) { n, t, v = n+1, t+float64(end-w.end)-half, v+avg })
	t, v = t/n, v/n
	var tt, tv float64
	r.each(w, func(avg float64, end int64) {
		d := float64(end-w.end) - half - t
		tt, tv = tt+d*d, tv+d*(avg-v)
	})
	slope = tv / tt // 0 / 0 for one window
	return slope, v - slope*t
}

func derivOver(r *ring, w reach) float64 {
	slope, _ := r.line(w)
	return slope * 1000
}

func predictOver(r *ring, w reach) float64 {
	slope, atEnd := r.line(w)
	return atEnd + slope*float64(w.input.aheadMS)
}

func changeOver(r *ring, w reach) float64 {
	now, then := r.nowAndThen(w)
	return now - then
}

func percentOver(r *ring, w reach) float64 {
	now, then := r.nowAndThen(w)
	return 100 * (now - then) / math.Abs(then)
}

// nowAndThen returns the averages of the range that ends now and of the one that ended earlier.
func (r *ring) nowAndThen(w reach) (now, then float64) {
	from, to := r.ending(w.end, w.input.rangeMS)
	now = r.avgOf(from, to)
	from, to = r.ending(w.end-w.input.beforeMS, w.input.rangeMS)
	return now, r.avgOf(from, to)
}

// leastSeen is the minimum number of windows with which zscore compares.
const leastSeen = 5

func zscoreOver(r *ring, w reach) float64 {
	newest, end := math.NaN(), int64(0)
	var m moments
	r.each(w, func(v float64, endMS int64) { newest, end = v, endMS })
	if end != w.end {
		return math.NaN()
	}
	r.each(w, func(v float64, endMS int64) {
		if endMS != end && (w.input.periodMS == 0 || (end-endMS)%w.input.periodMS == 0) {
			m.add(v)
		}
	})
	if m.n < leastSeen {
		return math.NaN()
	}
	return (newest - m.mean) / m.stddev()
}

// holtWintersOver is Prometheus's double_exponential_smoothing, over the windows' averages.
func holtWintersOver(r *ring, w reach) float64 {
	smoothing, trending := w.input.factors[0], w.input.factors[1]
	n, level, trend := 0, math.NaN(), 0.0
	r.each(w, func(v float64, _ int64) {
		switch n {
		case 0:
			level = v
		case 1:
			trend = v - level
			fallthrough
		default:
			before := level
			level = smoothing*v + (1-smoothing)*(level+trend)
			trend = trending*(level-before) + (1-trending)*trend
		}
		n++
	})
	if n < 2 {
		return math.NaN()
	}
	return level
}

func absSpan(a span) span {
	if a.lo <= 0 && a.hi >= 0 {
		return span{hi: max(-a.lo, a.hi)}
	}
	return span{lo: min(math.Abs(a.lo), math.Abs(a.hi)), hi: max(math.Abs(a.lo), math.Abs(a.hi))}
}
