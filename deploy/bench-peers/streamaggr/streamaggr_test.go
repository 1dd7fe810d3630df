// Package streamaggr_test pushes the samples of weir's BenchmarkWindows through
// VictoriaMetrics' lib/streamaggr and prints a Go benchmark line for each workload.
//
// streamaggr knows no event time: it puts a sample into the window that is open by the
// clock when the sample arrives. So it runs in a bubble of testing/synctest, as in its
// own tests, where the clock is a fake one: hours of windows of 10s, 1m and 1h pass in
// seconds, each flushed by streamaggr's own timers.
package streamaggr_test

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/prompb"
	"github.com/VictoriaMetrics/VictoriaMetrics/lib/streamaggr"
)

const (
	series   = 10_000
	perGroup = 100 // series of one host, which are one Push
)

const config = `
- interval: 10s
  outputs: [count_samples, sum_samples, min, max, last]
- interval: 1m
  outputs: [count_samples, sum_samples, min, max, last]
- interval: 1h
  outputs: [count_samples, sum_samples, min, max, last]
`

func cpu() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// fleet is what each host pushes.
func fleet() [][]prompb.TimeSeries {
	hosts := make([][]prompb.TimeSeries, series/perGroup)
	for h := range hosts {
		for i := range perGroup {
			hosts[h] = append(hosts[h], prompb.TimeSeries{
				Labels: []prompb.Label{
					{Name: "__name__", Value: "system.metric_" + strconv.Itoa(i)},
					{Name: "env", Value: "prod"},
					{Name: "host", Value: fmt.Sprintf("web-%05d", h)},
					{Name: "region", Value: "eu-west-" + strconv.Itoa(h%3)},
					{Name: "service", Value: "shop-" + strconv.Itoa(h%40)},
				},
				Samples: make([]prompb.Sample, 1),
			})
		}
	}
	return hosts
}

// results counts what streamaggr emits.
type results struct {
	mu      sync.Mutex
	windows map[string]int     // by tier: results of count_samples
	samples map[string]float64 // by tier: their sum
	values  int                // of any output
}

func (r *results) push(tss []prompb.TimeSeries) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.values += len(tss)
	for _, ts := range tss {
		for _, l := range ts.Labels {
			if l.Name != "__name__" {
				continue
			}
			if name, ok := strings.CutSuffix(l.Value, "_count_samples"); ok {
				_, tier, _ := strings.Cut(name, ":")
				r.windows[tier]++
				r.samples[tier] += ts.Samples[0].Value
			}
			break
		}
	}
}

func TestStreamaggr(t *testing.T) {
	for _, load := range []struct {
		name   string
		step   time.Duration
		warm   int // rounds before the measurement, a minute
		rounds int
	}{
		{"dense", time.Second, 60, 300},
		{"sparse", 10 * time.Second, 6, 360},
	} {
		t.Run(load.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := &results{windows: map[string]int{}, samples: map[string]float64{}}
				hosts := fleet()
				a, err := streamaggr.LoadFromData([]byte(config), got.push, nil, "peer")
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Millisecond) // pushes and flushes never fall on the same moment
				var used []uint32
				n := int64(0)
				round := func() {
					n++
					at := time.Now().UnixMilli()
					for h, tss := range hosts {
						for i := range tss {
							tss[i].Samples[0] = prompb.Sample{
								Timestamp: at + int64(h)*7919%load.step.Milliseconds()%10_000,
								Value:     float64(int64(i)*n%977) * 1.1,
							}
						}
						used = a.Push(tss, used)
					}
					time.Sleep(load.step)
				}
				for range load.warm {
					round()
				}
				runtime.GC()
				before := cpu()
				for range load.rounds {
					round()
				}
				samples := float64(load.rounds * series)
				rate := samples / (cpu() - before)
				a.MustStop()

				all := float64(n * series)
				total := time.Duration(n) * load.step
				for tier, size := range map[string]time.Duration{"10s": 10 * time.Second, "1m": time.Minute, "1h": time.Hour} {
					closed := int(total / size)
					if got.windows[tier] != closed*series {
						t.Errorf("%s: %d windows, want %d of %d series", tier, got.windows[tier], closed, series)
					}
					if want := all * float64(time.Duration(closed)*size) / float64(total); got.samples[tier] != want {
						t.Errorf("%s: %v samples in windows, want %v", tier, got.samples[tier], want)
					}
				}
				if want := 5 * (got.windows["10s"] + got.windows["1m"] + got.windows["1h"]); got.values != want {
					t.Errorf("%d results, want %d", got.values, want)
				}
				fmt.Printf("BenchmarkStreamaggr/series=%d/%s\t%d\t%.0f samples/cpu-s\n", series, load.name, load.rounds, rate)
			})
		})
	}
}
