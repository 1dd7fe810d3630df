package windows

import "github.com/weir-metrics/weir/schemas"

// Result collects what Apply and Advance did. Reset it between uses.
type Result struct {
	Values  [][]byte  // encoded schemas.WindowBatch values to emit, in order; the receiver owns them
	Sets    []Set     // the closed and revised windows that rules read, in order
	Refused []Refused // samples for the dead letters

	Applied    int // samples counted
	Late       int // of those, samples whose smallest window had closed
	Closed     int // windows emitted for the first time
	Revised    int // windows emitted again
	Partials   int // late partials emitted
	Replayed   int // samples dropped: their origin had been applied
	Duplicates int // samples dropped: same series, time and value, or same section
	OverSeries int // of Applied, samples counted in an overflow series, beyond max_series …
	OverMetric int // … or beyond max_series_per_metric …
	OverBytes  int // … or beyond max_group_bytes

	builder schemas.WindowBuilder
}

// Set is the windows of one tier and end that closed together, or that late samples
// revised together, of series whose metric a rule reads.
type Set struct {
	TierMS, EndMS int64
	Windows       []schemas.Window
}

// Reset empties the result. Values are not reused.
func (r *Result) Reset() {
	clear(r.Sets)
	clear(r.Refused)
	r.Values, r.Sets, r.Refused = r.Values[:0], r.Sets[:0], r.Refused[:0]
	r.Applied, r.Late, r.Closed, r.Revised, r.Partials = 0, 0, 0, 0, 0
	r.Replayed, r.Duplicates, r.OverSeries, r.OverMetric, r.OverBytes = 0, 0, 0, 0, 0
}

// maxValue is the size, bytes, at which an emitted value is finished and a new one begun: well
// below Kafka's 1 MB, while one more window adds less than 200 KB of labels.
const maxValue = 256 << 10

// emitted is what the value being built already has of a group.
type emitted struct {
	pairs  []int32 // by pair of the group, its reference in the builder + 1
	series []int32 // by series of the group, its index in the builder + 1
}

// flush finishes the value being built.
func (g *Group) flush(sh *Shard, nowMS int64, r *Result) {
	if r.builder.Len() == 0 {
		return
	}
	r.Values = append(r.Values, r.builder.AppendTo(make([]byte, 0, r.builder.Size()), nowMS, g.clock.newest))
	r.builder.Reset()
	clear(sh.emitted.pairs[:min(len(sh.emitted.pairs), len(g.series.dict))])
	clear(sh.emitted.series[:min(len(sh.emitted.series), len(g.series.ids))])
}

// emit adds a window of series i to the value, within the open builder frame.
func (g *Group) emit(sh *Shard, i int, a *agg, r *Result) {
	if len(sh.emitted.series) < len(g.series.ids) {
		sh.emitted.series = append(sh.emitted.series, make([]int32, len(g.series.ids)-len(sh.emitted.series))...)
	}
	if len(sh.emitted.pairs) < len(g.series.dict) {
		sh.emitted.pairs = append(sh.emitted.pairs, make([]int32, len(g.series.dict)-len(sh.emitted.pairs))...)
	}
	idx := sh.emitted.series[i]
	if idx == 0 {
		refs := g.series.refsOf(i)
		for _, d := range refs {
			if sh.emitted.pairs[d] == 0 {
				sh.emitted.pairs[d] = int32(r.builder.Label(g.series.dict[d].Value())) + 1
			}
		}
		idx = int32(r.builder.Series(len(refs))) + 1
		for _, d := range refs {
			r.builder.Ref(uint32(sh.emitted.pairs[d] - 1))
		}
		sh.emitted.series[i] = idx
	}
	r.builder.Window(uint32(idx-1), uint32(a.revision()), &a.Aggregate)
}

func (g *Group) begin(sh *Shard, tierMS, start, part int64, nowMS int64, r *Result) {
	if r.builder.Size() > maxValue {
		g.flush(sh, nowMS, r)
	}
	r.builder.Frame(tierMS, start, part)
}

// emitFrame emits the aggregates of a frame that has just closed.
func (g *Group) emitFrame(sh *Shard, t int, start int64, aggs []agg, nowMS int64, r *Result) {
	size, part := sh.sizes[t], g.part(sh, t, start)
	g.begin(sh, size, start, part, nowMS, r)
	var set []schemas.Window
	for i := range aggs {
		a := &aggs[i]
		if a.Count == 0 {
			continue
		}
		if i&63 == 63 && r.builder.Size() > maxValue {
			g.begin(sh, size, start, part, nowMS, r)
		}
		g.emit(sh, i, a, r)
		r.Closed++
		if g.series.marks[i]&readByRules != 0 {
			set = append(set, g.window(i, a, size, start, part))
		}
	}
	if set != nil {
		r.Sets = append(r.Sets, Set{size, start + size, set})
	}
}

// emitRevised emits again what late samples changed in closed frames.
func (g *Group) emitRevised(sh *Shard, nowMS int64, r *Result) {
	for t, size := range sh.sizes {
		for _, f := range g.frames.tiers[t] {
			if f.dirty == 0 || !f.closed {
				continue
			}
			part := g.part(sh, t, f.start)
			g.begin(sh, size, f.start, part, nowMS, r)
			var set []schemas.Window
			for i := range f.aggs {
				a := &f.aggs[i]
				if !a.dirty() {
					continue
				}
				a.Mark &^= aggDirty
				g.emit(sh, i, a, r)
				if a.revision() > 0 {
					r.Revised++
				} else {
					r.Closed++
				}
				if g.series.marks[i]&readByRules != 0 {
					set = append(set, g.window(i, a, size, f.start, part))
				}
			}
			f.dirty = 0
			if set != nil {
				r.Sets = append(r.Sets, Set{size, f.start + size, set})
			}
		}
	}
}

// emitLate emits the late partials of a batch, as parts named by the offset of its record.
func (g *Group) emitLate(sh *Shard, offset, nowMS int64, r *Result) {
	part := schemas.NewPart(sh.generation, offset+1)
	for _, k := range sh.late.order {
		g.begin(sh, sh.sizes[k.tier], k.start, part, nowMS, r)
		g.emit(sh, int(k.idx), sh.late.partials[k], r)
		r.Partials++
	}
	clear(sh.late.partials)
	clear(sh.late.seen)
	sh.late.order = sh.late.order[:0]
}

// window returns the window of a under its full name.
func (g *Group) window(i int, a *agg, size, start, part int64) schemas.Window {
	w := schemas.Window{Series: g.series.name(i), TierMS: size, StartMS: start, Part: part, Revision: uint32(a.revision()), Aggregate: a.Aggregate}
	w.Mark = 0
	return w
}
