package window

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/processors/generations"
	"github.com/weir-metrics/weir/processors/writeback"
	"github.com/weir-metrics/weir/schemas"
)

// All runs a Processor for each generation of samples that is not retired: usually one, and two
// after a weir reshard until the old one has drained.
type All struct {
	cfg    Config
	deps   Deps
	client []kgo.Opt

	mu      sync.Mutex
	running map[int]*member
}

// member is the processor of one generation.
type member struct {
	*Processor
	stop func()
	seen map[int32][]sampled // by partition, at the reports of rateOver
}

type sampled struct {
	at time.Time
	n  int64
}

// NewAll returns an All; client is how it reaches the brokers to read the record of the
// generations.
func NewAll(cfg Config, d Deps, client []kgo.Opt) *All {
	return &All{cfg: cfg, deps: d, client: client, running: map[int]*member{}}
}

// Waiting tells what a generation waits for before it is ready, in words; "" if nothing.
func (a *All) Waiting() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range a.running {
		if why := m.Waiting(); why != "" {
			return why
		}
	}
	if len(a.running) == 0 {
		return "reading the generations"
	}
	return ""
}

// Warning tells what somebody altered by hand that weir can cope with, and whose state was lost
// (writeback.Engine.Warning), in words; "" if nothing.
func (a *All) Warning() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var altered, harmed []string
	for _, m := range a.running {
		e := m.Engine()
		if e == nil {
			continue
		}
		if e.Altered() != "" {
			altered = append(altered, e.Altered())
		}
		if w := e.Warning(); w != "" {
			harmed = append(harmed, w)
		}
	}
	if len(altered) > 0 {
		slices.Sort(altered)
		harmed = append(harmed, strings.Join(altered, "; ")+": the added partitions stay empty; to get more shards, run weir reshard --shards N")
	}
	return strings.Join(harmed, "; ")
}

// Recovery is Processor.Recovery for all generations together.
func (a *All) Recovery() (all writeback.Recovery) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range a.running {
		if r := m.Recovery(); !r.Done() {
			all = all.And(r)
		}
	}
	return all
}

// Sources is Processor.Sources for all generations: a source that moves from one to the next is in
// both for a while.
func (a *All) Sources(nowMS int64) (all []schemas.Source) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range a.running {
		all = append(all, m.Sources(nowMS)...)
	}
	return all
}

// SetRules is Processor.SetRules for all generations, including future ones.
func (a *All) SetRules(rules *alerts.RuleSet) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.deps.Rules = rules
	for _, m := range a.running {
		m.SetRules(rules)
	}
}

// Shards returns how many shards this process owns, and how many there are, in all generations that
// are processed.
func (a *All) Shards() (owned, all int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range a.running {
		all += int(m.deps.Generation.Shards)
		if e := m.Engine(); e != nil {
			owned += e.Owned()
		}
	}
	return owned, all
}

const (
	followEvery = time.Second     // how long it may take to see a new generation
	reportEvery = 2 * time.Second // how often to report shards
	// rateOver is the time over which a reported rate is averaged: senders send every 10 s or so,
	// all at once.
	rateOver = 30 * time.Second
)

// Run processes until ctx ends; see Processor.Run. It returns the first error of one of the
// processors, after it has stopped the others. It may be called again.
func (a *All) Run(ctx context.Context) error {
	log, err := generations.Open(a.deps.Topics.Shards, a.client...)
	if err != nil {
		return err
	}
	defer log.Close()
	log.Tell(writeback.Register(a.deps.Registry, prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_window_refused_generations_total",
		Help: "Records of the topic generations that do not decode, or are invalid; the previous one stays."})), a.deps.Log)
	if err := log.Refresh(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	a.deps.Generations = log.Current
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer func() {
		cancel()
		all.Wait()
		a.mu.Lock()
		clear(a.running)
		a.mu.Unlock()
	}()
	failed := make(chan error, 1)
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	reported := time.Now()
	for {
		a.follow(ctx, log.Current().Live(), &all, failed)
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case <-tick.C:
		}
		if err := log.Refresh(ctx); err != nil && ctx.Err() == nil {
			a.deps.Log.Warn("cannot read the generations, keeping the ones known before", "err", err)
			continue
		}
		if time.Since(reported) >= reportEvery {
			reported = time.Now()
			if err := log.Report(ctx, a.reports(reported)); err != nil && ctx.Err() == nil {
				a.deps.Log.Warn("cannot report the shards", "err", err)
			}
		}
	}
}

// follow starts the processors that are missing, and stops those of retired generations.
func (a *All) follow(ctx context.Context, live []schemas.Generation, all *sync.WaitGroup, failed chan<- error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	keep := map[int]bool{}
	for _, g := range live {
		keep[g.Gen] = true
		if a.running[g.Gen] == nil {
			a.start(ctx, g, all, failed)
		}
	}
	for gen, m := range a.running {
		if !keep[gen] {
			a.deps.Log.Info("generation is retired", "generation", gen)
			m.stop()
			delete(a.running, gen)
		}
	}
}

func (a *All) start(ctx context.Context, g schemas.Generation, all *sync.WaitGroup, failed chan<- error) {
	d := a.deps
	d.Generation = &g
	ctx, stop := context.WithCancel(ctx)
	m := &member{Processor: New(a.cfg, d), stop: stop, seen: map[int32][]sampled{}}
	a.running[g.Gen] = m
	from := "the beginning"
	if g.Gen > 0 {
		from = time.UnixMilli(g.FromMS).UTC().Format(time.RFC3339)
	}
	a.deps.Log.Info("generation runs", "generation", g.Gen, "shards", g.Shards, "from", from)
	all.Go(func() {
		defer stop()
		if err := m.Run(ctx); err != nil {
			select {
			case failed <- fmt.Errorf("generation %d: %w", g.Gen, err):
			default: // another failed first
			}
		}
	})
}

// reports returns this process's reports on its shards.
func (a *All) reports(now time.Time) []schemas.ShardReport {
	a.mu.Lock()
	defer a.mu.Unlock()
	var reports []schemas.ShardReport
	for gen, m := range a.running {
		e := m.Engine()
		if e == nil {
			continue
		}
		e.Each(func(p *partition) {
			loc := p.Local
			rate := 0.0
			m.seen[p.ID], rate = rateOf(m.seen[p.ID], sampled{now, loc.count.Load()})
			loc.watch.mu.Lock()
			series := loc.watch.series
			loc.watch.mu.Unlock()
			reports = append(reports, schemas.ShardReport{Gen: gen, Shard: p.ID, Owner: a.deps.Owner, AtMS: now.UnixMilli(),
				Groups: p.Keys(), Open: loc.open.Load(), Series: int64(series), PerSecond: rate})
		})
	}
	return reports
}

// rateOf adds the current count to those of earlier reports, drops those older than rateOver, and
// returns them with the rate, per second.
func rateOf(seen []sampled, now sampled) ([]sampled, float64) {
	if len(seen) > 0 && seen[len(seen)-1].n > now.n {
		seen = nil // the partition went away and came back: its count started again
	}
	for len(seen) > 1 && now.at.Sub(seen[0].at) > rateOver {
		seen = seen[1:]
	}
	seen = append(seen, now)
	if took := now.at.Sub(seen[0].at).Seconds(); took > 0 {
		return seen, float64(now.n-seen[0].n) / took
	}
	return seen, 0
}
