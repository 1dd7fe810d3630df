package window

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"sync"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/windows"
)

const (
	topSources    = 20              // of a partition, for each order, that are known
	maxNamed      = 200             // sources of a partition with something wrong that are remembered
	namedFor      = int64(3600_000) // how long, ms, after it was last so
	walkAfter     = int64(10_000)   // ms of records' time between two looks at all groups, if there were records enough
	walkLatest    = int64(60_000)   // and at most
	describeAfter = int64(1000)     // ms between two looks at a source with something wrong
	fastMS        = int64(2000)     // samples that are all as far ahead come from a fast clock
	slowMS        = int64(60_000)   // and so late from a slow one, or were held up
	staleMS       = 2 * walkLatest  // after which a rate is 0
)

// watch finds the sources of a partition that send the most, and remembers those with something
// wrong. It goes by the times of the records, and costs next to nothing per record: from time to
// time, less often than records come, it looks at all groups.
type watch struct {
	records int // since all groups were last looked at
	groups  int // how many groups there were then

	mu       sync.Mutex // guards what follows, which others read
	walkedMS int64      // when all groups were last looked at
	series   int        // how many series there were then
	top      []schemas.Source
	named    map[string]*named
}

// named is a source of which something was refused or collapsed.
type named struct {
	schemas.Source
	describedMS int64
}

// refused remembers what was refused from a source.
func (w *watch) refused(e *entry, refused []windows.Refused, nowMS int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.name(e, nowMS)
	for i := range refused {
		r := &refused[i]
		s.Refused[string(r.Reason)]++
		if r.Reason == windows.TooNew {
			s.AheadMS = max(s.AheadMS, r.TimeMS-nowMS)
			s.Clock = schemas.FastClock
		}
	}
}

// collapsed remembers that samples of a source were counted in overflow series.
func (w *watch) collapsed(e *entry, reason windows.Reason, samples int, nowMS int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.name(e, nowMS).Collapsed[string(reason)] += int64(samples)
}

// name returns what is remembered about a source. The caller holds mu.
func (w *watch) name(e *entry, nowMS int64) *named {
	s := w.named[e.Key]
	if s == nil {
		if len(w.named) == maxNamed {
			delete(w.named, w.oldest())
		}
		s = &named{Source: schemas.Source{Source: e.Key, Collapsed: map[string]int64{}, Refused: map[string]int64{}, FirstMS: nowMS}}
		w.named[e.Key] = s
	}
	s.LastMS = max(s.LastMS, nowMS)
	if nowMS-s.describedMS >= describeAfter {
		s.describedMS = nowMS
		describe(&s.Source, e)
	}
	return s
}

// oldest returns the named source that has been quiet the longest.
func (w *watch) oldest() (key string) {
	for k, s := range w.named {
		if key == "" || s.LastMS < w.named[key].LastMS {
			key = k
		}
	}
	return key
}

// describe fills in what a group's state tells about its source.
func describe(s *schemas.Source, e *entry) {
	s.Series, s.DelayMS = e.V.windows.Series(), e.V.windows.DelayMS()
	s.LargestMetric, s.LargestSeries = e.V.windows.LargestMetric()
}

// look is called after each record and tick, with its time, and looks at all groups when it is time
// to.
func (w *watch) look(p *partition, nowMS int64) {
	since := nowMS - w.walkedMS
	if since >= walkLatest || since >= walkAfter && w.records >= w.groups/4 {
		w.walk(p, nowMS)
	}
}

func (w *watch) walk(p *partition, nowMS int64) {
	seconds := float64(nowMS-w.walkedMS) / 1000
	if w.walkedMS == 0 { // nobody knows how long the samples took to arrive
		seconds = math.Inf(1)
	}
	var byRate, bySeries, fast, slow best
	series, groups, late := 0, 0, 0
	p.Values(func(e *entry) {
		n := e.V.windows.Series()
		groups++
		series += n
		byRate.offer(float64(e.V.samples), e)
		bySeries.offer(float64(n), e)
		if d := e.V.windows.DelayMS(); d < -fastMS {
			fast.offer(float64(-d), e)
		} else if d > slowMS {
			late++
			slow.offer(float64(d), e)
		}
	})
	if late > max(8, groups/2) { // it is not their clocks: everybody's samples were held up
		slow = nil
	}
	sources := map[string]schemas.Source{}
	for _, found := range []struct {
		best  best
		clock string
	}{{byRate, ""}, {bySeries, ""}, {fast, schemas.FastClock}, {slow, schemas.SlowClock}} {
		for _, r := range found.best {
			s := schemas.Source{Source: r.e.Key, SamplesPerSecond: float64(r.e.V.samples) / seconds, Clock: found.clock}
			if s.Clock != "" {
				s.LastMS = nowMS
			}
			describe(&s, r.e)
			sources[s.Source] = s
		}
	}
	p.Values(func(e *entry) { e.V.samples = 0 })
	p.Local.core.SetSeries(series) // without groups that were thrown away
	w.records, w.groups = 0, groups
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.DeleteFunc(w.named, func(_ string, s *named) bool { return nowMS-s.LastMS > namedFor })
	w.walkedMS, w.series, w.top = nowMS, series, slices.Collect(maps.Values(sources))
}

// sources returns those that send the most and those with something wrong. Anyone may call it.
func (w *watch) sources(nowMS int64) []schemas.Source {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := slices.Clone(w.top)
	at := make(map[string]int, len(all))
	for i := range all {
		at[all[i].Source] = i
		if nowMS-w.walkedMS > staleMS {
			all[i].SamplesPerSecond = 0
		}
	}
	for key, n := range w.named {
		s := n.Source
		s.Collapsed, s.Refused = maps.Clone(s.Collapsed), maps.Clone(s.Refused)
		i, ok := at[key]
		if !ok {
			all = append(all, s)
			continue
		}
		t := &all[i]
		t.Collapsed, t.Refused, t.AheadMS = s.Collapsed, s.Refused, s.AheadMS
		t.FirstMS, t.LastMS, t.Clock = s.FirstMS, max(s.LastMS, t.LastMS), cmp.Or(s.Clock, t.Clock)
	}
	return all
}

// best is the topSources entries with the highest rank, the highest first.
type best []ranked

type ranked struct {
	rank float64
	e    *entry
}

func (b *best) offer(rank float64, e *entry) {
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

// watches returns those of the partitions that this process owns.
func (p *Processor) watches() []*watch {
	e := p.Engine()
	if e == nil {
		return nil
	}
	var all []*watch
	for _, loc := range e.Locals() {
		all = append(all, &loc.watch)
	}
	return all
}

// series returns how many series the partitions of this process had when last counted.
func (p *Processor) series() (n int) {
	for _, w := range p.watches() {
		w.mu.Lock()
		n += w.series
		w.mu.Unlock()
	}
	return n
}

// Sources returns those of this process's partitions that send the most, and those with something
// wrong, in no order. It may be called at any time, by anyone, and knows nothing about what other
// processes own. nowMS is the wall clock: a rate last known two minutes before is 0.
func (p *Processor) Sources(nowMS int64) []schemas.Source {
	var all []schemas.Source
	for _, w := range p.watches() {
		all = append(all, w.sources(nowMS)...)
	}
	return all
}
