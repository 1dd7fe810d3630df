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

// epochMS is the time at which every run begins, a boundary of all tiers.
const epochMS = 1_700_006_400_000

// forgetMS is the wall time after which alerts are forgotten, ms. No fault delays a record
// that long: if a condition were repeated after its alert is forgotten, a new alert would begin.
const forgetMS = 48 * 3600_000

// Params is the shape of a world: how many of each thing it has, and its limits.
type Params struct {
	Seed     int // of the samples' values
	Hosts    int
	Metrics  int // partitions of the metrics topic at the start
	Shards   int // partitions of samples
	Reshard  int // partitions of samples in generation 1; 0: there is no generation 1
	Alerts   int // partitions of conditions
	Routers  int
	Machines int
	Chunk    int // most samples in a section
	Tiers    int // index into tierSets
	MaxAge   int // s
	Future   int // max_future, s

	// Limits; 0 is weir's default, which no run reaches.
	Paths     int // series per host that come and go
	MaxSeries int // series per host
	PerMetric int // series per host and metric
	Total     int // series of all hosts together
	Rate      int // samples per second and host
	MaxValue  int // bytes of a value in a table of windows; the broker refuses a larger one
	MaxAlert  int // the same for the table of alerts

	Rules int // additional sets of rules, 0 to 2
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

// World is everything that a run acts on. One goroutine drives it, op by op.
type World struct {
	params Params
	tiers  []int64 // ms
	now    int64   // the true time, ms
	topics map[string]*topic

	metrics  [][]metricsRecord
	routerOf []int   // the router that owns each partition of metrics
	routed   []int64 // committed offset of each partition of metrics
	polled   []int64 // highest offset that any router has read up to, by partition of metrics

	hosts    []*host
	routers  []*router
	groups   [roles]*group
	machines []*machine
	ghosts   []*outbox // records of killed processes that the network still holds
	store    *store
	// turned holds the groups of which any process, alive or dead, refused a series because
	// of max_series_total.
	turned map[string]bool
	// begunAnew holds the names of the alerts that started over because their value was lost.
	begunAnew map[string]bool
	harmedMS  map[string]int64 // when the broker last refused a value of a key in harmed
	harmed    map[string]bool  // keys (groups and fingerprints of alerts) of which the broker refused a value
	spoilt    map[string]bool  // input records that do not decode, by recordName

	windowProc  *window.Processor
	alertProc   *alert.Processor
	rules       *alerts.RuleSet
	nextProc    *window.Processor
	generations *schemas.Generations
	windowsCfg  windows.Config
	registry    *prometheus.Registry

	writers uint64 // how many processes have been given a writer's number for changelogs

	ticking *machine // the machine whose ticks are being written

	calm   bool // the op calm was played
	prompt bool // since then, nothing has been delayed
	// lagging: the reshard was planned in the rough part. After samples that were hours late,
	// the old generation closes its last windows hours later, and only then does it hand over
	// what the new generation's rules have to know (docs/scaling.md).
	lagging bool
	silence int64 // length of the silence with which the calm part began, ms
	calmMS  int64 // when the calm part began
	reset   int64 // event time from which alerts are compared, ms; 0: not reached
	stats   Stats
	fault   error // the first violation
}

// Stats counts what happened in a run.
type Stats struct {
	Ops, Sent, Repeats          int // ops that did something; samples sent, and sent again
	Applied, Late, Refused      int // samples: counted, counted late (included in the former), and refused
	Dropped                     int // samples recognized as repeats
	Windows, Transitions        int // rows compared with the oracle; transitions of alerts
	Kills, Wipes, Timeouts      int // processes killed, and of these with their disk; produces that failed
	Compacted                   int // changelog records removed by compaction
	Moves, Rejoins, Checkpoints int // partitions moved; rebalances that changed nothing
	Reshards, Handovers         int // reshards planned; records that hand over what rules remember
	ZombieReads                 int // records processed by a member that had lost the partition
	Haunts                      int // records stored after their producer was killed
	WrongClocks                 int // clocks set wrong, and ticks of wrong clocks
	Rubbish                     int // input records that do not decode
	Aborted                     int // records of metrics in aborted transactions
	Broken                      int // local stores
	Poisoned, Undecodable       int // table records that do not decode; how often a process met one
	TooLarge, Harmed            int // values that the broker refused; keys of such values
	Lost                        int // values that weir gave up because the broker refused them
	Calm                        int // 1: the transitions of a calm part were compared
	Uncertain                   int // samples sent again after weir may have forgotten the first
	StaleLast                   int // alerts whose last record is not their last state
	Forgotten                   int // records that delete an alert
	Collapsed                   int // samples counted in overflow series
	Overflows                   int // the part of Windows that belongs to overflow series
	Limited                     int // the part of Refused that was beyond a limit
	Turned, Unlike              int // groups that met max_series_total, and their rows of which two versions share a stamp
}

// Add adds the counts of another run.
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

// windowsConfig returns the windows config that the parameters ask for.
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
	low    bool             // send only values on which no rule fires
	series []schemas.Series // those that the host always has
	newest int64
	used   map[int64]int    // how many samples of a series share each time
	last   []schemas.Sample // the last record
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

// send makes count samples of each series, a second apart, the last one at the host's clock
// plus shiftMS, and appends them to a partition of metrics as one record.
func (h *host) send(p int, shiftMS int64, count int) {
	if h.w.calm && h.w.silence == 0 {
		h.w.silence = h.w.now - h.w.calmMS
	}
	var out []schemas.Sample
	for i := count - 1; i >= 0; i-- {
		ts := h.w.now + h.skewMS + shiftMS - int64(i)*1000
		for h.used[ts] == 3 { // no two samples may share series, time and value by chance
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

// passing returns the short-lived series that the host has at a time, each with a number.
// A path is there for a while, gives way to others, and returns.
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

// again sends the last record once more, as a sender does that got no answer.
func (h *host) again(p int) bool {
	if h.last == nil {
		return false
	}
	h.w.metrics[p] = append(h.w.metrics[p], metricsRecord{samples: slices.Clone(h.last)})
	h.w.stats.Repeats += len(h.last)
	return true
}

// some sends the first n samples of the last record once more, as a sender does that
// rebuilds its batches.
func (h *host) some(p, n int) bool {
	n = min(n, len(h.last))
	if n <= 0 {
		return false
	}
	h.w.metrics[p] = append(h.w.metrics[p], metricsRecord{samples: slices.Clone(h.last[:n])})
	h.w.stats.Repeats += n
	return true
}

// value returns a level that changes every half minute or so, plus some noise: a whole
// number, so that sums are exact in any order.
func (h *host) value(series int, ts int64) float64 {
	noise := mix(uint64(h.w.params.Seed), uint64(h.id), uint64(series), uint64(ts)) % 8
	if h.low {
		return float64(10 + noise)
	}
	x := mix(uint64(h.w.params.Seed), uint64(h.id), uint64(series), uint64(ts/27_000))
	return float64([]uint64{10, 25, 55, 75, 90}[x%5] + noise)
}

// mix hashes numbers (splitmix64, chained).
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
