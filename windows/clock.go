package windows

import (
	"encoding/binary"
	"math"

	"github.com/weir-metrics/weir/schemas"
)

// none stands for "no such time".
const none = math.MinInt64

// clock is a group's event time, and what it must know about earlier times. All are in ms.
//
// The clock moves to the newest sample, but never ahead of arrival; where the log says that nothing
// queues any more, it moves to the wall clock less the usual delay. It never goes back, except when
// it is healed (heal.go).
type clock struct {
	started bool  // a sample was counted: at and newest are valid
	at      int64 // the watermark before grace
	newest  int64 // the newest event time
	onTime  int64 // the newest of the samples that were not ahead of the wall clock when they arrived, or none
	floor   int64 // event time below which an earlier life of the group may have counted samples
	doubt   int64 // windows that end by then may have been emitted by an earlier life; or none. Not part of the state
	healed  healed
}

func newClock() clock { return clock{onTime: none, doubt: none} }

func (c *clock) appendTo(dst []byte) []byte {
	dst = binary.AppendVarint(dst, c.newest)
	dst = binary.AppendVarint(dst, c.at-c.newest)
	dst = binary.AppendVarint(dst, c.newest-c.onTime) // may wrap around; decode wraps it back
	dst = binary.AppendVarint(dst, c.floor)
	if h := &c.healed; h.part != 0 {
		dst = binary.AppendVarint(dst, h.part)
		dst = binary.AppendVarint(dst, h.clock)
		dst = binary.AppendVarint(dst, h.newestMS)
	}
	return dst
}

// decode reads what appendTo wrote: a started clock if the state says so, and the mark of a healed
// one if isHealed.
func (c *clock) decode(r *reader, isHealed bool) {
	c.newest = r.varint()
	c.at = c.newest + r.varint()
	if r.version >= 3 {
		c.onTime = c.newest - r.varint()
	} else if c.started {
		c.onTime = c.newest
	}
	c.floor = r.varint()
	if r.version >= 3 && isHealed {
		c.healed = healed{r.varint(), r.varint(), r.varint()}
	}
}

// clockReach holds the bounds on a group's clock while a batch is applied, ms.
type clockReach struct {
	now   int64 // when the batch arrived
	ahead int64 // how far samples that are ahead of now may move the clock
	lead  int64 // how far the clock may be ahead of arrival; 0 in normal operation
	limit int64 // how far any sample may move the clock, as other partitions are still to come
}

// of returns how far a sample of the time ts may move the clock.
func (l *clockReach) of(ts int64) int64 {
	switch {
	case ts <= l.now:
	case l.lead > 0:
		ts = min(ts, l.now+l.lead)
	default:
		ts = l.ahead
	}
	return min(ts, l.limit)
}

// farFuture is a wall clock, ms, beyond which no sample lies.
const farFuture = math.MaxInt64 / 4

// sane bounds times that are taken for wall clocks, ms: their sums and differences with whatever
// max_age and max_future let pass must not overflow.
func sane(nowMS int64) int64 { return min(max(nowMS, -farFuture), farFuture) }

// NewestMS is the newest event time that the group has seen, ms.
func (g *Group) NewestMS() int64 { return g.clock.newest }

// ClockMS is the group's clock, ms: windows that end at or before it, less their
// tier's grace, are closed.
func (g *Group) ClockMS() int64 { return g.clock.at }

// EventTimeAt is the group's event time, ms, when the wall clock says nowMS: the wall clock
// less the usual delay.
func (g *Group) EventTimeAt(nowMS int64) int64 { return nowMS - g.delay.usual() }

// WallAt is the wall time, ms, at which EventTimeAt reaches timeMS.
func (g *Group) WallAt(timeMS int64) int64 { return timeMS + g.delay.usual() }

// DelayMS is the usual delay, ms: the largest of the last batches that brought something new. It is
// negative if all of those were ahead of the clock.
func (g *Group) DelayMS() int64 { return g.delay.largest() }

// Until is the wall time, ms, up to which a tick moves the group: the tick's own, or, if route is
// behind with partitions that the group gets samples from, the earliest time up to which one of
// them was handed on.
func (g *Group) Until(t *schemas.Tick) int64 { return g.origins.until(t) }

// DueMS is the wall time, ms, at which Advance has something to do if nothing more arrives; 0 if no
// window is left. What has been due since before 1970 is due at 1.
func (g *Group) DueMS() int64 {
	if g.frames.nextClose == math.MaxInt64 {
		return 0
	}
	return max(1, g.WallAt(g.frames.nextClose))
}

// ForgetMS is the wall time, ms, from which a group without windows may be forgotten; 0 while it
// has windows or has never counted a sample. Until then its clock is needed: a group without a
// clock takes the window of an old sample for a new one, and would replace the row of the window
// that closed before. A group that takes the place of a forgotten one refuses everything older than
// that one: keepMS must be Config.KeepMS.
func (g *Group) ForgetMS(keepMS int64) int64 {
	switch {
	case g.Fresh(), g.clock.started && g.Series() > 0, g.frames.nextClose != math.MaxInt64:
		return 0
	case !g.clock.started: // nothing has been counted since InheritDelay
		return max(1, g.clock.floor+keepMS)
	}
	return max(1, g.WallAt(g.clock.at)+keepMS)
}

// Doubt tells the group that another stood in its place until timeMS, ms, and was lost: samples for
// windows that end by then are emitted as late partials, which replace nothing. Doubt is not part
// of the state: call it after NewGroup and DecodeGroup.
func (g *Group) Doubt(timeMS int64) { g.clock.doubt = timeMS }

// Fresh reports whether the group is not worth keeping: it has counted nothing and inherited no
// delay, so a new one from NewGroup would treat the next record the same.
func (g *Group) Fresh() bool { return !g.clock.started && !g.delay.learned }

// InheritDelay gives a group that has had no samples yet the usual delay, ms, that its predecessor
// in another generation learnt. The group is then remembered until Group.ForgetMS, like one whose
// samples at nowMS, wall time, were all refused.
func (g *Group) InheritDelay(sh *Shard, ms, nowMS int64) {
	if g.clock.started {
		return
	}
	g.delay.inherit(ms)
	g.clock.floor = sane(nowMS) - sh.limits.maxAge
}

// aheadAfter is how long, ms, a group must have received only samples ahead of the clock before
// these tell its usual delay: a sender with a fast clock must not hide how late the others are.
const aheadAfter = 10 * 60_000

// onlyAhead reports whether the group receives nothing but samples ahead of the clock.
func (g *Group) onlyAhead(nowMS int64) bool {
	return g.clock.onTime == none || g.EventTimeAt(nowMS)-g.clock.onTime > aheadAfter
}

// maxSpan is the longest time, ms, for which a sender is assumed to gather samples before sending
// them.
const maxSpan = 5 * 60_000

// learnFrom updates the usual delay from what a batch brought.
func (g *Group) learnFrom(in *taken, nowMS int64) {
	switch {
	case in.late != math.MaxInt64:
		if in.newest-in.late > maxSpan {
			in.late = in.newest // a replay or a backlog: its span is not a delay
		}
		if in.waited {
			g.delay.estimate(nowMS - in.late)
		} else {
			g.delay.learn(nowMS - in.late)
		}
	case in.ahead != math.MaxInt64 && g.onlyAhead(nowMS):
		g.delay.learn(nowMS - in.ahead)
	}
	g.clock.onTime = max(g.clock.onTime, in.newest)
}
