package route

import (
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas/topics"
)

// nowhere is an output that drops what it gets.
type nowhere struct{ bytes int }

func (o *nowhere) send(_ string, _ []byte, _ int32, value []byte) { o.bytes += len(value) }
func (o *nowhere) refuse(r *kgo.Record, v *verdict)               { panic(v.first) }
func (o *nowhere) flush() error                                   { return nil }

const (
	benchHosts  = 1000
	benchSeries = 64 // per host, and samples per record
	benchPoll   = 250
)

// benchPolls returns the records that an agent on each of benchHosts writes: every 10 s, a record with all its series.
// The times advance from record to record, and the values have several digits.
func benchPolls(format string) [][]*kgo.Record {
	var polls [][]*kgo.Record
	offset := int64(0)
	for step := range 2 {
		for from := 0; from < benchHosts; from += benchPoll {
			var poll []*kgo.Record
			for h := from; h < from+benchPoll; h++ {
				var b strings.Builder
				ms := 1_700_000_000_000 + int64(step)*10_000 + int64(h)
				for s := range benchSeries {
					value := float64(h*31+s*17+step) / 7
					if format == "json" {
						separator := byte(',')
						if s == 0 {
							separator = '['
						}
						b.WriteByte(separator)
						fmt.Fprintf(&b, `{"metricName":"metric.%d","tags":{"host":"web%04d","region":"eu-west","cpu":"%d"},"timestamp":%d,"value":%.4f}`, s, h, s%8, ms, value)
					} else {
						fmt.Fprintf(&b, "metric.%d,host=web%04d,region=eu-west,cpu=%d value=%.4f %d000000\n", s, h, s%8, value, ms)
					}
				}
				if format == "json" {
					b.WriteByte(']')
				}
				poll = append(poll, &kgo.Record{Topic: "metrics", Partition: int32(h % 4), Offset: offset, Value: []byte(b.String()), Timestamp: time.UnixMilli(ms)})
				offset++
			}
			polls = append(polls, poll)
		}
	}
	return polls
}

// BenchmarkRoute measures the way from the bytes of fetched records to encoded batches: CPU time of the whole process, with
// garbage collection. One op is a poll of 250 records of 64 samples, from 250 hosts with 64 series; 64,000 series take turns.
func BenchmarkRoute(b *testing.B) {
	for _, format := range []string{"json", "line"} {
		b.Run("format="+format, func(b *testing.B) {
			polls := benchPolls(format)
			o := &nowhere{}
			e := newEncoder(Default(), []generation{{topic: topics.Samples, shards: 8}}, testEpoch, newCounters(prometheus.NewRegistry()), o)
			work := func(poll []*kgo.Record) {
				for _, r := range poll {
					if err := e.add(r); err != nil {
						b.Fatal(err)
					}
				}
				if err := e.finish(); err != nil {
					b.Fatal(err)
				}
			}
			for _, poll := range polls { // warm up the caches, as after the first 10 s
				work(poll)
			}
			o.bytes = 0
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			cpu, n := processCPU(b), 0
			b.ResetTimer()
			for b.Loop() {
				work(polls[n%len(polls)])
				n++
			}
			b.StopTimer()
			cpu = processCPU(b) - cpu
			runtime.ReadMemStats(&after)
			samples := float64(n) * benchPoll * benchSeries
			b.ReportMetric(samples/cpu.Seconds(), "samples/cpu-s")
			b.ReportMetric(float64(after.Mallocs-before.Mallocs)/samples, "allocs/sample")
			b.ReportMetric(float64(o.bytes)/samples, "B-out/sample")
		})
	}
}

func processCPU(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
