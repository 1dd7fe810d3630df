package ruletest

import (
	"container/heap"
	"slices"
	"strings"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/windows"
)

// Stream plays a recording of any length through one or more sets of rules: it keeps the state of the series and of
// their alerts, but not what it has played. Samples arrive at their own time; one that is older than one before it
// arrives late, at that one's time.
//
// Give it either samples or windows. It is not safe for concurrent use.
type Stream struct {
	shard   *windows.Shard
	labels  []string // that name series groups
	players []*player
	groups  map[string]*streamed
	due     dueHeap
	nowMS   int64
	begun   bool
	offset  int64
	builder schemas.BatchBuilder
	batch   schemas.SampleBatch
	result  windows.Result
	order   []arrival // of the samples that arrive together
	on      StreamHooks

	// Refused counts the samples that weir would have refused.
	Refused map[windows.Reason]int
}

// StreamHooks are called with what happens in a Stream. Each may be nil.
type StreamHooks struct {
	// Moved is called with each alert whose state has changed; rules is the index of its set of rules, and nowMS the
	// wall clock, ms, at which weir would have known.
	Moved func(rules int, after *schemas.Alert, nowMS int64)
	// Closed is called with closed or revised windows of metrics that rules read. It must not keep them.
	Closed func(ws []schemas.Window)
}

// streamed is a series group.
type streamed struct {
	name  string
	group *windows.Group // nil if windows are played
	dueMS int64          // when something is due in it; 0: never
}

type arrival struct {
	group  string
	sample *schemas.Sample
}

// NewStream returns a Stream with the windows of c, which must be valid.
func NewStream(c windows.Config, on StreamHooks, rules ...*alerts.RuleSet) *Stream {
	s := &Stream{labels: c.GroupLabels, groups: map[string]*streamed{}, on: on, Refused: map[windows.Reason]int{}}
	s.shard = windows.NewShard(&c, 0, func(metric string) bool {
		return slices.ContainsFunc(rules, func(r *alerts.RuleSet) bool { return r.Wants(metric) })
	})
	for i, r := range rules {
		p := &player{}
		if on.Moved != nil {
			p.moved = func(after *schemas.Alert) { on.Moved(i, after, p.nowMS) }
		}
		p.load(r)
		s.players = append(s.players, p)
	}
	return s
}

// NowMS is the wall clock, ms.
func (s *Stream) NowMS() int64 { return s.nowMS }

// Samples plays samples. It returns an error if a series is invalid.
func (s *Stream) Samples(samples []schemas.Sample) error {
	for len(samples) > 0 {
		at := samples[0].TimeMS
		if s.begun {
			at = max(at, s.nowMS)
		}
		n := 1
		for n < len(samples) && samples[n].TimeMS <= at {
			n++
		}
		if s.begun {
			s.AdvanceTo(at - 1)
		}
		s.setNow(at)
		if err := s.arrive(samples[:n]); err != nil {
			return err
		}
		samples = samples[n:]
	}
	return nil
}

// Windows plays windows of a series group, of one tier and with the same end, which closed or were revised at atMS.
func (s *Stream) Windows(group string, atMS, tierMS, endMS int64, ws []schemas.Window) {
	if s.begun {
		s.AdvanceTo(max(atMS, s.nowMS) - 1)
		atMS = max(atMS, s.nowMS)
	}
	s.setNow(atMS)
	g := s.groups[group]
	if g == nil {
		g = &streamed{name: group}
		s.groups[group] = g
	}
	s.closed(group, tierMS, endMS, ws)
	s.schedule(g)
}

// AdvanceTo moves time forward: what is due up to nowMS, ms, happens.
func (s *Stream) AdvanceTo(nowMS int64) {
	for {
		next, group := int64(0), false
		if len(s.due) > 0 {
			if top := s.due[0]; top.group.dueMS != top.dueMS { // it is done, or due at another time
				heap.Pop(&s.due)
				continue
			}
			next, group = max(s.due[0].dueMS, s.nowMS), true
		}
		for _, p := range s.players {
			if kept := p.keptMS(); kept > 0 && (next == 0 || kept < next) {
				next, group = kept, false
			}
		}
		if next == 0 || next > nowMS {
			break
		}
		s.setNow(max(next, s.nowMS))
		if group {
			s.tick(heap.Pop(&s.due).(due).group)
			continue
		}
		for _, p := range s.players {
			p.expire()
		}
	}
	s.setNow(max(nowMS, s.nowMS))
}

func (s *Stream) setNow(ms int64) {
	s.nowMS, s.begun = ms, true
	for _, p := range s.players {
		p.nowMS = ms
	}
}

// arrive applies samples whose time has come: those of a series group in one batch.
func (s *Stream) arrive(samples []schemas.Sample) error {
	s.order = s.order[:0]
	for i := range samples {
		s.order = append(s.order, arrival{schemas.GroupOf(samples[i].Series, s.labels), &samples[i]})
	}
	slices.SortStableFunc(s.order, func(a, b arrival) int { return strings.Compare(a.group, b.group) })
	for rest := s.order; len(rest) > 0; {
		group := rest[0].group
		s.builder.Reset()
		s.builder.Begin(schemas.Origin{Epoch: 1, Offset: s.offset}, 0)
		for len(rest) > 0 && rest[0].group == group {
			x := rest[0].sample
			if err := x.Series.Validate(); err != nil {
				return err
			}
			s.builder.AddSample(x, x.Series.Hash(), x.Series.ID())
			rest = rest[1:]
		}
		if err := s.batch.Decode(s.builder.AppendTo(nil)); err != nil {
			return err
		}
		g := s.groups[group]
		if g == nil {
			g = &streamed{name: strings.Clone(group), group: windows.NewGroup(s.shard)}
			s.groups[g.name] = g
		}
		s.result.Reset()
		g.group.Apply(s.shard, &s.batch, s.offset, s.nowMS, &s.result)
		s.offset++
		s.emit(g)
		s.schedule(g)
	}
	return nil
}

// tick moves a series group's clock.
func (s *Stream) tick(g *streamed) {
	at := s.nowMS
	if g.group != nil {
		s.result.Reset()
		g.group.Advance(s.shard, at, &s.result)
		s.emit(g)
		at = g.group.EventTimeAt(at)
	}
	for _, p := range s.players {
		if p.isDue(g.name, at) {
			p.advance(g.name, at)
		}
	}
	g.dueMS = 0
	s.schedule(g)
	if g.dueMS > 0 && g.dueMS <= s.nowMS { // what was due has been done: look again when the clock moves
		s.dueAt(g, s.nowMS+1)
	}
}

func (s *Stream) emit(g *streamed) {
	for i := range s.result.Sets {
		set := &s.result.Sets[i]
		s.closed(g.name, set.TierMS, set.EndMS, set.Windows)
	}
	for i := range s.result.Refused {
		s.Refused[s.result.Refused[i].Reason]++
	}
}

func (s *Stream) closed(group string, tierMS, endMS int64, ws []schemas.Window) {
	if s.on.Closed != nil {
		s.on.Closed(ws)
	}
	for _, p := range s.players {
		p.closed(group, tierMS, endMS, ws)
	}
}

// schedule computes when something is due next in a series group.
func (s *Stream) schedule(g *streamed) {
	next := int64(0)
	by := func(ms int64) {
		if ms != 0 && (next == 0 || ms < next) { // 0: never
			next = ms
		}
	}
	if g.group != nil {
		by(g.group.DueMS())
	}
	for _, p := range s.players {
		if ms := p.group(g.name).DueMS(); ms != 0 && g.group != nil {
			by(g.group.WallAt(ms))
		} else {
			by(ms)
		}
	}
	if next != g.dueMS {
		s.dueAt(g, next)
	}
}

func (s *Stream) dueAt(g *streamed, ms int64) {
	if g.dueMS = ms; ms != 0 {
		heap.Push(&s.due, due{ms, g})
	}
}

// due is an entry of the heap, valid while its group is due at that time.
type due struct {
	dueMS int64
	group *streamed
}

// dueHeap is ordered by time; groups that are due together, by name.
type dueHeap []due

func (h dueHeap) Len() int      { return len(h) }
func (h dueHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h dueHeap) Less(i, j int) bool {
	return h[i].dueMS < h[j].dueMS || h[i].dueMS == h[j].dueMS && h[i].group.name < h[j].group.name
}

// Push is heap's.
func (h *dueHeap) Push(x any) { *h = append(*h, x.(due)) }

// Pop is heap's.
func (h *dueHeap) Pop() any {
	old := *h
	top := old[len(old)-1]
	*h = old[:len(old)-1]
	return top
}

// Explain tells how a rule (group/alert) of a set of rules was judged on each label set, as of now, in the order of the
// groups' names.
func (s *Stream) Explain(rules int, rule string) (all []alerts.Explanation) {
	p := s.players[rules]
	for _, group := range p.groupNames() {
		all = append(all, p.evaluator.Explain(p.groups[group], group, rule)...)
	}
	return all
}

// Alert is the alert with the fingerprint, as of now, or nil.
func (s *Stream) Alert(rules int, fingerprint string) *schemas.Alert {
	if l := s.players[rules].alerts[fingerprint]; l != nil {
		return l.alert
	}
	return nil
}
