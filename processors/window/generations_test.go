package window

import (
	"testing"
	"time"
)

// TestRateOf: a sender that sends everything at once every 10 s has its mean rate at any time, and a partition that came
// back starts over.
func TestRateOf(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	var seen []sampled
	var rate float64
	for s := int64(0); s <= 120; s += 2 {
		seen, rate = rateOf(seen, sampled{start.Add(time.Duration(s) * time.Second), s / 10 * 1000})
		if s > 30 && (rate < 50 || rate > 150) {
			t.Errorf("after %d s: %v samples/s, want about 100", s, rate)
		}
	}
	if len(seen) != int(rateOver/reportEvery)+1 {
		t.Errorf("%d counts kept of %s", len(seen), rateOver)
	}
	seen, rate = rateOf(seen, sampled{start.Add(122 * time.Second), 5})
	if rate != 0 || len(seen) != 1 {
		t.Errorf("a partition that came back has %v samples/s of %d counts", rate, len(seen))
	}
	if _, rate = rateOf(seen, sampled{start.Add(124 * time.Second), 25}); rate != 10 {
		t.Errorf("%v samples/s, want 10", rate)
	}
}
