package windows

import (
	"github.com/weir-metrics/weir/schemas"
)

// limits are the config's, with times in ms.
type limits struct {
	maxAge, maxFuture, maxLead int64

	maxSeries    int // of one group
	maxPerMetric int // of those, of one metric
	maxTotal     int // series of all groups
	maxGroups    int // that have counted a sample
	maxBytes     int // of an encoded group
	maxSamples   int // of one window of the smallest tier, in one group; see room
	maxReserve   int // of those, of one sender when others have taken all
}

func limitsOf(c *Config) limits {
	samples := int(int64(c.MaxRate) * c.Tiers[0].Size.MS() / 1000)
	return limits{
		maxAge: c.MaxAge.MS(), maxFuture: c.MaxFuture.MS(), maxLead: c.MaxLead.MS(),
		maxSeries: c.MaxSeries, maxPerMetric: c.MaxSeriesPerMetric, maxTotal: c.MaxSeriesTotal, maxGroups: c.MaxGroups,
		maxBytes: c.MaxGroupBytes, maxSamples: samples, maxReserve: max(1, samples/(maxSenders+1)),
	}
}

// These stand for the index of a series in Shard.index. The first is also what find returns for a
// series that it does not know.
const (
	idxUnknown = -1 - iota
	idxSeriesLimit
	idxMetricLimit
	idxBytesLimit
	idxTotalLimit
	idxGroupLimit
	idxCollapsed // and below: an overflow series, see collapse
)

// refusals gives the reason for which a sample is refused whose series has one of these indexes, by
// the index without its sign.
var refusals = [...]Reason{
	-idxSeriesLimit: SeriesLimit, -idxMetricLimit: MetricLimit, -idxBytesLimit: BytesLimit,
	-idxTotalLimit: TotalLimit, -idxGroupLimit: GroupLimit,
}

// define adds a series that the group does not know and returns its index; or the index of the
// overflow series that it is collapsed into; or why there is neither. timeMS is the time of its
// first sample.
func (g *Group) define(sh *Shard, s schemas.Series, id schemas.ID, timeMS int64) int32 {
	if !g.clock.started && sh.groups >= sh.limits.maxGroups {
		return idxGroupLimit
	}
	m, why := sh.overflowMark(s), int32(overNamed)
	if refusal := g.over(sh, s); refusal != idxUnknown {
		o, to, ok := sh.collapseInto(s)
		if !ok {
			return refusal
		}
		why = collapsedFor[-refusal]
		s, id, m = o, to, overflow
		if i := g.series.find(id); i >= 0 {
			return collapse(i, why)
		}
		if len(g.series.ids) >= sh.maxWithOverflow() || len(g.series.dict)+len(s.Labels)+1 >= maxSeriesCap {
			return refusal
		}
	}
	if sh.full(timeMS) {
		return idxTotalLimit
	}
	if !g.grow(sh, seriesCost(s)) {
		return idxBytesLimit
	}
	i := g.series.add(s, id, m|sh.readByRules(s.Metric))
	sh.total++
	if m&overflow != 0 {
		return collapse(i, why)
	}
	return int32(i)
}

// collapsedFor tells why a sample is collapsed whose series is beyond a limit, by the series' index
// without its sign.
var collapsedFor = [...]int32{-idxSeriesLimit: overSeries, -idxMetricLimit: overMetric, -idxBytesLimit: overBytes}

// over returns the limit of the group that one more series, s, would exceed, or idxUnknown.
func (g *Group) over(sh *Shard, s schemas.Series) int32 {
	own := len(g.series.ids) - int(g.series.overflows)
	switch {
	case own >= sh.limits.maxSeries, len(g.series.ids) >= sh.maxWithOverflow(), len(g.series.dict)+len(s.Labels)+1 >= maxSeriesCap-overflowDict:
		return idxSeriesLimit
	case !g.hasNames(sh, s):
		return idxBytesLimit
	case own < sh.limits.maxPerMetric:
		return idxUnknown
	case s.Metric != sh.batch.fullMetric && g.series.ofMetric(s.Metric) < sh.limits.maxPerMetric:
		return idxUnknown
	}
	sh.batch.fullMetric = s.Metric
	return idxMetricLimit
}

// maxWithOverflow bounds the series of a group, including those that stand for others.
func (sh *Shard) maxWithOverflow() int { return min(sh.limits.maxSeries+maxOverflow, maxSeriesCap) }

// full reports whether no new series are taken at that event time, ms. This is the one limit that
// depends on more than the group's own state, so a replay after a crash may decide differently, and
// the windows of the group at that time may then be made of other samples. To make that rare, and
// to count no window in part when there is no crash, a Shard that was full takes new series again
// only from the next window of the largest tier on.
func (sh *Shard) full(timeMS int64) bool {
	if sh.total >= sh.limits.maxTotal {
		largest := sh.sizes[len(sh.sizes)-1]
		sh.fullUntil = max(sh.fullUntil, floor(timeMS, largest)+largest)
	}
	return timeMS < sh.fullUntil
}

// refuse refuses a point of the series at idx, under the name that it was sent with.
func (g *Group) refuse(sh *Shard, b *schemas.SampleBatch, pos uint32, idx int32, reason Reason, r *Result) {
	if idx >= 0 {
		sh.refuse(r, g.series.name(int(idx)), b, pos, reason, nil)
		return
	}
	s, err := b.Series(int(b.Points[pos].Series))
	switch {
	case err == nil:
	case idx <= idxCollapsed: // an overflow series, known by its ID alone
		i, _ := collapsed(idx)
		s, err = g.series.name(i), nil
	default:
		s, reason = schemas.Series{}, BadSeries
	}
	sh.refuse(r, s, b, pos, reason, err)
}

// refuse records that a point was refused.
func (sh *Shard) refuse(r *Result, s schemas.Series, b *schemas.SampleBatch, pos uint32, reason Reason, err error) {
	sh.batch.refused = append(sh.batch.refused, pos)
	p := &b.Points[pos]
	r.Refused = append(r.Refused, Refused{Series: s, TimeMS: p.TimeMS, SubNS: p.SubNS, Value: p.Value, Reason: reason, Err: err})
}
