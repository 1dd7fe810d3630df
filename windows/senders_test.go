package windows

import (
	"math/rand/v2"
	"testing"

	"github.com/weir-metrics/weir/schemas"
)

// TestSendersShareTheRate: a sender that sends more than max_rate leaves the other senders of its host their share, however
// many senders it claims to be, and no window holds more than twice the rate.
func TestSendersShareTheRate(t *testing.T) {
	rnd := rand.New(rand.NewPCG(seed(t), 13))
	for round := range 30 {
		cfg := Default()
		cfg.MaxRate = 64 // 640 in a window of 10 s, a share is 40
		series := testSeries(7)
		f, twin := newFeeder(t, cfg), newFeeder(t, cfg)
		hogs := 1 + rnd.IntN(maxSenders) // together with the honest one, no more than are distinguished
		honest, refusedHonest, refusedHog, value := 0, 0, 0, 0.0
		if round%3 == 2 { // more than are distinguished, but the honest one is among the first
			hogs = 100
		}
		next := func(sender uint64, n int) {
			var batch []schemas.Sample
			for range n {
				value++
				batch = append(batch, schemas.Sample{Series: series[rnd.IntN(7)], TimeMS: testStart + rnd.Int64N(10_000), Value: value})
			}
			f.send(testStart+10_000, sender, batch...)
			twin.send(testStart+10_000, sender, batch...)
			if len(f.last.Refused) != len(twin.last.Refused) {
				t.Fatal("a decoded group decides otherwise")
			}
			twin.restart()
			for _, x := range f.last.Refused {
				if x.Reason != RateLimit {
					t.Fatalf("%+v", x)
				}
			}
			if sender == 1 {
				honest += f.last.Applied
				refusedHonest += len(f.last.Refused)
			} else {
				refusedHog += len(f.last.Refused)
			}
		}
		if hogs == 100 {
			next(1, 1)
		}
		for i := range 40 {
			for range 5 {
				next(uint64(2+rnd.IntN(hogs)), 50)
			}
			if i < 39 {
				next(1, 1)
			}
		}
		if refusedHonest > 0 || honest < 39 {
			t.Fatalf("round %d: %d samples of the honest sender were counted, %d refused", round, honest, refusedHonest)
		}
		if n := int(f.g.frames.tiers[0][0].samples); refusedHog == 0 || n > 2*640 {
			t.Fatalf("round %d: %d samples in the window, %d of hogs refused", round, n, refusedHog)
		}
		next(1, 100)
		if refusedHonest == 0 {
			t.Fatalf("round %d: a share is no limit", round)
		}
	}
}

// TestLateSamplesOfSenders: the shares apply to windows that are kept, too, and to samples of several senders in one record.
func TestLateSamplesOfSenders(t *testing.T) {
	cfg := Default()
	cfg.MaxRate = 2 // 20 in a window, a share is 1
	f := newFeeder(t, cfg)
	s := testSeries(1)[0]
	f.send(testStart+25_000, 0, schemas.Sample{Series: s, TimeMS: testStart + 25_000, Value: 1})
	var b schemas.BatchBuilder
	for i := range uint64(40) {
		sender := uint64(1)
		if i%10 == 9 {
			sender = 2 + i
		}
		b.Begin(schemas.Origin{Epoch: 1, Partition: 1, Offset: int64(i)}, 0)
		b.Sender(sender)
		b.Add(&s, s.Hash(), testStart+12_000+int64(i), float64(i))
	}
	f.deliver(testStart+26_000, b.AppendTo(nil))
	// The first senders take the 20 that the rate allows; of later senders, each that had none gets one.
	if f.last.Applied != 22 || len(f.last.Refused) != 18 || f.last.Late != 22 {
		t.Errorf("%d counted, %d refused, %d late", f.last.Applied, len(f.last.Refused), f.last.Late)
	}
}
