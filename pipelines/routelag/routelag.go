package routelag

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/consume"
	"github.com/weir-metrics/weir/schemas/plain"
	"github.com/weir-metrics/weir/schemas/topics"
)

// Lag knows from the topic progress how far route, in whatever processes, is with
// each partition of metrics. What it says stands in every tick: windows are closed by the
// clock no further than up to where the partitions are handed on that they get samples
// from. And it knows the clocks of others, by which it sets back, or on, a wrong one.
type Lag struct {
	adm  *kadm.Client
	opts []kgo.Opt
	log  *slog.Logger

	slack time.Duration // how long ago a partition may have been level, and is not one that route is behind with

	late  *prometheus.GaugeVec
	clock prometheus.Gauge
	bad   prometheus.Counter

	began   time.Time
	mu      sync.Mutex
	epoch   uint64                 // of metrics, 0 unknown
	of      map[int32]*partitionOf // all partitions of metrics
	clocks  clocks
	told    map[int32]bool // partitions that were logged as late
	toldOff bool           // the clock was logged as wrong
}

// partitionOf is what is known of a partition.
type partitionOf struct {
	handed time.Time // all that had come by then is in samples; zero: nobody said so
	said   schemas.Progress
}

const (
	// mostSlack bounds how long ago a partition may have been level before it is one that route
	// is behind with: route says so twice a second.
	mostSlack = 3 * time.Second
	// alarmAfter is how long ago before somebody is told.
	alarmAfter = 10 * time.Second
	// metricsEvery is how often the partitions of metrics are looked up.
	metricsEvery = 5 * time.Second
	// progressPoll is the longest poll.
	progressPoll = 500 * time.Millisecond
	// mostOff is by how much this process' clock may differ from those of others, before
	// theirs is taken.
	mostOff = time.Second
	// clocksFor is how long the clocks of others are believed to go on.
	clocksFor = 30 * time.Second
	// clocksOver and maxHearings bound from when on, and how many, hearings of them are compared.
	clocksOver  = 10 * time.Second
	maxHearings = 8
	// unsureAfter is how long a poll may take until it is not known any more when what it brings came.
	unsureAfter = 2 * time.Second
)

// New makes a watcher. Until Follow has looked it knows nothing, and no window is
// closed by the clock. Windows are closed no sooner than grace after what is in time for them has come into
// metrics: if that was handed on as late as grace ago, nothing that is in time is missed.
func New(client []kgo.Opt, grace time.Duration, reg prometheus.Registerer, log *slog.Logger) (*Lag, error) {
	adm, err := kadm.NewOptClient(client...)
	if err != nil {
		return nil, fmt.Errorf("progress of route: %w", err)
	}
	l := &Lag{adm: adm, opts: client, log: log, slack: min(grace, mostSlack), began: time.Now(), of: map[int32]*partitionOf{}, told: map[int32]bool{},
		late: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_pipeline_late_seconds",
			Help: "How long ago route was level with a partition of metrics that it is behind with. The windows that get samples from there are closed by the clock no further than that."}, []string{"partition"}),
		clock: prometheus.NewGauge(prometheus.GaugeOpts{Name: "weir_clock_ahead_seconds",
			Help: "By how much the clock of this process is ahead of the middle one of it, route's and the broker's."}),
		bad: prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_progress_undecodable_records_total", Help: "Records of the topic progress that do not decode, or cannot be."}),
	}
	reg.MustRegister(l.late, l.clock, l.bad)
	return l, nil
}

// clocks are those of others, as they were when this process heard of them: in the last polls
// that had a record, oldest first.
type clocks []hearing

// hearing is what a record said of clocks that came at a time. The broker's clock had come at least so far by then:
// the record may have been on its way for a while.
type hearing struct {
	at            time.Time
	broker, route time.Time
}

// hear notes a hearing. What is older than clocksOver is forgotten then.
func (c *clocks) hear(h hearing) {
	kept := slices.DeleteFunc(*c, func(old hearing) bool { return old.at.Equal(h.at) || h.at.Sub(old.at) > clocksOver })
	for _, old := range *c {
		if old.at.Equal(h.at) && old.broker.After(h.broker) {
			h = old // of one poll the newest
		}
	}
	*c = append(kept[max(0, len(kept)-maxHearings+1):], h)
}

// now is the middle one of this process' clock and those of the broker and of route: one of
// them that is wrong does not matter. Of all hearings that counts whose record was on its way for
// the shortest time, which is the one by which the broker's clock is the furthest.
func (c clocks) now(own time.Time) time.Time {
	var best hearing
	var since time.Duration
	for _, h := range c {
		d := own.Sub(h.at) // by the monotonic clock
		if d <= clocksFor && (best.at.IsZero() || h.broker.Add(d).After(best.broker.Add(since))) {
			best, since = h, d
		}
	}
	if best.at.IsZero() {
		return own
	}
	three := []time.Time{own, best.broker.Add(since), best.route.Add(since)}
	slices.SortFunc(three, func(a, b time.Time) int { return int(a.UnixMilli() - b.UnixMilli()) })
	if off := own.UnixMilli() - three[1].UnixMilli(); off <= mostOff.Milliseconds() && off >= -mostOff.Milliseconds() {
		return own
	}
	return three[1]
}

// Complete completes a tick that is to be written: see writeback.Options.Behind.
func (l *Lag) Complete(t *schemas.Tick) { l.completeAt(t, time.Now()) }

func (l *Lag) completeAt(t *schemas.Tick, own time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setClock(t, own)
	t.Epoch, t.Unknown = l.epoch, true
	for id, of := range l.of {
		age := own.Sub(of.handed)
		switch {
		case of.handed.IsZero():
			t.Behind = append(t.Behind, schemas.Behind{Partition: id, HandedMS: schemas.NoTime})
			continue
		case age > l.slack:
			handed := t.NowMS - (age - l.slack).Milliseconds()
			handed -= handed % 10 // the same each time until more is said
			t.Behind = append(t.Behind, schemas.Behind{Partition: id, HandedMS: handed})
		}
		t.Unknown = false
	}
	slices.SortFunc(t.Behind, func(a, b schemas.Behind) int { return int(a.Partition - b.Partition) })
	if t.Unknown {
		t.Behind = nil
	}
}

// SetTime sets a tick's time only: of a processor whose input nobody holds up.
func (l *Lag) SetTime(t *schemas.Tick) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setClock(t, time.Now())
}

// setClock sets the tick's time by the middle clock. The caller holds mu.
func (l *Lag) setClock(t *schemas.Tick, own time.Time) {
	right := l.clocks.now(own)
	off := own.UnixMilli() - right.UnixMilli()
	t.NowMS -= off
	l.clock.Set(float64(off) / 1000)
	if wrong := off != 0; wrong != l.toldOff {
		l.toldOff = wrong
		if wrong {
			l.log.Error("the clock of this process differs from those of the broker and of route, which agree: going by theirs", "ahead_ms", off)
		} else {
			l.log.Info("the clock of this process is right again")
		}
	}
}

// Follow reads until stop is called, which also closes the clients.
func (l *Lag) Follow(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	all.Go(func() { l.read(ctx) })
	all.Go(func() { each(ctx, metricsEvery, func() { l.lookUp(ctx) }) })
	all.Go(func() { each(ctx, time.Second, func() { l.alarm(time.Now()) }) })
	return func() { cancel(); all.Wait(); l.adm.Close() }
}

// FollowClocks is follow for who only wants setTime.
func (l *Lag) FollowClocks(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var reading sync.WaitGroup
	reading.Go(func() { l.read(ctx) })
	return func() { cancel(); reading.Wait(); l.adm.Close() }
}

// lookUp learns which partitions metrics has, and its epoch.
func (l *Lag) lookUp(ctx context.Context) {
	short, cancel := context.WithTimeout(ctx, metricsEvery)
	defer cancel()
	list, err := l.adm.ListTopics(short, topics.Metrics)
	if err != nil || list[topics.Metrics].Err != nil {
		return // until then it is as it was
	}
	t := list[topics.Metrics]
	l.mu.Lock()
	defer l.mu.Unlock()
	if epoch := binary.BigEndian.Uint64(t.ID[:8]); epoch != l.epoch {
		l.epoch = epoch
		clear(l.of)
	}
	for id := range t.Partitions {
		if l.of[id] == nil {
			l.of[id] = &partitionOf{}
		}
	}
}

// read reads progress from its beginning on. What stood there before is how far route was
// then: only what comes after that says how far it is.
func (l *Lag) read(ctx context.Context) {
	cl, err := consume.New(consume.Watch{}, append(slices.Clip(l.opts), kgo.FetchMaxWait(progressPoll),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topics.Progress: {0: kgo.NewOffset().AtEnd()}}))...)
	if err != nil {
		l.log.Error("progress of route cannot be read: no window is closed by the clock", "err", err)
		return
	}
	defer cl.Close()
	var logged time.Time
	for before := time.Now(); ctx.Err() == nil; {
		fetches := cl.PollFetches(ctx)
		now := time.Now()
		for _, e := range fetches.Errors() {
			if ctx.Err() == nil && now.Sub(logged) > alarmAfter {
				logged = now
				l.log.Warn("progress of route not read, trying on", "topic", topics.Progress, "err", e.Err)
			}
		}
		from := before
		before = now
		fetches.EachRecord(func(r *kgo.Record) { l.take(r, from, now) })
		if fetches.NumRecords() == 0 && len(fetches.Errors()) > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(250 * time.Millisecond):
			}
		}
	}
}

// take takes what route said. It came after from, when the poll before returned, and at the latest now. When that is
// long, as this process was stopped in between, or there was no broker, the record may be as old as that, and says
// nothing of clocks: whatever it was compared with, some clock would seem to be wrong.
func (l *Lag) take(r *kgo.Record, from, now time.Time) {
	if len(r.Value) == 0 {
		return // a tombstone says nothing
	}
	p, err := schemas.DecodeDoc[schemas.Progress](r.Value)
	if err == nil {
		if err = p.Validate(); err == nil && p.Key() != string(r.Key) {
			err = fmt.Errorf("its key is %.20q: %w", r.Key, schemas.ErrCorrupt)
		}
	}
	if err != nil {
		l.bad.Inc()
		l.log.Error("progress of route refused", "offset", r.Offset, "err", err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	came := now
	switch unsure := now.Sub(from) > unsureAfter; {
	case unsure:
		came = from.Add(unsureAfter)
	case r.Attrs.TimestampType() == 1: // the broker's own clock
		l.clocks.hear(hearing{at: now, broker: r.Timestamp, route: time.UnixMilli(p.AtMS)})
	}
	of := l.of[p.Partition]
	if of == nil || p.Epoch != l.epoch {
		return // not looked up yet, or of a topic that is gone
	}
	of.said = *p
	if p.AgeMS == schemas.Unseen || p.AgeMS > time.Since(time.Unix(0, 0)).Milliseconds() {
		return
	}
	if handed := came.Add(-time.Duration(p.AgeMS) * time.Millisecond); handed.After(of.handed) {
		of.handed = handed // what was true stays true, whoever says something else later
	}
}

// lateAt are the partitions of which somebody is to be told, ascending. The caller holds mu.
func (l *Lag) lateAt(now time.Time) []int32 {
	var ids []int32
	for id, of := range l.of {
		if now.Sub(of.handed) > alarmAfter && now.Sub(l.began) > alarmAfter {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// alarm keeps the gauge, and logs each partition once when it is late and when it is not
// any more.
func (l *Lag) alarm(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.late.Reset()
	late := map[int32]bool{}
	for _, id := range l.lateAt(now) {
		of := l.of[id]
		late[id] = true
		if !of.handed.IsZero() {
			l.late.WithLabelValues(strconv.Itoa(int(id))).Set(now.Sub(of.handed).Seconds())
		}
		if !l.told[id] && !of.handed.IsZero() {
			l.log.Error("pipeline is late: route does not hand on a partition of metrics; windows that get samples from there wait",
				"partition", id, "since", of.handed.UTC().Format(time.RFC3339), "offset", of.said.Offset, "end", of.said.End, "owner", of.said.Owner)
		}
		l.told[id] = l.told[id] || !of.handed.IsZero()
	}
	for id := range l.told {
		if !late[id] {
			delete(l.told, id)
			l.log.Info("route hands the partition of metrics on again", "partition", id)
		}
	}
}

// Standing are the partitions that stand still, ascending: what the page, weir top and
// readyz say of the pipeline.
func (l *Lag) Standing() []schemas.Late { return l.standingAt(time.Now()) }

func (l *Lag) standingAt(now time.Time) []schemas.Late {
	l.mu.Lock()
	defer l.mu.Unlock()
	var late []schemas.Late
	for _, id := range l.lateAt(now) {
		of := l.of[id]
		one := schemas.Late{Partition: id, Waiting: max(0, of.said.End-of.said.Offset), Owner: of.said.Owner}
		if !of.handed.IsZero() {
			one.LevelMS = of.handed.UnixMilli()
		}
		late = append(late, one)
	}
	return late
}

// Warning is what readyz says of it, or "".
func (l *Lag) Warning() string {
	now := time.Now()
	return Text(l.standingAt(now), now)
}

// lateNamed is how many partitions are named that stand still.
const lateNamed = 20

// Text says that the pipeline is late and what stands still, or "".
func Text(late []schemas.Late, now time.Time) string {
	if len(late) == 0 {
		return ""
	}
	var each []string
	for _, p := range late[:min(lateNamed, len(late))] {
		since := "never"
		if p.LevelMS > 0 {
			since = now.Sub(time.UnixMilli(p.LevelMS)).Round(time.Second).String() + " ago"
		}
		if p.Waiting > 0 {
			since += fmt.Sprintf(", %d records wait", p.Waiting)
		}
		if p.Owner != "" {
			since += ", owner " + plain.Text(p.Owner)
		}
		each = append(each, fmt.Sprintf("%d (%s)", p.Partition, since))
	}
	if more := len(late) - len(each); more > 0 {
		each = append(each, fmt.Sprintf("and %d more", more))
	}
	return "pipeline is late: partitions of metrics that route was level with last: " + strings.Join(each, ", ") + "; windows that get samples from them wait"
}

// each calls do now and every so often until ctx ends.
func each(ctx context.Context, every time.Duration, do func()) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		do()
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}
