package windows

import (
	"encoding/binary"
	"fmt"
	"slices"
	"unique"

	"github.com/weir-metrics/weir/schemas"
)

// seriesIndex is the series of a group. Each has a place, from 0 up, by which everything else in
// the group refers to it; places change only when series are forgotten (evict.go).
//
// The name of series i is refs[ends[i-1]:ends[i]]: its metric and labels as indexes into dict, the
// pairs that the group's series share.
type seriesIndex struct {
	ids   []schemas.ID // of each series; made from the names when first needed, see identify
	refs  []uint16
	ends  []uint32
	marks []mark
	dict  []unique.Handle[schemas.Label]
	table []uint16 // open addressing: index+1 by ID, 0 empty; len a power of two

	shapes    shapes // of its batches
	overflows uint16 // series that stand for others
	textBytes int    // bytes of the series' names, each in full; see bytes.go
	dictBytes int    // bytes of their pairs, each once
}

func (x *seriesIndex) find(id schemas.ID) int {
	if len(x.table) == 0 {
		if len(x.ids) == 0 {
			return -1
		}
		x.identify()
	}
	mask := uint64(len(x.table) - 1)
	for i, step := id.Lo&mask, id.Hi|1; ; i = (i + step) & mask { // steps differ, so names that start at the same place diverge
		n := x.table[i]
		if n == 0 {
			return -1
		}
		if x.ids[n-1] == id {
			return int(n - 1)
		}
	}
}

// identify makes the IDs and the table of a group that was decoded. Hashing a million names takes
// longer than everything else that brings back a million series, so it is done when the group's
// next record arrives.
func (x *seriesIndex) identify() {
	if len(x.table) > 0 || len(x.ids) == 0 {
		return
	}
	var labels schemas.Labels
	for i := range x.ids {
		s := x.nameIn(labels[:0], i)
		x.ids[i], labels = s.ID(), s.Labels
	}
	x.reindex()
}

func (x *seriesIndex) insert(i int) {
	mask := uint64(len(x.table) - 1)
	at := x.ids[i].Lo & mask
	for x.table[at] != 0 {
		at = (at + (x.ids[i].Hi | 1)) & mask
	}
	x.table[at] = uint16(i + 1)
}

// add appends a series and returns its index. The caller has checked that the group has room for
// it.
func (x *seriesIndex) add(s schemas.Series, id schemas.ID, m mark) int {
	x.identify()
	i := len(x.ids)
	x.ids = append(x.ids, id)
	x.refs = append(x.refs, x.pair(schemas.Label{Value: s.Metric}))
	for _, l := range s.Labels {
		x.refs = append(x.refs, x.pair(l))
	}
	x.ends = append(x.ends, uint32(len(x.refs)))
	x.marks = append(x.marks, m)
	x.textBytes += textBytes(s)
	if m&overflow != 0 {
		x.overflows++
	}
	if len(x.ids)*4 > len(x.table)*3 {
		x.reindex()
	} else {
		x.insert(i)
	}
	return i
}

// reindex rebuilds the table, at most three quarters full.
func (x *seriesIndex) reindex() {
	n := 8
	for n*3 < len(x.ids)*4 {
		n *= 2
	}
	x.table = make([]uint16, n)
	for i := range x.ids {
		x.insert(i)
	}
}

// clip gives back the spare capacity of appends: groups live long and grow rarely.
func (x *seriesIndex) clip() {
	x.ids, x.refs, x.ends = slices.Clone(x.ids), slices.Clone(x.refs), slices.Clone(x.ends)
	x.marks, x.dict = slices.Clone(x.marks), slices.Clone(x.dict)
}

// pair returns the group's index of a label pair, adding it if need be. Groups have tens to
// hundreds of pairs and rarely add a series: a scan will do.
func (x *seriesIndex) pair(l schemas.Label) uint16 {
	h := unique.Make(l)
	for i, d := range x.dict {
		if d == h {
			return uint16(i)
		}
	}
	x.dict = append(x.dict, h)
	x.dictBytes += pairBytes(l)
	return uint16(len(x.dict) - 1)
}

func (x *seriesIndex) refsOf(i int) []uint16 {
	if i == 0 {
		return x.refs[:x.ends[0]]
	}
	return x.refs[x.ends[i-1]:x.ends[i]]
}

// name rebuilds the name of series i.
func (x *seriesIndex) name(i int) schemas.Series {
	if n := len(x.refsOf(i)); n > 1 {
		return x.nameIn(make(schemas.Labels, 0, n-1), i)
	}
	return x.nameIn(nil, i)
}

// nameIn is name, with the labels appended to those given.
func (x *seriesIndex) nameIn(labels schemas.Labels, i int) schemas.Series {
	refs := x.refsOf(i)
	for _, r := range refs[1:] {
		labels = append(labels, x.dict[r].Value())
	}
	return schemas.Series{Metric: x.dict[refs[0]].Value().Value, Labels: labels}
}

// ofMetric counts the series of a metric, without its overflow series.
func (x *seriesIndex) ofMetric(metric string) (n int) {
	at := slices.Index(x.dict, unique.Make(schemas.Label{Value: metric}))
	from := uint32(0)
	for i, end := range x.ends {
		if int(x.refs[from]) == at && x.marks[i]&overflow == 0 {
			n++
		}
		from = end
	}
	return n
}

// LargestMetric returns the metric with the most series, and how many it has; "" for an empty
// group.
func (g *Group) LargestMetric() (metric string, series int) {
	counts := make([]int, len(g.series.dict))
	largest := 0
	for i := range g.series.ends {
		ref := int(g.series.refsOf(i)[0])
		if counts[ref]++; counts[ref] > counts[largest] {
			largest = ref
		}
	}
	if len(counts) == 0 {
		return "", 0
	}
	return g.series.dict[largest].Value().Value, counts[largest]
}

func (x *seriesIndex) appendTo(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(x.dict)))
	for _, h := range x.dict {
		l := h.Value()
		dst = binary.AppendUvarint(dst, uint64(len(l.Name)))
		dst = append(dst, l.Name...)
		dst = binary.AppendUvarint(dst, uint64(len(l.Value)))
		dst = append(dst, l.Value...)
	}
	dst = binary.AppendUvarint(dst, uint64(len(x.ids)))
	for i := range x.ids {
		refs := x.refsOf(i)
		dst = binary.AppendUvarint(dst, uint64(len(refs)))
		for _, r := range refs {
			dst = binary.AppendUvarint(dst, uint64(r))
		}
	}
	return dst
}

// decode reads what appendTo wrote; the caller checks r.bad.
func (x *seriesIndex) decode(sh *Shard, r *reader) error {
	over := false // some label has the value of an overflow series
	sh.costs = sh.costs[:0]
	for n := r.count(2); n > 0; n-- {
		l := schemas.Label{Name: r.text(), Value: r.text()}
		over = over || l.Value == Overflow
		x.dict = append(x.dict, unique.Make(l))
		cost := pairBytes(l)
		x.dictBytes += cost
		sh.costs = append(sh.costs, cost)
	}
	n := r.count(2)
	if n > maxSeriesCap {
		return fmt.Errorf("%d series: %w", n, ErrState)
	}
	x.ids, x.ends, x.marks = make([]schemas.ID, n), make([]uint32, 0, n), make([]mark, 0, n)
	for range n {
		if r.version < 3 {
			r.u64()
		}
		if err := x.decodeSeries(sh, r); err != nil {
			return err
		}
	}
	x.refs = slices.Clip(x.refs)
	if over {
		x.markOverflow(sh)
	}
	return nil
}

// decodeSeries reads a series, whose pairs cost sh.costs each.
func (x *seriesIndex) decodeSeries(sh *Shard, r *reader) error {
	k := r.count(1)
	if k == 0 {
		return fmt.Errorf("series without a metric: %w", ErrState)
	}
	from := len(x.refs)
	for ; k > 0; k-- {
		ref := r.uvarint()
		if ref >= uint64(len(x.dict)) {
			return fmt.Errorf("label %d of %d: %w", ref, len(x.dict), ErrState)
		}
		x.refs = append(x.refs, uint16(ref))
		x.textBytes += sh.costs[ref]
	}
	metric := x.dict[x.refs[from]].Value().Value
	x.ends = append(x.ends, uint32(len(x.refs)))
	x.marks = append(x.marks, sh.readByRules(metric))
	return nil
}
