package schemas

import (
	"encoding/binary"
	"math"
)

// Aggregate is what weir keeps of the samples of one series in one window: 56 bytes, no pointer.
// The zero value is the aggregate of no samples.
//
// To add a number, add a field here, its part in Add and Merge, and a line in Numbers and in
// Columns: everything that stores, sends, prints or judges windows goes by these.
type Aggregate struct {
	Sum, Min, Max float64
	First, Last   float64 // by event time; among samples of one time, the first and the last to arrive
	Count         uint32  // saturates
	FirstOff      uint32  // event times of First and Last, ms from the window's start
	LastOff       uint32
	Mark          uint32 // for the holder's own use: Add and Merge keep it, and it is neither sent nor stored
}

// Columns are the names of an aggregate's numbers in CQL, JSON, CSV and rules, in the order of
// Numbers. A new one goes at the end: older rows and records end before it.
var Columns = [...]string{"sum", "min", "max", "first", "last"}

// Numbers returns pointers to an aggregate's numbers, for reading and writing.
func (a *Aggregate) Numbers() [len(Columns)]*float64 {
	return [...]*float64{&a.Sum, &a.Min, &a.Max, &a.First, &a.Last}
}

// Add counts a sample, off ms after the window's start.
func (a *Aggregate) Add(off uint32, v float64) {
	if a.Count == 0 {
		*a = Aggregate{Sum: v, Min: v, Max: v, First: v, Last: v, Count: 1, FirstOff: off, LastOff: off, Mark: a.Mark}
		return
	}
	if a.Count < math.MaxUint32 {
		a.Count++
	}
	a.Sum += v
	if v < a.Min {
		a.Min = v
	}
	if v > a.Max {
		a.Max = v
	}
	if off < a.FirstOff {
		a.FirstOff, a.First = off, v
	}
	if off >= a.LastOff {
		a.LastOff, a.Last = off, v
	}
}

// Merge counts the samples of b, whose window starts shift ms after a's. It is exact except for the
// last bits of Sum, as it changes the order of addition. Among samples of one time, those of b
// arrived later.
func (a *Aggregate) Merge(b *Aggregate, shift uint32) {
	if a.Count == 0 {
		mark := a.Mark
		*a = *b
		a.Mark = mark
		a.FirstOff += shift
		a.LastOff += shift
		return
	}
	if a.Count += b.Count; a.Count < b.Count {
		a.Count = math.MaxUint32
	}
	a.Sum += b.Sum
	if b.Min < a.Min {
		a.Min = b.Min
	}
	if b.Max > a.Max {
		a.Max = b.Max
	}
	if b.FirstOff+shift < a.FirstOff {
		a.FirstOff, a.First = b.FirstOff+shift, b.First
	}
	if b.LastOff+shift >= a.LastOff {
		a.LastOff, a.Last = b.LastOff+shift, b.Last
	}
}

// Avg is Sum / Count: derived, never stored.
func (a *Aggregate) Avg() float64 { return a.Sum / float64(a.Count) }

// appendTo appends the encoded aggregate of a window with that revision to dst; a single sample has
// its value once.
func (a *Aggregate) appendTo(dst []byte, revision uint32) []byte {
	if a.Count == 1 {
		dst = binary.AppendUvarint(dst, uint64(revision)<<1|1)
		dst = binary.AppendUvarint(dst, uint64(a.FirstOff))
		return appendF64(dst, a.Sum)
	}
	dst = binary.AppendUvarint(dst, uint64(revision)<<1)
	dst = binary.AppendUvarint(dst, uint64(a.Count))
	dst = binary.AppendUvarint(dst, uint64(a.FirstOff))
	dst = binary.AppendUvarint(dst, uint64(a.LastOff))
	for _, v := range a.Numbers() {
		dst = appendF64(dst, *v)
	}
	return dst
}

// aggregate reads what appendTo wrote.
func (w *wire) aggregate() (a Aggregate, revision uint32) {
	head := w.uvarint()
	if head&1 == 1 {
		a.Add(uint32(w.uvarint()), w.f64())
		return a, uint32(head >> 1)
	}
	a.Count, a.FirstOff, a.LastOff = uint32(w.uvarint()), uint32(w.uvarint()), uint32(w.uvarint())
	for _, v := range a.Numbers() {
		*v = w.f64()
	}
	return a, uint32(head >> 1)
}
