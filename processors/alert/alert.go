package alert

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-metrics/weir/processors/connect"
	"github.com/weir-metrics/weir/processors/deadletter"
	"github.com/weir-metrics/weir/processors/writeback"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/topics"
)

// Deps are what the processor needs besides its config. All but Letters are required.
type Deps struct {
	// Clock, which may be nil, sets the time of a tick that is to be written right, should
	// this process' clock be wrong.
	Clock    func(t *schemas.Tick)
	Brokers  []string
	Kafka    *connect.Kafka // how they are reached; nil: without TLS and SASL
	Topics   topics.Config
	Instance string           // of this process, stable over restarts and unique in the group
	Store    *writeback.Store // shared with the other processors of the process
	Registry prometheus.Registerer
	Log      *slog.Logger
	Letters  *deadletter.Limiter // bounds what is written to deadletter; nil: nothing does
}

// Processor is the alert processor.
type Processor struct {
	cfg    Config
	deps   Deps
	logic  *logic
	engine atomic.Pointer[writeback.Engine[life]]
}

// New returns a Processor.
func New(cfg Config, d Deps) *Processor {
	l := &logic{forgetMS: cfg.Forget.MS(), log: d.Log, letters: d.Letters,
		conditions: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_alert_conditions_total",
			Help: "Conditions by what they did: transition, update, or none (a replay)."}, []string{"result"}),
		transitions: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_alert_transitions_total",
			Help: "Transitions of alerts by the state that they went to."}, []string{"to"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_alert_refused_records_total",
			Help: "Records of conditions that went to deadletter, by reason."}, []string{"reason"}),
		forgotten: prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_alert_forgotten_total",
			Help: "Alerts that were over for long and were deleted from the alert store."}),
	}
	l.conditions, l.transitions = register(d.Registry, l.conditions), register(d.Registry, l.transitions)
	l.refused, l.forgotten = register(d.Registry, l.refused), register(d.Registry, l.forgotten)
	return &Processor{cfg: cfg, deps: d, logic: l}
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

// Warning says which alerts' state was lost (writeback.Engine.Warning), or is "".
func (p *Processor) Warning() string {
	if e := p.engine.Load(); e != nil {
		return e.Warning()
	}
	return ""
}

// Recovery is how far the partitions of this process have recovered.
func (p *Processor) Recovery() writeback.Recovery {
	if e := p.engine.Load(); e != nil {
		return e.Recovery()
	}
	return writeback.Recovery{}
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
		Brokers: d.Brokers, Kafka: d.Kafka, Group: topics.AlertGroup, Input: topics.Conditions, Table: topics.AlertTable,
		Counts: map[string]int32{
			topics.Conditions: d.Topics.AlertShards, topics.AlertTable: d.Topics.AlertShards,
			topics.Alerts: d.Topics.AlertShards, topics.DeadLetter: topics.DeadLetterPartitions,
		},
		Instance: d.Instance, Store: d.Store, Tick: p.cfg.Tick.Std(), Flush: p.cfg.Flush.Std(),
		Behind: d.Clock, Registry: d.Registry, Log: d.Log,
	}
}
