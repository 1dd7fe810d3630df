package window

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"weir/alerts"
	"weir/processors/writeback"
	"weir/schemas/topics"
	"weir/windows"
)

// Deps are what the processor needs besides its config. All are required but Behind.
type Deps struct {
	Brokers  []string
	Windows  windows.Config
	Rules    *alerts.RuleSet
	Topics   topics.Config
	Instance string           // of this process, stable over restarts and unique in the group
	Store    *writeback.Store // shared with the other processors of the process
	Behind   func() bool      // route has samples to hand on: windows are not closed by the wall clock
	Registry prometheus.Registerer
	Log      *slog.Logger
}

// Processor is the window processor.
type Processor struct {
	cfg    Config
	deps   Deps
	logic  *logic
	engine atomic.Pointer[writeback.Engine[group]]
}

// New returns a Processor.
func New(cfg Config, d Deps) *Processor {
	share := d.Windows
	share.MaxSeriesTotal = (share.MaxSeriesTotal + int(d.Topics.Shards) - 1) / int(d.Topics.Shards)
	l := &logic{windows: share, rules: d.Rules, log: d.Log,
		samples: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_window_samples_total",
			Help: "Samples by what became of them."}, []string{"result"}),
		closed: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_window_windows_total",
			Help: "Windows emitted: closed, revised by late samples, or late partials."}, []string{"kind"}),
		overflow: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_window_overflow_samples_total",
			Help: "Samples that were counted in overflow series, by the limit that their own series was beyond."}, []string{"limit"}),
		conditions: prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_window_conditions_total", Help: "Rule conditions emitted."}),
		corrupt:    prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_window_undecodable_records_total", Help: "Records of samples that did not decode."}),
		ruleFaults: prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_window_rule_faults_total", Help: "Rules that failed while they ran."}),
	}
	l.samples, l.closed, l.overflow = register(d.Registry, l.samples), register(d.Registry, l.closed), register(d.Registry, l.overflow)
	l.conditions, l.corrupt, l.ruleFaults = register(d.Registry, l.conditions), register(d.Registry, l.corrupt), register(d.Registry, l.ruleFaults)
	p := &Processor{cfg: cfg, deps: d, logic: l}
	register(d.Registry, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "weir_window_series",
		Help: "Series that the partitions of this process have, as last counted."}, func() float64 { return float64(p.series()) }))
	return p
}

// register registers c, or returns the collector of a Processor that ran before.
func register[C prometheus.Collector](r prometheus.Registerer, c C) C {
	var already prometheus.AlreadyRegisteredError
	if err := r.Register(c); errors.As(err, &already) {
		return already.ExistingCollector.(C)
	}
	return c
}

// Ready says that the partitions of this process have recovered.
func (p *Processor) Ready() bool {
	e := p.engine.Load()
	return e != nil && e.Ready()
}

// Waiting is what the processor waits for before it is ready, in words, or "".
func (p *Processor) Waiting() string {
	if e := p.engine.Load(); e != nil {
		return e.Waiting()
	}
	return "starting"
}

// Run processes until ctx ends; see writeback.Engine.Run. It may be called again
// after it returned.
func (p *Processor) Run(ctx context.Context) error {
	e := writeback.New(p.options(), p.logic)
	p.engine.Store(e)
	defer p.engine.Store(nil)
	return e.Run(ctx)
}

// Drive returns the processor for a caller that stands in for Goka, the broker and
// the clock.
func (p *Processor) Drive(h writeback.Host) writeback.Driven {
	return writeback.Drive(p.options(), p.logic, h)
}

func (p *Processor) options() writeback.Options {
	d := &p.deps
	return writeback.Options{
		Brokers: d.Brokers, Group: topics.WindowGroup, Input: topics.Samples, Table: topics.WindowTable,
		Counts: map[string]int32{
			topics.Samples: d.Topics.Shards, topics.WindowTable: d.Topics.Shards, topics.Windows: d.Topics.Shards,
			topics.Conditions: d.Topics.AlertShards, topics.DeadLetter: 1,
		},
		Instance: d.Instance, Store: d.Store, Tick: p.cfg.Tick.Std(), Flush: p.cfg.Flush.Std(),
		Behind: d.Behind, Registry: d.Registry, Log: d.Log,
	}
}
