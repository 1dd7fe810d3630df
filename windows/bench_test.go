package windows

import (
	"fmt"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"github.com/weir-metrics/weir/schemas"
)

// cpu is the process's CPU time, seconds.
func cpu() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

const perGroup = 100 // series per host

// fleet holds groups of perGroup series, and the batch that each host sends.
type fleet struct {
	sh     *Shard
	groups []*Group
	hosts  []schemas.SampleBatch
	r      Result
	ts     int64
	offset int64
	spread int64 // time between neighbours in a batch, ms
}

func newFleet(b *testing.B, series int) *fleet {
	cfg := Default()
	f := &fleet{sh: NewShard(&cfg, 0, nil), ts: 1_700_000_000_000}
	for h := range series / perGroup {
		var bb schemas.BatchBuilder
		bb.Begin(schemas.Origin{Epoch: 1}, 0)
		for i := range perGroup {
			s := schemas.Series{Metric: "system.metric_" + strconv.Itoa(i), Labels: schemas.NewLabels(map[string]string{
				"host": fmt.Sprintf("web-%05d", h), "region": "eu-west-" + strconv.Itoa(h%3), "env": "prod", "service": "shop-" + strconv.Itoa(h%40)})}
			bb.Add(&s, s.Hash(), f.ts, float64(i))
		}
		v := bb.AppendShapedTo(nil, schemas.ShapeOf(bb.IDs()))
		f.hosts = append(f.hosts, schemas.SampleBatch{})
		if err := f.hosts[h].Decode(v); err != nil {
			b.Fatal(err)
		}
		if _, err := f.hosts[h].Series(0); err != nil { // decodes the batch's dictionary, which must not count as memory of a group
			b.Fatal(err)
		}
		f.groups = append(f.groups, NewGroup(f.sh))
	}
	return f
}

// round makes every host send a batch: one sample of each series, stepMS after the last one.
func (f *fleet) round(stepMS int64) (windows int) {
	f.ts += stepMS
	f.offset++
	for h := range f.groups {
		sb := &f.hosts[h]
		sb.Sections[0].Origin.Offset = f.offset
		sb.Sections[0].Digest = schemas.ID{Lo: uint64(f.offset)}
		at := f.ts + int64(h)*7919%stepMS%10_000 // each host has its own second, as in practice
		for i := range sb.Points {
			sb.Points[i].TimeMS = at + int64(i)*f.spread
			sb.Points[i].Value = float64(int64(i)*f.offset%977) * 1.1
		}
		if f.groups[h].Knows(sb.Shape, sb.Len()) { // as DecodeFor leaves it
			sb.IDs = sb.IDs[:0]
		}
		f.r.Reset()
		f.groups[h].Apply(f.sh, sb, f.offset, at+perGroup*f.spread, &f.r)
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

// BenchmarkState measures the memory of a series with its labels and its windows of all three tiers, open and
// kept: the live heap after a GC, less the heap without the groups. First it plays three hours of event time
// (ten minutes a round, so that min, max, first and last of an hour differ) and eighty seconds of the load; then
// it measures after each of ten rounds. B/series is the mean; max-B/series is the maximum, which comes when
// windows in grace exist next to their successors. spread is like dense, but each series of a host has its own times.
func BenchmarkState(b *testing.B) {
	for _, series := range []int{10_000, 1_000_000} {
		for _, load := range []struct {
			name         string
			step, spread int64
		}{{"dense", 1000, 0}, {"sparse", 10_000, 0}, {"spread", 1000, 5}} {
			b.Run(fmt.Sprintf("series=%d/%s", series, load.name), func(b *testing.B) {
				var mean, most float64
				for b.Loop() {
					base := heap()
					f := newFleet(b, series)
					fresh := heap() - base
					f.spread = load.spread
					for range 3 * 6 {
						f.round(600_000)
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

// BenchmarkOverflow measures a source whose metric is full and that sends a new path with each sample: every
// sample is looked up, named and counted in the overflow series.
func BenchmarkOverflow(b *testing.B) {
	cfg := Default()
	sh := NewShard(&cfg, 0, nil)
	g := NewGroup(sh)
	var r Result
	var sb schemas.SampleBatch
	n, ts := 0, int64(1_700_000_000_000)
	round := func() {
		var bb schemas.BatchBuilder
		bb.Begin(schemas.Origin{Epoch: 1, Offset: int64(n)}, 0)
		for range perGroup {
			s := schemas.Series{Metric: "http.requests", Labels: schemas.Labels{
				{Name: "host", Value: "web-00001"}, {Name: "path", Value: "/user/" + strconv.Itoa(n)}, {Name: "region", Value: "eu-west-1"}}}
			bb.Add(&s, s.Hash(), ts, float64(n))
			n++
		}
		if err := sb.Decode(bb.AppendTo(nil)); err != nil {
			b.Fatal(err)
		}
		ts += 10
	}
	for n < 2*cfg.MaxSeriesPerMetric {
		round()
		r.Reset()
		g.Apply(sh, &sb, int64(n), ts, &r)
	}
	used, samples := 0.0, 0
	for b.Loop() {
		round()
		r.Reset()
		c := cpu()
		g.Apply(sh, &sb, int64(n), ts, &r)
		used += cpu() - c
		samples += r.OverMetric
	}
	b.ReportMetric(float64(samples)/used, "samples/cpu-s")
}
