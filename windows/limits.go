package windows

import (
	"slices"

	"weir/schemas"
)

// Overflow is the value of every label of an overflow series but the one that names
// its group. Series beyond max_series and max_series_per_metric are collapsed: their
// samples are counted in the overflow series of their metric, which has the same label
// names. Count, sum, min and max of the metric over all series of the group stay exact;
// first and last of an overflow series are the first and last of any of the collapsed.
//
// Which series are collapsed depends on the group's state alone, so that a replay
// collapses the same. A series without a label to collapse, and overflow series beyond
// maxOverflow, are refused. A collapsed series becomes one of its own when another is
// forgotten (see evict).
const Overflow = "__overflow__"

const (
	maxOverflow  = 256  // overflow series of a group, beyond max_series
	overflowDict = 1024 // label pairs of a group that only overflow series may take
)

// mark is what a group remembers of a series beside its name.
type mark uint8

const (
	wanted   mark = 1 << iota // a rule reads the metric
	overflow                  // it is an overflow series, by its name
)

// What stands for the index of a series in Core.index. The first is also what find
// returns for a series that it does not know.
const (
	idxUnknown = -1 - iota
	idxSeriesLimit
	idxMetricLimit
	idxBytesLimit
	idxTotalLimit
	idxGroupLimit
	idxCollapsed // and below: an overflow series, see collapse
)

// refusals are the reasons for which a sample is refused whose series has such an index, by
// the index without its sign.
var refusals = [...]Reason{
	-idxSeriesLimit: SeriesLimit, -idxMetricLimit: MetricLimit, -idxBytesLimit: BytesLimit,
	-idxTotalLimit: TotalLimit, -idxGroupLimit: GroupLimit,
}

// Why a sample is counted in an overflow series.
const (
	overNamed  = iota // it was sent under that name
	overSeries        // beyond max_series
	overMetric        // beyond max_series_per_metric
	overBytes         // beyond max_group_bytes
)

// collapse is what stands for overflow series i, and collapsed reads it.
func collapse(i int, why int32) int32 { return idxCollapsed - (int32(i)<<2 | why) }

func collapsed(idx int32) (i int, why int32) {
	v := idxCollapsed - idx
	return int(v >> 2), v & 3
}

// wanted marks the series of a metric that a rule reads.
func (co *Core) wanted(metric string) mark {
	if co.wants != nil && co.wants(metric) {
		return wanted
	}
	return 0
}

// overflowOf is the series that s is collapsed into: s itself if it is one already
// or has nothing to collapse.
func (co *Core) overflowOf(s schemas.Series) schemas.Series {
	keep := -1
	for _, name := range co.groupLabels {
		if keep = slices.IndexFunc(s.Labels, func(l schemas.Label) bool { return l.Name == name }); keep >= 0 {
			break
		}
	}
	if keep < 0 {
		return s // the only series of its group
	}
	o := schemas.Series{Metric: s.Metric, Labels: slices.Clone(s.Labels)}
	for i := range o.Labels {
		if i != keep {
			o.Labels[i].Value = Overflow
		}
	}
	return o
}

// idOfOverflow is o.ID(): a flood is collapsed into few series, one after the other into the same.
func (co *Core) idOfOverflow(o schemas.Series) schemas.ID {
	if o.Metric != co.lastOverflow.Metric || !slices.Equal(o.Labels, co.lastOverflow.Labels) {
		co.lastOverflow, co.lastOverflowID = o, o.ID()
	}
	return co.lastOverflowID
}

// overflowMark marks a series by its name.
func (co *Core) overflowMark(s schemas.Series) mark {
	has := slices.ContainsFunc(s.Labels, func(l schemas.Label) bool { return l.Value == Overflow })
	if has && slices.Equal(co.overflowOf(s).Labels, s.Labels) {
		return overflow
	}
	return 0
}

// markOverflow marks the overflow series of a decoded group.
func (x *seriesIndex) markOverflow(co *Core) {
	for i := range x.marks {
		if m := co.overflowMark(x.name(i)); m != 0 {
			x.marks[i] |= m
			x.overflows++
		}
	}
}

// indexOverflow notes which series of a batch were sent under the name of an
// overflow series: they share its windows with what is collapsed.
func (g *Group) indexOverflow(co *Core) {
	for k, i := range co.index {
		if i >= 0 && g.series.marks[i]&overflow != 0 {
			co.index[k] = collapse(int(i), overNamed)
		}
	}
}

// define makes a series that the group does not know and returns its index, or
// that of the overflow series that it is collapsed into, or why there is neither.
// timeMS is of its first sample.
func (g *Group) define(co *Core, s schemas.Series, id schemas.ID, timeMS int64) int32 {
	if !g.clock.started && co.groups >= co.maxGroups {
		return idxGroupLimit
	}
	m, why := co.overflowMark(s), int32(overNamed)
	if refusal := g.over(co, s); refusal != idxUnknown {
		o := co.overflowOf(s)
		if slices.Equal(o.Labels, s.Labels) {
			return refusal
		}
		why = collapsedFor[-refusal]
		s, id, m = o, co.idOfOverflow(o), overflow
		if i := g.series.find(id); i >= 0 {
			return collapse(i, why)
		}
		if len(g.series.ids) >= co.maxWithOverflow() || len(g.series.dict)+len(s.Labels)+1 >= maxSeriesCap {
			return refusal
		}
	}
	if co.full(timeMS) {
		return idxTotalLimit
	}
	if !g.grow(co, seriesCost(s)) {
		return idxBytesLimit
	}
	i := g.series.add(s, id, m|co.wanted(s.Metric))
	co.total++
	if m&overflow != 0 {
		return collapse(i, why)
	}
	return int32(i)
}

// collapsedFor is why a sample is collapsed whose series is beyond a limit, by its index without its sign.
var collapsedFor = [...]int32{-idxSeriesLimit: overSeries, -idxMetricLimit: overMetric, -idxBytesLimit: overBytes}

// over says which limit of the group one more series, s, would exceed; idxUnknown
// for none.
func (g *Group) over(co *Core, s schemas.Series) int32 {
	own := len(g.series.ids) - int(g.series.overflows)
	switch {
	case own >= co.maxSeries, len(g.series.ids) >= co.maxWithOverflow(), len(g.series.dict)+len(s.Labels)+1 >= maxSeriesCap-overflowDict:
		return idxSeriesLimit
	case !g.hasNames(co, s):
		return idxBytesLimit
	case own < co.maxPerMetric:
		return idxUnknown
	case s.Metric != co.fullMetric && g.series.ofMetric(s.Metric) < co.maxPerMetric:
		return idxUnknown
	}
	co.fullMetric = s.Metric
	return idxMetricLimit
}

// maxWithOverflow bounds the series of a group, those included that stand for others.
func (co *Core) maxWithOverflow() int { return min(co.maxSeries+maxOverflow, maxSeriesCap) }

// full says that there are no new series at that event time, ms. It is the one limit
// that depends on more than the group's own state, so a replay after a crash may
// decide otherwise, and the group's windows of that time be made of other samples. To
// make that rare, and so that without a crash no window is counted in part, a Core that
// was full takes new series again only from the next window of the largest tier on.
func (co *Core) full(timeMS int64) bool {
	if co.total >= co.maxTotal {
		largest := co.sizes[len(co.sizes)-1]
		co.fullUntil = max(co.fullUntil, floor(timeMS, largest)+largest)
	}
	return timeMS < co.fullUntil
}

// Series is how many series the groups have that were decoded or fed with this Core,
// as far as SetSeries was told of those that are no more.
func (co *Core) Series() int { return co.total }

// SetSeries says how many series there are, after groups were thrown away.
func (co *Core) SetSeries(n int) { co.total = n }

// Groups is how many groups there are that have counted a sample: those that were decoded or
// fed with this Core, less those that Drop was told of.
func (co *Core) Groups() int { return co.groups }

// Drop says that a group is no more, or has been replaced.
func (co *Core) Drop(g *Group) {
	co.total -= len(g.series.ids)
	if g.clock.started {
		co.groups--
	}
}

// refuse refuses a point of the series at idx, under the name that it was sent with.
func (g *Group) refuse(co *Core, b *schemas.SampleBatch, pos uint32, idx int32, reason Reason, r *Result) {
	if idx >= 0 {
		co.refuse(r, g.series.name(int(idx)), b, pos, reason, nil)
		return
	}
	s, err := b.Series(int(b.Points[pos].Series))
	switch {
	case err == nil:
	case idx <= idxCollapsed: // of an overflow series that is known by its ID alone
		i, _ := collapsed(idx)
		s, err = g.series.name(i), nil
	default:
		s, reason = schemas.Series{}, BadSeries
	}
	co.refuse(r, s, b, pos, reason, err)
}

// refuse notes that a point was refused.
func (co *Core) refuse(r *Result, s schemas.Series, b *schemas.SampleBatch, pos uint32, reason Reason, err error) {
	co.refused = append(co.refused, pos)
	p := &b.Points[pos]
	r.Refused = append(r.Refused, Refused{Series: s, TimeMS: p.TimeMS, SubNS: p.SubNS, Value: p.Value, Reason: reason, Err: err})
}

// countCollapsed counts a sample that was counted in an overflow series.
func (r *Result) countCollapsed(idx int32) {
	if idx >= 0 {
		return
	}
	switch _, why := collapsed(idx); why {
	case overSeries:
		r.OverSeries++
	case overMetric:
		r.OverMetric++
	case overBytes:
		r.OverBytes++
	}
}
