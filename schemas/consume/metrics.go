package consume

import (
	"errors"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
)

// Counted returns a Watch that counts and logs what the reader of that name could not read. It
// registers weir_unread_batches_total and weir_lost_records_total, by topic, with reg.
func Counted(reader string, reg prometheus.Registerer, log *slog.Logger) Watch {
	skipped := counter(reader, reg, "weir_unread_batches_total", "Batches skipped because they could not be unpacked or were too large.")
	lost := counter(reader, reg, "weir_lost_records_total", "Records deleted by retention before they were read.")
	return Watch{
		Skipped: func(b Batch) {
			skipped.WithLabelValues(b.Topic).Inc()
			log.Error("skipped a batch that cannot be read", "topic", b.Topic, "partition", b.Partition, "from", b.From, "to", b.To, "reason", b.Reason)
		},
		Lost: func(g Gap) {
			lost.WithLabelValues(g.Topic).Add(float64(g.Records()))
			log.Error("retention deleted records before they were read: keep them longer, or read faster",
				"topic", g.Topic, "partition", g.Partition, "from", g.From, "to", g.To, "records", g.Records())
		},
	}
}

// counter registers a counter by topic, or returns the one that the reader has registered before.
func counter(reader string, reg prometheus.Registerer, name, help string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: prometheus.Labels{"reader": reader}}, []string{"topic"})
	var already prometheus.AlreadyRegisteredError
	if err := reg.Register(c); errors.As(err, &already) {
		return already.ExistingCollector.(*prometheus.CounterVec)
	}
	return c
}
