package windows

import "github.com/weir-metrics/weir/schemas"

// A group's encoded size is bounded where series and samples are admitted: a state too large for a
// record could not be written, and would hold up every other group. bytes is the most that AppendTo
// may make, now and after everything open has closed; before a series or sample is counted, it is
// charged with the most that it can add to that.
const (
	fixedBytes = 1024 + (maxOrigins+1)*(8+5+10+10+10) + maxPartial*(16+5*(1+2*maxPartialRuns)) // of a state, without what follows
	frameBytes = 40 + maxSenders*(8+5)
	aggBytes   = 62 // of one aggregate in a run of its own
	keyBytes   = 8  // of a sample, in a row or as a key; once more if it is in fine or over
	rowBytes   = 20 // of a row, and two bits for each series
)

// textBytes is the most that the name of a series takes when it is encoded alone.
func textBytes(s schemas.Series) int {
	n := pairBytes(schemas.Label{Value: s.Metric})
	for _, l := range s.Labels {
		n += pairBytes(l)
	}
	return n
}

// pairBytes is the most that a label pair takes in the dictionary.
func pairBytes(l schemas.Label) int { return len(l.Name) + len(l.Value) + 6 }

// seriesCost is the most that a series can add to a state, without its windows.
func seriesCost(s schemas.Series) int { return textBytes(s) + 3*(len(s.Labels)+2) }

// hasNames reports whether there is room for the names of one more series. The names of a group
// have a bound of their own, since every state and many windows repeat them: as pairs, each once,
// and in full.
func (g *Group) hasNames(sh *Shard, s schemas.Series) bool {
	n := textBytes(s)
	return g.series.dictBytes+n <= sh.limits.maxBytes/4 && g.series.textBytes+n <= sh.limits.maxBytes/2
}

// bytes is the most that the encoded state of the group takes.
func (g *Group) bytes(sh *Shard) int {
	n := fixedBytes + g.series.dictBytes + 3*(len(g.series.refs)+len(g.series.ids))
	for t, fs := range g.frames.tiers {
		for _, f := range fs {
			n += f.bytes(t, len(sh.sizes))
		}
	}
	return n
}

// bytes is the most that a frame of tier t takes encoded, together with what the frame hands on to
// the larger tiers when it closes.
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

// sampleCost is the most that a sample can add to bytes; frame tells that it may be the first of
// its frame, and row that it may be the first at its time.
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

// budget is how much a group may grow while a batch is applied.
type budget struct {
	left  int  // bytes
	tight bool // every sample has to ask: together they could take more than is left
}

// budget computes how much a group may grow while a batch of so many points is applied.
func (g *Group) budget(sh *Shard, points int) budget {
	left := sh.limits.maxBytes - g.bytes(sh)
	most := points * (g.sampleCost(sh, true, true) + len(sh.batch.index)/4)
	if left < most {
		return budget{left, true}
	}
	return budget{left - most, false} // the rest is for new series
}

// growBySample is grow for a sample, once all samples before it are counted.
func (g *Group) growBySample(sh *Shard, frame, row bool) bool {
	n := g.sampleCost(sh, frame, row)
	if sh.budget.left < n {
		sh.budget.left = sh.limits.maxBytes - g.bytes(sh)
	}
	return g.grow(sh, n)
}

// grow takes n bytes from the budget, and reports whether there were as many.
func (g *Group) grow(sh *Shard, n int) bool {
	if sh.budget.left < n {
		return false
	}
	sh.budget.left -= n
	return true
}
