package windows

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/windows/windowtest"
)

// seed returns WEIR_SEED if it is set, and otherwise a new seed for each run.
func seed(t testing.TB) uint64 {
	s := uint64(time.Now().UnixNano())
	if v := os.Getenv("WEIR_SEED"); v != "" {
		s, _ = strconv.ParseUint(v, 10, 64)
	}
	t.Logf("seed %d (set WEIR_SEED to repeat)", s)
	return s
}

func testSeries(n int) []schemas.Series {
	out := make([]schemas.Series, n)
	for i := range out {
		out[i] = schemas.Series{Metric: "m" + strconv.Itoa(i%7), Labels: schemas.NewLabels(map[string]string{
			"host": "web01", "cpu": strconv.Itoa(i / 7), "region": "eu"})}
	}
	return out
}

// trace returns the samples of a random life of one group: most in order, some up to an hour late, some repeated,
// with gaps, and with several at the same time.
func trace(rnd *rand.Rand, series []schemas.Series, n int) []schemas.Sample {
	now := int64(1_700_000_000_000) + rnd.Int64N(7200_000)
	var out []schemas.Sample
	for range n {
		switch rnd.IntN(20) {
		case 0:
			now += rnd.Int64N(120_000)
		case 1:
			now += rnd.Int64N(20_000)
		default:
			now += rnd.Int64N(1500)
		}
		ts := now
		switch rnd.IntN(12) {
		case 0:
			ts -= rnd.Int64N(5_000)
		case 1:
			ts -= rnd.Int64N(40_000)
		case 2:
			ts -= rnd.Int64N(3600_000)
		}
		s := schemas.Sample{Series: series[rnd.IntN(len(series))], TimeMS: ts, Value: float64(rnd.IntN(1000)) + rnd.Float64()}
		out = append(out, s)
	}
	return out
}

// TestExact applies a random trace in random batches, with replays, repeats, ticks of the wall clock and restarts from
// the encoded state in between. The emitted windows, merged as by a reader, are those of a batch recompute.
func TestExact(t *testing.T) {
	rnd := rand.New(rand.NewPCG(seed(t), 1))
	for round := range 150 {
		cfg := Default()
		sh := NewShard(&cfg, 0, func(m string) bool { return m == "m1" })
		series := testSeries(1 + rnd.IntN(40))
		samples := trace(rnd, series, 50+rnd.IntN(1500))
		g := NewGroup(sh)
		m := Merger{}
		var r Result
		var values [][]byte
		var batches [][]byte
		applied, dropped := 0, 0
		for at, off := 0, int64(0); at < len(samples); off++ {
			n := min(1+rnd.IntN(60), len(samples)-at)
			var b schemas.BatchBuilder
			for k := at; k < at+n; {
				sec := min(1+rnd.IntN(n), at+n-k)
				b.Begin(schemas.Origin{Epoch: 7, Partition: int32(rnd.IntN(2)), Offset: off*1000 + int64(k)}, 0)
				for _, s := range samples[k : k+sec] {
					b.Add(&s.Series, s.Series.Hash(), s.TimeMS, s.Value)
				}
				k += sec
			}
			batches = append(batches, b.AppendTo(nil))
			at += n
			deliver := [][]byte{batches[len(batches)-1]}
			if rnd.IntN(5) == 0 { // a replay of an earlier record under a new offset, as route does after a crash
				deliver = append(deliver, batches[rnd.IntN(len(batches))])
			}
			for _, v := range deliver {
				var sb schemas.SampleBatch
				if err := sb.Decode(v); err != nil {
					t.Fatal(err)
				}
				r.Reset()
				now := g.clock.newest + rnd.Int64N(3000)
				if !g.clock.started {
					now = samples[0].TimeMS + 7_200_000
				}
				// in this test, the wall clock is never behind a sample
				for _, s := range sb.Points {
					now = max(now, s.TimeMS)
				}
				g.Apply(sh, &sb, off, now, &r)
				values = append(values, r.Values...)
				applied += r.Applied
				dropped += r.Replayed + r.Duplicates
				if len(r.Refused) > 0 {
					t.Fatalf("round %d: refused %+v", round, r.Refused[0])
				}
				if r.Applied+r.Replayed+r.Duplicates != len(sb.Points) {
					t.Fatalf("round %d: %d applied, %d replayed, %d duplicates of %d", round, r.Applied, r.Replayed, r.Duplicates, len(sb.Points))
				}
			}
			if rnd.IntN(10) == 0 {
				r.Reset()
				g.Advance(sh, g.clock.newest+rnd.Int64N(20_000), &r)
				values = append(values, r.Values...)
			}
			if rnd.IntN(8) == 0 {
				st := g.AppendTo(sh, nil)
				fresh := NewShard(&cfg, 0, sh.reads)
				g2, err := DecodeGroup(fresh, st)
				if err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
				if again := g2.AppendTo(fresh, nil); string(again) != string(st) {
					t.Fatalf("round %d: state does not survive a round trip", round)
				}
				if g2.DueMS() != g.DueMS() { // otherwise a replay would close windows at other times
					t.Fatalf("round %d: due at %d, and at %d after a round trip", round, g.DueMS(), g2.DueMS())
				}
				sh, g = fresh, g2
			}
		}
		r.Reset()
		g.CloseAll(sh, farFuture, &r)
		values = append(values, r.Values...)
		// deliver every result twice, in random order: readers must see the same
		if err := m.AddValues(values); err != nil {
			t.Fatal(err)
		}
		rnd.Shuffle(len(values), func(i, j int) { values[i], values[j] = values[j], values[i] })
		if err := m.AddValues(values); err != nil {
			t.Fatal(err)
		}
		if err := windowtest.Compare(m.Windows(), windowtest.Oracle(samples, cfg.TiersMS()...)); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if applied != len(samples) {
			t.Fatalf("round %d: applied %d of %d samples (%d dropped as repeats)", round, applied, len(samples), dropped)
		}
	}
}

// TestAnyOrder feeds samples in random order, with repeats, all within windows that are kept.
func TestRepeatsCountOnce(t *testing.T) {
	rnd := rand.New(rand.NewPCG(seed(t), 2))
	for round := range 200 {
		var samples []schemas.Sample
		series := testSeries(3)
		for i := range 60 {
			samples = append(samples, schemas.Sample{Series: series[i%3], TimeMS: 1_700_000_000_000 + int64(rnd.IntN(12_000)), Value: float64(rnd.IntN(3))})
		}
		twice := append(append([]schemas.Sample(nil), samples...), samples...)
		rnd.Shuffle(len(twice), func(i, j int) { twice[i], twice[j] = twice[j], twice[i] })
		f := NewFold(Default(), schemas.GroupLabels)
		for _, s := range twice {
			if err := f.Add(s); err != nil {
				t.Fatal(err)
			}
		}
		ws, err := f.Windows()
		if err != nil {
			t.Fatal(err)
		}
		if err := windowtest.Compare(ws, windowtest.Oracle(twice, 10_000, 60_000, 3600_000)); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if f.Duplicates < len(samples) {
			t.Fatalf("round %d: %d repeats dropped, at least %d were fed", round, f.Duplicates, len(samples))
		}
	}
}

func TestConfigBounds(t *testing.T) {
	if got := fmt.Sprint(NewShard(&Config{Tiers: Default().Tiers}, 0, nil).sizes); got != "[10000 60000 3600000]" {
		t.Fatal(got)
	}
}

// TestForgotten: an empty group is kept until no sample for one of its windows can come any more. The group that takes
// its place refuses such samples.
func TestForgotten(t *testing.T) {
	cfg := Default()
	sh := NewShard(&cfg, 0, nil)
	const start = int64(1_700_006_400_000)
	apply := func(g *Group, offset, timeMS, nowMS int64) *Result {
		var b schemas.BatchBuilder
		b.Begin(schemas.Origin{Epoch: 1, Offset: offset}, 0)
		s := testSeries(1)[0]
		b.Add(&s, s.Hash(), timeMS, float64(offset))
		var sb schemas.SampleBatch
		if err := sb.Decode(b.AppendTo(nil)); err != nil {
			t.Fatal(err)
		}
		var r Result
		g.Apply(sh, &sb, offset, nowMS, &r)
		return &r
	}
	g := NewGroup(sh)
	if !g.Fresh() || g.ForgetMS(cfg.KeepMS()) != 0 {
		t.Error("a new group is not fresh")
	}
	apply(g, 1, start, start)
	if g.Fresh() || g.ForgetMS(cfg.KeepMS()) != 0 {
		t.Error("a group with a window may be forgotten")
	}
	var r Result
	for range 3 { // windows close and are dropped, tier by tier
		g.Advance(sh, start+3*3600_000, &r)
	}
	forget := g.ForgetMS(cfg.KeepMS())
	if least := g.ClockMS() + cfg.MaxAge.MS(); forget < least {
		t.Fatalf("forgotten at %d, but samples for its windows may come until %d", forget, least)
	}
	if r := apply(g, 2, start+1000, start+4*3600_000); r.Applied != 1 || r.Partials == 0 {
		t.Errorf("a late sample of a group without windows: %+v", r)
	}
	after := NewGroup(sh)
	if r := apply(after, 2, start+1000, forget); len(r.Refused) != 1 || r.Refused[0].Reason != TooOld {
		t.Errorf("a sample older than the group that was forgotten: %+v", r)
	}
	if at := after.ForgetMS(cfg.KeepMS()); !after.Fresh() || at != 0 {
		t.Errorf("a group that refused all samples is kept until %d", at)
	}
	heir := NewGroup(sh)
	heir.InheritDelay(sh, 5000, start)
	if at := heir.ForgetMS(cfg.KeepMS()); heir.Fresh() || heir.DelayMS() != 5000 || at <= start {
		t.Errorf("a group that inherited its delay, %d ms, is forgotten at %d, now is %d", heir.DelayMS(), at, start)
	}
	apply(heir, 1, start, start)
	heir.InheritDelay(sh, 9000, start)
	if heir.DelayMS() != 5000 {
		t.Errorf("a group that has samples inherited a delay: %d ms", heir.DelayMS())
	}
}

// TestManyOriginPartitions: a topic may have more partitions than a group remembers. The group does not forget the
// partition from which it gets most samples in favour of others from which it got samples once.
func TestManyOriginPartitions(t *testing.T) {
	cfg := Default()
	sh := NewShard(&cfg, 0, nil)
	g := NewGroup(sh)
	s := testSeries(1)[0]
	at := int64(1_700_006_400_000)
	apply := func(partition int32, offset, timeMS int64) *Result {
		var b schemas.BatchBuilder
		b.Begin(schemas.Origin{Epoch: 1, Partition: partition, Offset: offset}, 0)
		b.Add(&s, s.Hash(), timeMS, float64(offset))
		var sb schemas.SampleBatch
		if err := sb.Decode(b.AppendTo(nil)); err != nil {
			t.Fatal(err)
		}
		var r Result
		g.Apply(sh, &sb, 1, at, &r)
		return &r
	}
	for i := range int64(2 * maxOrigins) {
		at += 60_000
		apply(0, i, at)
		for k := range int64(50) { // so that no digest gives the repeat away
			apply(int32(1+i), k, at+k)
		}
	}
	if r := apply(0, 2*maxOrigins-1, at); r.Replayed != 1 {
		t.Errorf("a record of the busiest partition, handed on again: %+v", r)
	}
}
