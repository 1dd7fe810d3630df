package ruletest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/windows"
)

// Outcome is the outcome of a test.
type Outcome struct {
	Name     string // from the file, or test 1, test 2, …
	Line     int
	Failures []Failure // none: it passed
}

// Failure is an expectation that was not met.
type Failure struct {
	Line int    // of the expectation
	What string // what was expected, on one line
	Diff string // lines that show what differs: - expected, + actual
}

// Run runs the tests, in which Check must have found no fault, with the windows of c, which must be valid. The error is
// ctx's, or tells that a state does not decode, which is a bug in weir.
func (s *Suite) Run(ctx context.Context, c windows.Config, rules *alerts.RuleSet, d Disturbance) ([]Outcome, error) {
	var outcomes []Outcome
	for i := range s.tests {
		t := &s.tests[i]
		p := newPlay(t, c, rules, d)
		failures, err := p.run(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.name, err)
		}
		outcomes = append(outcomes, Outcome{Name: t.name, Line: t.line, Failures: failures})
	}
	return outcomes, nil
}

// play is the run of one test: a processor for each series group, samples that arrive at their own time, and a wall clock
// by which each group does at once what is due.
type play struct {
	player
	test     *test
	shard    *windows.Shard
	labels   []string // that name series groups
	points   []point  // the samples, by time
	series   map[string]*windows.Group
	names    []string // of series, sorted
	offset   int64
	builder  schemas.BatchBuilder
	batch    schemas.SampleBatch
	result   windows.Result
	written  windows.Merger // all windows, as their readers see them, if some are expected
	refused  map[windows.Reason]int
	failures []Failure
}

// point is a sample: value i of an input.
type point struct {
	timeMS int64
	input  *input
	group  string
	value  float64
}

func newPlay(t *test, c windows.Config, rules *alerts.RuleSet, d Disturbance) *play {
	p := &play{player: player{disturbance: d, nowMS: t.startMS}, test: t, labels: c.GroupLabels, series: map[string]*windows.Group{},
		written: windows.Merger{}, refused: map[windows.Reason]int{}}
	p.shard = windows.NewShard(&c, 0, rules.Wants)
	p.load(rules)
	for i := range t.inputs {
		in := &t.inputs[i]
		group := schemas.GroupOf(in.series, p.labels)
		for k, v := range in.values {
			if !math.IsNaN(v) {
				p.points = append(p.points, point{t.startMS + int64(k)*t.intervalMS, in, group, v})
			}
		}
	}
	slices.SortStableFunc(p.points, func(a, b point) int {
		return cmp.Or(cmp.Compare(a.timeMS, b.timeMS), strings.Compare(a.group, b.group))
	})
	return p
}

// run plays the test up to its last expectation, and returns the expectations that were not met.
func (p *play) run(ctx context.Context) ([]Failure, error) {
	checks := slices.Clone(p.test.alerts)
	slices.SortStableFunc(checks, func(a, b alertCheck) int { return cmp.Compare(a.timeMS, b.timeMS) })
	end := p.endMS()
	for p.nowMS = p.test.startMS; p.nowMS <= end && p.err == nil; p.nowMS = p.nextMS(checks) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		p.arrive()
		for _, group := range p.names {
			p.tick(group)
		}
		p.expire()
		for len(checks) > 0 && p.test.startMS+checks[0].timeMS == p.nowMS {
			p.checkAlerts(&checks[0])
			checks = checks[1:]
		}
	}
	p.checkWindows()
	for _, reason := range slices.Sorted(maps.Keys(p.refused)) {
		p.fail(p.test.line, fmt.Sprintf("%d samples of the test are refused: %s", p.refused[reason], reason), "")
	}
	slices.SortStableFunc(p.failures, func(a, b Failure) int { return cmp.Compare(a.Line, b.Line) })
	return p.failures, p.err
}

// endMS is when the last expectation can be checked: alerts at their time, a window when it has closed.
func (p *play) endMS() int64 {
	end := p.test.startMS
	for i := range p.test.alerts {
		end = max(end, p.test.startMS+p.test.alerts[i].timeMS)
	}
	for i := range p.test.windows {
		w := &p.test.windows[i]
		end = max(end, w.startMS(p.test)+2*w.tierMS) // a grace is at most the tier's length
	}
	return end
}

// startMS is the start of the window that contains the check's time.
func (w *windowCheck) startMS(t *test) int64 {
	at := t.startMS + w.timeMS
	return at - at%w.tierMS
}

// nextMS is the next time at which something happens.
func (p *play) nextMS(checks []alertCheck) int64 {
	next := int64(math.MaxInt64)
	by := func(ms int64) {
		if ms > 0 { // 0: never
			next = min(next, max(ms, p.nowMS+1))
		}
	}
	if len(p.points) > 0 {
		by(p.points[0].timeMS)
	}
	for name, g := range p.series {
		by(g.DueMS())
		if due := p.group(name).DueMS(); due > 0 {
			by(g.WallAt(due))
		}
	}
	for _, l := range p.alerts {
		by(l.dueMS())
	}
	if len(checks) > 0 {
		by(p.test.startMS + checks[0].timeMS)
	}
	return next
}

// arrive applies the samples whose time has come: those of a series group in one batch.
func (p *play) arrive() {
	for len(p.points) > 0 && p.points[0].timeMS <= p.nowMS {
		group := p.points[0].group
		p.builder.Reset()
		p.builder.Begin(schemas.Origin{Epoch: 1, Offset: p.offset}, 0)
		for len(p.points) > 0 && p.points[0].timeMS <= p.nowMS && p.points[0].group == group {
			in := p.points[0].input
			p.builder.Add(&in.series, in.series.Hash(), p.points[0].timeMS, p.points[0].value)
			p.points = p.points[1:]
		}
		if err := p.batch.Decode(p.builder.AppendTo(nil)); err != nil {
			p.err = errors.Join(p.err, err)
			return
		}
		p.applyBatch(group)
		if p.disturbance == Replays {
			p.applyBatch(group)
		}
		p.offset++
	}
}

func (p *play) applyBatch(group string) {
	g := p.series[group]
	if g == nil {
		g = windows.NewGroup(p.shard)
		p.series[group] = g
		at, _ := slices.BinarySearch(p.names, group)
		p.names = slices.Insert(p.names, at, group)
	}
	p.result.Reset()
	g.Apply(p.shard, &p.batch, p.offset, p.nowMS, &p.result)
	p.emit(group)
}

// tick moves a series group's clock.
func (p *play) tick(group string) {
	g := p.series[group]
	p.result.Reset()
	g.Advance(p.shard, p.nowMS, &p.result)
	p.emit(group)
	if at := p.series[group].EventTimeAt(p.nowMS); p.isDue(group, at) {
		p.advance(group, at)
	}
}

// emit writes what closed and checks the rules on it.
func (p *play) emit(group string) {
	if len(p.test.windows) > 0 {
		p.err = errors.Join(p.err, p.written.AddValues(p.result.Values))
	}
	for i := range p.result.Sets {
		s := &p.result.Sets[i]
		p.closed(group, s.TierMS, s.EndMS, s.Windows)
	}
	for i := range p.result.Refused {
		p.refused[p.result.Refused[i].Reason]++
	}
	if p.disturbance != Restarts {
		return
	}
	state := p.series[group].AppendTo(p.shard, nil)
	p.shard.Drop(p.series[group])
	g, err := windows.DecodeGroup(p.shard, state)
	if err != nil {
		p.err = errors.Join(p.err, err)
		return
	}
	p.series[group] = g
}

func (p *play) fail(line int, what, diff string) {
	p.failures = append(p.failures, Failure{Line: line, What: what, Diff: diff})
}

// alertNames are the names of the rules' alerts, without their groups.
func alertNames(rules *alerts.RuleSet) []string {
	var names []string
	for _, name := range rules.Names() {
		names = append(names, name[strings.LastIndexByte(name, '/')+1:])
	}
	return names
}
