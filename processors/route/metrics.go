package route

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

func label(partition int32) string { return strconv.Itoa(int(partition)) }

// counters are the processor's own metrics. What is read again after a restart
// counts again.
type counters struct {
	records, samples, skipped, unknown prometheus.Counter
	generations                        prometheus.Counter
	batches, bytes, truncated          prometheus.Counter
	refused                            *prometheus.CounterVec
	lag, age                           *prometheus.GaugeVec
}

func newCounters(reg prometheus.Registerer) *counters {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_route_" + name, Help: help})
		reg.MustRegister(c)
		return c
	}
	c := &counters{
		records:     counter("records_total", "Records read from the metrics topic."),
		samples:     counter("samples_total", "Samples handed on."),
		skipped:     counter("skipped_fields_total", "String fields of line protocol, which are not samples."),
		unknown:     counter("unknown_fields_total", "Unknown fields of JSON that were ignored, see samples.ignore_unknown_fields."),
		generations: counter("refused_generations_total", "Records of the topic generations that do not decode, or are invalid; the previous one stays."),
		batches:     counter("batches_total", "Records written to the samples topic."),
		bytes:       counter("batch_bytes_total", "Bytes of the values written to the samples topic."),
		truncated:   counter("deadletter_truncated_total", "Records cut to fit the deadletter topic."),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_route_refused_total",
			Help: "Refused records, or entries of records."}, []string{"reason"}),
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_route_lag_records",
			Help: "Records of a partition of metrics that have not been handed on and committed yet, as of the last 2 s."}, []string{"partition"}),
	}
	c.age = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_route_behind_seconds",
		Help: "Time since a partition of metrics was last handed on to its end. Above some seconds, the clock does not close windows that get samples from there."}, []string{"partition"})
	for _, reason := range reasons() {
		c.refused.WithLabelValues(reason)
	}
	reg.MustRegister(c.refused, c.lag, c.age)
	return c
}
