package windows

import (
	"fmt"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"weir/schemas"
)

// cpu is the process's CPU time, seconds.
func cpu() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

const perGroup = 100 // series of one host

// fleet is groups of perGroup series and the batch that each host sends.
type fleet struct {
	co     *Core
	groups []*Group
	hosts  []schemas.SampleBatch
	r      Result
	ts     int64
	offset int64
}

func newFleet(b *testing.B, series int) *fleet {
	cfg := Default()
	f := &fleet{co: NewCore(&cfg, 0, nil), ts: 1_700_000_000_000}
	for h := range series / perGroup {
		var bb schemas.BatchBuilder
		bb.Begin(schemas.Origin{Epoch: 1}, 0)
		for i := range perGroup {
			s := schemas.Series{Metric: "system.metric_" + strconv.Itoa(i), Labels: schemas.NewLabels(map[string]string{
				"host": fmt.Sprintf("web-%05d", h), "region": "eu-west-" + strconv.Itoa(h%3), "env": "prod", "service": "shop-" + strconv.Itoa(h%40)})}
			bb.Add(&s, s.Hash(), f.ts, float64(i))
		}
		v := bb.AppendTo(nil)
		f.hosts = append(f.hosts, schemas.SampleBatch{})
		if err := f.hosts[h].Decode(v); err != nil {
			b.Fatal(err)
		}
		f.groups = append(f.groups, NewGroup(f.co))
	}
	return f
}

// round lets every host send one batch, all its series stepMS after the last time.
func (f *fleet) round(stepMS int64) (windows int) {
	f.ts += stepMS
	f.offset++
	for h := range f.groups {
		sb := &f.hosts[h]
		sb.Sections[0].Origin.Offset = f.offset
		sb.Sections[0].Digest = uint64(f.offset)
		at := f.ts + int64(h)*7919%stepMS%10_000 // each host at its own second, as in life
		for i := range sb.Points {
			sb.Points[i].TimeMS = at
			sb.Points[i].Value = float64(int64(i)*f.offset%977) * 1.1
		}
		f.r.Reset()
		f.groups[h].Apply(f.co, sb, f.offset, at, true, &f.r)
		windows += f.r.Closed
	}
	return windows
}

func BenchmarkWindows(b *testing.B) {
	for _, series := range []int{10_000, 1_000_000} {
		for _, load := range []struct {
			name string
			step int64
		}{{"dense", 1000}, {"sparse", 10_000}} {
			b.Run(fmt.Sprintf("series=%d/%s", series, load.name), func(b *testing.B) {
				f := newFleet(b, series)
				for range 3 * 20_000 / load.step {
					f.round(load.step)
				}
				runtime.GC()
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				b.ResetTimer()
				c, windows, rounds := cpu(), 0, 0
				for b.Loop() {
					windows += f.round(load.step)
					rounds++
				}
				used := cpu() - c
				runtime.ReadMemStats(&after)
				n := float64(rounds * series)
				b.ReportMetric(n/used, "samples/cpu-s")
				b.ReportMetric(float64(after.Mallocs-before.Mallocs)/n, "allocs/sample")
				b.ReportMetric(float64(windows)/n, "windows/sample")
			})
		}
	}
}

// BenchmarkState measures the memory of a series with all three tiers, open and
// kept, and its labels: the live heap after a GC, less that without the groups. It is
// measured after three hours of event time, after each of ten rounds: B/series is the
// mean, max-B/series the highest (when windows in grace stand beside their successors).
func BenchmarkState(b *testing.B) {
	for _, series := range []int{10_000, 1_000_000} {
		for _, load := range []struct {
			name string
			step int64
		}{{"dense", 1000}, {"sparse", 10_000}} {
			b.Run(fmt.Sprintf("series=%d/%s", series, load.name), func(b *testing.B) {
				var mean, most float64
				for b.Loop() {
					base := heap()
					f := newFleet(b, series)
					fresh := heap() - base
					for range 3 {
						f.round(3600_000)
					}
					for range 80_000 / load.step {
						f.round(load.step)
					}
					mean, most = 0, 0
					for range 10 {
						f.round(load.step)
						per := float64(heap()-base-fresh) / float64(series)
						mean += per / 10
						most = max(most, per)
					}
					runtime.KeepAlive(f)
				}
				b.ReportMetric(mean, "B/series")
				b.ReportMetric(most, "max-B/series")
			})
		}
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
