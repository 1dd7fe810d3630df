package notify

import (
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	deliveries  *prometheus.CounterVec
	attempts    *prometheus.CounterVec
	pending     *prometheus.GaugeVec
	delay       *prometheus.HistogramVec
	undecodable *prometheus.CounterVec
	unmatched   prometheus.Counter

	misconfigured *prometheus.GaugeVec
	rate          *prometheus.GaugeVec
	unwritten     prometheus.Counter
	foreign       prometheus.Counter
	lettersLost   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_notify_deliveries_total",
			Help: "Ended deliveries, by receiver, state told, and outcome: submitted, failed (after a call), unsent (without one).",
		}, []string{"receiver", "to", "outcome"}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_notify_attempts_total",
			Help: "Calls to receivers, by outcome: accepted, retry, later (the receiver asked for a pause), misconfigured, refused.",
		}, []string{"receiver", "outcome"}),
		pending: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "weir_notify_pending",
			Help: "Deliveries that are waiting or being made.",
		}, []string{"receiver"}),
		delay: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "weir_notify_delay_seconds",
			Help:    "Time from the end of the window that decided a transition to its acceptance by the receiver.",
			Buckets: []float64{0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 7200},
		}, []string{"receiver"}),
		undecodable: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_notify_undecodable_total",
			Help: "Records that could not be decoded, by topic; those of alerts are in deadletter.",
		}, []string{"topic"}),
		unmatched: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "weir_notify_unmatched_total",
			Help: "Transitions that no receiver's match covers.",
		}),
	}
	m.misconfigured = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "weir_notify_misconfigured",
		Help: "1 while the receiver refuses its address or credentials: somebody must fix them, or alerts are lost.",
	}, []string{"receiver"})
	m.rate = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "weir_notify_rate",
		Help: "Calls a second that the receiver was found to accept; 0 as long as it has never refused because there were too many.",
	}, []string{"receiver"})
	m.unwritten = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "weir_notify_unwritten_total",
		Help: "Ledger entries that the broker refuses, however short; their deliveries are made again after a restart.",
	})
	m.lettersLost = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "weir_notify_letters_lost_total",
		Help: "Refused records of alerts that could not be written to deadletter.",
	})
	m.foreign = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "weir_notify_foreign_entries_total",
		Help: "Ledger entries that a former owner of the partition wrote after its successor; where it told somebody, the owner sends its last message again.",
	})
	reg.MustRegister(m.deliveries, m.attempts, m.pending, m.delay, m.undecodable, m.unmatched,
		m.misconfigured, m.rate, m.unwritten, m.foreign, m.lettersLost)
	return m
}

// Outcomes of a delivery.
const (
	submitted = "submitted"
	failed    = "failed"
	notSent   = "unsent"
)
