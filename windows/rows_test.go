package windows

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/windows/windowtest"
)

// scrapes returns the batches of a host whose collector reads all series at the same time, every stepMS. Now and then
// series are missing, come with the next batch, have two values at one time or times of their own, or are sent again.
func scrapes(rnd *rand.Rand, stepMS int64) (samples []schemas.Sample, repeats int) {
	series := testSeries(1 + rnd.IntN(40))
	own := rnd.IntN(len(series)+1) * rnd.IntN(2) // series with times of their own
	known := 1 + rnd.IntN(len(series))
	var held []schemas.Sample
	now := int64(1_700_000_000_000) + rnd.Int64N(7200_000)
	for range 30 + rnd.IntN(120) {
		now += stepMS
		if rnd.IntN(40) == 0 {
			now += 200_000
		}
		samples, held = append(samples, held...), nil
		known = min(len(series), known+rnd.IntN(2))
		for i := range known {
			s := schemas.Sample{Series: series[i], TimeMS: now, Value: float64(rnd.IntN(4)) / 3}
			if i < own {
				s.TimeMS -= rnd.Int64N(stepMS)
			}
			switch rnd.IntN(60) {
			case 0:
				continue
			case 1:
				held = append(held, s)
				continue
			case 2:
				again := s
				again.Value++
				samples = append(samples, s, again)
				continue
			case 3:
				samples = append(samples, s, s)
				repeats++
				continue
			}
			samples = append(samples, s)
		}
		for range min(rnd.IntN(3), len(samples)) { // a sample whose window is still kept
			if s := samples[max(0, len(samples)-1-rnd.IntN(200))]; s.TimeMS > now-8_000 {
				samples = append(samples, s)
				repeats++
			}
		}
	}
	return append(samples, held...), repeats
}

// TestRowsAreExact: samples that are kept in rows, however they are mixed with others, give the windows of a batch
// recompute, first and last included. Repeats count once. A group that is encoded and decoded after each batch emits the
// same bytes as one that lives on.
func TestRowsAreExact(t *testing.T) {
	rnd := rand.New(rand.NewPCG(seed(t), 6))
	inRows, beside, flat := 0, 0, 0
	for round := range 40 {
		cfg := Default()
		samples, repeats := scrapes(rnd, []int64{100, 1000, 5000, 10_000}[rnd.IntN(4)])
		live, decoded := newFeeder(t, cfg), newFeeder(t, cfg)
		for at := 0; at < len(samples); {
			n := min(1+rnd.IntN(60), len(samples)-at)
			part := samples[at : at+n]
			at += n
			live.apply(live.batch(part))
			decoded.apply(decoded.batch(part))
			decoded.restart()
			if !slices.EqualFunc(live.last.Values, decoded.last.Values, slices.Equal) {
				t.Fatalf("round %d: a decoded group emits otherwise", round)
			}
			for _, f := range live.g.frames.tiers[0] {
				for _, r := range f.rows {
					inRows += int(r.filled)
				}
				switch {
				case f.flat:
					flat++
				case len(f.rows) > 0 && len(f.aggs) > 0:
					beside++
				}
			}
		}
		if live.total.Duplicates < repeats {
			t.Fatalf("round %d: %d repeats dropped of %d", round, live.total.Duplicates, repeats)
		}
		if err := windowtest.Compare(live.windows(), windowtest.Oracle(samples, cfg.TiersMS()...)); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	t.Logf("%d samples in rows, %d frames with other samples next to rows, %d flat", inRows, beside, flat)
	if inRows == 0 || beside == 0 || flat == 0 {
		t.Error("too few cases to prove anything")
	}
}

// TestAbsentIsNoValue: a sample whose value has the bits that mark a gap in a row counts like any other, and its repeat is
// dropped.
func TestAbsentIsNoValue(t *testing.T) {
	f := newFeeder(t, Default())
	s := schemas.Sample{Series: testSeries(1)[0], TimeMS: 1_700_000_000_000, Value: math.Float64frombits(absent)}
	f.apply(f.batch([]schemas.Sample{s, s}))
	f.restart()
	f.apply(f.batch([]schemas.Sample{s}))
	if f.total.Applied != 1 || f.total.Duplicates != 2 {
		t.Errorf("%d samples counted and %d dropped as repeats, of three times the same", f.total.Applied, f.total.Duplicates)
	}
}

// TestLateRepeatsOfRows: a frame that has closed still recognizes each sample that was in rows, and each that was next to
// them.
func TestLateRepeatsOfRows(t *testing.T) {
	f := newFeeder(t, Default())
	series := testSeries(2)
	const at = int64(1_700_000_000_000)
	first := []schemas.Sample{{Series: series[0], TimeMS: at, Value: 1}, {Series: series[1], TimeMS: at, Value: 1},
		{Series: series[0], TimeMS: at, Value: 2}, {Series: series[1], TimeMS: at + 1000, Value: 3}}
	f.apply(f.batch(first))
	if fr := f.g.frames.tiers[0][0]; len(fr.rows) != 2 || len(fr.aggs) == 0 {
		t.Fatalf("%d rows, and %d aggregates next to them", len(fr.rows), len(fr.aggs))
	}
	next := schemas.Sample{Series: series[0], TimeMS: at + 12_000, Value: 1}
	f.apply(f.batch([]schemas.Sample{next}))
	for _, s := range first {
		f.apply(f.batch([]schemas.Sample{s}))
	}
	if f.total.Duplicates != len(first) {
		t.Errorf("%d of %d late repeats were known", f.total.Duplicates, len(first))
	}
	if err := windowtest.Compare(f.windows(), windowtest.Oracle(append(first, next), f.cfg.TiersMS()...)); err != nil {
		t.Error(err)
	}
}
