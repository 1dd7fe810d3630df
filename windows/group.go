package windows

import (
	"math"
	"slices"
	"unique"

	"weir/schemas"
)

// Group is the state of one series group. Its methods take the Core of its
// partition; a group never moves between Cores of different configs.
type Group struct {
	// Series: ids[i] is the ID of series i, refs[ends[i-1]:ends[i]] its
	// metric and labels as indexes into dict, table an open-addressing index.
	ids   []schemas.ID
	refs  []uint16
	ends  []uint32
	marks []mark
	dict  []unique.Handle[schemas.Label]
	table []uint16 // index+1 by ID, 0 empty; len a power of two

	tiers     [][]*frame // by tier, then by start, ascending
	newest    int64      // newest event time, ms
	onTime    int64      // newest of the samples that were not ahead of the clock when they arrived, ms, or none
	clock     int64      // the watermark before grace, ms
	nextClose int64      // the clock at which a window closes, or is let go of, next
	started   bool       // a sample was counted: newest and clock mean something
	floor     int64      // event time, ms, below which a life before this one may have counted
	doubt     int64      // windows that end by then, ms, may have been emitted by a life before; or none
	evictable bool       // the largest tier let go of a frame since evict last ran
	overflows uint16     // series that stand for others

	delays    [delaysKept]int64 // how late the last batches were that brought something new, ms; below 0, ahead of the clock
	delayAt   uint8
	learned   bool // there is something in delays
	healed    healed
	estimated bool // delays are of batches that had waited: all that there is

	origins []originMark
	recent  [recentDigests]schemas.ID
	recentN uint8
	partial []partialSection // sections of which some samples were refused

	textBytes int // of the series' names, each in full; dictBytes of their pairs, once each; see bytes.go
	dictBytes int
}

// none stands for a time that there is not.
const none = math.MinInt64

// NewGroup returns an empty group.
func NewGroup(co *Core) *Group {
	return &Group{tiers: make([][]*frame, len(co.sizes)), nextClose: math.MaxInt64, onTime: none, doubt: none}
}

// Series is how many series the group has.
func (g *Group) Series() int { return len(g.ids) }

// NewestMS is the newest event time that the group has seen, ms.
func (g *Group) NewestMS() int64 { return g.newest }

// ClockMS is the group's clock, ms: windows that end at or before it, less their
// tier's grace, are closed.
func (g *Group) ClockMS() int64 { return g.clock }

func (g *Group) find(id schemas.ID) int {
	if len(g.table) == 0 {
		return -1
	}
	mask := uint64(len(g.table) - 1)
	for i, step := id.Lo&mask, id.Hi|1; ; i = (i + step) & mask { // steps differ, so names that begin at one place part
		n := g.table[i]
		if n == 0 {
			return -1
		}
		if g.ids[n-1] == id {
			return int(n - 1)
		}
	}
}

func (g *Group) insert(i int) {
	mask := uint64(len(g.table) - 1)
	at := g.ids[i].Lo & mask
	for g.table[at] != 0 {
		at = (at + (g.ids[i].Hi | 1)) & mask
	}
	g.table[at] = uint16(i + 1)
}

// addSeries appends a series and returns its index. The group has room for it.
func (g *Group) addSeries(s schemas.Series, id schemas.ID, m mark) int {
	i := len(g.ids)
	g.ids = append(g.ids, id)
	g.refs = append(g.refs, g.pair(schemas.Label{Value: s.Metric}))
	for _, l := range s.Labels {
		g.refs = append(g.refs, g.pair(l))
	}
	g.ends = append(g.ends, uint32(len(g.refs)))
	g.marks = append(g.marks, m)
	g.textBytes += textBytes(s)
	if m&overflow != 0 {
		g.overflows++
	}
	if len(g.ids)*4 > len(g.table)*3 {
		g.reindex()
	} else {
		g.insert(i)
	}
	return i
}

// reindex makes the table anew, at most three quarters full.
func (g *Group) reindex() {
	n := 8
	for n*3 < len(g.ids)*4 {
		n *= 2
	}
	g.table = make([]uint16, n)
	for i := range g.ids {
		g.insert(i)
	}
}

// clip gives back what appending has set aside: groups live long and grow rarely.
func (g *Group) clip() {
	g.ids, g.refs, g.ends = slices.Clone(g.ids), slices.Clone(g.refs), slices.Clone(g.ends)
	g.marks, g.dict = slices.Clone(g.marks), slices.Clone(g.dict)
}

// pair returns the group's index of a label pair, adding it if need be. Groups
// have tens to hundreds of pairs and add a series rarely: a scan will do.
func (g *Group) pair(l schemas.Label) uint16 {
	h := unique.Make(l)
	for i, d := range g.dict {
		if d == h {
			return uint16(i)
		}
	}
	g.dict = append(g.dict, h)
	g.dictBytes += pairBytes(l)
	return uint16(len(g.dict) - 1)
}

func (g *Group) seriesRefs(i int) []uint16 {
	if i == 0 {
		return g.refs[:g.ends[0]]
	}
	return g.refs[g.ends[i-1]:g.ends[i]]
}

// seriesAt rebuilds the name of series i.
func (g *Group) seriesAt(i int) schemas.Series {
	refs := g.seriesRefs(i)
	s := schemas.Series{Metric: g.dict[refs[0]].Value().Value}
	if len(refs) > 1 {
		s.Labels = make(schemas.Labels, len(refs)-1)
		for j, r := range refs[1:] {
			s.Labels[j] = g.dict[r].Value()
		}
	}
	return s
}
