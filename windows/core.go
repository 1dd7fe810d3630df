package windows

import "weir/schemas"

// Core is what the groups of one partition share: the config, memory for frames,
// scratch space. It is not safe for concurrent use.
type Core struct {
	sizes, graces []int64 // ms
	maxAge        int64
	maxFuture     int64
	maxLead       int64
	maxSeries     int
	maxPerMetric  int
	maxTotal      int
	maxGroups     int
	maxBytes      int // of an encoded group
	maxSamples    int // of one window of the smallest tier, in one group; see room
	maxReserve    int // of them, of one sender when others have taken all
	groupLabels   []string
	generation    int
	wants         func(metric string) bool

	total     int   // series of all groups
	groups    int   // that have counted a sample
	fullUntil int64 // event time, ms, before which there are no new series, or none

	spare     map[int][][]agg     // by length
	held      int                 // aggs in spare
	spareVals map[int][][]float64 // of rows, by length
	heldVals  int                 // values in spareVals
	folded    []agg               // see frame.aggregated

	index          []int32        // batch series → group series, or an idx… constant
	sender         uint64         // of all sections of the batch at hand, if senders is empty
	senders        []uint64       // of each point of a batch of several senders
	applied        []int          // the sections of the batch that were not applied before
	refused        []uint32       // the points of the batch that were refused
	left           int            // bytes that the group may grow by; see take
	lastOverflow   schemas.Series // that a series was collapsed into, and its ID
	lastOverflowID schemas.ID
	fullMetric     string // a metric that has its limit of series; none is forgotten while a batch is applied
	order          []ordered
	late           map[lateKey]*agg
	lates          []lateKey
	lateSeen       map[lateSample]struct{}
	dict           []int32 // group pair → builder reference + 1
	series         []int32 // group series → builder series + 1
	blob           []byte
}

// NewCore makes a Core for a valid config. generation becomes part of every
// window; wants says whether a rule reads a metric, nil for none.
func NewCore(c *Config, generation int, wants func(metric string) bool) *Core {
	samples := int(int64(c.MaxRate) * c.Tiers[0].Size.MS() / 1000)
	co := &Core{maxAge: c.MaxAge.MS(), maxFuture: c.MaxFuture.MS(), maxLead: c.MaxLead.MS(), maxSeries: c.MaxSeries, maxPerMetric: c.MaxSeriesPerMetric,
		maxTotal: c.MaxSeriesTotal, maxGroups: c.MaxGroups, maxBytes: c.MaxGroupBytes,
		maxSamples: samples, maxReserve: max(1, samples/(maxSenders+1)), groupLabels: c.GroupLabels, fullUntil: none,
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
