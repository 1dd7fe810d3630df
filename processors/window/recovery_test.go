package window

import (
	"os"
	"testing"
	"time"

	"github.com/weir-metrics/weir/schemas/kafkatest"
)

// BenchmarkRecovery measures how long a processor takes to become ready with the state of a million series (or as many as
// WEIR_BENCH_RECOVERY_SERIES says): from its local store after a clean stop, and from the changelog alone.
func BenchmarkRecovery(b *testing.B) {
	l := load{series: 1_000_000, perGroup: 100, batch: 100, rounds: 8, stepMS: 10_000}
	s, stopBroker := benchStage(b, l)
	dir := b.TempDir()
	end := s.start(dir, nil)
	kafkatest.Eventually(s.t, "every sample is counted", func() bool { return s.counted() >= int64(l.series*l.rounds) })
	end(nil)
	for _, bc := range []struct{ name, dir string }{{"local", dir}, {"changelog", ""}} {
		b.Run(bc.name, func(b *testing.B) {
			var took time.Duration
			for b.Loop() {
				at := bc.dir
				if at == "" {
					var err error
					if at, err = os.MkdirTemp(b.TempDir(), "empty"); err != nil {
						b.Fatal(err)
					}
				}
				began := time.Now()
				end := s.start(at, nil)
				took = time.Since(began)
				end(nil)
			}
			b.ReportMetric(took.Seconds(), "s/1M-series")
		})
	}
	stopBroker()
}
