package windows

import (
	"cmp"
	"encoding/binary"
	"maps"
	"math"
	"slices"

	"github.com/weir-metrics/weir/schemas"
)

// addAny adds a sample to an open frame of the smallest tier, of a group of n series, unless it is there already.
func (f *frame) addAny(sh *Shard, b *schemas.SampleBatch, p *ordered, n int, off uint32) bool {
	point := &b.Points[p.pos]
	switch {
	case p.idx < 0:
		i, _ := collapsed(p.idx)
		if !f.addCollapsed(sh, f.at(sh, i, n), off, p, point, b.IDs[point.Series]) {
			return false
		}
	case point.SubNS != 0:
		if !f.addFine(f.at(sh, int(p.idx), n), int(p.idx), off, point.SubNS, p.v) {
			return false
		}
	default:
		return f.add(sh, int(p.idx), n, off, p.v)
	}
	f.next = max(f.next, off+1)
	return true
}

// holds reports whether the frame of the smallest tier has the sample.
func (f *frame) holds(b *schemas.SampleBatch, p *ordered, off uint32) bool {
	point := &b.Points[p.pos]
	if p.idx < 0 {
		_, ok := f.over[collapsedID(b.IDs[point.Series], off, point.SubNS, p.v)]
		return ok
	}
	i := int(p.idx)
	if point.SubNS != 0 {
		_, ok := f.rarely().fine[fineSampleOf(i, off, point.SubNS, p.v)]
		return ok
	}
	bits := math.Float64bits(p.v)
	if r := f.rowAt(off); r != nil && i < len(r.vals) && math.Float64bits(r.vals[i]) == bits && bits != absent {
		return true
	}
	if i >= len(f.aggs) || f.aggs[i].Count == 0 {
		return false
	}
	if a := &f.aggs[i]; a.Count == 1 {
		return !a.fine() && a.FirstOff == off && math.Float64bits(a.First) == bits
	}
	return f.has(sampleKey(i, off, p.v))
}

// addOnce adds a sample of series i to a, its aggregate in a frame of the smallest tier, unless it
// is there already.
func (f *frame) addOnce(a *agg, i int, off uint32, v float64) bool {
	switch {
	case a.Count == 0:
	case a.Count == 1 && a.fine():
		f.keys = append(f.keys, sampleKey(i, off, v))
		a.setFine(false)
	case a.Count == 1:
		if off == a.FirstOff && math.Float64bits(v) == math.Float64bits(a.First) {
			return false
		}
		f.keys = append(f.keys, sampleKey(i, a.FirstOff, a.First), sampleKey(i, off, v))
	default:
		key := sampleKey(i, off, v)
		if off <= a.LastOff && f.has(key) {
			return false
		}
		f.keys = append(f.keys, key)
	}
	a.Add(off, v)
	return true
}

// fineSample is a sample whose time has a fraction of a ms. at packs the place of its series in the
// group, its ms in the frame, and its ns in the ms; bits are those of its value.
type fineSample struct{ at, bits uint64 }

func fineSampleOf(i int, off, subNS uint32, v float64) fineSample {
	return fineSample{uint64(i)<<48 | uint64(off)<<20 | uint64(subNS), math.Float64bits(v)}
}

// addFine is addOnce for a sample that is subNS ns after the ms at off.
func (f *frame) addFine(a *agg, i int, off, subNS uint32, v float64) bool {
	k := fineSampleOf(i, off, subNS, v)
	rare := f.own()
	if _, ok := rare.fine[k]; ok {
		return false
	}
	if rare.fine == nil {
		rare.fine = map[fineSample]struct{}{}
	}
	if a.Count == 1 && !a.fine() {
		f.keys = append(f.keys, sampleKey(i, a.FirstOff, a.First))
	}
	rare.fine[k] = struct{}{}
	f.large++
	a.setFine(a.Count == 0)
	a.Add(off, v)
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
		if i >= len(f.aggs) || f.aggs[i].Count == 0 {
			r.bad = true
			return
		}
		f.aggs[i].setFine(f.aggs[i].Count == 1)
		rare.fine[k] = struct{}{}
	}
}

// sampleKey packs a sample of a frame: the series in 16 bits, the offset in 22, a hash of the value
// in 26. Two values of one series at one ms look alike with a probability of 1.5e-8.
func sampleKey(series int, off uint32, v float64) uint64 {
	h := math.Float64bits(v) * 0x9e3779b97f4a7c15
	return uint64(series)<<48 | uint64(off)<<26 | (h^h>>29)>>38
}

// has reports whether the sample is among the keys. It is asked only about samples that are not
// newer than the newest of their series.
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

// addCollapsed adds a sample of the series id to a, the aggregate of its overflow series in a frame
// of the smallest tier, unless it is there already. The sample's own ID tells repeats: many series
// may have a sample at one time, and the group does not know them.
func (f *frame) addCollapsed(sh *Shard, a *agg, off uint32, p *ordered, point *schemas.Point, id schemas.ID) bool {
	k := collapsedID(id, off, point.SubNS, p.v)
	if f.over == nil {
		f.over = sh.newOver()
	}
	n := len(f.over)
	if f.over[k] = struct{}{}; len(f.over) == n {
		return false // already there
	}
	f.large++
	a.Add(off, p.v)
	return true
}

// collapsedID tells one sample of a collapsed series from the others of its frame.
func collapsedID(id schemas.ID, off, subNS uint32, v float64) schemas.ID {
	return schemas.SampleID(id, int64(off), subNS, math.Float64bits(v))
}
