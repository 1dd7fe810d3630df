package windows

// InheritDelay has a group that got no samples yet take over the usual delay, ms, that
// its predecessor in another generation has learnt. It is remembered as a group is whose
// samples at nowMS, wall time, were all refused: until Group.ForgetMS.
func (g *Group) InheritDelay(co *Core, ms, nowMS int64) {
	if g.started {
		return
	}
	for i := range g.delays {
		g.delays[i] = ms
	}
	g.learned, g.floor = true, sane(nowMS)-co.maxAge
}
