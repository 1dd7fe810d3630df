package window

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/windows"
)

// TestLostRulesSayWhatIsFalse: a group that has lost its value reports false conditions as well, because it may have reported
// them as true before; once, also across restarts.
func TestLostRulesSayWhatIsFalse(t *testing.T) {
	cfg := windows.Default()
	rules, err := alerts.Load(alerts.LoadConfig{TiersMS: cfg.TiersMS()}, alerts.File{Name: "rules.yaml", Data: []byte("- name: g\n  rules:\n  - {alert: early, expr: load < 3}\n")})
	if err != nil {
		t.Fatal(err)
	}
	b := newBenchOf(t, cfg, rules)
	restart := func(harm func(last *kgo.Record)) {
		t.Helper()
		b.checkpoint()
		last := *b.table[len(b.table)-1]
		if err := b.driven.Close(0); err != nil {
			t.Fatal(err)
		}
		if _, err := b.driven.Open(0); err != nil {
			t.Fatal(err)
		}
		if harm != nil {
			harm(&last)
			last.Offset = int64(len(b.table))
			b.table = append(b.table, &last)
			if err := b.driven.Load(0, &last); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.driven.Recovered(0); err != nil {
			t.Fatal(err)
		}
		b.driven.Joined()
	}
	for range 3 {
		b.send("a", 10_000, 0, "load") // 0, 1, 2
	}
	if len(b.conds) == 0 || !b.conds[len(b.conds)-1].True {
		t.Fatalf("before the loss: %+v", b.conds)
	}
	restart(func(last *kgo.Record) { last.Value = []byte("rubbish") })
	b.conds = nil
	for range 3 {
		for range 3 {
			b.send("a", 10_000, 0, "load") // 3 and more
		}
		restart(nil)
	}
	if len(b.conds) != 1 || b.conds[0].True || b.conds[0].Rule != "g/early" {
		t.Errorf("%d conditions after the loss, want one, false: %+v", len(b.conds), b.conds)
	}
}
