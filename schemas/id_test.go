package schemas

import (
	"encoding/binary"
	"math"
	"math/bits"
	"testing"

	"github.com/cespare/xxhash/v2"
)

// Collide returns a text of 32 bytes whose xxhash, with seed 0, is the wanted one: the round for 8 bytes can be inverted, so the
// last 8 bytes follow from the hash and the others.
func collide(t *testing.T, prefix [24]byte, want uint64) string {
	t.Helper()
	const p1, p2, p3, p4, p5 = 11400714785074694791, 14029467366897019727, 1609587929392839161, 9650029242287828579, 2870177450012600261
	inverse := func(x uint64) uint64 { // modulo 2^64, of an odd number
		y := x
		for range 6 {
			y *= 2 - x*y
		}
		return y
	}
	// The finish of 24 bytes and 8 more, backwards: the input is kept below 32 bytes.
	h := want
	h ^= h >> 32
	h *= inverse(p3)
	h ^= h>>29 ^ h>>58
	h *= inverse(p2)
	h ^= h >> 33
	state := uint64(p5) + 24
	round := func(k uint64) uint64 { return bits.RotateLeft64(k*p2, 31) * p1 }
	for i := range 2 {
		state ^= round(binary.LittleEndian.Uint64(prefix[8*i:]))
		state = bits.RotateLeft64(state, 27)*p1 + p4
	}
	k := bits.RotateLeft64((h-p4)*inverse(p1), -27) ^ state
	k = bits.RotateLeft64(k*inverse(p1), -31) * inverse(p2)
	text := binary.LittleEndian.AppendUint64(append([]byte(nil), prefix[:16]...), k)
	if got := xxhash.Sum64(text); got != want {
		t.Fatalf("hash %x, want %x: the test is wrong", got, want)
	}
	return string(text)
}

// TestEqualHashesAreTwoSeries: whoever chooses labels can make two series with the same hash. In a batch they stay two series,
// with IDs that depend on the labels alone.
func TestEqualHashesAreTwoSeries(t *testing.T) {
	victim := Series{Metric: "up", Labels: Labels{{"host", "web01"}}}
	// The key of a series without labels is its metric.
	forged := Series{Metric: collide(t, [24]byte{'a', 'b'}, victim.Hash())}
	if victim.Hash() != forged.Hash() || victim.ID() == forged.ID() {
		t.Fatalf("hashes %x and %x, IDs %x and %x", victim.Hash(), forged.Hash(), victim.ID(), forged.ID())
	}
	var b BatchBuilder
	b.Begin(Origin{Epoch: 1}, 0)
	for range 2 {
		b.Add(&victim, victim.Hash(), 1, 1)
		b.Add(&forged, forged.Hash(), 1, 2)
	}
	var got SampleBatch
	if err := got.Decode(b.AppendTo(nil)); err != nil {
		t.Fatal(err)
	}
	if len(got.IDs) != 2 || got.IDs[0] != victim.ID() || got.IDs[1] != forged.ID() {
		t.Fatalf("IDs %x", got.IDs)
	}
	for i, p := range got.Points {
		if p.Series != uint32(i%2) || p.Value != float64(1+i%2) {
			t.Errorf("point %d: %+v", i, p)
		}
	}
	if s, err := got.Series(0); err != nil || s.String() != victim.String() {
		t.Errorf("series 0: %v, %v", s, err)
	}
	batch, err := DecodeWindowBatch(AppendWindowBatch(nil, &WindowBatch{Windows: []Window{
		{Series: victim, TierMS: 1000, Aggregate: Aggregate{Count: 1}}, {Series: forged, TierMS: 1000, Aggregate: Aggregate{Count: 1}}}}))
	if err != nil || batch.Windows[0].Series.Metric != "up" || batch.Windows[1].Series.Metric != forged.Metric {
		t.Errorf("windows %+v, %v", batch, err)
	}
}

func TestSplitNS(t *testing.T) {
	for _, c := range []struct {
		ns, ms int64
		sub    uint32
	}{{0, 0, 0}, {1, 0, 1}, {999_999, 0, 999_999}, {1_000_000, 1, 0}, {-1, -1, 999_999}, {-1_000_000, -1, 0}, {-1_000_001, -2, 999_999},
		{math.MaxInt64, 9223372036854, 775_807}, {math.MinInt64, -9223372036855, 224_192}} {
		if ms, sub := SplitNS(c.ns); ms != c.ms || sub != c.sub {
			t.Errorf("%d ns: %d ms and %d ns, want %d and %d", c.ns, ms, sub, c.ms, c.sub)
		}
	}
}

func TestSenderOf(t *testing.T) {
	if SenderOf(nil) != 0 || SenderOf([]byte("a")) == 0 || SenderOf([]byte("a")) == SenderOf([]byte("b")) {
		t.Error("different senders must have different numbers, and no sender must be 0")
	}
}
