package windows

// evict forgets series that have no window left in any tier: those last sent longer than the
// largest tier ago. It runs when that tier drops a frame, and acts only if a quarter of the series
// are gone.
func (g *Group) evict(sh *Shard) {
	if !g.frames.evictable {
		return
	}
	g.frames.evictable = false
	n := len(g.series.ids)
	to := make([]int, n) // old index → new index + 1
	for t, fs := range g.frames.tiers {
		for _, f := range fs {
			c := *f
			if f.blob != nil {
				c.thaw(sh, t, n)
			}
			for i, a := range c.aggregated(sh, n) {
				if a.Count > 0 {
					to[i] = 1
				}
			}
			if f.blob != nil {
				sh.freeAggs(c.aggs)
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
		g.keep(sh, to, live)
	}
}

// keep forgets all series but the live ones: series i becomes to[i]-1.
func (g *Group) keep(sh *Shard, to []int, live int) {
	g.series.identify()
	sh.total -= len(g.series.ids) - live
	old := *g
	g.series.ids, g.series.refs, g.series.ends, g.series.marks, g.series.dict, g.series.table, g.series.overflows = nil, nil, nil, nil, nil, nil, 0
	g.series.shapes = nil
	g.series.textBytes, g.series.dictBytes = 0, 0
	for i, n := range to {
		if n > 0 {
			g.series.add(old.series.name(i), old.series.ids[i], old.series.marks[i])
		}
	}
	for t, fs := range g.frames.tiers {
		for _, f := range fs {
			f.thaw(sh, t, len(to))
			f.keep(sh, to, live)
			if f.closed {
				f.freeze(sh, t)
			}
		}
	}
}

func (f *frame) keep(sh *Shard, to []int, live int) {
	f.width = min(f.width, uint32(live))
	if len(f.aggs) > 0 {
		aggs := sh.newAggs(live)
		for i := range f.aggs {
			if to[i] > 0 {
				aggs[to[i]-1] = f.aggs[i]
			}
		}
		sh.freeAggs(f.aggs)
		f.aggs = aggs
	}
	for k := range f.rows {
		vals := sh.newVals(live)
		for i, v := range f.rows[k].vals {
			if to[i] > 0 {
				vals[to[i]-1] = v
			}
		}
		sh.freeVals(f.rows[k].vals)
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
