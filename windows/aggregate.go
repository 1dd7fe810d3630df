package windows

import (
	"encoding/binary"
	"math"

	"weir/schemas"
)

// agg is the running aggregate of one window: 56 bytes, no pointer.
type agg struct {
	sum, min, max, first, last float64
	count                      uint32
	firstOff, lastOff          uint32 // ms from the window's start
	rev                        uint16
	dirty                      bool // changed after the close, not yet emitted
	fine                       bool // in the smallest tier: count is 1, and the sample is in frame.fine
}

// add counts a sample. Of samples at the same time the first that arrived is first,
// the last that arrived last.
func (a *agg) add(off uint32, v float64) {
	if a.count == 0 {
		*a = agg{sum: v, min: v, max: v, first: v, last: v, count: 1, firstOff: off, lastOff: off, rev: a.rev, dirty: a.dirty, fine: a.fine}
		return
	}
	a.count++
	a.sum += v
	if v < a.min {
		a.min = v
	}
	if v > a.max {
		a.max = v
	}
	if off < a.firstOff {
		a.firstOff, a.first = off, v
	}
	if off >= a.lastOff {
		a.lastOff, a.last = off, v
	}
}

// merge counts the samples of c, whose window starts shift ms after a's.
func (a *agg) merge(c *agg, shift uint32) {
	if a.count == 0 {
		rev, dirty := a.rev, a.dirty
		*a = *c
		a.rev, a.dirty = rev, dirty
		a.firstOff += shift
		a.lastOff += shift
		return
	}
	a.count += c.count
	a.sum += c.sum
	if c.min < a.min {
		a.min = c.min
	}
	if c.max > a.max {
		a.max = c.max
	}
	if c.firstOff+shift < a.firstOff {
		a.firstOff, a.first = c.firstOff+shift, c.first
	}
	if c.lastOff+shift >= a.lastOff {
		a.lastOff, a.last = c.lastOff+shift, c.last
	}
}

func (a *agg) values() schemas.Values {
	return schemas.Values{Count: a.count, FirstOff: a.firstOff, LastOff: a.lastOff, Revision: uint32(a.rev),
		Sum: a.sum, Min: a.min, Max: a.max, First: a.first, Last: a.last}
}

// The values of an aggregate repeat: one sample is its own sum, minimum, maximum,
// first and last, and many a series is constant or rising. A byte says what is left out.
const (
	maxIsMin = 1 << iota
	firstIsMin
	firstIsMax
	lastIsMin
	lastIsMax
	sumIsMin
	lastAtFirst // lastOff is firstOff
	likeBefore  // count, firstOff, lastOff and rev are as in the run before, and no series is between
)

// flags says what the encoding of a leaves out, but for likeBefore.
func (a *agg) flags() (flags byte) {
	same := func(x, y float64) bool { return math.Float64bits(x) == math.Float64bits(y) }
	if a.lastOff == a.firstOff {
		flags |= lastAtFirst
	}
	if same(a.sum, a.min) {
		flags |= sumIsMin
	}
	if same(a.max, a.min) {
		flags |= maxIsMin
	}
	switch {
	case same(a.first, a.min):
		flags |= firstIsMin
	case same(a.first, a.max):
		flags |= firstIsMax
	}
	switch {
	case same(a.last, a.min):
		flags |= lastIsMin
	case same(a.last, a.max):
		flags |= lastIsMax
	}
	return flags
}

// like says whether b has a's count, times and revision.
func (a *agg) like(b *agg) bool {
	return a.count == b.count && a.firstOff == b.firstOff && a.lastOff == b.lastOff && a.rev == b.rev
}

// appendAggs encodes aggregates in runs of neighbours that differ in their values only,
// as those of one sender do.
func appendAggs(dst []byte, aggs []agg) []byte {
	var before agg
	end := 0 // of the run before
	for i := 0; i < len(aggs); {
		a := &aggs[i]
		if a.count == 0 {
			i++
			continue
		}
		flags := a.flags()
		to := i + 1
		for to < len(aggs) && aggs[to].like(a) && aggs[to].flags() == flags {
			to++
		}
		dst = binary.AppendUvarint(dst, uint64(to-i))
		if i == end && a.like(&before) {
			dst = append(dst, flags|likeBefore)
		} else {
			dst = append(dst, flags)
			dst = binary.AppendUvarint(dst, uint64(i-end))
			dst = binary.AppendUvarint(dst, uint64(a.rev))
			dst = binary.AppendUvarint(dst, uint64(a.count))
			dst = binary.AppendUvarint(dst, uint64(a.firstOff))
			if flags&lastAtFirst == 0 {
				dst = binary.AppendUvarint(dst, uint64(a.lastOff))
			}
		}
		for ; i < to; i++ {
			dst = aggs[i].appendValues(dst, flags)
		}
		before, end = *a, to
	}
	return append(dst, 0)
}

func (a *agg) appendValues(dst []byte, flags byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(a.min))
	if flags&sumIsMin == 0 {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(a.sum))
	}
	if flags&maxIsMin == 0 {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(a.max))
	}
	if flags&(firstIsMin|firstIsMax) == 0 {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(a.first))
	}
	if flags&(lastIsMin|lastIsMax) == 0 {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(a.last))
	}
	return dst
}

// readAggs reads what appendAggs wrote, of a group of n series.
func (f *frame) readAggs(sh *Shard, r *reader, n int) {
	var before agg
	for at := 0; ; {
		run := r.uvarint()
		if run == 0 {
			return
		}
		flags := r.byte()
		a := before
		if flags&likeBefore == 0 {
			at += int(min(r.uvarint(), maxSeriesCap))
			a.rev, a.count, a.firstOff = uint16(r.uvarint()), uint32(r.uvarint()), uint32(r.uvarint())
			a.lastOff = a.firstOff
			if flags&lastAtFirst == 0 {
				a.lastOff = uint32(r.uvarint())
			}
		}
		if r.bad || a.count == 0 || a.lastOff == math.MaxUint32 || run > uint64(n) || at+int(run) > n {
			r.bad, r.b = true, nil
			return
		}
		if f.aggs == nil {
			f.aggs = sh.newAggs(n)
		}
		for end := at + int(run); at < end; at++ {
			r.readValues(&a, flags)
			f.aggs[at] = a
			f.samples += a.count
		}
		f.next = max(f.next, a.lastOff+1)
		before = a
	}
}

func (r *reader) readValues(a *agg, flags byte) {
	a.min = r.f64()
	a.sum, a.max, a.first, a.last = a.min, a.min, a.min, a.min
	if flags&sumIsMin == 0 {
		a.sum = r.f64()
	}
	if flags&maxIsMin == 0 {
		a.max = r.f64()
	}
	switch {
	case flags&firstIsMax != 0:
		a.first = a.max
	case flags&firstIsMin == 0:
		a.first = r.f64()
	}
	switch {
	case flags&lastIsMax != 0:
		a.last = a.max
	case flags&lastIsMin == 0:
		a.last = r.f64()
	}
}
