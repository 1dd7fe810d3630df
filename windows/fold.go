package windows

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"github.com/weir-metrics/weir/schemas"
)

// Fold runs the window code over samples in memory, as `weir fold` does: one group per series
// group, no wall clock, nothing refused for its age.
type Fold struct {
	shard       *Shard
	groupLabels []string
	groups      map[string]*Group
	merged      Merger
	builder     schemas.BatchBuilder
	batch       schemas.SampleBatch
	result      Result
	offset      int64
	seen        map[point]struct{} // the samples of a file fit in memory, so repeats are found however far apart they are

	// Duplicates counts samples dropped as repeats, and Refused those that could not be counted.
	// Reasons tells why: beyond the limits of series and impossible to collapse, or at a time that
	// no window can have.
	Duplicates, Refused int
	Reasons             map[Reason]int
}

type point struct {
	series schemas.ID
	timeMS int64
	subNS  uint32
	value  float64 // compared as a number: 0 and -0 are one
}

// NewFold returns an empty Fold. Of c, which must be valid, MaxAge, MaxFuture,
// MaxSeriesTotal and MaxRate are ignored.
func NewFold(c Config, groupLabels []string) *Fold {
	c.GroupLabels = groupLabels
	shard := NewShard(&c, 0, nil)
	l := &shard.limits
	l.maxAge, l.maxTotal, l.maxGroups, l.maxBytes, l.maxSamples, l.maxReserve = 2*farFuture, math.MaxInt, math.MaxInt, math.MaxInt/2, math.MaxUint32, 0
	return &Fold{shard: shard, groupLabels: groupLabels, groups: map[string]*Group{}, merged: Merger{}, seen: map[point]struct{}{}}
}

// Add counts a sample. It returns an error if the series is not valid.
func (f *Fold) Add(s schemas.Sample) error {
	if err := s.Series.Validate(); err != nil {
		return err
	}
	p := point{s.Series.ID(), s.TimeMS, s.SubNS, s.Value}
	if _, ok := f.seen[p]; ok {
		f.Duplicates++
		return nil
	}
	f.seen[p] = struct{}{}
	key := schemas.GroupOf(s.Series, f.groupLabels)
	g := f.groups[key]
	if g == nil {
		g = NewGroup(f.shard)
		f.groups[key] = g
	}
	f.builder.Reset()
	f.builder.Begin(schemas.Origin{Epoch: 1, Offset: f.offset}, 0)
	f.builder.AddSample(&s, s.Series.Hash(), p.series)
	if err := f.batch.Decode(f.builder.AppendTo(nil)); err != nil {
		return err
	}
	f.result.Reset()
	g.Apply(f.shard, &f.batch, f.offset, farFuture, &f.result)
	f.offset++
	f.Duplicates += f.result.Duplicates
	f.Refused += len(f.result.Refused)
	for i := range f.result.Refused {
		if f.Reasons == nil {
			f.Reasons = map[Reason]int{}
		}
		f.Reasons[f.result.Refused[i].Reason]++
	}
	return f.merged.AddValues(f.result.Values)
}

// Windows closes what is open and returns all windows, revised and merged with their late partials,
// sorted by series, tier and start.
func (f *Fold) Windows() ([]schemas.Window, error) {
	for _, g := range f.groups {
		f.result.Reset()
		g.CloseAll(f.shard, farFuture, &f.result)
		if err := f.merged.AddValues(f.result.Values); err != nil {
			return nil, err
		}
	}
	ws := f.merged.Windows()
	return ws, nil
}

// Merger does what every reader of windows does: of one (series, tier, start, part) the highest
// revision wins, and the parts of a window are merged.
type Merger map[mergeKey]map[int64]schemas.Window

type mergeKey struct {
	metric string // of the series
	series string
	tierMS int64
	start  int64
}

// AddValues adds the windows of encoded batches. It returns an error at the first batch that does
// not decode.
func (m Merger) AddValues(values [][]byte) error {
	for _, v := range values {
		b, err := schemas.DecodeWindowBatch(v)
		if err != nil {
			return err
		}
		for _, w := range b.Windows {
			m.Add(w)
		}
	}
	return nil
}

// Add adds a window; adding the same one again changes nothing.
func (m Merger) Add(w schemas.Window) {
	k := mergeKey{w.Series.Metric, w.Series.String(), w.TierMS, w.StartMS}
	parts := m[k]
	if parts == nil {
		parts = map[int64]schemas.Window{}
		m[k] = parts
	}
	if old, ok := parts[w.Part]; !ok || w.Revision >= old.Revision {
		parts[w.Part] = w
	}
}

// Windows returns the merged windows, sorted by series, tier and start. Their Part is 0, and their
// Revision is the highest of the parts.
func (m Merger) Windows() []schemas.Window {
	all := make([]schemas.Window, 0, len(m))
	keys := slices.Collect(maps.Keys(m))
	slices.SortFunc(keys, func(a, b mergeKey) int {
		return cmp.Or(cmp.Compare(a.metric, b.metric), cmp.Compare(a.series, b.series), cmp.Compare(a.tierMS, b.tierMS), cmp.Compare(a.start, b.start))
	})
	for _, k := range keys {
		parts := m[k]
		ids := make([]int64, 0, len(parts))
		for id := range parts {
			ids = append(ids, id)
		}
		slices.Sort(ids)
		w := parts[ids[0]]
		for _, id := range ids[1:] {
			p := parts[id]
			w.MergeParts(&p)
			w.Revision = max(w.Revision, p.Revision)
		}
		w.Part = 0
		all = append(all, w)
	}
	return all
}
