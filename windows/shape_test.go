package windows

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/weir-metrics/weir/schemas"
)

// shaped encodes samples in sections as two batches: one with the names of the series, one with their shape.
func shaped(rnd *rand.Rand, offset int64, samples []schemas.Sample) (plain, withShape []byte) {
	var b schemas.BatchBuilder
	for i := range samples {
		if i == 0 || rnd.IntN(30) == 0 {
			b.Begin(schemas.Origin{Epoch: 1, Offset: offset*1000 + int64(i)}, 0)
		}
		b.AddSample(&samples[i], samples[i].Series.Hash(), samples[i].Series.ID())
	}
	return b.AppendTo(nil), b.AppendShapedTo(nil, schemas.ShapeOf(b.IDs()))
}

// TestShapesChangeNothing: a group that gets batches with shapes that it knows does the same as one that gets all IDs, with late
// samples, limits, series that come and go, and restarts, after which it knows no shapes.
func TestShapesChangeNothing(t *testing.T) {
	rnd := rand.New(rand.NewPCG(seed(t), 1))
	knew := 0
	for round := range 60 {
		cfg := Default()
		all := testSeries(1 + rnd.IntN(40))
		if rnd.IntN(2) == 0 {
			cfg.MaxSeries = 1 + rnd.IntN(len(all))
		}
		sets := make([][]schemas.Series, 1+rnd.IntN(6)) // the sets that a sender sends again and again
		for i := range sets {
			for range 1 + rnd.IntN(len(all)) {
				sets[i] = append(sets[i], all[rnd.IntN(len(all))])
			}
		}
		a, b := newFeeder(t, cfg), newFeeder(t, cfg)
		now := int64(testStart)
		for offset := range int64(200) {
			now += rnd.Int64N(10_000)
			if rnd.IntN(50) == 0 {
				now += rnd.Int64N(4 * 3600_000) // series are forgotten
			}
			var samples []schemas.Sample
			for _, s := range sets[rnd.IntN(len(sets))] {
				at := now
				if rnd.IntN(20) == 0 {
					at -= rnd.Int64N(3600_000)
				}
				samples = append(samples, schemas.Sample{Series: s, TimeMS: at, Value: float64(rnd.IntN(9))})
			}
			plain, withShape := shaped(rnd, offset, samples)
			var pa, pb schemas.SampleBatch
			if err := pa.Decode(plain); err != nil {
				t.Fatal(err)
			}
			if err := pb.DecodeFor(withShape, b.g.Knows); err != nil {
				t.Fatal(err)
			}
			if len(pb.IDs) < pb.Len() {
				knew++
			}
			a.last.Reset()
			b.last.Reset()
			a.g.Apply(a.sh, &pa, offset, now, &a.last)
			b.g.Apply(b.sh, &pb, offset, now, &b.last)
			if !reflect.DeepEqual(a.last, b.last) {
				t.Fatalf("round %d, batch %d: %+v with IDs, %+v with a shape", round, offset, a.last, b.last)
			}
			if x, y := a.g.AppendTo(a.sh, nil), b.g.AppendTo(b.sh, nil); !bytes.Equal(x, y) {
				t.Fatalf("round %d, batch %d: the states differ", round, offset)
			}
			if rnd.IntN(40) == 0 {
				a.restart()
				b.restart()
			}
		}
	}
	if knew < 1000 {
		t.Errorf("only %d batches had a known shape", knew)
	}
}

// TestShapesAreBounded: however many shapes a group gets, it remembers only the last few, of few series.
func TestShapesAreBounded(t *testing.T) {
	rnd := rand.New(rand.NewPCG(seed(t), 2))
	for _, most := range []int{1, 100} { // series of a batch
		f := newFeeder(t, Default())
		all := testSeries(100)
		var last schemas.ID
		for offset := range int64(500) {
			rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			var samples []schemas.Sample
			for _, s := range all[:1+rnd.IntN(most)] {
				samples = append(samples, schemas.Sample{Series: s, TimeMS: testStart + offset, Value: 1})
			}
			_, v := shaped(rnd, offset, samples)
			var b schemas.SampleBatch
			if err := b.DecodeFor(v, f.g.Knows); err != nil {
				t.Fatal(err)
			}
			last = b.Shape
			n := b.Len()
			f.g.Apply(f.sh, &b, offset, testStart+offset, &f.last)
			if !f.g.Knows(last, n) || f.g.Knows(last, n+1) {
				t.Fatalf("the last shape is not known, or for another number of series")
			}
			places := 0
			for _, s := range f.g.series.shapes {
				places += len(s.places)
			}
			if len(f.g.series.shapes) > maxShapes || places > shapeSeries*f.g.Series()+shapeRoom {
				t.Fatalf("%d shapes of %d series are remembered of a group of %d", len(f.g.series.shapes), places, f.g.Series())
			}
		}
	}
}
