package windows

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
)

// row holds the samples that the series of a group have at one time: vals[i] is the value of series
// i, or absent. It may be shorter than the group's list of series.
type row struct {
	off    uint32 // ms from the frame's start
	filled uint32 // how many of vals are not absent
	vals   []float64
}

// absent is the bits of a NaN that no arithmetic makes. A sample that has exactly these bits all
// the same is kept outside the rows.
const absent = 0x7ff8_dead_beef_dead

// absentRow is copied to make a row.
var absentRow = slices.Repeat([]float64{math.Float64frombits(absent)}, 512)

// maxRows bounds the rows of a frame.
const maxRows = 256

// add counts a sample of series i of n in a frame of the smallest tier, unless it is there already.
//
// A sender gives the samples of one moment the same time. The frame therefore keeps them in rows, 8
// bytes each, as long as the rows are a third full, and aggregates them when it closes. Only the
// samples themselves can tell a repeat for sure. The samples of senders that behave differently are
// aggregated at once, and known by their keys.
func (f *frame) add(sh *Shard, i, n int, off uint32, v float64) bool {
	if r := f.row(sh, n, off); r != nil && i < len(r.vals) {
		f.width = max(f.width, uint32(len(r.vals)))
		bits := math.Float64bits(v)
		switch math.Float64bits(r.vals[i]) {
		case bits:
			return bits == absent && f.addOnce(f.at(sh, i, n), i, off, v)
		case absent:
			r.vals[i] = v
			r.filled++
			f.next = max(f.next, off+1)
			return true
		}
	}
	if !f.addOnce(f.at(sh, i, n), i, off, v) {
		return false
	}
	f.next = max(f.next, off+1)
	return true
}

// row returns the row at off, making it if need be, or nil if there is to be none. A row is made
// only for a time after all samples of the frame: so of two samples of a series at one time, the
// one in the row came first.
func (f *frame) row(sh *Shard, n int, off uint32) *row {
	k := len(f.rows)
	switch {
	case k > 0 && f.rows[k-1].off == off:
		return &f.rows[k-1]
	case off < f.next:
		return f.rowAt(off)
	case f.flat:
		return nil
	}
	filled := 0
	for i := range f.rows {
		filled += int(f.rows[i].filled)
	}
	if k == maxRows || filled*3 < k*n {
		f.flatten(sh, n)
		return nil
	}
	if k == cap(f.rows) {
		f.rows = append(make([]row, 0, k+1+k/4), f.rows...)
	}
	f.rows = append(f.rows, row{off: off, vals: sh.newVals(n)})
	return &f.rows[k]
}

// rowAt returns the row at off, or nil.
func (f *frame) rowAt(off uint32) *row {
	if i, ok := slices.BinarySearchFunc(f.rows, off, func(r row, off uint32) int { return cmp.Compare(r.off, off) }); ok {
		return &f.rows[i]
	}
	return nil
}

// aggregated returns the aggregates of the frame, for a group of n series. They are valid until the
// next call, and must not be changed.
func (f *frame) aggregated(sh *Shard, n int) []agg {
	if len(f.rows) == 0 {
		return f.aggs
	}
	sh.pool.folded = slices.Grow(sh.pool.folded[:0], n)[:n]
	clear(sh.pool.folded)
	f.foldInto(sh.pool.folded)
	return sh.pool.folded
}

// foldInto adds the samples of the frame to aggs, which are empty: those in rows first, as they
// came before other samples of the same series and time.
func (f *frame) foldInto(aggs []agg) {
	for _, r := range f.rows {
		for i, v := range r.vals {
			if math.Float64bits(v) != absent {
				aggs[i].Add(r.off, v)
			}
		}
	}
	for i := range f.aggs {
		if c := &f.aggs[i]; c.Count > 0 {
			aggs[i].Merge(&c.Aggregate, 0)
		}
	}
}

// flatten turns the rows into aggregates and keys; the frame gets no more rows.
func (f *frame) flatten(sh *Shard, n int) {
	f.flat = true
	if len(f.rows) == 0 {
		return
	}
	aggs := sh.newAggs(n)
	f.foldInto(aggs)
	for i := range f.aggs {
		if c := &f.aggs[i]; c.Count == 1 && !c.fine() && aggs[i].Count > 1 {
			f.keys = append(f.keys, sampleKey(i, c.FirstOff, c.First))
		}
	}
	for _, r := range f.rows {
		for i, v := range r.vals {
			if math.Float64bits(v) != absent && aggs[i].Count > 1 {
				f.keys = append(f.keys, sampleKey(i, r.off, v))
			}
		}
	}
	sh.freeAggs(f.aggs)
	f.aggs = aggs
	f.freeRows(sh)
}

func (f *frame) freeRows(sh *Shard) {
	for _, r := range f.rows {
		sh.freeVals(r.vals)
	}
	f.rows = nil
}

// A row's encoding leaves out absent values, and values equal to those of the row before. A bitmap
// says which, eight series a byte.
const (
	someAbsent = 1 << iota
	someSame
)

func (f *frame) appendRows(dst []byte) []byte {
	n := uint64(len(f.rows)) << 1
	if f.flat {
		n |= 1
	}
	dst = binary.AppendUvarint(dst, n)
	var before row
	for _, r := range f.rows {
		dst = r.appendTo(dst, &before)
		before = r
	}
	return dst
}

func (r *row) appendTo(dst []byte, before *row) []byte {
	dst = binary.AppendUvarint(dst, uint64(r.off))
	dst = binary.AppendUvarint(dst, uint64(len(r.vals)))
	same := 0
	for i, v := range r.vals[:min(len(r.vals), len(before.vals))] {
		if b := math.Float64bits(v); b != absent && b == math.Float64bits(before.vals[i]) {
			same++
		}
	}
	var kind byte
	if int(r.filled) < len(r.vals) {
		kind |= someAbsent
	}
	if same > len(r.vals)/64 {
		kind |= someSame
	}
	dst = append(dst, kind)
	bitmap := (len(r.vals) + 7) / 8
	absentAt, sameAt := len(dst), len(dst)
	if kind&someAbsent != 0 {
		dst = append(dst, make([]byte, bitmap)...)
		sameAt = len(dst)
	}
	if kind&someSame != 0 {
		dst = append(dst, make([]byte, bitmap)...)
	}
	for i, v := range r.vals {
		switch b := math.Float64bits(v); {
		case b == absent:
			dst[absentAt+i/8] |= 1 << (i % 8)
		case kind&someSame != 0 && i < len(before.vals) && b == math.Float64bits(before.vals[i]):
			dst[sameAt+i/8] |= 1 << (i % 8)
		default:
			dst = binary.LittleEndian.AppendUint64(dst, b)
		}
	}
	return dst
}

// decodeRows reads what appendRows wrote, for a group of n series.
func (f *frame) decodeRows(sh *Shard, r *reader, n int) {
	k := r.uvarint()
	f.flat = k&1 == 1
	if k >>= 1; k > maxRows {
		r.bad = true
		return
	}
	var before row
	for range k {
		row := r.readRow(sh, &before, n)
		if r.bad || len(f.rows) > 0 && row.off <= before.off || f.flat {
			r.bad = true
			return
		}
		f.rows = append(f.rows, row)
		f.samples += row.filled
		f.next = max(f.next, row.off+1)
		before = row
	}
}

func (r *reader) readRow(sh *Shard, before *row, n int) (w row) {
	off, m := r.uvarint(), r.uvarint()
	if off >= 1<<22 || m == 0 || m > uint64(n) {
		r.bad = true
		return w
	}
	w = row{off: uint32(off), vals: sh.newVals(int(m))}
	kind := r.byte()
	var isAbsent, isSame []byte
	bitmap := (int(m) + 7) / 8
	if kind&someAbsent != 0 {
		isAbsent = r.take(bitmap)
	}
	if kind&someSame != 0 {
		isSame = r.take(bitmap)
	}
	for i := range w.vals {
		bit := byte(1) << (i % 8)
		switch {
		case r.bad:
			return w
		case isAbsent != nil && isAbsent[i/8]&bit != 0:
			continue
		case isSame == nil || isSame[i/8]&bit == 0:
			w.vals[i] = r.f64()
		case i < len(before.vals):
			w.vals[i] = before.vals[i]
		default:
			r.bad = true
			return w
		}
		if math.Float64bits(w.vals[i]) != absent {
			w.filled++
		}
	}
	return w
}
