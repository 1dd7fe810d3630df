package window

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/processors/deadletter"
	"github.com/weir-metrics/weir/processors/writeback"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/windows"
)

// group is the value of a key: a series group.
type group struct {
	windows *windows.Group
	rules   alerts.State
	passed
	retired []retirement // oldest first
	lostMS  int64        // whatever came before, ms, is lost, except what is here; 0: nothing is lost
	busy    bool         // counted in local.open
	samples uint32       // samples since watch last looked
}

// local is what a partition's groups share.
type local struct {
	core  *windows.Shard
	rules *alerts.RuleSet // of eval
	eval  *alerts.Evaluator
	batch schemas.SampleBatch
	res   windows.Result
	conds []schemas.Condition
	count atomic.Int64 // samples so far
	open  atomic.Int64 // groups with windows, or with rules that wait
	watch watch
	use   ruleUse
}

type (
	partition = writeback.Partition[group, local]
	entry     = writeback.Entry[group, local]
)

// logic implements writeback.Logic.
type logic struct {
	windows windows.Config                 // of one partition: its share of the series
	rules   atomic.Pointer[alerts.RuleSet] // the rules with which partitions are opened and renewed
	letters *deadletter.Limiter
	log     *slog.Logger
	gen     int                        // of samples
	next    func() *schemas.Generation // the next one, or nil

	samples    *prometheus.CounterVec // by result
	applied    prometheus.Counter     // of samples: looked up once, not for each record
	closed     *prometheus.CounterVec // by kind
	onTime     prometheus.Counter     // of closed
	overflow   *prometheus.CounterVec // by limit
	conditions prometheus.Counter
	corrupt    prometheus.Counter
	ruleFaults prometheus.Counter
	switched   prometheus.Histogram
}

func (l *logic) Open(*partition) *local {
	rules := l.rules.Load()
	loc := &local{rules: rules, eval: newEvaluator(rules), watch: watch{named: map[string]*named{}}}
	loc.core = windows.NewShard(&l.windows, l.gen, func(metric string) bool { return loc.rules.Wants(metric) })
	return loc
}

func (l *logic) New(p *partition, _ string) *group {
	return &group{windows: windows.NewGroup(p.Local.core)}
}

// Lost implements writeback.Logic. For windows that the lost group may have emitted, the new one
// emits late partials. Rules report once what is false, too, as it may have been true before.
func (l *logic) Lost(_ *partition, g *group, atMS int64) {
	g.lostMS = atMS
	g.windows.Doubt(atMS)
	g.rules.Lost(atMS)
}

// ClockMS implements writeback.Clock.
func (l *logic) ClockMS(g *group) int64 {
	return g.windows.EmittedMS(l.windows.Tiers[len(l.windows.Tiers)-1].Size.MS())
}

func (l *logic) Append(p *partition, dst []byte, g *group) []byte {
	rules := g.rules.Append(nil)
	dst = g.appendPassed(dst)
	dst = binary.AppendUvarint(dst, uint64(len(rules)))
	dst = append(dst, rules...)
	return g.windows.AppendTo(p.Local.core, dst)
}

func (l *logic) Decode(p *partition, key string, b []byte) (*group, error) {
	done, retired, b, err := decodePassed(b)
	if err != nil {
		return nil, fmt.Errorf("group %q: %w", key, err)
	}
	n, k := binary.Uvarint(b)
	if k <= 0 || n > uint64(len(b)-k) {
		return nil, fmt.Errorf("rules of group %q: %w", key, schemas.ErrCorrupt)
	}
	st, err := alerts.DecodeState(b[k : k+int(n)])
	if err != nil {
		return nil, fmt.Errorf("rules of group %q: %w", key, err)
	}
	w, err := windows.DecodeGroup(p.Local.core, b[k+int(n):])
	if errors.Is(err, windows.ErrTiers) {
		err = fmt.Errorf("%w: %w. Either restore windows.tiers; or give up the open windows: stop every process with the role window, delete the topic %s, and start again",
			writeback.ErrSettings, err, topics.WindowTableOf(l.gen))
	}
	if err != nil {
		return nil, fmt.Errorf("group %q: %w", key, err)
	}
	g := &group{windows: w, rules: *st, passed: done, retired: retired}
	p.Local.note(g)
	return g, nil
}

// Forget implements writeback.Forgetter.
func (l *logic) Forget(p *partition, g *group) {
	loc := p.Local
	loc.core.Drop(g.windows)
	if g.busy {
		loc.open.Add(-1)
	}
}

// Untouched implements writeback.Forgetter: nothing is kept for a source of which nothing was ever
// counted.
func (l *logic) Untouched(g *group) bool {
	return g.fresh() && g.lostMS == 0 && g.passed == passed{} && len(g.retired) == 0
}

func (l *logic) Apply(p *partition, e *entry, r writeback.Record) {
	loc := p.Local
	defer loc.note(e.V)
	if isHandover(r.Value) {
		l.inherit(p, e, r)
		return
	}
	if schemas.IsRetire(r.Value) {
		l.retire(p, e, r)
		return
	}
	if err := loc.batch.DecodeFor(r.Value, e.V.windows.Knows); err != nil {
		l.corrupt.Inc()
		l.log.Warn("samples record refused", "group", e.Key, "partition", p.ID, "offset", r.Offset, "err", err)
		l.write(p, e, deadletter.Of(l.source(p, e.Key, r.Offset, r.Value), "window", "undecodable", err))
		return
	}
	loc.res.Reset()
	e.V.windows.Apply(loc.core, &loc.batch, r.Offset, r.TimeMS, &loc.res)
	l.emit(p, e)
	loc.count.Add(int64(len(loc.batch.Points)))
	e.V.samples += uint32(len(loc.batch.Points))
	loc.watch.records++
	if loc.res.OverSeries+loc.res.OverMetric+loc.res.OverBytes > 0 {
		l.collapsed(loc, e, r.TimeMS)
	}
	if len(loc.res.Refused) > 0 {
		l.refuse(p, e, r.Offset, loc.res.Refused)
		loc.watch.refused(e, loc.res.Refused, r.TimeMS)
	}
	loc.watch.look(p, r.TimeMS)
	loc.use.look(p, r.TimeMS)
}

// collapsed counts samples that were counted in overflow series.
func (l *logic) collapsed(loc *local, e *entry, nowMS int64) {
	for _, c := range []struct {
		reason windows.Reason
		n      int
	}{{windows.SeriesLimit, loc.res.OverSeries}, {windows.MetricLimit, loc.res.OverMetric}, {windows.BytesLimit, loc.res.OverBytes}} {
		if c.n > 0 {
			l.overflow.WithLabelValues(string(c.reason)).Add(float64(c.n))
			loc.watch.collapsed(e, c.reason, c.n, nowMS)
		}
	}
}

func (l *logic) Tick(p *partition, e *entry, nowMS, _ int64) {
	loc := p.Local
	defer loc.note(e.V)
	loc.res.Reset()
	e.V.windows.Advance(loc.core, nowMS, &loc.res)
	l.emit(p, e)
	at := min(e.V.windows.EventTimeAt(nowMS), l.cutMS())
	if due := e.V.rules.DueMS(); due > 0 && due <= at {
		loc.conds = loc.eval.Advance(&e.V.rules, e.Key, at, loc.conds[:0])
		l.emitConditions(p, e)
	}
	e.V.forgetRetired(nowMS, l.windows.KeepMS())
	l.handOver(p, e, nowMS)
	loc.watch.look(p, nowMS)
	loc.use.look(p, nowMS)
	if at := e.V.windows.ForgetMS(l.windows.KeepMS()); at > 0 && at <= nowMS && e.V.rules.DueMS() == 0 {
		loc.core.Drop(e.V.windows)
		e.V.windows, e.V.rules, e.V.passed, e.V.retired, e.V.lostMS = windows.NewGroup(loc.core), alerts.State{}, passed{}, nil, 0
	}
	if e.V.lostMS > 0 && e.V.fresh() && nowMS >= e.V.lostMS+l.windows.KeepMS() {
		// Samples that old no longer count: from here on the group is like one that was forgotten.
		loc.core.Drop(e.V.windows)
		e.V.windows, e.V.rules, e.V.lostMS = windows.NewGroup(loc.core), alerts.State{}, 0
	}
}

func (l *logic) Due(g *group) int64 {
	due := g.windows.DueMS()
	if r := l.rulesDue(g); r > 0 {
		if r = g.windows.WallAt(r); due == 0 || r < due {
			due = r
		}
	}
	if due == 0 {
		due = g.windows.ForgetMS(l.windows.KeepMS())
	}
	if due == 0 && g.lostMS > 0 && g.fresh() {
		due = g.lostMS + l.windows.KeepMS()
	}
	return due
}

// Until holds back a group as long as route still has samples for it to hand on.
func (l *logic) Until(g *group, t *schemas.Tick) int64 { return g.windows.Until(t) }

func (l *logic) Gone(g *group) bool { return g.fresh() && g.lostMS == 0 }

// fresh reports whether the group contains nothing.
func (g *group) fresh() bool { return g.windows.Fresh() && g.rules.DueMS() == 0 }

// emit sends what has closed, and evaluates the rules on it.
func (l *logic) emit(p *partition, e *entry) {
	loc := p.Local
	r := &loc.res
	for _, v := range r.Values {
		e.Emit(p, topics.Windows, []byte(e.Key), v)
	}
	for i := range r.Sets {
		s := &r.Sets[i]
		if s.EndMS > l.cutMS() || e.V.handed&l.tierBit(s.TierMS) != 0 {
			continue // the next generation evaluates it
		}
		loc.conds = loc.eval.Closed(&e.V.rules, e.Key, s.TierMS, s.EndMS, e.V.judged(s.Windows), loc.conds[:0])
		l.emitConditions(p, e)
	}
	count := func(c *prometheus.CounterVec, label string, n int) {
		if n > 0 {
			c.WithLabelValues(label).Add(float64(n))
		}
	}
	if n := r.Applied - r.Late; n > 0 {
		l.applied.Add(float64(n))
	}
	count(l.samples, "late", r.Late)
	count(l.samples, string(windows.Replayed), r.Replayed)
	count(l.samples, string(windows.Duplicate), r.Duplicates)
	if r.Closed > 0 {
		l.onTime.Add(float64(r.Closed))
	}
	count(l.closed, "revised", r.Revised)
	count(l.closed, "late_partial", r.Partials)
}

func (l *logic) emitConditions(p *partition, e *entry) {
	loc := p.Local
	for i := range loc.conds {
		c := &loc.conds[i]
		e.Emit(p, topics.Conditions, []byte(c.Fingerprint), schemas.EncodeDoc(c))
		l.conditions.Inc()
	}
	if loc.eval.WhereErrors > 0 {
		l.ruleFaults.Add(float64(loc.eval.WhereErrors))
		l.log.Warn("a rule's where failed", "group", e.Key, "times", loc.eval.WhereErrors, "err", loc.eval.LastWhereError)
		loc.eval.WhereErrors = 0
	}
}

// refuse counts refused samples and writes them to deadletter, by reason.
func (l *logic) refuse(p *partition, e *entry, offset int64, refused []windows.Refused) {
	by := map[windows.Reason][]schemas.Sample{}
	for _, r := range refused {
		l.samples.WithLabelValues(string(r.Reason)).Inc()
		by[r.Reason] = append(by[r.Reason], schemas.Sample{Series: r.Series, TimeMS: r.TimeMS, SubNS: r.SubNS, Value: r.Value})
	}
	for reason, samples := range by {
		for _, letter := range deadletter.OfSamples(l.source(p, e.Key, offset, nil), "window", string(reason), nil, samples) {
			l.write(p, e, letter)
		}
	}
}

// write writes a letter, unless there are too many.
func (l *logic) write(p *partition, e *entry, letter *kgo.Record) {
	if l.letters.Admit(letter, time.Now()) {
		e.Deadletter(p, letter)
	}
}

// source returns the record of samples in which something refused came.
func (l *logic) source(p *partition, key string, offset int64, value []byte) *kgo.Record {
	return &kgo.Record{Topic: topics.SamplesOf(l.gen), Partition: p.ID, Offset: offset, Key: []byte(key), Value: value}
}
