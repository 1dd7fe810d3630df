package canary

import "github.com/prometheus/client_golang/prometheus"

// counters are the package's own metrics.
type counters struct {
	took    *prometheus.HistogramVec // by since
	sent    *prometheus.CounterVec   // by result
	beats   *prometheus.CounterVec   // by result
	refused prometheus.Counter
}

func newCounters(reg prometheus.Registerer, now func() standing) *counters {
	gauge := func(name, help string, value func(standing) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return value(now()) })
	}
	c := &counters{
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "weir_canary_seconds",
			Help:    "How long canaries took to become an alert in the topic alerts, s: since their sample was made, or since the end of its window.",
			Buckets: []float64{.25, .5, 1, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10, 12.5, 15, 20, 30, 60, 120, 300}}, []string{"since"}),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_canary_sent_total",
			Help: "Times that a canary was sent to each shard, by result: ok, or failed, which is tried again with the next."}, []string{"result"}),
		beats: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_canary_heartbeats_total",
			Help: "Heartbeats by result: ok, or failed. None is sent while canaries do not come through."}, []string{"result"}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_canary_generations_refused_total",
			Help: "Records of the topic generations that do not decode, or make no sense."}),
	}
	reg.MustRegister(c.took, c.sent, c.beats, c.refused,
		gauge("weir_canary_shards", "Shards that have a canary; 0 until their number is known.", func(s standing) float64 { return float64(s.shards) }),
		gauge("weir_canary_late_shards", "Shards whose canary has not come through within canary.within.", func(s standing) float64 { return float64(len(s.late)) }),
		gauge("weir_canary_oldest_seconds", "How long ago the oldest canary was sent that has not come through, s; 0 if all have.",
			func(s standing) float64 { return float64(s.oldestMS) / 1000 }))
	for _, result := range []string{"ok", "failed"} {
		c.sent.WithLabelValues(result)
		c.beats.WithLabelValues(result)
	}
	for _, since := range []string{"sample", "window_end"} {
		c.took.WithLabelValues(since)
	}
	return c
}
