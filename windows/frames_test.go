package windows

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestFramesInOrder: the frames of a tier are ordered by start, without duplicates, and nextClose is the earliest clock at
// which one of them closes or is dropped.
func TestFramesInOrder(t *testing.T) {
	rnd := rand.New(rand.NewPCG(seed(t), 0))
	cfg := Default()
	sh := NewShard(&cfg, 0, nil)
	g := NewGroup(sh)
	if g.DueMS() != 0 {
		t.Fatalf("nothing is kept, and due at %d", g.DueMS())
	}
	g.clock.at = 0
	for range 300 {
		tier := rnd.IntN(3)
		at := rnd.Int64N(7_200_000) + 1
		if f := g.open(sh, tier, at); f == nil || at < f.start || at >= f.start+sh.sizes[tier] {
			t.Fatalf("the frame of tier %d at %d is %+v", tier, at, f)
		}
	}
	next := int64(math.MaxInt64)
	for tier, fs := range g.frames.tiers {
		for i, f := range fs {
			if i > 0 && fs[i-1].start >= f.start || floor(f.start, sh.sizes[tier]) != f.start {
				t.Fatalf("tier %d: a frame at %d comes after one at %d", tier, f.start, fs[max(0, i-1)].start)
			}
			next = min(next, f.start+sh.sizes[tier]+sh.graces[tier])
		}
	}
	if g.frames.nextClose != next {
		t.Errorf("the next closes at %d, want %d", g.frames.nextClose, next)
	}
	g.clock.at = 100_000
	if f := g.open(sh, 0, 85_000); f != nil {
		t.Errorf("the window of 80 s has closed at 92 s, and is open: %+v", f)
	}
	if f := g.open(sh, 0, 95_000); f == nil {
		t.Error("the window of 90 s is open until 102 s")
	}
}
