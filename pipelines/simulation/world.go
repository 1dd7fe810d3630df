package simulation

import (
	"fmt"
	"io"
	"iter"
	"log/slog"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/processors/alert"
	"github.com/weir-metrics/weir/processors/window"
	"github.com/weir-metrics/weir/processors/writeback"
	"github.com/weir-metrics/weir/processors/writeback/disk"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/windows"
)

// epochMS is when every run begins: a boundary of all tiers.
const epochMS = 1_700_006_400_000

// forgetMS is after how long alerts are forgotten, wall time, ms. It is longer than any
// fault holds up a record: a condition that is repeated after it begins a new life.
const forgetMS = 48 * 3600_000

// Params is the shape of a world.
type Params struct {
	Seed     int // of the samples' values
	Hosts    int
	Metrics  int // partitions of the metrics topic at the start
	Shards   int // partitions of samples
	Reshard  int // partitions of samples of generation 1, 0 for none
	Alerts   int // partitions of conditions
	Routers  int
	Machines int
	Chunk    int // samples in a section, at most
	Tiers    int // which of tierSets
	MaxAge   int // s
	Future   int // max_future, s

	// Limits, 0 for none that matters.
	Paths     int // series of a host that come and go
	MaxSeries int // of a host
	PerMetric int // series of a metric of a host
	Total     int // series of all hosts
	Rate      int // samples a second of a host
	MaxValue  int // of a table of windows, bytes: the broker refuses more
	MaxAlert  int // of the table of alerts

	Rules int // sets of rules beside the first, 0 to 2
}

var tierSets = [][]windows.Tier{
	{tier(10, 2), tier(60, 10), tier(3600, 60)},
	{tier(10, 2), tier(30, 5), tier(120, 10)},
	{tier(10, 0), tier(20, 0)},
	{tier(10, 5), tier(60, 5)},
}

func tier(sizeS, graceS int) windows.Tier {
	return windows.Tier{Size: conf.Duration(time.Duration(sizeS) * time.Second), Grace: conf.Duration(time.Duration(graceS) * time.Second), TTL: conf.Week}
}

// World is all that a run consists of. One goroutine drives it, by ops.
type World struct {
	params Params
	tiers  []int64 // ms
	now    int64   // the true time, ms
	topics map[string]*topic

	metrics  [][]metricsRecord
	routerOf []int   // router, by partition of metrics
	routed   []int64 // committed, by partition of metrics
	polled   []int64 // read by any router, by partition of metrics

	hosts    []*host
	routers  []*router
	groups   [roles]*group
	machines []*machine
	ghosts   []*outbox // of killed processes: what the network still holds
	store    *store
	// turned are the groups of which a process, living or dead, turned away a series
	// because of the limit in all.
	turned map[string]bool
	// begunAnew are the alerts among harmed, by name.
	begunAnew map[string]bool
	harmedMS  map[string]int64 // when last
	harmed    map[string]bool  // groups, and fingerprints of alerts, of which the broker refused a value
	spoilt    map[string]bool  // records of inputs, by recordName

	windowProc  *window.Processor
	alertProc   *alert.Processor
	rules       *alerts.RuleSet
	nextProc    *window.Processor
	generations *schemas.Generations
	windowsCfg  windows.Config
	registry    *prometheus.Registry

	writers uint64 // of changelogs, so far

	ticking *machine // whose ticks are being written

	calm   bool // since the op calm: everything is prompt
	prompt bool // nothing was held up since
	// lagging: the generations changed in the rough part. After samples that were hours
	// late the old one closes its last windows hours later, and until then the new one's
	// rules do not know what it has to hand over (docs/scaling.md).
	lagging bool
	silence int64 // that the calm part began with, ms
	calmMS  int64 // when it began
	reset   int64 // event time from which on alerts are compared, ms; 0 not reached
	stats   Stats
	fault   error // the first violation
}

// Stats counts what happened in a run.
type Stats struct {
	Ops, Sent, Repeats          int // steps that did something; samples sent, and sent again
	Applied, Late, Refused      int // samples: counted, of those late, and refused
	Dropped                     int // samples that had been counted before
	Windows, Transitions        int // rows compared with the oracle's; transitions of alerts
	Kills, Wipes, Timeouts      int // processes killed, of those with their disk; failed produces
	Compacted                   int // records of changelogs that compaction took
	Moves, Rejoins, Checkpoints int // of partitions; rebalances that changed nothing
	Reshards, Handovers         int // planned; records that hand over what rules remember
	ZombieReads                 int // records processed by who had lost the partition
	Haunts                      int // records stored after their producer was killed
	WrongClocks                 int // set, and ticks of such
	Rubbish                     int // records of inputs that do not decode
	Aborted                     int // records of metrics
	Broken                      int // local stores
	Poisoned, Undecodable       int // records of tables that do not decode; how often one was found
	TooLarge, Harmed            int // values refused by the broker; keys that it refused one of
	Lost                        int // values that were parked for it
	Calm                        int // 1: the transitions of a calm part were compared
	Uncertain                   int // samples sent again after weir may have forgotten the first
	StaleLast                   int // alerts whose last record is not their last state
	Forgotten                   int // records that delete an alert
	Collapsed                   int // samples that were counted in overflow series
	Overflows                   int // of Windows, those of overflow series
	Limited                     int // of Refused, those that were beyond a limit
	Turned, Unlike              int // groups that met the limit in all, and rows of theirs that were made in two ways
}

// Add adds those of another run.
func (s *Stats) Add(o Stats) {
	to, from := reflect.ValueOf(s).Elem(), reflect.ValueOf(o)
	for i := range to.NumField() {
		to.Field(i).SetInt(to.Field(i).Int() + from.Field(i).Int())
	}
}

func newWorld(p Params) *World {
	w := &World{params: p, now: epochMS, topics: map[string]*topic{}, turned: map[string]bool{}, harmed: map[string]bool{}, harmedMS: map[string]int64{}, begunAnew: map[string]bool{}, spoilt: map[string]bool{}, registry: prometheus.NewRegistry()}
	w.windowsCfg = windowsConfig(p)
	w.tiers = w.windowsCfg.TiersMS()
	var graces []int64
	for _, t := range w.windowsCfg.Tiers {
		graces = append(graces, t.Grace.MS())
	}
	w.rules = rulesFor(w.tiers, graces, p.Rules)
	counts := topics.Default()
	counts.Shards, counts.AlertShards, counts.MetricsPartitions = int32(p.Shards), int32(p.Alerts), int32(p.Metrics)
	quiet := slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError + 1}))
	w.generations = schemas.FirstGeneration(counts.Shards)
	deps := window.Deps{Windows: w.windowsCfg, Rules: w.rules, Topics: counts, Registry: w.registry, Log: quiet,
		Generations: func() *schemas.Generations { return w.generations }, Behind: w.middle}
	w.windowProc = window.New(window.Default(), deps)
	deps.Generation = &schemas.Generation{Gen: 1, Shards: int32(max(p.Reshard, 1))}
	w.nextProc = window.New(window.Default(), deps)
	alertCfg := alert.Default()
	alertCfg.Forget = conf.Duration(forgetMS * int64(time.Millisecond))
	w.alertProc = alert.New(alertCfg, alert.Deps{Topics: counts, Registry: w.registry, Log: quiet, Clock: w.middle})
	for name, n := range map[string]int{topics.Samples: p.Shards, topics.WindowTable: p.Shards, topics.Windows: p.Shards,
		topics.Conditions: p.Alerts, topics.AlertTable: p.Alerts, topics.Alerts: p.Alerts, topics.DeadLetter: int(topics.DeadLetterPartitions)} {
		w.topics[name] = newTopic(name, n)
	}
	w.topics[topics.Conditions].nowMS = func() int64 { return w.now }
	for _, name := range []string{topics.SamplesOf(1), topics.WindowTableOf(1)} {
		w.topics[name] = newTopic(name, p.Reshard)
	}
	w.store = newStore(w, p.Shards)
	for h := range p.Hosts {
		w.hosts = append(w.hosts, newHost(w, h))
	}
	for range p.Routers {
		w.routers = append(w.routers, newRouter(w, 0))
	}
	for range p.Metrics {
		w.grow()
	}
	w.groups[windowRole] = newGroup(w.topics[topics.Samples], w.topics[topics.WindowTable], p.Machines)
	w.groups[nextRole] = newGroup(w.topics[topics.SamplesOf(1)], w.topics[topics.WindowTableOf(1)], p.Machines)
	w.groups[alertRole] = newGroup(w.topics[topics.Conditions], w.topics[topics.AlertTable], p.Machines)
	for id := range p.Machines {
		m := &machine{}
		w.machines = append(w.machines, m)
		for r := range roles {
			m.members[r] = &member{w: w, role: r, id: id, local: disk.New(writeback.ErrBroken)}
		}
	}
	for _, m := range w.machines {
		for r := range roles {
			m.members[r].start()
		}
	}
	return w
}

// windowsConfig is the setting of windows that the parameters ask for.
func windowsConfig(p Params) windows.Config {
	c := windows.Default()
	c.Tiers = tierSets[p.Tiers]
	c.MaxAge = conf.Duration(time.Duration(p.MaxAge) * time.Second)
	c.MaxFuture = conf.Duration(time.Duration(p.Future) * time.Second)
	for _, l := range []struct {
		limit *int
		n     int
	}{{&c.MaxSeries, p.MaxSeries}, {&c.MaxSeriesPerMetric, p.PerMetric},
		{&c.MaxSeriesTotal, p.Total}, {&c.MaxRate, p.Rate}} {
		if l.n > 0 {
			*l.limit = l.n
		}
	}
	return c
}

func newGroup(input, table *topic, machines int) *group {
	n := len(input.parts)
	g := &group{input: input, table: table, owner: make([]int, n), committed: make([]int64, n)}
	for p := range g.owner {
		g.owner[p] = p % machines
	}
	return g
}

// grow adds a partition to metrics.
func (w *World) grow() {
	p := len(w.metrics)
	w.metrics = append(w.metrics, nil)
	w.routed, w.polled = append(w.routed, 0), append(w.polled, 0)
	w.routerOf = append(w.routerOf, p%len(w.routers))
	w.routers[w.routerOf[p]].take(p)
}

func (w *World) nextWriter() uint64 { w.writers++; return w.writers }

func (w *World) drive(r role, h writeback.Host) writeback.Driven {
	switch r {
	case windowRole:
		return w.windowProc.Drive(h)
	case nextRole:
		return w.nextProc.Drive(h)
	}
	return w.alertProc.Drive(h)
}

func (w *World) member(r role, id int) *member { return w.machines[id].members[r] }

// violate records the first violation.
func (w *World) violate(format string, args ...any) {
	if w.fault == nil {
		w.fault = fmt.Errorf(format, args...)
	}
}

func (w *World) must(err error) {
	if err != nil {
		w.violate("error: %w", err)
	}
}

// host makes samples. Its clock is off by skewMS.
type host struct {
	w      *World
	id     int
	skewMS int64
	low    bool             // send nothing that a rule could fire on
	series []schemas.Series // that it always has
	newest int64
	used   map[int64]int // how often a time was given to a sample
	last   []schemas.Sample
}

func newHost(w *World, id int) *host {
	h := &host{w: w, id: id, used: map[int64]int{}}
	name := h.name()
	for _, m := range []string{"a", "b", "c"} {
		h.series = append(h.series, schemas.Series{Metric: m, Labels: schemas.NewLabels(map[string]string{"host": name})})
	}
	h.series = append(h.series, schemas.Series{Metric: "a", Labels: schemas.NewLabels(map[string]string{"host": name, "cpu": "1"})})
	return h
}

func (h *host) name() string { return fmt.Sprintf("h%d", h.id) }

// send makes count samples of each series, a second apart, the last at its clock and
// shiftMS, and appends them to a partition of metrics as one record.
func (h *host) send(p int, shiftMS int64, count int) {
	if h.w.calm && h.w.silence == 0 {
		h.w.silence = h.w.now - h.w.calmMS
	}
	var out []schemas.Sample
	for i := count - 1; i >= 0; i-- {
		ts := h.w.now + h.skewMS + shiftMS - int64(i)*1000
		for h.used[ts] == 3 { // so that (series, time, value) is never the same by chance
			ts++
		}
		n := h.used[ts]
		h.used[ts]++
		h.newest = max(h.newest, ts)
		for k, s := range h.series {
			out = append(out, schemas.Sample{Series: s, TimeMS: ts, Value: h.value(k, ts) + float64(n)/4})
		}
		for k, s := range h.passing(ts) {
			out = append(out, schemas.Sample{Series: s, TimeMS: ts, Value: h.value(k, ts) + float64(n)/4})
		}
	}
	h.last = out
	h.w.stats.Sent += len(out)
	h.w.metrics[p] = append(h.w.metrics[p], metricsRecord{samples: out})
}

// passing are the series that the host has at a time beside those that it always has,
// by a number of theirs. A path is there for a while and returns after others.
func (h *host) passing(ts int64) iter.Seq2[int, schemas.Series] {
	return func(yield func(int, schemas.Series) bool) {
		for i := range h.w.params.Paths {
			path := 10*i + int(mix(uint64(h.w.params.Seed), uint64(h.id), uint64(i), uint64(ts/40_000))%4)
			labels := schemas.NewLabels(map[string]string{"host": h.name(), "path": strconv.Itoa(path)})
			if !yield(100+path, schemas.Series{Metric: []string{"a", "d"}[i%2], Labels: labels}) {
				return
			}
		}
	}
}

// again sends the last record once more, as a sender does that saw no answer.
func (h *host) again(p int) bool {
	if h.last == nil {
		return false
	}
	h.w.metrics[p] = append(h.w.metrics[p], metricsRecord{samples: slices.Clone(h.last)})
	h.w.stats.Repeats += len(h.last)
	return true
}

// some sends the first n samples of the last record once more, as a sender does that
// batches again.
func (h *host) some(p, n int) bool {
	n = min(n, len(h.last))
	if n <= 0 {
		return false
	}
	h.w.metrics[p] = append(h.w.metrics[p], metricsRecord{samples: slices.Clone(h.last[:n])})
	h.w.stats.Repeats += n
	return true
}

// value is a whole number, so that sums are exact whatever their order: a level that
// changes every half minute or so, and some noise.
func (h *host) value(series int, ts int64) float64 {
	noise := mix(uint64(h.w.params.Seed), uint64(h.id), uint64(series), uint64(ts)) % 8
	if h.low {
		return float64(10 + noise)
	}
	x := mix(uint64(h.w.params.Seed), uint64(h.id), uint64(series), uint64(ts/27_000))
	return float64([]uint64{10, 25, 55, 75, 90}[x%5] + noise)
}

// mix is a hash (splitmix64, chained).
func mix(xs ...uint64) uint64 {
	h := uint64(0x9e3779b97f4a7c15)
	for _, x := range xs {
		h += x
		h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
		h = (h ^ h>>27) * 0x94d049bb133111eb
		h ^= h >> 31
	}
	return h
}
