package windows

import (
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
}

// add counts a sample. Of samples at the same time the first that arrived is first,
// the last that arrived last.
func (a *agg) add(off uint32, v float64) {
	if a.count == 0 {
		*a = agg{sum: v, min: v, max: v, first: v, last: v, count: 1, firstOff: off, lastOff: off, rev: a.rev, dirty: a.dirty}
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
	next    uint32 // in the smallest tier: a sample at or after this, ms from start, is newer than all

	// The smallest tier's frames know their samples, to tell repeats: those in rows, and
	// by 8 bytes each the others of series that have more than one in aggs. seen is made
	// when repeats are asked for often.
	rows []row
	keys []uint64
	seen map[uint64]struct{}
	over map[schemas.ID]struct{} // the samples of overflow series; see addCollapsed
}

// at returns the aggregate of series i, growing the frame for a group of n series.
func (f *frame) at(co *Core, i, n int) *agg {
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

// Core is what the groups of one partition share: the config, memory for frames,
// scratch space. It is not safe for concurrent use.
type Core struct {
	sizes, graces []int64 // ms
	maxAge        int64
	maxFuture     int64
	maxSeries     int
	maxPerMetric  int
	maxTotal      int
	maxSamples    uint32 // of one window of the smallest tier, in one group
	groupLabels   []string
	generation    int
	wants         func(metric string) bool

	total     int   // series of all groups
	fullUntil int64 // event time, ms, before which there are no new series

	spare     map[int][][]agg     // by length
	held      int                 // aggs in spare
	spareVals map[int][][]float64 // of rows, by length
	heldVals  int                 // values in spareVals
	folded    []agg               // see frame.aggregated

	index      []int32 // batch series → group series, or an idx… constant
	fullMetric string  // a metric that has its limit of series; none is forgotten while a batch is applied
	order      []ordered
	late       map[lateKey]*agg
	lates      []lateKey
	lateSeen   map[lateSample]struct{}
	dict       []int32 // group pair → builder reference + 1
	series     []int32 // group series → builder series + 1
	blob       []byte
}

// NewCore makes a Core for a valid config. generation becomes part of every
// window; wants says whether a rule reads a metric, nil for none.
func NewCore(c *Config, generation int, wants func(metric string) bool) *Core {
	co := &Core{maxAge: c.MaxAge.MS(), maxFuture: c.MaxFuture.MS(), maxSeries: c.MaxSeries, maxPerMetric: c.MaxSeriesPerMetric,
		maxTotal: c.MaxSeriesTotal, maxSamples: uint32(int64(c.MaxRate) * c.Tiers[0].Size.MS() / 1000), groupLabels: c.GroupLabels,
		generation: generation, wants: wants, spare: map[int][][]agg{}, spareVals: map[int][][]float64{}, late: map[lateKey]*agg{}, lateSeen: map[lateSample]struct{}{}}
	for _, t := range c.Tiers {
		co.sizes = append(co.sizes, t.Size.MS())
		co.graces = append(co.graces, t.Grace.MS())
	}
	return co
}

// maxSpare bounds the memory kept for the next frames: aggs and values for one in
// sixteen series, at least for a few groups.
func (co *Core) maxSpare() int { return max(4<<10, co.total/16) }

// newAggs returns n empty aggregates.
func (co *Core) newAggs(n int) []agg {
	if l := co.spare[n]; len(l) > 0 {
		co.spare[n] = l[:len(l)-1]
		co.held -= n
		return l[len(l)-1]
	}
	return make([]agg, n)
}

// freeAggs takes aggregates back for newAggs.
func (co *Core) freeAggs(aggs []agg) {
	n := len(aggs)
	if n == 0 || n != cap(aggs) || co.held+n > co.maxSpare() {
		return
	}
	clear(aggs)
	co.spare[n] = append(co.spare[n], aggs)
	co.held += n
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
	f.aggs, f.keys, f.seen, f.over = nil, nil, nil, nil
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
