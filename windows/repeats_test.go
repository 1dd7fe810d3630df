package windows

import (
	"math/rand/v2"
	"testing"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/windows/windowtest"
)

// section makes a batch of one section.
func section(partition int32, offset int64, samples ...schemas.Sample) []byte {
	var b schemas.BatchBuilder
	b.Begin(schemas.Origin{Epoch: 1, Partition: partition, Offset: offset}, 0)
	for i := range samples {
		b.AddSample(&samples[i], samples[i].Series.Hash(), samples[i].Series.ID())
	}
	return b.AppendTo(nil)
}

// TestRefusedIsNoRepeat: samples that were refused as too early were not counted, so they count when they are sent again
// later. Samples of the same section that were counted are repeats, even if their window of the smallest tier is long
// gone. The record itself, read again, stays a replay.
func TestRefusedIsNoRepeat(t *testing.T) {
	series := testSeries(4)
	sample := func(i int, ms int64) schemas.Sample {
		return schemas.Sample{Series: series[i], TimeMS: testStart + ms, Value: float64(i)}
	}
	for _, tc := range []struct {
		name    string
		samples []schemas.Sample
		refused int
	}{
		{"all", []schemas.Sample{sample(0, 70_000), sample(1, 70_000)}, 2},
		{"the last", []schemas.Sample{sample(0, 0), sample(1, 0), sample(2, 70_000)}, 1},
		{"the first", []schemas.Sample{sample(0, 70_000), sample(1, 0), sample(2, 0)}, 1},
		{"between", []schemas.Sample{sample(0, 0), sample(1, 70_000), sample(2, 0), sample(3, 71_000)}, 2},
		{"none", []schemas.Sample{sample(0, 0), sample(1, 1)}, 0},
	} {
		for _, laterMS := range []int64{80_000, 7200_000} { // the windows are kept, or long gone
			f := newFeeder(t, Default())
			f.deliver(testStart, section(9, 1, schemas.Sample{Series: series[0], TimeMS: testStart - 1, Value: 9}))
			counted := len(tc.samples) - tc.refused
			r := f.deliver(testStart, section(0, 1, tc.samples...))
			if r.Applied != counted || len(r.Refused) != tc.refused {
				t.Fatalf("%s: %d of %d samples counted, %d refused", tc.name, r.Applied, counted, len(r.Refused))
			}
			f.restart()
			if r = f.deliver(testStart, section(0, 1, tc.samples...)); r.Replayed != len(tc.samples) {
				t.Errorf("%s: read again: %+v", tc.name, *r)
			}
			// Still too early: those are refused again, and the samples that were counted are repeats.
			if r = f.deliver(testStart+1, section(1, 1, tc.samples...)); len(r.Refused) != tc.refused || r.Duplicates != counted {
				t.Errorf("%s: sent again too early: %+v", tc.name, *r)
			}
			f.restart()
			f.advance(testStart + laterMS)
			if r = f.deliver(testStart+laterMS, section(2, 1, tc.samples...)); r.Applied != tc.refused || r.Duplicates != counted {
				t.Errorf("%s: sent again %d ms later: %+v", tc.name, laterMS, *r)
			}
			f.restart()
			if r = f.deliver(testStart+laterMS, section(3, 1, tc.samples...)); r.Duplicates != len(tc.samples) {
				t.Errorf("%s: sent once more: %+v", tc.name, *r)
			}
		}
	}
}

// TestRefusedForALimitIsNoRepeat: the same for samples beyond max_rate and beyond max_series_total.
func TestRefusedForALimitIsNoRepeat(t *testing.T) {
	cfg := Default()
	cfg.MaxRate = 1
	f := newFeeder(t, cfg)
	var batch []schemas.Sample
	for i := range 15 {
		batch = append(batch, schemas.Sample{Series: testSeries(1)[0], TimeMS: testStart + int64(i), Value: 1})
	}
	if r := f.deliver(testStart+20, section(0, 1, batch...)); r.Applied != 10 || len(r.Refused) != 5 {
		t.Fatalf("%+v", *r)
	}
	// The window is full, but counted samples must not be refused, nor refused samples be taken for repeats.
	if r := f.deliver(testStart+21, section(1, 1, batch...)); r.Duplicates != 10 || len(r.Refused) != 5 {
		t.Errorf("sent again: %d repeats, %d refused", r.Duplicates, len(r.Refused))
	}
	more := append(batch[:3:3], batch[12:]...) // another section, with some samples of each kind
	if r := f.deliver(testStart+22, section(1, 2, more...)); r.Duplicates != 3 || len(r.Refused) != 3 {
		t.Errorf("sent again in another section: %d repeats, %d refused", r.Duplicates, len(r.Refused))
	}
	cfg.MaxRate, cfg.MaxSeriesTotal = 100, 1
	f = newFeeder(t, cfg)
	two := []schemas.Sample{{Series: testSeries(2)[0], TimeMS: testStart, Value: 1}, {Series: testSeries(2)[1], TimeMS: testStart, Value: 1}}
	if r := f.deliver(testStart, section(0, 1, two...)); r.Applied != 1 || len(r.Refused) != 1 || r.Refused[0].Reason != TotalLimit {
		t.Fatalf("%+v", *r)
	}
	f.sh.limits.maxTotal, f.sh.fullUntil = 10, none
	if r := f.deliver(testStart+1, section(1, 1, two...)); r.Applied != 1 || r.Duplicates != 1 {
		t.Errorf("sent again when there is room: %+v", *r)
	}
}

// TestRefusedSentAgainIsExact sends random sections, in part too early, again and again until all samples are counted:
// each exactly once.
func TestRefusedSentAgainIsExact(t *testing.T) {
	rnd := rand.New(rand.NewPCG(seed(t), 12))
	series := testSeries(5)
	for round := range 60 {
		f := newFeeder(t, Default())
		var all []schemas.Sample
		var waiting [][]schemas.Sample
		now, offset := testStart, int64(0)
		for step := 0; step < 60 || len(waiting) > 0; step++ {
			now += rnd.Int64N(20_000)
			if step < 60 {
				var sec []schemas.Sample
				for range 1 + rnd.IntN(8) {
					s := schemas.Sample{Series: series[rnd.IntN(5)], TimeMS: now - rnd.Int64N(4000), Value: rnd.Float64()}
					if rnd.IntN(4) == 0 {
						s.TimeMS = now + 60_001 + rnd.Int64N(60_000)
					}
					sec = append(sec, s)
				}
				all = append(all, sec...)
				waiting = append(waiting, sec)
			}
			// The oldest ones again, as a sender does: of one section in flight at a time.
			sec := waiting[0]
			offset++
			f.deliver(now, section(int32(rnd.IntN(3)), offset, sec...))
			if len(f.last.Refused) == 0 {
				waiting = waiting[1:]
			}
			if rnd.IntN(10) == 0 {
				f.restart()
			}
		}
		if err := windowtest.Compare(f.windows(), windowtest.Oracle(all, f.cfg.TiersMS()...)); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
}

// TestTimesWithinAMillisecond: equal values within a ms, nanoseconds apart, are different samples, and a repeat of each is
// recognized: on time, late, as a late partial, and collapsed.
func TestTimesWithinAMillisecond(t *testing.T) {
	for _, collapsed := range []bool{false, true} {
		cfg := Default()
		if collapsed {
			cfg.MaxSeriesPerMetric = 1
		}
		f := newFeeder(t, cfg)
		s := schemas.Series{Metric: "m", Labels: schemas.Labels{{Name: "host", Value: "a"}, {Name: "x", Value: "1"}}}
		first := s
		if collapsed {
			first.Labels = schemas.Labels{{Name: "host", Value: "a"}, {Name: "x", Value: "0"}}
		}
		f.send(testStart, 0, schemas.Sample{Series: first, TimeMS: testStart - 20_000, Value: 1})
		var same []schemas.Sample
		for _, ns := range []uint32{0, 1, 1000, 999_999} {
			same = append(same, schemas.Sample{Series: s, TimeMS: testStart + 500, SubNS: ns, Value: 7})
		}
		counted := []schemas.Sample{same[1], same[0]} // one by one, the one with ns first
		for _, x := range counted {
			if f.send(testStart+600, 0, x); f.last.Applied != 1 {
				t.Fatalf("collapsed %v: %+v of %+v", collapsed, f.last, x)
			}
			f.restart()
		}
		check := func(nowMS int64, applied int, samples ...schemas.Sample) {
			t.Helper()
			if f.send(nowMS, 0, samples...); f.last.Applied != applied || f.last.Applied+f.last.Duplicates != len(samples) {
				t.Errorf("collapsed %v, at %d: %d counted and %d repeats of %d, want %d counted", collapsed, nowMS-testStart, f.last.Applied, f.last.Duplicates, len(samples), applied)
			}
			f.restart()
		}
		check(testStart+700, 1, same[0], same[1], same[2]) // one is new
		check(testStart+800, 0, same[0], same[1], same[2])
		f.advance(testStart + 14_000)
		check(testStart+14_000, 1, same[0], same[1], same[2], same[3]) // the last is late, and revises
		f.advance(testStart + 40_000)
		old := []schemas.Sample{same[0], same[1]}
		for i := range old {
			old[i].Value = 8
		}
		check(testStart+40_000, 2, append(old, old...)...) // late partials: repeats are recognized within a batch
		want := 6
		for _, w := range f.windows() {
			if w.TierMS == 10_000 && w.StartMS == testStart && int(w.Count) != want {
				t.Errorf("collapsed %v: the window holds %d samples, want %d", collapsed, w.Count, want)
			}
		}
	}
}
