package window

import (
	"maps"
	"slices"
	"sync/atomic"

	"weir/processors/writeback"
	"weir/schemas"
	"weir/windows"
)

const (
	topSources = 20              // of a partition, for each order, that are told
	maxNamed   = 200             // sources of a partition with something wrong that are remembered
	namedFor   = int64(3600_000) // how long, ms, after it was last so
	walkAfter  = int64(10_000)   // ms of records' time between two looks at all groups, if there were records enough
	walkLatest = int64(60_000)   // and at most
	tellAfter  = int64(1000)     // ms between two reports of what is wrong
	fastMS     = int64(2000)     // samples that are all as far ahead come from a fast clock
	slowMS     = int64(60_000)   // and so late from a slow one, or were held up
	staleMS    = 2 * walkLatest  // after which a rate is not told any more
)

// watch finds the sources of a partition that send the most, and remembers those with
// something wrong. It goes by the times of the records, and costs a record next to
// nothing: all groups are looked at now and then, fewer times than there are records.
type watch struct {
	walkedMS int64 // when all groups were last looked at
	records  int   // since then
	groups   int   // that there were
	top      []schemas.Source
	named    map[string]*schemas.Source
	toldMS   int64
	untold   bool // named has changed since the last report

	report atomic.Pointer[report]
}

// report is what was last told. It is not changed any more.
type report struct {
	atMS    int64 // when rates were last known
	series  int
	sources []schemas.Source
}

// refused remembers what was refused of a source.
func (w *watch) refused(key string, refused []windows.Refused, nowMS int64) {
	s := w.name(key, nowMS)
	for i := range refused {
		r := &refused[i]
		s.Refused[string(r.Reason)]++
		if r.Reason == windows.TooNew {
			s.AheadMS = max(s.AheadMS, r.TimeMS-nowMS)
		}
	}
}

// collapsed remembers that samples of a source were counted in overflow series.
func (w *watch) collapsed(key string, reason windows.Reason, samples int, nowMS int64) {
	w.name(key, nowMS).Collapsed[string(reason)] += int64(samples)
}

func (w *watch) name(key string, nowMS int64) *schemas.Source {
	s := w.named[key]
	if s == nil {
		if len(w.named) == maxNamed {
			delete(w.named, w.oldest())
		}
		s = &schemas.Source{Source: key, Collapsed: map[string]int64{}, Refused: map[string]int64{}, FirstMS: nowMS}
		w.named[key] = s
	}
	s.LastMS = max(s.LastMS, nowMS)
	w.untold = true
	return s
}

// oldest is the named source that was last wrong before all others were.
func (w *watch) oldest() (key string) {
	for k, s := range w.named {
		if key == "" || s.LastMS < w.named[key].LastMS {
			key = k
		}
	}
	return key
}

// look is called after each record and tick, with its time; it looks at all groups, and
// reports, when it is time to.
func (w *watch) look(p *writeback.Part[group], nowMS int64) {
	since := nowMS - w.walkedMS
	if since >= walkLatest || since >= walkAfter && w.records >= w.groups/4 {
		w.walk(p, nowMS)
	} else if !w.untold || nowMS-w.toldMS < tellAfter {
		return
	}
	w.tell(p, nowMS)
}

// walk looks at all groups.
func (w *watch) walk(p *writeback.Part[group], nowMS int64) {
	seconds := float64(nowMS-w.walkedMS) / 1000
	if w.walkedMS == 0 { // nobody knows how long the samples took to come
		seconds = 0
	}
	var byRate, bySeries, fast, slow best
	series, groups, late := 0, 0, 0
	p.Values(func(e *writeback.Entry[group]) {
		g := e.V
		n := g.windows.Series()
		groups++
		series += n
		byRate.offer(float64(g.samples), e)
		bySeries.offer(float64(n), e)
		if d := g.windows.DelayMS(); d < -fastMS {
			fast.offer(float64(-d), e)
		} else if d > slowMS {
			late++
			slow.offer(float64(d), e)
		}
	})
	if late > max(8, groups/2) { // it is not them: the samples of all were held up
		slow = nil
	}
	sources := map[string]schemas.Source{}
	for _, found := range []struct {
		best  best
		clock string
	}{{byRate, ""}, {bySeries, ""}, {fast, schemas.FastClock}, {slow, schemas.SlowClock}} {
		for _, r := range found.best {
			s := describe(r.e)
			if seconds > 0 {
				s.SamplesPerSecond = float64(r.e.V.samples) / seconds
			}
			if s.Clock = found.clock; s.Clock != "" {
				s.LastMS = nowMS
			}
			sources[s.Source] = s
		}
	}
	p.Values(func(e *writeback.Entry[group]) { e.V.samples = 0 })
	maps.DeleteFunc(w.named, func(_ string, s *schemas.Source) bool { return nowMS-s.LastMS > namedFor })
	w.top = slices.Collect(maps.Values(sources))
	w.walkedMS, w.records, w.groups = nowMS, 0, groups
	p.Local.(*local).core.SetSeries(series) // groups that were thrown away are not in it
}

// describe says what a group's state tells of its source.
func describe(e *writeback.Entry[group]) schemas.Source {
	s := schemas.Source{Source: e.Key, Series: e.V.windows.Series(), DelayMS: e.V.windows.DelayMS()}
	s.LargestMetric, s.LargestSeries = e.V.windows.LargestMetric()
	return s
}

// tell replaces the report.
func (w *watch) tell(p *writeback.Part[group], nowMS int64) {
	r := &report{atMS: w.walkedMS, series: p.Local.(*local).core.Series(), sources: slices.Clone(w.top)}
	at := make(map[string]int, len(r.sources))
	for i := range r.sources {
		at[r.sources[i].Source] = i
	}
	for key, named := range w.named {
		i, ok := at[key]
		if !ok {
			i = len(r.sources)
			s := schemas.Source{Source: key}
			if e := p.Value(key); e != nil {
				s = describe(e)
			}
			r.sources = append(r.sources, s)
		}
		s := &r.sources[i]
		s.Collapsed, s.Refused = maps.Clone(named.Collapsed), maps.Clone(named.Refused)
		s.AheadMS, s.FirstMS, s.LastMS = named.AheadMS, named.FirstMS, named.LastMS
		if named.Refused[string(windows.TooNew)] > 0 {
			s.Clock = schemas.FastClock
		}
	}
	w.toldMS, w.untold = nowMS, false
	w.report.Store(r)
}

// best is the topSources entries of the highest rank, the highest first.
type best []ranked

type ranked struct {
	rank float64
	e    *writeback.Entry[group]
}

func (b *best) offer(rank float64, e *writeback.Entry[group]) {
	list := *b
	if len(list) == topSources {
		if rank <= list[len(list)-1].rank {
			return
		}
		list = list[:len(list)-1]
	}
	i := len(list)
	for i > 0 && list[i-1].rank < rank {
		i--
	}
	*b = slices.Insert(list, i, ranked{rank, e})
}

// reports are those of the partitions that this process owns.
func (p *Processor) reports() []*report {
	e := p.engine.Load()
	if e == nil {
		return nil
	}
	var all []*report
	for _, loc := range e.Locals() {
		if r := loc.(*local).watch.report.Load(); r != nil {
			all = append(all, r)
		}
	}
	return all
}

// series is how many series the partitions of this process have.
func (p *Processor) series() (n int) {
	for _, r := range p.reports() {
		n += r.series
	}
	return n
}

// Sources are those of this process's partitions that send the most, and those with
// something wrong, in no order. It may be called at any time, by anyone, and knows
// nothing of what other processes own. nowMS is the wall clock: a rate that was last
// known two minutes before is 0.
func (p *Processor) Sources(nowMS int64) []schemas.Source {
	var all []schemas.Source
	for _, r := range p.reports() {
		from := len(all)
		all = append(all, r.sources...)
		if nowMS-r.atMS > staleMS {
			for i := range all[from:] {
				all[from+i].SamplesPerSecond = 0
			}
		}
	}
	return all
}
