package window

import (
	"log/slog"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/processors/connect"
	"github.com/weir-metrics/weir/processors/deadletter"
	"github.com/weir-metrics/weir/processors/writeback"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/windows"
)

// Deps are what the processor needs besides its config. All are required except Owner, Behind,
// Letters, Generation and Generations.
type Deps struct {
	Brokers  []string
	Kafka    *connect.Kafka // how to reach the brokers; nil: without TLS and SASL
	Windows  windows.Config
	Rules    *alerts.RuleSet // to begin with; SetRules changes them
	Topics   topics.Config
	Instance string           // of this process, stable over restarts and unique in the group
	Owner    string           // the name of this process in reports of shards, such as its address
	Store    *writeback.Store // shared with the other processors of the process
	// Behind records in a tick which partitions of metrics route still has samples of to hand on:
	// the wall clock moves no group that gets samples from there.
	Behind   func(t *schemas.Tick)
	Registry prometheus.Registerer
	Log      *slog.Logger
	Letters  *deadletter.Limiter // bounds what is written to deadletter; nil: no bound

	// Generation is the generation of samples to process; nil is the first, of Topics.Shards
	// shards.
	Generation *schemas.Generation
	// Generations returns the current record of all generations; nil: there is one.
	Generations func() *schemas.Generations
}

// Processor is the window processor.
type Processor struct {
	*writeback.Processor[group, local]
	cfg   Config
	deps  Deps
	logic *logic
}

// again ends the help of counters of what records did.
const again = " Records since the last checkpoint are applied again after a crash, a rebalance or the loss of the broker, and then count again here, but only once in the tables."

// New returns a Processor.
func New(cfg Config, d Deps) *Processor {
	if d.Generation == nil {
		d.Generation = schemas.FirstGeneration(d.Topics.Shards).Newest()
	}
	share := d.Windows
	share.MaxSeriesTotal = (share.MaxSeriesTotal + int(d.Generation.Shards) - 1) / int(d.Generation.Shards)
	share.MaxGroups = (share.MaxGroups + int(d.Generation.Shards) - 1) / int(d.Generation.Shards)
	l := &logic{windows: share, log: d.Log, letters: d.Letters, gen: d.Generation.Gen, next: d.next(),
		samples: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_window_samples_total",
			Help: "Samples by what became of them." + again}, []string{"result"}),
		closed: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_window_windows_total",
			Help: "Windows emitted: closed, revised by late samples, or late partials." + again}, []string{"kind"}),
		overflow: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_window_overflow_samples_total",
			Help: "Samples counted in overflow series, by the limit that their own series exceeded." + again}, []string{"limit"}),
		conditions: prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_window_conditions_total", Help: "Rule conditions emitted." + again}),
		corrupt:    prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_window_undecodable_records_total", Help: "Records of samples that did not decode."}),
		ruleFaults: prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_window_rule_faults_total", Help: "Rules that failed while they ran."}),
		switched: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "weir_window_rules_switch_seconds",
			Help: "How long a partition took to switch to other rules, s: its records wait so long.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 7)}),
	}
	l.samples, l.closed, l.overflow = writeback.Register(d.Registry, l.samples), writeback.Register(d.Registry, l.closed), writeback.Register(d.Registry, l.overflow)
	l.applied, l.onTime = l.samples.WithLabelValues("applied"), l.closed.WithLabelValues("closed")
	l.conditions, l.corrupt, l.ruleFaults = writeback.Register(d.Registry, l.conditions), writeback.Register(d.Registry, l.corrupt), writeback.Register(d.Registry, l.ruleFaults)
	l.switched = writeback.Register(d.Registry, l.switched)
	l.rules.Store(d.Rules)
	p := &Processor{cfg: cfg, deps: d, logic: l}
	p.Processor = writeback.NewProcessor(p.options, l)
	writeback.Register(d.Registry, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "weir_window_series",
		Help:        "Series in the partitions of this process, as last counted.",
		ConstLabels: prometheus.Labels{"generation": strconv.Itoa(d.Generation.Gen)}}, func() float64 { return float64(p.series()) }))
	return p
}

func (p *Processor) options() writeback.Options {
	d := &p.deps
	g := d.Generation
	return writeback.Options{
		Brokers: d.Brokers, Kafka: d.Kafka, ConsumerGroup: topics.WindowConsumerGroupOf(g.Gen), Input: topics.SamplesOf(g.Gen), Table: topics.WindowTableOf(g.Gen),
		Counts: map[string]int32{
			topics.SamplesOf(g.Gen): g.Shards, topics.WindowTableOf(g.Gen): g.Shards, topics.Windows: d.Topics.Shards,
			topics.Conditions: d.Topics.AlertShards, topics.DeadLetter: 1,
		},
		More:     d.shardsOf,
		Instance: d.Instance, Store: d.Store, Tick: p.cfg.Tick.Std(), Flush: p.cfg.Flush.Std(),
		Behind: d.Behind, Registry: d.Registry, Log: d.Log,
	}
}

// next returns a function that returns the generation after d's own, or nil.
func (d *Deps) next() func() *schemas.Generation {
	all, own := d.Generations, d.Generation.Gen
	if all == nil {
		return func() *schemas.Generation { return nil }
	}
	return func() *schemas.Generation { return all().After(own) }
}

// shardsOf returns the partitions on record for the samples topic of a generation.
func (d *Deps) shardsOf(topic string) (int32, bool) {
	if d.Generations != nil {
		for _, g := range d.Generations().List {
			if topics.SamplesOf(g.Gen) == topic {
				return g.Shards, true
			}
		}
	}
	return 0, false
}
