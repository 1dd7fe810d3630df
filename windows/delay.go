package windows

import (
	"math"
	"slices"
)

// delaysKept is over how many batches the usual delay of a group is taken.
const delaysKept = 8

// aheadAfter is how long, ms, a group must have had no samples but such that are ahead of
// the clock until they tell its usual delay: a sender with a fast clock must not hide how
// late the others are.
const aheadAfter = 10 * 60_000

// learn notes how late a batch was: the age on arrival, ms, of the oldest sample
// that was newer than all before. What had waited for route is as late as route was, and
// not as the sender is: it counts only as long as there is nothing else, and then the
// least of it, as the sender is not later than that.
func (g *Group) learn(delayMS int64, waited bool) {
	switch {
	case !waited && g.estimated:
		g.delays, g.estimated = [delaysKept]int64{}, false
	case waited && !g.estimated && g.learned:
		return
	case waited:
		if g.estimated {
			delayMS = min(delayMS, slices.Max(g.delays[:]))
		}
		g.delays, g.delayAt, g.estimated = [delaysKept]int64{}, 0, true
	}
	g.learned = true
	g.delays[g.delayAt%delaysKept] = delayMS
	g.delayAt = (g.delayAt + 1) % delaysKept
}

// onlyAhead says whether samples that are ahead of the clock are all that the group gets.
func (g *Group) onlyAhead(nowMS int64) bool {
	return g.onTime == none || g.TimeAt(nowMS)-g.onTime > aheadAfter
}

// usualDelay is the largest delay of the last batches, ms. It is as large as need be:
// a replay of old data is as late as the data are old, and its windows then close as
// the replay goes on. It is never below 0: no group's clock runs ahead of weir's.
func (g *Group) usualDelay() int64 { return max(0, slices.Max(g.delays[:])) }

// TimeAt is the group's event time when the wall clock says nowMS: the wall clock
// less the usual delay.
func (g *Group) TimeAt(nowMS int64) int64 { return nowMS - g.usualDelay() }

// DelayMS is the usual delay, ms: at least how late the samples of the last batches
// arrived that brought something new; below 0, they were ahead of the clock.
func (g *Group) DelayMS() int64 { return slices.Max(g.delays[:]) }

// WallAt is the wall time, ms, at which TimeAt reaches timeMS.
func (g *Group) WallAt(timeMS int64) int64 { return timeMS + g.usualDelay() }

// DueMS is the wall time, ms, at which Advance has something to do, if nothing more
// arrives; 0 if no window is left. What is due since before 1970 is due at 1.
func (g *Group) DueMS() int64 {
	if g.nextClose == math.MaxInt64 {
		return 0
	}
	return max(1, g.WallAt(g.nextClose))
}

// ForgetMS is the wall time, ms, from which on a group without a window may be
// forgotten, 0 while it has some or never counted a sample. Until then its clock is needed:
// a group that knows no clock takes the window of an old sample for a new one, which
// would replace the row of the window that closed before. What is older than a group
// that was forgotten is refused by the one that takes its place: keepMS must be
// Config.KeepMS.
func (g *Group) ForgetMS(keepMS int64) int64 {
	switch {
	case g.Fresh(), g.started && len(g.ids) > 0, g.nextClose != math.MaxInt64:
		return 0
	case !g.started: // nothing was counted since InheritDelay
		return max(1, g.floor+keepMS)
	}
	return max(1, g.WallAt(g.clock)+keepMS)
}

// Doubt tells the group that another stood in its place until timeMS, ms, and was lost: what
// belongs to windows that end by then is emitted as late partials, which replace nothing. It
// is no part of the state: call it after NewGroup and DecodeGroup.
func (g *Group) Doubt(timeMS int64) { g.doubt = timeMS }

// Fresh says that the group is of no use: nothing was counted, and no delay inherited. One
// that NewGroup makes does the same with the next record, so there is nothing to keep.
func (g *Group) Fresh() bool { return !g.started && !g.learned }
