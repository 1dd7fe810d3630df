package windows

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/windows/windowtest"
)

// waiting holds samples of one host that a producer spread over partitions of metrics, where they queued.
type waiting struct {
	t       *testing.T
	f       *feeder
	parts   [][]schemas.Sample
	offsets []int64
	late    int
}

// next delivers some records of a partition, as if route had handed them on at nowMS.
func (w *waiting) next(p, n int, nowMS int64, waited bool) {
	var b schemas.BatchBuilder
	n = min(n, len(w.parts[p]))
	for _, s := range w.parts[p][:n] {
		b.Begin(schemas.Origin{Epoch: 1, Partition: int32(p), Offset: w.offsets[p]}, 0)
		if waited {
			b.Behind()
		}
		b.Add(&s.Series, s.Series.Hash(), s.TimeMS, s.Value)
		w.offsets[p]++
	}
	w.parts[p] = w.parts[p][n:]
	if n == 0 {
		return
	}
	var sb schemas.SampleBatch
	if err := sb.Decode(b.AppendTo(nil)); err != nil {
		w.t.Fatal(err)
	}
	r := &w.f.last
	r.Reset()
	w.f.g.Apply(w.f.sh, &sb, w.f.offset, nowMS, r)
	w.f.offset++
	w.f.emitted()
	w.late += r.Late
}

// TestBacklogOfManyPartitions: the partitions of a backlog are read at different paces, up to nine minutes apart. No window
// closes early, neither for a known host nor for a new one, and the usual delay of the known host does not change.
func TestBacklogOfManyPartitions(t *testing.T) {
	rnd := rand.New(rand.NewPCG(seed(t), 7))
	for round := range 40 {
		cfg := Default()
		const from = int64(1_700_000_000_000)
		parts := 2 + rnd.IntN(4)
		w := &waiting{t: t, f: newFeeder(t, cfg), parts: make([][]schemas.Sample, parts), offsets: make([]int64, parts)}
		series := testSeries(3)
		var all []schemas.Sample
		sample := func(i int) schemas.Sample {
			s := schemas.Sample{Series: series[i%3], TimeMS: from + int64(i)*1000, Value: float64(i)}
			all = append(all, s)
			return s
		}
		at := 0
		known := round%2 == 0
		if known { // until weir stopped, its records were read as they were written
			for ; at < 60; at++ {
				p := at % parts
				w.parts[p] = append(w.parts[p], sample(at))
				w.next(p, 1, from+int64(at)*1000+700, false)
			}
		}
		for ; at < 3600; at++ {
			p := rnd.IntN(parts)
			w.parts[p] = append(w.parts[p], sample(at))
		}
		now := from + 3600_000
		for {
			slowest := int64(math.MaxInt64)
			for _, part := range w.parts {
				if len(part) > 0 {
					slowest = min(slowest, part[0].TimeMS)
				}
			}
			if slowest == math.MaxInt64 {
				break
			}
			n := 1 + rnd.IntN(100/parts)
			p := rnd.IntN(parts)
			if part := w.parts[p]; len(part) > 0 && part[min(n, len(part))-1].TimeMS < slowest+540_000 {
				w.next(p, n, now, true)
				now += rnd.Int64N(20)
			}
			if rnd.IntN(10) == 0 {
				w.f.restart()
			}
		}
		if w.late > 0 {
			t.Fatalf("round %d: %d samples of %d were late", round, w.late, len(all))
		}
		if d := w.f.g.DelayMS(); known && d != 700 {
			t.Fatalf("round %d: the usual delay was 700 ms and is %d", round, d)
		}
		if d := w.f.g.DelayMS(); !known && d > now-from-3_000_000 {
			t.Fatalf("round %d: the delay of a new host is %d ms, with everything from the last minutes on", round, d)
		}
		w.parts[0] = append(w.parts[0], schemas.Sample{Series: series[0], TimeMS: now, Value: 1})
		all = append(all, w.parts[0][0])
		w.next(0, 1, now+300, false)
		if d := w.f.g.DelayMS(); d > 700 {
			t.Fatalf("round %d: the usual delay is %d ms after the backlog", round, d)
		}
		w.f.last.Reset()
		w.f.g.Advance(w.f.sh, now+5000, &w.f.last)
		w.f.emitted()
		if due := w.f.g.DueMS(); due < now {
			t.Fatalf("round %d: a window is still due at %d, but nothing waits any more at %d", round, due, now)
		}
		if err := windowtest.Compare(w.f.windows(), windowtest.Oracle(all, cfg.TiersMS()...)); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
}

// TestHoldIsBounded: a partition that no longer gives anything holds a group back for maxBehind, not for ever.
func TestHoldIsBounded(t *testing.T) {
	w := &waiting{t: t, f: newFeeder(t, Default()), parts: make([][]schemas.Sample, 2), offsets: make([]int64, 2)}
	const from = int64(1_700_000_000_000)
	for i := range int64(3600) {
		s := schemas.Sample{Series: testSeries(1)[0], TimeMS: from + i*1000, Value: 1}
		p := 0
		if i < 10 {
			p = 1
		}
		w.parts[p] = append(w.parts[p], s)
		w.next(p, 1, from+7200_000, true)
		if n := len(w.f.g.frames.tiers[0]); n > maxBehind/10_000+3 {
			t.Fatalf("%d windows of 10s are kept after %d s", n, i)
		}
	}
	if held := w.f.g.clock.newest - w.f.g.clock.at; held != 0 {
		t.Errorf("the group is still %d ms behind", held)
	}
	w.f.restart()
}
