package windows

import "weir/schemas"

// Result collects what Apply and Advance did. Reset it between uses.
type Result struct {
	Values  [][]byte  // encoded schemas.WindowBatch values to emit, in order; the receiver owns them
	Sets    []Set     // the closed and revised windows that rules want, in order
	Refused []Refused // samples that belong into the dead letters

	Applied    int // samples counted
	Late       int // of those, samples whose smallest window had closed
	Closed     int // windows emitted for the first time
	Revised    int // windows emitted again
	Partials   int // late partials emitted
	Replayed   int // samples dropped: their origin was applied before
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

// maxValue is the size, bytes, from which on an emitted value is finished and a new
// one begun: well below Kafka's 1 MB, and one window more is less than 200 KB of labels.
const maxValue = 256 << 10

// flush finishes the value being built.
func (g *Group) flush(co *Core, nowMS int64, r *Result) {
	if r.builder.Len() == 0 {
		return
	}
	r.Values = append(r.Values, r.builder.AppendTo(make([]byte, 0, r.builder.Size()), nowMS, g.newest))
	r.builder.Reset()
	clear(co.dict[:min(len(co.dict), len(g.dict))])
	clear(co.series[:min(len(co.series), len(g.ids))])
}

// emit adds a window of series i to the value, within the open builder frame.
func (g *Group) emit(co *Core, i int, a *agg, r *Result) {
	if len(co.series) < len(g.ids) {
		co.series = append(co.series, make([]int32, len(g.ids)-len(co.series))...)
	}
	if len(co.dict) < len(g.dict) {
		co.dict = append(co.dict, make([]int32, len(g.dict)-len(co.dict))...)
	}
	idx := co.series[i]
	if idx == 0 {
		refs := g.seriesRefs(i)
		for _, d := range refs {
			if co.dict[d] == 0 {
				co.dict[d] = int32(r.builder.Label(g.dict[d].Value())) + 1
			}
		}
		idx = int32(r.builder.Series(len(refs))) + 1
		for _, d := range refs {
			r.builder.Ref(uint32(co.dict[d] - 1))
		}
		co.series[i] = idx
	}
	v := a.values()
	r.builder.Window(uint32(idx-1), &v)
}

func (g *Group) begin(co *Core, tierMS, start, part int64, nowMS int64, r *Result) {
	if r.builder.Size() > maxValue {
		g.flush(co, nowMS, r)
	}
	r.builder.Frame(tierMS, start, part)
}

// emitFrame emits the aggregates of a frame that has just closed.
func (g *Group) emitFrame(co *Core, t int, start int64, aggs []agg, nowMS int64, r *Result) {
	size, part := co.sizes[t], g.part(co, t, start)
	g.begin(co, size, start, part, nowMS, r)
	var set []schemas.Window
	for i := range aggs {
		a := &aggs[i]
		if a.count == 0 {
			continue
		}
		if i&63 == 63 && r.builder.Size() > maxValue {
			g.begin(co, size, start, part, nowMS, r)
		}
		g.emit(co, i, a, r)
		r.Closed++
		if g.marks[i]&wanted != 0 {
			set = append(set, g.window(i, a, size, start, part))
		}
	}
	if set != nil {
		r.Sets = append(r.Sets, Set{size, start + size, set})
	}
}

// emitRevised emits again what late samples changed in closed frames.
func (g *Group) emitRevised(co *Core, nowMS int64, r *Result) {
	for t, size := range co.sizes {
		for _, f := range g.tiers[t] {
			if f.dirty == 0 || !f.closed {
				continue
			}
			part := g.part(co, t, f.start)
			g.begin(co, size, f.start, part, nowMS, r)
			var set []schemas.Window
			for i := range f.aggs {
				a := &f.aggs[i]
				if !a.dirty {
					continue
				}
				a.dirty = false
				g.emit(co, i, a, r)
				if a.rev > 0 {
					r.Revised++
				} else {
					r.Closed++
				}
				if g.marks[i]&wanted != 0 {
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

// emitLate emits the late partials of a batch, parts named by its record's offset.
func (g *Group) emitLate(co *Core, offset, nowMS int64, r *Result) {
	part := schemas.NewPart(co.generation, offset+1)
	for _, k := range co.lates {
		g.begin(co, co.sizes[k.tier], k.start, part, nowMS, r)
		g.emit(co, int(k.idx), co.late[k], r)
		r.Partials++
	}
	clear(co.late)
	clear(co.lateSeen)
	co.lates = co.lates[:0]
}

// window is a's window under its full name.
func (g *Group) window(i int, a *agg, size, start, part int64) schemas.Window {
	return schemas.Window{Series: g.seriesAt(i), TierMS: size, StartMS: start, Part: part, Revision: uint32(a.rev),
		Count: int64(a.count), Sum: a.sum, Min: a.min, Max: a.max, First: a.first, Last: a.last,
		FirstMS: start + int64(a.firstOff), LastMS: start + int64(a.lastOff)}
}

// evict forgets series that have no window left in any tier: what stopped being
// sent more than the largest tier ago. It runs when that tier lets go of a frame,
// and only if a quarter of the series are gone.
func (g *Group) evict(co *Core) {
	if !g.evictable {
		return
	}
	g.evictable = false
	n := len(g.ids)
	to := make([]int, n) // old index → new index + 1
	for t, fs := range g.tiers {
		for _, f := range fs {
			c := *f
			if f.blob != nil {
				c.thaw(co, t, n)
			}
			for i, a := range c.aggregated(co, n) {
				if a.count > 0 {
					to[i] = 1
				}
			}
			if f.blob != nil {
				co.freeAggs(c.aggs)
			}
		}
	}
	live := 0
	for i := range to {
		if to[i] > 0 {
			live++
			to[i] = live
		}
	}
	if live*4 <= n*3 {
		g.keep(co, to, live)
	}
}

// keep forgets all series but the live ones: series i becomes to[i]-1.
func (g *Group) keep(co *Core, to []int, live int) {
	co.total -= len(g.ids) - live
	old := *g
	g.ids, g.refs, g.ends, g.marks, g.dict, g.table, g.overflows = nil, nil, nil, nil, nil, nil, 0
	g.textBytes, g.dictBytes = 0, 0
	for i, n := range to {
		if n > 0 {
			g.addSeries(old.seriesAt(i), old.ids[i], old.marks[i])
		}
	}
	for t, fs := range g.tiers {
		for _, f := range fs {
			f.thaw(co, t, len(to))
			f.keep(co, to, live)
			if f.closed {
				f.freeze(co, t)
			}
		}
	}
}

func (f *frame) keep(co *Core, to []int, live int) {
	f.width = min(f.width, uint32(live))
	if len(f.aggs) > 0 {
		aggs := co.newAggs(live)
		for i := range f.aggs {
			if to[i] > 0 {
				aggs[to[i]-1] = f.aggs[i]
			}
		}
		co.freeAggs(f.aggs)
		f.aggs = aggs
	}
	for k := range f.rows {
		vals := co.newVals(live)
		for i, v := range f.rows[k].vals {
			if to[i] > 0 {
				vals[to[i]-1] = v
			}
		}
		co.freeVals(f.rows[k].vals)
		f.rows[k].vals = vals
	}
	f.seen = nil
	for j, k := range f.keys {
		f.keys[j] = uint64(to[k>>48]-1)<<48 | k&(1<<48-1)
	}
	fine := f.rarely().fine
	if len(fine) > 0 {
		f.rare.fine = make(map[fineSample]struct{}, len(fine))
	}
	for k := range fine {
		k.at = uint64(to[k.at>>48]-1)<<48 | k.at&(1<<48-1)
		f.rare.fine[k] = struct{}{}
	}
}
