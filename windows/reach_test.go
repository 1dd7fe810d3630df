package windows

import (
	"testing"
	"time"

	"github.com/weir-metrics/weir/deploy/conf"
)

// TestLeadIsBounded: by default, samples ahead of arrival do not move the clock; with max_lead, they move it at most
// that far ahead.
func TestLeadIsBounded(t *testing.T) {
	const now = int64(1_700_000_000_000)
	for _, c := range []struct{ lead, want int64 }{{0, now - 500}, {20_000, now + 20_000}, {90_000, now + 45_000}} {
		k := clockReach{now: now, ahead: now - 500, lead: c.lead, limit: now + 1_000_000}
		if got := k.of(now + 45_000); got != c.want {
			t.Errorf("lead %d: the clock is %d ms from arrival, want %d", c.lead, got-now, c.want-now)
		}
		if got := k.of(now - 7); got != now-7 {
			t.Errorf("lead %d: a sample in time moves the clock to %d ms from arrival", c.lead, got-now)
		}
	}
	cfg := Default()
	if cfg.MaxLead != 0 {
		t.Errorf("the default is %v", cfg.MaxLead)
	}
	cfg.MaxLead = cfg.MaxFuture + conf.Duration(time.Millisecond)
	d := conf.Parse("x.yaml", []byte("{}"), &struct{}{})
	cfg.Validate("windows", d)
	if d.Err() == nil {
		t.Error("a lead beyond max_future is accepted")
	}
}
