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
		records:     counter("records_total", "Records of the metrics topic that were read."),
		samples:     counter("samples_total", "Samples that were handed on."),
		skipped:     counter("skipped_fields_total", "String fields of line protocol, which are no samples."),
		unknown:     counter("unknown_fields_total", "Fields of JSON that weir does not know and that were ignored, see samples.ignore_unknown_fields."),
		generations: counter("refused_generations_total", "Records of the topic generations that do not decode, or cannot be: those that were known go on."),
		batches:     counter("batches_total", "Records written to the samples topic."),
		bytes:       counter("batch_bytes_total", "Bytes of the values written to the samples topic."),
		truncated:   counter("deadletter_truncated_total", "Records that were cut to fit into the deadletter topic."),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_route_refused_total",
			Help: "Records, or entries of records, that were refused."}, []string{"reason"}),
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_route_lag_records",
			Help: "Records of a partition of metrics that are not handed on and committed yet, as of the last 2 s."}, []string{"partition"}),
	}
	c.age = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_route_behind_seconds",
		Help: "How long ago a partition of metrics was handed on to its end. Above some seconds the windows that get samples from there are not closed by the clock."}, []string{"partition"})
	for _, reason := range reasons() {
		c.refused.WithLabelValues(reason)
	}
	reg.MustRegister(c.refused, c.lag, c.age)
	return c
}
