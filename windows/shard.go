package windows

import "github.com/weir-metrics/weir/schemas"

// Shard is what the groups of one partition share: the config, the counts over all of them, and
// memory for frames and for the batch at hand. It is not safe for concurrent use.
type Shard struct {
	sizes, graces []int64 // of the tiers, ms
	limits        limits
	groupLabels   []string
	generation    int
	reads         func(metric string) bool

	total     int   // series of all groups
	groups    int   // groups that have counted a sample
	fullUntil int64 // event time, ms, before which there are no new series, or none

	costs          []int          // scratch space of seriesIndex.decode
	lastOverflow   schemas.Series // the last one that a series was collapsed into, and its ID
	lastOverflowID schemas.ID

	pool    pool    // memory for the next frames
	batch   batch   // the batch at hand
	budget  budget  // how much the group at hand may grow
	late    late    // the late partials of the batch at hand
	emitted emitted // what the value being built already has of the group at hand
}

// NewShard makes a Shard for a valid config. generation becomes part of every window; reads reports
// whether a rule reads a metric, and is nil if none reads any.
func NewShard(c *Config, generation int, reads func(metric string) bool) *Shard {
	sh := &Shard{limits: limitsOf(c), groupLabels: c.GroupLabels, generation: generation, reads: reads, fullUntil: none,
		pool: newPool(), late: newLate()}
	for _, t := range c.Tiers {
		sh.sizes = append(sh.sizes, t.Size.MS())
		sh.graces = append(sh.graces, t.Grace.MS())
	}
	return sh
}

// Series is how many series the groups have that were decoded or fed with this Shard; SetSeries
// must be told of those that are gone.
func (sh *Shard) Series() int { return sh.total }

// SetSeries sets how many series there are, after groups were thrown away.
func (sh *Shard) SetSeries(n int) { sh.total = n }

// Groups is how many groups have counted a sample: those that were decoded or fed with this Shard,
// less those that were dropped.
func (sh *Shard) Groups() int { return sh.groups }

// Drop tells the Shard that a group is gone or has been replaced.
func (sh *Shard) Drop(g *Group) {
	sh.total -= len(g.series.ids)
	if g.clock.started {
		sh.groups--
	}
}
