package alert

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-metrics/weir/processors/connect"
	"github.com/weir-metrics/weir/processors/deadletter"
	"github.com/weir-metrics/weir/processors/writeback"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/topics"
)

// Deps are what the processor needs besides its config. All but Letters are required.
type Deps struct {
	// Clock, which may be nil, corrects the time of a tick about to be written, in case this
	// process's clock is wrong.
	Clock    func(t *schemas.Tick)
	Brokers  []string
	Kafka    *connect.Kafka // how to reach the brokers; nil: without TLS and SASL
	Topics   topics.Config
	Instance string           // of this process, stable over restarts and unique in the group
	Store    *writeback.Store // shared with the other processors of the process
	Registry prometheus.Registerer
	Log      *slog.Logger
	Letters  *deadletter.Limiter // bounds what is written to deadletter; nil: no bound
}

// Processor is the alert processor.
type Processor struct {
	*writeback.Processor[life, none]
	cfg   Config
	deps  Deps
	logic *logic
}

// New returns a Processor.
func New(cfg Config, d Deps) *Processor {
	l := &logic{forgetMS: cfg.Forget.MS(), log: d.Log, letters: d.Letters,
		conditions: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_alert_conditions_total",
			Help: "Conditions by their effect: transition, update, or none (a replay)."}, []string{"result"}),
		transitions: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_alert_transitions_total",
			Help: "Transitions of alerts by their new state."}, []string{"to"}),
		shadows: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_alert_shadow_transitions_total",
			Help: "Transitions of alerts of shadow rules, which nobody is told, by their new state."}, []string{"to"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_alert_refused_records_total",
			Help: "Records of conditions sent to deadletter, by reason."}, []string{"reason"}),
		forgotten: prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_alert_forgotten_total",
			Help: "Alerts deleted from the alert store some time after their end."}),
	}
	l.conditions, l.transitions = writeback.Register(d.Registry, l.conditions), writeback.Register(d.Registry, l.transitions)
	l.shadows = writeback.Register(d.Registry, l.shadows)
	l.refused, l.forgotten = writeback.Register(d.Registry, l.refused), writeback.Register(d.Registry, l.forgotten)
	p := &Processor{cfg: cfg, deps: d, logic: l}
	p.Processor = writeback.NewProcessor(p.options, l)
	return p
}

func (p *Processor) options() writeback.Options {
	d := &p.deps
	return writeback.Options{
		Brokers: d.Brokers, Kafka: d.Kafka, ConsumerGroup: topics.AlertConsumerGroup, Input: topics.Conditions, Table: topics.AlertTable,
		Counts: map[string]int32{
			topics.Conditions: d.Topics.AlertShards, topics.AlertTable: d.Topics.AlertShards,
			topics.Alerts: d.Topics.AlertShards, topics.DeadLetter: topics.DeadLetterPartitions,
		},
		Instance: d.Instance, Store: d.Store, Tick: p.cfg.Tick.Std(), Flush: p.cfg.Flush.Std(),
		Behind: d.Clock, Registry: d.Registry, Log: d.Log,
	}
}
