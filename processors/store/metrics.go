package store

import "github.com/prometheus/client_golang/prometheus"

// The reasons for which a record goes to deadletter.
const (
	undecodable = "undecodable"
	refused     = "refused"
)

// metrics are the processor's own. What is read again after a restart counts again.
type metrics struct {
	records     prometheus.Counter
	windows     prometheus.Counter
	deadletters *prometheus.CounterVec // by reason
	truncated   prometheus.Counter
	inFlight    prometheus.Gauge
	seconds     prometheus.Histogram
	lag         *prometheus.GaugeVec // by partition
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		records: prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_store_records_total",
			Help: "Records of the windows topic whose windows the tier store acknowledged."}),
		windows: prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_store_windows_total",
			Help: "Windows of those records; see weir_tierstore_windows_total for what became of them."}),
		deadletters: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_store_deadletters_total",
			Help: "Records sent to deadletter, by reason."}, []string{"reason"}),
		truncated: prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_store_deadletter_truncated_total",
			Help: "Records cut to fit the deadletter topic."}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "weir_store_in_flight_records",
			Help: "Records read that cannot be committed yet."}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "weir_store_write_seconds",
			Help:    "Time from reading a record to the acknowledgement of its windows, in seconds.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 9)}),
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_store_lag_records",
			Help: "Records of a partition of windows that have not been written and committed yet, as of the last 2 s."}, []string{"partition"}),
	}
	for _, reason := range []string{undecodable, refused} {
		m.deadletters.WithLabelValues(reason)
	}
	reg.MustRegister(m.records, m.windows, m.deadletters, m.truncated, m.inFlight, m.seconds, m.lag)
	return m
}
