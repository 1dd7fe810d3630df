package windows

import (
	"encoding/binary"
	"math"

	"github.com/weir-metrics/weir/schemas"
)

// agg is the running aggregate of a series in a frame. Its Mark holds the window's revision, and the flags below it.
type agg struct{ schemas.Aggregate }

const (
	aggRevision = math.MaxUint16     // the bits of the revision
	aggDirty    = math.MaxUint16 + 1 // changed after the close, not yet emitted
	aggFine     = aggDirty << 1      // in the smallest tier: Count is 1, and the sample is in frame.fine
)

func (a *agg) revision() uint16 { return uint16(a.Mark & aggRevision) }
func (a *agg) dirty() bool      { return a.Mark&aggDirty != 0 }
func (a *agg) fine() bool       { return a.Mark&aggFine != 0 }

// setFine notes whether the only sample is in frame.fine.
func (a *agg) setFine(fine bool) {
	a.Mark &^= aggFine
	if fine {
		a.Mark |= aggFine
	}
}

// The values of an aggregate repeat: a single sample is its own sum, minimum, maximum, first and
// last, and many series are constant or rising. A byte says which fields are left out.
const (
	maxIsMin = 1 << iota
	firstIsMin
	firstIsMax
	lastIsMin
	lastIsMax
	sumIsMin
	lastAtFirst // lastOff equals firstOff
	likeBefore  // count, firstOff, lastOff and rev equal those of the previous run, which ends just before this one
)

// flags tells which fields the encoding of a leaves out; likeBefore is set by the caller.
func (a *agg) flags() (flags byte) {
	same := func(x, y float64) bool { return math.Float64bits(x) == math.Float64bits(y) }
	if a.LastOff == a.FirstOff {
		flags |= lastAtFirst
	}
	if same(a.Sum, a.Min) {
		flags |= sumIsMin
	}
	if same(a.Max, a.Min) {
		flags |= maxIsMin
	}
	switch {
	case same(a.First, a.Min):
		flags |= firstIsMin
	case same(a.First, a.Max):
		flags |= firstIsMax
	}
	switch {
	case same(a.Last, a.Min):
		flags |= lastIsMin
	case same(a.Last, a.Max):
		flags |= lastIsMax
	}
	return flags
}

// like reports whether a and b have the same count, times and revision.
func (a *agg) like(b *agg) bool {
	return a.Count == b.Count && a.FirstOff == b.FirstOff && a.LastOff == b.LastOff && a.revision() == b.revision()
}

// appendAggs encodes aggregates in runs of neighbours that differ only in their values, as those of
// one sender do.
func appendAggs(dst []byte, aggs []agg) []byte {
	var before agg
	end := 0 // of the previous run
	for i := 0; i < len(aggs); {
		a := &aggs[i]
		if a.Count == 0 {
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
			dst = binary.AppendUvarint(dst, uint64(a.revision()))
			dst = binary.AppendUvarint(dst, uint64(a.Count))
			dst = binary.AppendUvarint(dst, uint64(a.FirstOff))
			if flags&lastAtFirst == 0 {
				dst = binary.AppendUvarint(dst, uint64(a.LastOff))
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
	dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(a.Min))
	if flags&sumIsMin == 0 {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(a.Sum))
	}
	if flags&maxIsMin == 0 {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(a.Max))
	}
	if flags&(firstIsMin|firstIsMax) == 0 {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(a.First))
	}
	if flags&(lastIsMin|lastIsMax) == 0 {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(a.Last))
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
			a.Mark, a.Count, a.FirstOff = uint32(uint16(r.uvarint())), uint32(r.uvarint()), uint32(r.uvarint())
			a.LastOff = a.FirstOff
			if flags&lastAtFirst == 0 {
				a.LastOff = uint32(r.uvarint())
			}
		}
		if r.bad || a.Count == 0 || a.LastOff == math.MaxUint32 || run > uint64(n) || at+int(run) > n {
			r.bad, r.b = true, nil
			return
		}
		if f.aggs == nil {
			f.aggs = sh.newAggs(n)
		}
		for end := at + int(run); at < end; at++ {
			r.readValues(&a, flags)
			f.aggs[at] = a
			f.samples += a.Count
		}
		f.next = max(f.next, a.LastOff+1)
		before = a
	}
}

func (r *reader) readValues(a *agg, flags byte) {
	a.Min = r.f64()
	a.Sum, a.Max, a.First, a.Last = a.Min, a.Min, a.Min, a.Min
	if flags&sumIsMin == 0 {
		a.Sum = r.f64()
	}
	if flags&maxIsMin == 0 {
		a.Max = r.f64()
	}
	switch {
	case flags&firstIsMax != 0:
		a.First = a.Max
	case flags&firstIsMin == 0:
		a.First = r.f64()
	}
	switch {
	case flags&lastIsMax != 0:
		a.Last = a.Max
	case flags&lastIsMin == 0:
		a.Last = r.f64()
	}
}
