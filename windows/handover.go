package windows

// InheritDelay has a group that got no samples yet take over the usual delay, ms, that
// its predecessor in another generation has learnt.
func (g *Group) InheritDelay(ms int64) {
	if g.started {
		return
	}
	for i := range g.delays {
		g.delays[i] = ms
	}
}
