package windows

// Group is the windows of one series group, and whatever must be known about its samples to count
// each once. Its methods take the Shard of its partition; a group never moves between Shards of
// different configs. Each part has a file of its own.
type Group struct {
	series  seriesIndex // its series, and the place of each
	origins origins     // up to where it has applied each partition that its samples came from
	repeats repeats     // the sections that a sender may send again
	clock   clock       // its event time
	delay   delay       // how late its samples usually arrive
	frames  frames      // its windows
}

// NewGroup returns an empty group.
func NewGroup(sh *Shard) *Group {
	return &Group{clock: newClock(), frames: newFrames(len(sh.sizes))}
}

// Series is the number of series in the group.
func (g *Group) Series() int { return len(g.series.ids) }
