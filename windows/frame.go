package windows

import (
	"cmp"
	"encoding/binary"
	"maps"
	"math"
	"slices"

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

// frame holds the windows of one tier and start, of all series of a group: aggs[i]
// is that of series i, empty while its count is 0. It may be shorter than the
// group's list of series. A closed frame is frozen: it is encoded in blob, which is
// smaller, until a late sample comes. So are open frames from the third tier on, while
// nothing is merged into them.
type frame struct {
	start   int64
	dirty   int // aggs revised since the close
	aggs    []agg
	blob    []byte
	closed  bool
	flat    bool   // in the smallest tier: there are no rows, and will be none
	samples uint32 // in the smallest tier: how many were counted
	width   uint32 // how many series of the group it may have samples of: no less than len(aggs)
	large   uint32 // in the smallest tier: how many samples are known by 16 bytes, in fine and over
	next    uint32 // in the smallest tier: a sample at or after this, ms from start, is newer than all

	// The smallest tier's frames know their samples, to tell repeats: those in rows, and
	// by 8 bytes each the others of series that have more than one in aggs. seen is made
	// when repeats are asked for often.
	rows []row
	keys []uint64
	seen map[uint64]struct{}
	over map[schemas.ID]struct{} // the samples of overflow series; see addCollapsed
	rare *rare                   // what few frames have
}

// rare is what few frames of the smallest tier have.
type rare struct {
	fine    map[fineSample]struct{} // samples with a time within a ms; see addFine
	senders []senderCount           // see room
}

// nothingRare is read, and never changed.
var nothingRare rare

// rarely returns what the frame has of it, to read.
func (f *frame) rarely() *rare {
	if f.rare == nil {
		return &nothingRare
	}
	return f.rare
}

// own returns what the frame has of it, to change.
func (f *frame) own() *rare {
	if f.rare == nil {
		f.rare = new(rare)
	}
	return f.rare
}

// at returns the aggregate of series i, growing the frame for a group of n series.
func (f *frame) at(co *Core, i, n int) *agg {
	f.width = max(f.width, uint32(n))
	if i >= len(f.aggs) {
		if len(f.aggs) == 0 {
			f.aggs = co.newAggs(n)
			return &f.aggs[i]
		}
		if i >= cap(f.aggs) {
			grown := make([]agg, len(f.aggs), max(n, cap(f.aggs)*5/4))
			copy(grown, f.aggs)
			f.aggs = grown
		}
		f.aggs = f.aggs[:min(n, cap(f.aggs))]
	}
	return &f.aggs[i]
}

// addOnce adds a sample of series i to a, its aggregate in a frame of the smallest
// tier, unless it is there already.
func (f *frame) addOnce(a *agg, i int, off uint32, v float64) bool {
	switch {
	case a.count == 0:
	case a.count == 1 && a.fine:
		f.keys = append(f.keys, sampleKey(i, off, v))
		a.fine = false
	case a.count == 1:
		if off == a.firstOff && math.Float64bits(v) == math.Float64bits(a.first) {
			return false
		}
		f.keys = append(f.keys, sampleKey(i, a.firstOff, a.first), sampleKey(i, off, v))
	default:
		key := sampleKey(i, off, v)
		if off <= a.lastOff && f.has(key) {
			return false
		}
		f.keys = append(f.keys, key)
	}
	a.add(off, v)
	return true
}

// fineSample is a sample with a time within a ms: the place of its series in the group, its
// ms in the frame and its ns in the ms in one number, and the bits of its value.
type fineSample struct{ at, bits uint64 }

func fineSampleOf(i int, off, subNS uint32, v float64) fineSample {
	return fineSample{uint64(i)<<48 | uint64(off)<<20 | uint64(subNS), math.Float64bits(v)}
}

// addFine is addOnce for a sample that is subNS after the ms at off.
func (f *frame) addFine(a *agg, i int, off, subNS uint32, v float64) bool {
	k := fineSampleOf(i, off, subNS, v)
	rare := f.own()
	if _, ok := rare.fine[k]; ok {
		return false
	}
	if rare.fine == nil {
		rare.fine = map[fineSample]struct{}{}
	}
	if a.count == 1 && !a.fine {
		f.keys = append(f.keys, sampleKey(i, a.firstOff, a.first))
	}
	rare.fine[k] = struct{}{}
	f.large++
	a.fine = a.count == 0
	a.add(off, v)
	return true
}

func (f *frame) appendFine(dst []byte) []byte {
	fine := f.rarely().fine
	dst = binary.AppendUvarint(dst, uint64(len(fine)))
	if len(fine) == 0 {
		return dst
	}
	for _, k := range slices.SortedFunc(maps.Keys(fine), func(a, b fineSample) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.bits, b.bits))
	}) {
		dst = binary.LittleEndian.AppendUint64(dst, k.at)
		dst = binary.LittleEndian.AppendUint64(dst, k.bits)
	}
	return dst
}

// decodeFine reads what appendFine wrote, after aggs.
func (f *frame) decodeFine(r *reader) {
	n := r.count(16)
	if n == 0 {
		return
	}
	rare := f.own()
	rare.fine = make(map[fineSample]struct{}, n)
	for range n {
		k := fineSample{r.u64(), r.u64()}
		i := int(k.at >> 48)
		if i >= len(f.aggs) || f.aggs[i].count == 0 {
			r.bad = true
			return
		}
		f.aggs[i].fine = f.aggs[i].count == 1
		rare.fine[k] = struct{}{}
	}
}

// sampleKey packs a sample of a frame: series 16 bits, offset 22, a hash of the
// value 26. Two values of one series at one ms look alike with a chance of 1.5e-8.
func sampleKey(series int, off uint32, v float64) uint64 {
	h := math.Float64bits(v) * 0x9e3779b97f4a7c15
	return uint64(series)<<48 | uint64(off)<<26 | (h^h>>29)>>38
}

// has says whether the sample is among the keys. It is asked only for samples that
// are not newer than the newest of their series.
func (f *frame) has(key uint64) bool {
	if f.seen == nil {
		if len(f.keys) <= 64 {
			for _, k := range f.keys {
				if k == key {
					return true
				}
			}
			return false
		}
		f.seen = make(map[uint64]struct{}, len(f.keys))
	}
	for _, k := range f.keys[len(f.seen):] { // keys are distinct, so seen holds a prefix
		f.seen[k] = struct{}{}
	}
	_, ok := f.seen[key]
	return ok
}

// rest freezes an open frame of a tier that is merged into rarely.
func (f *frame) rest(co *Core, t int) {
	if t > 1 {
		f.freeze(co, t)
	}
}

// freeze encodes a frame of tier t and gives its memory back.
func (f *frame) freeze(co *Core, t int) {
	if f.blob != nil || f.dirty > 0 {
		return
	}
	co.blob = f.appendBody(co.blob[:0], t)
	f.blob = append(make([]byte, 0, len(co.blob)), co.blob...)
	co.freeAggs(f.aggs)
	f.freeRows(co)
	f.aggs, f.keys, f.seen, f.over, f.rare = nil, nil, nil, nil, nil
}

// thaw undoes freeze, for a group of n series, and leaves no rows. The blob is the
// frame's own or was checked by DecodeGroup.
func (f *frame) thaw(co *Core, t, n int) {
	if f.blob == nil {
		return
	}
	f.decodeBody(co, &reader{b: f.blob, version: stateVersion}, t, n)
	f.blob = nil
	f.flatten(co, n)
}
