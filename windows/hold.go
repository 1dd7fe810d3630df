package windows

import (
	"math"

	"weir/schemas"
)

// maxHold is how far, in event time, ms, a group is held back for a partition of the
// origin topic. It bounds the windows that are open at once.
const maxHold = 10 * 60_000

// unknownOrigin is the partition of the mark that stands for those from which a group
// has not had anything yet.
const unknownOrigin = -1

// hold returns the event time, ms, beyond which samples do not move the group's clock.
// A producer may spread the samples of a group over partitions of the origin topic, and
// each is read at its own pace. That does not matter while all are read as they are
// written; in a backlog they are apart by minutes, so the group waits for the slowest:
// of all its partitions when something of the batch at hand had waited, else of those
// whose last section had. One that is more than maxHold behind gives nothing any more.
func (g *Group) hold(waited bool) int64 {
	newest := int64(math.MinInt64)
	for i := range g.origins {
		newest = max(newest, g.origins[i].newest)
	}
	until := int64(math.MaxInt64)
	for i := range g.origins {
		m := &g.origins[i]
		switch {
		case m.newest <= newest-maxHold:
		case waited && m.partition == unknownOrigin:
			until = min(until, newest-maxHold)
		case waited || m.behind:
			until = min(until, m.newest)
		}
	}
	return until
}

// expectOthers is for a group that begins in a backlog, with a sample at firstMS: it does
// not know from which partitions it will get something, and waits for any that is not
// more than maxHold behind.
func (g *Group) expectOthers(firstMS int64) {
	g.origins = append([]originMark{{partition: unknownOrigin, newest: firstMS}}, g.origins...)
}

// Until is the wall time, ms, up to which a tick moves the group: the tick's own, or, of
// the partitions of the origin topic that route is behind with and the group gets samples
// from, the earliest time up to which what came into them was handed on. What has come
// from a partition is more than maxHold older than the newest: it gives nothing any more,
// as one does of a topic that was deleted. A group that has had nothing yet may get
// samples from any.
func (g *Group) Until(t *schemas.Tick) int64 {
	if len(t.Behind) == 0 && !t.Unknown {
		return t.NowMS
	}
	newest := int64(math.MinInt64 + maxHold)
	for i := range g.origins {
		newest = max(newest, g.origins[i].newest)
	}
	until, known := t.NowMS, false
	for i := range g.origins {
		m := &g.origins[i]
		switch {
		case m.newest <= newest-maxHold, m.partition != unknownOrigin && m.epoch != t.Epoch && !t.Unknown:
		case m.partition == unknownOrigin:
			until = min(until, t.OfAll())
		default:
			until, known = min(until, t.Of(m.partition)), true
		}
	}
	if !known {
		until = min(until, t.OfAll())
	}
	return until
}
