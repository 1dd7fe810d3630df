package windows

import "github.com/weir-metrics/weir/schemas"

// What a group costs encoded is bounded where series and samples are admitted: a state that
// is too large for a record could not be written, and would be in everybody's way. bytes is
// what AppendTo makes at most, now and after everything that is open has closed; whatever is
// to be counted pays for the most that it can add to that before it is.
const (
	fixedBytes = 1024 + (maxOrigins+1)*(8+5+10+10+10) + maxPartial*(16+5*(1+2*maxPartialRuns)) // of a state, but for what follows
	frameBytes = 40 + maxSenders*(8+5)
	aggBytes   = 62 // of one aggregate in a run of its own
	keyBytes   = 8  // of a sample, in a row or as a key; once more if it is in fine or over
	rowBytes   = 20 // of a row, and two bits for each series
)

// textBytes is what a series' name costs at most, encoded without others.
func textBytes(s schemas.Series) int {
	n := pairBytes(schemas.Label{Value: s.Metric})
	for _, l := range s.Labels {
		n += pairBytes(l)
	}
	return n
}

// pairBytes is what a pair costs in the dictionary at most.
func pairBytes(l schemas.Label) int { return len(l.Name) + len(l.Value) + 6 }

// seriesCost is what a series can add to a state, but for its windows.
func seriesCost(s schemas.Series) int { return textBytes(s) + 3*(len(s.Labels)+2) }

// hasNames reports whether there is room for the names of one more series. Those of a group are
// bounded on their own, as they are written with each state and with many windows: as pairs,
// once each, and in full.
func (g *Group) hasNames(sh *Shard, s schemas.Series) bool {
	n := textBytes(s)
	return g.series.dictBytes+n <= sh.limits.maxBytes/4 && g.series.textBytes+n <= sh.limits.maxBytes/2
}

// bytes is the most that the group's state takes encoded.
func (g *Group) bytes(sh *Shard) int {
	n := fixedBytes + g.series.dictBytes + 3*(len(g.series.refs)+len(g.series.ids))
	for t, fs := range g.frames.tiers {
		for _, f := range fs {
			n += f.bytes(t, len(sh.sizes))
		}
	}
	return n
}

// bytes is the most that a frame of tier t takes encoded, and what it hands on to the larger
// ones when it closes.
func (f *frame) bytes(t, tiers int) int {
	n, aggs := frameBytes, int(f.width)
	if t == 0 {
		aggs = min(aggs, int(f.samples))
		n += keyBytes*(int(f.samples)+int(f.large)) + len(f.rows)*(rowBytes+int(f.width)/4)
	}
	n = max(n+aggBytes*aggs, frameBytes+len(f.blob))
	if !f.closed {
		n += aggBytes * aggs * (tiers - 1 - t)
	}
	return n
}

// sampleCost is what a sample can add to bytes; frame says that it may be the first of its
// frame, and row that it may be the first at its time.
func (g *Group) sampleCost(sh *Shard, frame, row bool) int {
	tiers := len(sh.sizes)
	n := aggBytes*tiers + 2*keyBytes
	if frame {
		n += frameBytes * tiers
	}
	if row {
		n += rowBytes + len(g.series.ids)/4
	}
	return n
}

// budget is what a group may grow by while it gets a batch.
type budget struct {
	left  int  // bytes
	tight bool // each sample has to ask: they could take more than there is
}

// budget finds out how much a group may grow by while it gets a batch of so many points.
func (g *Group) budget(sh *Shard, points int) budget {
	left := sh.limits.maxBytes - g.bytes(sh)
	most := points * (g.sampleCost(sh, true, true) + len(sh.batch.index)/4)
	if left < most {
		return budget{left, true}
	}
	return budget{left - most, false} // what is left is for new series
}

// growBySample is grow for a sample, when all before it are counted.
func (g *Group) growBySample(sh *Shard, frame, row bool) bool {
	n := g.sampleCost(sh, frame, row)
	if sh.budget.left < n {
		sh.budget.left = sh.limits.maxBytes - g.bytes(sh)
	}
	return g.grow(sh, n)
}

// grow takes n bytes of what the group may grow by, and reports whether there are as many.
func (g *Group) grow(sh *Shard, n int) bool {
	if sh.budget.left < n {
		return false
	}
	sh.budget.left -= n
	return true
}
