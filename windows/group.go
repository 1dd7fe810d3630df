package windows

import (
	"math"
	"slices"
	"unique"

	"weir/schemas"
)

// recentDigests is how many sections of a group are remembered to drop one that a
// sender repeats under another origin.
const recentDigests = 32

// delaysKept is over how many batches the usual delay of a group is taken.
const delaysKept = 8

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
	clock     int64      // the watermark before grace, ms
	nextClose int64      // the clock at which a window closes, or is let go of, next
	started   bool       // newest and clock mean something
	floor     int64      // event time, ms, below which a life before this one may have counted
	doubt     int64      // windows that end by then, ms, may have been emitted by a life before
	evictable bool       // the largest tier let go of a frame since evict last ran
	overflows uint16     // series that stand for others

	delays    [delaysKept]int64 // how late the last batches were that brought something new, ms
	delayAt   uint8
	estimated bool // delays are of batches that had waited: all that there is

	origins []originMark
	recent  [recentDigests]schemas.ID
	recentN uint8
}

// originMark is the last section applied from one partition of an origin topic.
type originMark struct {
	epoch     uint64
	offset    int64
	newest    int64 // event time of the newest sample applied from there, ms
	partition int32
	chunk     uint32
	behind    bool // the section had waited there
}

// maxOrigins bounds the partitions that a group remembers; the one from which it has
// had nothing for the longest time is forgotten: what route hands on again is recent.
const maxOrigins = 256

// NewGroup returns an empty group.
func NewGroup(co *Core) *Group {
	return &Group{tiers: make([][]*frame, len(co.sizes)), nextClose: math.MaxInt64}
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
	for i := id.Lo & mask; ; i = (i + 1) & mask {
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
		at = (at + 1) & mask
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

// applied says whether the section was applied before, by its origin or, if it
// came twice under two origins, by its digest; if not, it is noted as applied.
func (g *Group) applied(s *schemas.Section) (Reason, bool) {
	o := s.Origin
	mark := -1
	newest := int64(math.MinInt64)
	for i := range g.origins {
		if m := &g.origins[i]; m.partition == o.Partition && m.epoch == o.Epoch {
			if o.Offset < m.offset || o.Offset == m.offset && s.Chunk <= m.chunk {
				return Replayed, true
			}
			mark, newest = i, m.newest
			break
		}
	}
	switch {
	case mark >= 0:
		g.origins = append(g.origins[:mark], g.origins[mark+1:]...)
	case len(g.origins) == maxOrigins:
		g.origins = append(g.origins[:0], g.origins[1:]...)
	}
	g.origins = append(g.origins, originMark{epoch: o.Epoch, partition: o.Partition, offset: o.Offset, chunk: s.Chunk, newest: newest, behind: s.Behind})
	for _, d := range g.recent {
		if d == s.Digest && d != (schemas.ID{}) {
			return Duplicate, true
		}
	}
	g.recent[g.recentN%recentDigests] = s.Digest
	g.recentN = (g.recentN + 1) % recentDigests
	return "", false
}

// learn notes how late a batch was: the age on arrival, ms, of the oldest sample
// that was newer than all before. What had waited for route is as late as route was, and
// not as the sender is: it counts only as long as there is nothing else, and then the
// least of it, as the sender is not later than that.
func (g *Group) learn(delayMS int64, waited bool) {
	switch {
	case !waited && g.estimated:
		g.delays, g.estimated = [delaysKept]int64{}, false
	case waited && !g.estimated && g.delays != [delaysKept]int64{}:
		return
	case waited:
		if g.estimated {
			delayMS = min(delayMS, g.usualDelay())
		}
		g.delays, g.delayAt, g.estimated = [delaysKept]int64{}, 0, true
	}
	g.delays[g.delayAt%delaysKept] = delayMS
	g.delayAt = (g.delayAt + 1) % delaysKept
}

// usualDelay is the largest delay of the last batches, ms. It is as large as need be:
// a replay of old data is as late as the data are old, and its windows then close as
// the replay goes on.
func (g *Group) usualDelay() int64 { return slices.Max(g.delays[:]) }

// TimeAt is the group's event time when the wall clock says nowMS: the wall clock
// less the usual delay.
func (g *Group) TimeAt(nowMS int64) int64 { return nowMS - g.usualDelay() }

// DelayMS is the usual delay, ms: at least how late the samples of the last batches
// arrived that brought something new; below 0, they were ahead of the clock.
func (g *Group) DelayMS() int64 { return g.usualDelay() }

// WallAt is the wall time, ms, at which TimeAt reaches timeMS.
func (g *Group) WallAt(timeMS int64) int64 { return timeMS + g.usualDelay() }

// DueMS is the wall time, ms, at which Advance has something to do, if nothing more
// arrives; 0 if no window is left.
func (g *Group) DueMS() int64 {
	if g.nextClose == math.MaxInt64 {
		return 0
	}
	return g.WallAt(g.nextClose)
}

// ForgetMS is the wall time, ms, from which on a group without a window may be
// forgotten, 0 while it has some or never had a sample. Until then its clock is needed:
// a group that knows no clock takes the window of an old sample for a new one, which
// would replace the row of the window that closed before. What is older than a group
// that was forgotten is refused by the one that takes its place: keepMS must be
// Config.KeepMS.
func (g *Group) ForgetMS(keepMS int64) int64 {
	switch {
	case !g.started && g.floor == 0, len(g.ids) > 0 && g.started, g.nextClose != math.MaxInt64:
		return 0
	case !g.started: // every sample was refused, or none came since InheritDelay
		return g.floor + keepMS
	}
	return g.WallAt(g.clock) + keepMS
}

// Doubt tells the group that another stood in its place until timeMS, ms, and was lost: what
// belongs to windows that end by then is emitted as late partials, which replace nothing. It
// is no part of the state: call it after NewGroup and DecodeGroup.
func (g *Group) Doubt(timeMS int64) { g.doubt = timeMS }

// Fresh says that the group is as NewGroup made it.
func (g *Group) Fresh() bool { return !g.started && g.floor == 0 }
