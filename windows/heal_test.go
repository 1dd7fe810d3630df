package windows

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/windows/windowtest"
)

// TestHeal: if a wrong clock moved a group's clock ahead, by an hour or to the end of time, the first samples that
// arrive set it right: totals stay exact, no sample is refused, and each tier's windows are whole again from the first
// one that begins afterwards. The same holds after a restart at any point.
func TestHeal(t *testing.T) {
	rnd := rand.New(rand.NewPCG(seed(t), 3))
	const from = int64(1_700_002_000_000)
	astray := map[string]func(f *feeder, now int64){
		"a tick an hour ahead": func(f *feeder, now int64) {
			f.last.Reset()
			f.g.Advance(f.sh, now+time.Hour.Milliseconds(), &f.last)
			f.emitted()
		},
		"a tick a year ahead": func(f *feeder, now int64) {
			f.last.Reset()
			f.g.Advance(f.sh, now+365*24*time.Hour.Milliseconds(), &f.last)
			f.emitted()
		},
		"a stored state of the end of time": func(f *feeder, _ int64) {
			f.last.Reset()
			f.g.Advance(f.sh, math.MaxInt64/2, &f.last)
			f.emitted()
			f.restart()
		},
		"a route an hour ahead": func(f *feeder, now int64) {
			f.last.Reset() // all samples of such a record are refused, except one by a sender that is just as wrong
			var sb schemas.SampleBatch
			s := schemas.Sample{Series: testSeries(1)[0], TimeMS: now + time.Hour.Milliseconds(), Value: 1}
			if err := sb.Decode(f.batch([]schemas.Sample{s})); err != nil {
				f.t.Fatal(err)
			}
			f.g.Apply(f.sh, &sb, f.offset, s.TimeMS, &f.last)
			f.offset++
		},
	}
	for name, lead := range astray {
		for round := range 4 {
			cfg := Default()
			f := newFeeder(t, cfg)
			series := testSeries(3)
			var all []schemas.Sample
			at := from + rnd.Int64N(3600_000)
			strayed := int64(0)
			for step := range 1500 {
				now := at + int64(step)*3000
				if step == 700 {
					lead(f, now)
					strayed = now
				}
				if rnd.IntN(40) == 0 {
					f.restart()
				}
				var batch []schemas.Sample
				for i, s := range series {
					batch = append(batch, schemas.Sample{Series: s, TimeMS: now - int64(i)*300, Value: float64(step % 97)})
				}
				all = append(all, batch...)
				var sb schemas.SampleBatch
				if err := sb.Decode(f.batch(batch)); err != nil {
					t.Fatal(err)
				}
				f.last.Reset()
				f.g.Apply(f.sh, &sb, f.offset, now, &f.last)
				f.offset++
				if len(f.last.Refused) > 0 {
					t.Fatalf("%s: at step %d %d samples were refused: %s", name, step, len(f.last.Refused), f.last.Refused[0].Reason)
				}
				f.emitted()
				if f.g.clock.at > now {
					t.Fatalf("%s: at step %d the clock is %d ms ahead", name, step, f.g.clock.at-now)
				}
			}
			got := f.windows()
			if name == "a route an hour ahead" {
				continue // the wrong sender's sample is in a window of its own
			}
			if err := windowtest.Compare(got, windowtest.Oracle(all, cfg.TiersMS()...)); err != nil {
				t.Fatalf("%s, round %d: %v", name, round, err)
			}
			for k, parts := range f.merged {
				if k.start > strayed && len(parts) != 1 || k.start > strayed && parts[0].Count == 0 {
					t.Fatalf("%s: the %d ms window at %d, which began afterwards, has %d parts", name, k.tierMS, k.start, len(parts))
				}
			}
		}
	}
}

// TestOldSamplesHealNothing: old samples that arrive according to a slow clock are no reason to believe that the group's
// clock is wrong.
func TestOldSamplesHealNothing(t *testing.T) {
	f := newFeeder(t, Default())
	series := testSeries(1)
	const now = int64(1_700_000_000_000)
	send := func(at, arrives int64) {
		var sb schemas.SampleBatch
		if err := sb.Decode(f.batch([]schemas.Sample{{Series: series[0], TimeMS: at, Value: float64(f.offset)}})); err != nil {
			t.Fatal(err)
		}
		f.last.Reset()
		f.g.Apply(f.sh, &sb, f.offset, arrives, &f.last)
		f.offset++
	}
	send(now, now)
	for _, at := range []int64{now - 3*3600_000, now + 1000, now - 5000} { // the last two are too new for that clock
		if send(at, now-2*3600_000); f.g.clock.at < now || f.g.clock.healed.part != 0 {
			t.Errorf("a sample of %d s, by a clock that is two hours slow, set the clock to %d s", (at-now)/1000, (f.g.clock.at-now)/1000)
		}
	}
}
