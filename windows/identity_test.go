package windows

import (
	"encoding/binary"
	"math"
	"math/bits"
	"testing"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/windows/windowtest"
)

// forge returns a metric name, without labels, that has the hash. That is possible because xxhash with a fixed seed can be inverted.
func forge(t *testing.T, want uint64) schemas.Series {
	t.Helper()
	const p1, p2, p3, p4, p5 = 11400714785074694791, 14029467366897019727, 1609587929392839161, 9650029242287828579, 2870177450012600261
	inverse := func(x uint64) uint64 {
		y := x
		for range 6 {
			y *= 2 - x*y
		}
		return y
	}
	h := want
	h ^= h >> 32
	h *= inverse(p3)
	h ^= h>>29 ^ h>>58
	h *= inverse(p2)
	h ^= h >> 33
	for try := range uint64(1 << 24) { // until the name is UTF-8
		name := binary.LittleEndian.AppendUint64(nil, 0x4141414141414141+try%26+try/26%26<<8+try/676%26<<16+try/17576%26<<24+try/456976<<32)
		state := uint64(p5) + 16
		state ^= bits.RotateLeft64(binary.LittleEndian.Uint64(name)*p2, 31) * p1
		state = bits.RotateLeft64(state, 27)*p1 + p4
		k := bits.RotateLeft64((h-p4)*inverse(p1), -27) ^ state
		name = binary.LittleEndian.AppendUint64(name, bits.RotateLeft64(k*inverse(p1), -31)*inverse(p2))
		if utf8.Valid(name) {
			if xxhash.Sum64(name) != want {
				t.Fatal("the forged name has another hash: the test is wrong")
			}
			return schemas.Series{Metric: string(name)}
		}
	}
	t.Fatal("no name found")
	return schemas.Series{}
}

// TestEqualHashesAreTwoSeries: two series of one group with equal hashes stay two series: on time, late, after a
// restart, collapsed, and in a fold.
func TestEqualHashesAreTwoSeries(t *testing.T) {
	victim := schemas.Series{Metric: "up", Labels: schemas.Labels{{Name: "host", Value: "a"}}}
	forged := forge(t, victim.Hash())
	if err := forged.Validate(); err != nil || victim.Hash() != forged.Hash() {
		t.Fatal(forged, err)
	}
	for _, most := range []int{100, 1} {
		cfg := Default()
		cfg.MaxSeries = most
		f := newFeeder(t, cfg)
		fold := NewFold(cfg, nil)
		var all []schemas.Sample
		for i := range int64(30) {
			for k, s := range []schemas.Series{victim, forged} {
				x := schemas.Sample{Series: s, TimeMS: testStart + i*1000, Value: 1}
				if i%7 == 3 {
					x.TimeMS -= 25_000 // late
				}
				all = append(all, x)
				if f.send(testStart+i*1000, 0, x); most > 1 && f.last.Applied != 1 || f.last.Duplicates > 0 {
					t.Fatalf("sample %d of series %d: %+v", i, k, f.last)
				}
				if most > 1 {
					if err := fold.Add(x); err != nil {
						t.Fatal(err)
					}
				}
			}
			if i%4 == 0 {
				f.restart()
			}
		}
		if most == 1 {
			continue
		}
		want := windowtest.Oracle(all, cfg.TiersMS()...)
		if err := windowtest.Compare(f.windows(), want); err != nil {
			t.Error(err)
		}
		if f.g.Series() != 2 {
			t.Errorf("%d series", f.g.Series())
		}
		// In a fold, each may be a group of its own, or both one group by the host; the windows are the same.
		if got, err := fold.Windows(); err != nil || windowtest.Compare(got, want) != nil {
			t.Errorf("fold: %v, %v", err, windowtest.Compare(got, want))
		}
	}
}

// TestTimesAtTheEnds: 0, negative times and the ends of an int64 are treated like any other time, and are refused where
// they are too old or too new.
func TestTimesAtTheEnds(t *testing.T) {
	s := testSeries(1)[0]
	fold := NewFold(Default(), schemas.GroupLabels)
	var all []schemas.Sample
	for _, ms := range []int64{-1, 0, 1, -10_000, -3600_001, -1 << 40, 1 << 40} {
		x := schemas.Sample{Series: s, TimeMS: ms, Value: float64(ms)}
		all = append(all, x)
		if err := fold.Add(x); err != nil {
			t.Fatal(err)
		}
	}
	if fold.Refused != 0 || fold.Duplicates != 0 {
		t.Errorf("%d refused, %d taken for repeats", fold.Refused, fold.Duplicates)
	}
	got, err := fold.Windows()
	if err != nil {
		t.Fatal(err)
	}
	if err := windowtest.Compare(got, windowtest.Oracle(all, 10_000, 60_000, 3600_000)); err != nil {
		t.Error(err)
	}
	for _, ms := range []int64{math.MinInt64, math.MinInt64 + 1, math.MaxInt64 - 1, math.MaxInt64} {
		if err := fold.Add(schemas.Sample{Series: s, TimeMS: ms, Value: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if fold.Refused != 4 || fold.Reasons[TooOld] != 2 || fold.Reasons[TooNew] != 2 {
		t.Errorf("%d refused: %v", fold.Refused, fold.Reasons)
	}
	// At any wall clock, and for a series that begins before 1970.
	for _, nowMS := range []int64{math.MinInt64, -1, 0, 1, Default().MaxAge.MS(), math.MaxInt64} {
		cfg := Default()
		cfg.MaxSeriesTotal = 3
		f := newFeeder(t, cfg)
		now := sane(nowMS)
		for i, d := range []int64{-5, 0, -20_000} {
			f.send(now, 0, schemas.Sample{Series: testSeries(3)[i], TimeMS: now + d, Value: 1})
			if f.last.Applied != 1 {
				t.Errorf("now %d, sample at %d: %+v", nowMS, now+d, f.last.Refused)
			}
			f.restart()
		}
		if f.g.Fresh() || f.g.DueMS() == 0 {
			t.Errorf("now %d: a group with windows is fresh or never due", nowMS)
		}
		for _, ms := range []int64{math.MinInt64, math.MaxInt64} {
			if f.send(now, 0, schemas.Sample{Series: s, TimeMS: ms, Value: 1}); len(f.last.Refused) != 1 {
				t.Errorf("now %d: a sample at %d counts", nowMS, ms)
			}
		}
		for range 4 {
			f.advance(min(now, math.MaxInt64/8) + 4*3600_000)
		}
		f.advance(math.MaxInt64)
		f.restart()
		f.windows()
	}
}
