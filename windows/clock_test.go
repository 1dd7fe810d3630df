package windows

import (
	"math/rand/v2"
	"testing"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/windows/windowtest"
)

// send applies a record of a sender that arrives at nowMS.
func (f *feeder) send(nowMS int64, sender uint64, samples ...schemas.Sample) *Result {
	f.t.Helper()
	var b schemas.BatchBuilder
	b.Begin(schemas.Origin{Epoch: 1, Offset: f.offset}, 0)
	b.Sender(sender)
	for i := range samples {
		b.AddSample(&samples[i], samples[i].Series.Hash(), samples[i].Series.ID())
	}
	return f.deliver(nowMS, b.AppendTo(nil))
}

// deliver applies a batch that arrives at nowMS.
func (f *feeder) deliver(nowMS int64, value []byte) *Result {
	f.t.Helper()
	var sb schemas.SampleBatch
	if err := sb.Decode(value); err != nil {
		f.t.Fatal(err)
	}
	r := &f.last
	r.Reset()
	f.g.Apply(f.sh, &sb, f.offset, nowMS, r)
	f.offset++
	f.emitted()
	if n := r.Applied + r.Replayed + r.Duplicates + len(r.Refused); n != len(sb.Points) {
		f.t.Fatalf("%d of %d samples are accounted for: %+v", n, len(sb.Points), r)
	}
	if f.g.clock.started && f.g.clock.at > nowMS {
		f.t.Fatalf("the group's clock is %d ms ahead of arrival", f.g.clock.at-nowMS)
	}
	return r
}

// advance sets the wall clock to nowMS.
func (f *feeder) advance(nowMS int64) *Result {
	f.last.Reset()
	f.g.Advance(f.sh, nowMS, &f.last)
	f.emitted()
	return &f.last
}

const testStart = int64(1_700_006_400_000) // start of an hour

// TestFastSenderMutesNobody: a sender whose clock is 45 s fast claims that its samples belong to a host. The samples
// of the host itself, which always come 5 s late, still count as on time.
func TestFastSenderMutesNobody(t *testing.T) {
	series := testSeries(3)
	rnd := rand.New(rand.NewPCG(seed(t), 11))
	for _, fastFirst := range []bool{false, true} {
		f := newFeeder(t, Default())
		var all []schemas.Sample
		late := 0
		for i := range int64(600) {
			now := testStart + i*1000
			if fastFirst || i > 30 {
				s := schemas.Sample{Series: series[0], TimeMS: now + 45_000, Value: float64(i)}
				all = append(all, s)
				f.send(now, 1, s)
			}
			if i%10 == 5 && (i > 100 || !fastFirst) {
				s := schemas.Sample{Series: series[1+rnd.IntN(2)], TimeMS: now - 4_000 - rnd.Int64N(1000), Value: float64(i)}
				all = append(all, s)
				f.send(now, 2, s)
				if i > 200 { // by then, the delay of a host that joins late is known
					late += f.last.Late
				}
			}
			f.advance(now)
			if rnd.IntN(20) == 0 {
				f.restart()
			}
		}
		if late > 0 {
			t.Errorf("fast first %v: %d samples of the host were late", fastFirst, late)
		}
		if d := f.g.DelayMS(); d < 4_000 || d > 5_000 {
			t.Errorf("fast first %v: the usual delay is %d ms", fastFirst, d)
		}
		if err := windowtest.Compare(f.windows(), windowtest.Oracle(all, f.cfg.TiersMS()...)); err != nil {
			t.Error(err)
		}
	}
}

// TestFastClockClosesByWallClock: the windows of a host whose clock is fast close when the wall clock reaches their
// end, and the host is known to be fast.
func TestFastClockClosesByWallClock(t *testing.T) {
	f := newFeeder(t, Default())
	s := testSeries(1)[0]
	for i := range int64(12) {
		now := testStart + i*1000
		f.send(now, 0, schemas.Sample{Series: s, TimeMS: now + 45_000, Value: 1})
		if f.last.Closed > 0 {
			t.Fatalf("%d windows closed %d s ahead", f.last.Closed, 45)
		}
	}
	if d := f.g.DelayMS(); d != -45_000 {
		t.Errorf("the delay is %d ms", d)
	}
	due := f.g.DueMS()
	if want := testStart + 52_000; due != want {
		t.Errorf("the first window is due at %d, want %d", due-testStart, want-testStart)
	}
	f.restart()
	if f.advance(due - 1); f.last.Closed > 0 {
		t.Error("a window closed before it was due")
	}
	if f.advance(due); f.last.Closed != 1 {
		t.Errorf("%d windows closed when one was due", f.last.Closed)
	}
}

// TestClockThatBecomesFast: a host whose clock jumps ahead is eventually known to be fast, and its usual delay is
// forgotten only then.
func TestClockThatBecomesFast(t *testing.T) {
	f := newFeeder(t, Default())
	s := testSeries(1)[0]
	for i := range int64(100) {
		now := testStart + i*10_000
		ts := now - 3_000
		if i >= 20 {
			ts = now + 40_000
		}
		f.send(now, 0, schemas.Sample{Series: s, TimeMS: ts, Value: float64(i)})
		if d := f.g.DelayMS(); i >= 8 && i < 70 && d != 3_000 {
			t.Fatalf("the delay is %d ms after %d batches", d, i)
		}
	}
	if d := f.g.DelayMS(); d != -40_000 {
		t.Errorf("the delay is %d ms in the end", d)
	}
}

// TestZeroAndMinusZero: 0 and -0 are one value: a repeat is recognized in rows, next to them, and late, and windows
// hold 0.
func TestZeroAndMinusZero(t *testing.T) {
	minus := func() float64 { z := 0.0; return -z }()
	s := testSeries(2)
	for _, spread := range []int64{0, 300} { // in rows, and next to them
		f := newFeeder(t, Default())
		var all []schemas.Sample
		for i := range int64(8) {
			for k, v := range []float64{0, minus} {
				x := schemas.Sample{Series: s[i%2], TimeMS: testStart + i*1000 + i%2*spread, Value: v}
				all = append(all, x)
				if f.send(testStart+i*1000+500, 0, x); f.last.Applied != 1-k {
					t.Fatalf("spread %d: %v at %d: %+v", spread, v, i, f.last)
				}
			}
		}
		ws := f.windows()
		if err := windowtest.Compare(ws, windowtest.Oracle(all, f.cfg.TiersMS()...)); err != nil {
			t.Error(err)
		}
		for _, w := range ws {
			for _, v := range []float64{w.Sum, w.Min, w.Max, w.First, w.Last} {
				if 1/v < 0 {
					t.Fatalf("a window holds -0: %+v", w)
				}
			}
		}
	}
}
