package alerts

import (
	"slices"
	"testing"
)

// TestReads: which metrics rules read, and how far back.
func TestReads(t *testing.T) {
	rules, err := Load(LoadConfig{TiersMS: []int64{10_000, 1800_000}}, File{Name: "r", Data: []byte(`
groups:
- name: g
  rules:
  - {alert: bare, expr: x > 1, for: 1m}
  - {alert: long, expr: 'avg(x, "1h") > avg(x, "30m", "1d") and y > hour()', for: 5m}
  - {alert: some, expr: x > 1, for: 3 of 5 windows, no_data: 2m}
`)})
	if err != nil {
		t.Fatal(err)
	}
	const minute = 60_000
	for i, want := range []Read{
		{"g/bare", []string{"x"}, 10_000, 6 * minute},
		{"g/long", []string{"x", "y"}, 1800_000, 24*60*minute + 35*minute},
		{"g/some", []string{"x"}, 10_000, 2*minute + 50_000},
	} {
		got := rules.Reads()[i]
		if got.Rule != want.Rule || !slices.Equal(got.Metrics, want.Metrics) || got.TierMS != want.TierMS || got.HistoryMS != want.HistoryMS {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}
