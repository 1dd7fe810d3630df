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

// Lag knows from the topic progress how far route, in whatever processes, has handed on each partition
// of metrics, and puts that into every tick: the clock closes windows no further than the partitions
// from which they get samples are handed on. It also knows the clocks of others, by which it corrects
// this process's.
type Lag struct {
	adm  *kadm.Client
	opts []kgo.Opt
	log  *slog.Logger

	slack time.Duration // how long ago route may have been level with a partition without being behind

	late  *prometheus.GaugeVec
	clock prometheus.Gauge
	bad   prometheus.Counter

	began   time.Time
	mu      sync.Mutex
	epoch   uint64                 // of metrics, 0 unknown
	of      map[int32]*partitionOf // all partitions of metrics
	clocks  clocks
	told    map[int32]bool // partitions that were logged as late
	toldOff bool           // this process's clock was logged as wrong
}

// partitionOf is what is known about a partition.
type partitionOf struct {
	handed time.Time // all that had come by then is in samples; zero: not known
	said   schemas.Progress
}

const (
	// mostSlack bounds how long ago route may have been level with a partition without being behind: it
	// reports twice a second.
	mostSlack = 3 * time.Second
	// alarmAfter is how long ago that may be before there is a warning.
	alarmAfter = 10 * time.Second
	// metricsEvery is how often the partitions of metrics are looked up.
	metricsEvery = 5 * time.Second
	// progressPoll bounds a poll.
	progressPoll = 500 * time.Millisecond
	// mostOff is by how much this process's clock may differ from the others' before theirs is used.
	mostOff = time.Second
	// clocksFor is for how long after it was heard a clock of others is used.
	clocksFor = 30 * time.Second
	// clocksOver and maxHearings bound the age and the number of the hearings that are compared.
	clocksOver  = 10 * time.Second
	maxHearings = 8
	// unsureAfter is how long after the poll before a record may be read for its arrival time to be known.
	unsureAfter = 2 * time.Second
)

// New makes a Lag. Until Follow has read something, it knows nothing, and the clock closes no window.
// grace is the least grace of the tiers: a window closes that long after its end, so route is not
// behind as long as it was level less than that ago, and less than mostSlack.
func New(client []kgo.Opt, grace time.Duration, reg prometheus.Registerer, log *slog.Logger) (*Lag, error) {
	adm, err := kadm.NewOptClient(client...)
	if err != nil {
		return nil, fmt.Errorf("progress of route: %w", err)
	}
	l := &Lag{adm: adm, opts: client, log: log, slack: min(grace, mostSlack), began: time.Now(), of: map[int32]*partitionOf{}, told: map[int32]bool{},
		late: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_pipeline_late_seconds",
			Help: "How long ago route was level with a partition of metrics that it is behind with. The clock closes the windows that get samples from there no further than that."}, []string{"partition"}),
		clock: prometheus.NewGauge(prometheus.GaugeOpts{Name: "weir_clock_ahead_seconds",
			Help: "By how much the clock of this process is ahead of the median of it, route's and the broker's."}),
		bad: prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_progress_undecodable_records_total", Help: "Records of the topic progress that do not decode, or make no sense."}),
	}
	reg.MustRegister(l.late, l.clock, l.bad)
	return l, nil
}

// clocks are those of others, as this process heard of them in the last polls that had a record,
// oldest first.
type clocks []hearing

// hearing is what a record that came at a time says about clocks. By then the broker's clock had come at least that far:
// the record may have been on its way for a while.
type hearing struct {
	at            time.Time
	broker, route time.Time
}

// hear notes a hearing, and forgets those older than clocksOver.
func (c *clocks) hear(h hearing) {
	kept := slices.DeleteFunc(*c, func(old hearing) bool { return old.at.Equal(h.at) || h.at.Sub(old.at) > clocksOver })
	for _, old := range *c {
		if old.at.Equal(h.at) && old.broker.After(h.broker) {
			h = old // of the records of one poll, the newest
		}
	}
	*c = append(kept[max(0, len(kept)-maxHearings+1):], h)
}

// now is the median of this process's clock, the broker's and route's, so that one wrong clock does not
// matter. The hearing that counts is the one whose record was on its way for the shortest time: the
// one by which the broker's clock is the furthest.
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

// Complete completes a tick that is about to be written: see writeback.Options.Behind.
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
			handed -= handed % 10 // the same until route reports again
			t.Behind = append(t.Behind, schemas.Behind{Partition: id, HandedMS: handed})
		}
		t.Unknown = false
	}
	slices.SortFunc(t.Behind, func(a, b schemas.Behind) int { return int(a.Partition - b.Partition) })
	if t.Unknown {
		t.Behind = nil
	}
}

// SetTime sets only a tick's time, for a processor whose input does not come through route.
func (l *Lag) SetTime(t *schemas.Tick) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setClock(t, time.Now())
}

// setClock sets the tick's time to the median clock. The caller holds mu.
func (l *Lag) setClock(t *schemas.Tick, own time.Time) {
	right := l.clocks.now(own)
	off := own.UnixMilli() - right.UnixMilli()
	t.NowMS -= off
	l.clock.Set(float64(off) / 1000)
	if wrong := off != 0; wrong != l.toldOff {
		l.toldOff = wrong
		if wrong {
			l.log.Error("the clock of this process differs from those of the broker and of route, which agree: using theirs", "ahead_ms", off)
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

// FollowClocks is Follow for callers that only use SetTime.
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
		return // nothing changes until the next look
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

// read reads what is appended to progress: only that tells how far route is now.
func (l *Lag) read(ctx context.Context) {
	cl, err := consume.New(consume.Watch{}, append(slices.Clip(l.opts), kgo.FetchMaxWait(progressPoll),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topics.Progress: {0: kgo.NewOffset().AtEnd()}}))...)
	if err != nil {
		l.log.Error("cannot read the progress of route: the clock closes no window", "err", err)
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
				l.log.Warn("cannot read the progress of route, trying again", "topic", topics.Progress, "err", e.Err)
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

// take takes a record of route's. It came between from, when the poll before returned, and now. If that is a long time,
// as this process was stopped or there was no broker, the record may be that old, and tells nothing about clocks:
// whatever it is compared with, some clock would seem wrong.
func (l *Lag) take(r *kgo.Record, from, now time.Time) {
	if len(r.Value) == 0 {
		return // a tombstone has no progress
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
		return // not looked up yet, or of a deleted topic
	}
	of.said = *p
	if p.AgeMS == schemas.Unseen || p.AgeMS > time.Since(time.Unix(0, 0)).Milliseconds() {
		return
	}
	if handed := came.Add(-time.Duration(p.AgeMS) * time.Millisecond); handed.After(of.handed) {
		of.handed = handed // once handed on is handed on, whatever another process reports later
	}
}

// lateAt are the partitions to warn about, ascending. The caller holds mu.
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

// alarm sets the gauge, and logs once when a partition becomes late and once when it no longer is.
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
			l.log.Error("pipeline is late: route does not hand on a partition of metrics; windows that get samples from it wait",
				"partition", id, "since", of.handed.UTC().Format(time.RFC3339), "offset", of.said.Offset, "end", of.said.End, "owner", of.said.Owner)
		}
		l.told[id] = l.told[id] || !of.handed.IsZero()
	}
	for id := range l.told {
		if !late[id] {
			delete(l.told, id)
			l.log.Info("route hands on the partition of metrics again", "partition", id)
		}
	}
}

// Standing are the partitions that stand still, ascending: what the page, weir top and readyz report.
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

// Warning is what readyz reports, or "".
func (l *Lag) Warning() string {
	now := time.Now()
	return Text(l.standingAt(now), now)
}

// lateNamed bounds how many of the partitions that stand still are named.
const lateNamed = 20

// Text tells that the pipeline is late and which partitions stand still; "" if none.
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

// each calls do now, and then every interval until ctx ends.
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
