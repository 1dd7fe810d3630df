package windows

import (
	"slices"

	"github.com/weir-metrics/weir/schemas"
)

// Overflow is the value of every label of an overflow series except the one that names its group.
// Series beyond max_series and max_series_per_metric are collapsed: their samples are counted in
// the overflow series of their metric that has the same label names. Count, sum, min and max of the
// metric over all series of the group stay exact; first and last of an overflow series are the
// first and last of any of the collapsed.
//
// Which series are collapsed depends on the group's state alone, so that a replay collapses the
// same ones. A series without a label to collapse is refused, and so are overflow series beyond
// maxOverflow. A collapsed series gets a place of its own when another is forgotten (see evict).
const Overflow = "__overflow__"

const (
	maxOverflow  = 256  // overflow series of a group, beyond max_series
	overflowDict = 1024 // label pairs of a group that only overflow series may take
)

// Why a sample is counted in an overflow series.
const (
	overNamed  = iota // sent under that name
	overSeries        // beyond max_series
	overMetric        // beyond max_series_per_metric
	overBytes         // beyond max_group_bytes
)

// collapse encodes overflow series i, and why, as an index; collapsed decodes it.
func collapse(i int, why int32) int32 { return idxCollapsed - (int32(i)<<2 | why) }

func collapsed(idx int32) (i int, why int32) {
	v := idxCollapsed - idx
	return int(v >> 2), v & 3
}

// overflowOf is the series that s is collapsed into; s itself if it is an overflow series or has
// nothing to collapse.
func (sh *Shard) overflowOf(s schemas.Series) schemas.Series {
	keep := sh.groupLabelOf(s)
	if keep < 0 {
		return s // without a label that names a group it is a group of its own
	}
	o := schemas.Series{Metric: s.Metric, Labels: slices.Clone(s.Labels)}
	for i := range o.Labels {
		if i != keep {
			o.Labels[i].Value = Overflow
		}
	}
	return o
}

// groupLabelOf returns the index of the label that names the series' group, or -1.
func (sh *Shard) groupLabelOf(s schemas.Series) (keep int) {
	keep = -1
	for _, name := range sh.groupLabels {
		if keep = slices.IndexFunc(s.Labels, func(l schemas.Label) bool { return l.Name == name }); keep >= 0 {
			break
		}
	}
	return keep
}

// collapseInto returns overflowOf(s) and its ID; ok is false if s has nothing to collapse. A flood
// is collapsed into few series, mostly into the same one as before, so the last result is kept.
func (sh *Shard) collapseInto(s schemas.Series) (o schemas.Series, id schemas.ID, ok bool) {
	if last := sh.lastOverflow; len(last.Labels) > 0 && sh.collapsesInto(s, last) {
		return last, sh.lastOverflowID, !slices.Equal(last.Labels, s.Labels)
	}
	if o = sh.overflowOf(s); slices.Equal(o.Labels, s.Labels) {
		return o, id, false
	}
	id = o.ID()
	sh.lastOverflow, sh.lastOverflowID = o, id
	return o, id, true
}

// collapsesInto reports whether s is collapsed into o, an overflow series.
func (sh *Shard) collapsesInto(s, o schemas.Series) bool {
	if s.Metric != o.Metric || len(s.Labels) != len(o.Labels) {
		return false
	}
	keep := sh.groupLabelOf(s)
	for i, l := range o.Labels {
		if l.Name != s.Labels[i].Name || i == keep && l.Value != s.Labels[i].Value || i != keep && l.Value != Overflow {
			return false
		}
	}
	return keep >= 0
}

// overflowMark returns the mark of a series by its name.
func (sh *Shard) overflowMark(s schemas.Series) mark {
	has := slices.ContainsFunc(s.Labels, func(l schemas.Label) bool { return l.Value == Overflow })
	if has && slices.Equal(sh.overflowOf(s).Labels, s.Labels) {
		return overflow
	}
	return 0
}

// markOverflow marks the overflow series of a decoded group.
func (x *seriesIndex) markOverflow(sh *Shard) {
	for i := range x.marks {
		if m := sh.overflowMark(x.name(i)); m != 0 {
			x.marks[i] |= m
			x.overflows++
		}
	}
}

// indexOverflow finds the series of a batch that were sent under the name of an overflow series:
// they share the windows of that series with what is collapsed.
func (g *Group) indexOverflow(sh *Shard) {
	for k, i := range sh.batch.index {
		if i >= 0 && g.series.marks[i]&overflow != 0 {
			sh.batch.index[k] = collapse(int(i), overNamed)
		}
	}
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
