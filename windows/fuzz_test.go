package windows

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas"
)

// FuzzDecodeGroup feeds DecodeGroup arbitrary bytes. It must refuse them, or return a group that works and that
// survives encoding and decoding.
func FuzzDecodeGroup(f *testing.F) {
	cfg := Default()
	rnd := rand.New(rand.NewPCG(1, 1))
	for n := range 6 {
		cfg := cfg
		cfg.MaxSeriesPerMetric = 1 + n/3 // with and without overflow series
		sh := NewShard(&cfg, 0, nil)
		g := NewGroup(sh)
		var r Result
		for i, s := range trace(rnd, testSeries(10), 200) {
			var b schemas.BatchBuilder
			b.Begin(schemas.Origin{Epoch: 1, Offset: int64(i)}, 0)
			b.Add(&s.Series, s.Series.Hash(), s.TimeMS, s.Value)
			var sb schemas.SampleBatch
			if err := sb.Decode(b.AppendTo(nil)); err != nil {
				f.Fatal(err)
			}
			g.Apply(sh, &sb, int64(i), s.TimeMS, &r)
		}
		f.Add(g.AppendTo(sh, nil))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		sh := NewShard(&cfg, 0, nil)
		g, err := DecodeGroup(sh, b)
		if err != nil {
			if !errors.Is(err, ErrState) && !errors.Is(err, ErrTiers) && !errors.Is(err, schemas.ErrVersion) {
				t.Fatalf("unnamed error: %v", err)
			}
			return
		}
		again := g.AppendTo(sh, nil)
		g2, err := DecodeGroup(sh, again)
		if err != nil {
			t.Fatalf("an encoded group does not decode: %v", err)
		}
		if string(g2.AppendTo(sh, nil)) != string(again) {
			t.Fatal("encoding is not stable")
		}
	})
}

func TestOtherTiersAreRefused(t *testing.T) {
	cfg := Default()
	sh := NewShard(&cfg, 0, nil)
	state := NewGroup(sh).AppendTo(sh, nil)
	cfg.Tiers = cfg.Tiers[:2]
	if _, err := DecodeGroup(NewShard(&cfg, 0, nil), state); !errors.Is(err, ErrTiers) {
		t.Fatalf("decoded for other tiers: %v", err)
	}
}

func TestConfig(t *testing.T) {
	for _, tc := range []struct{ yaml, fault string }{
		{"tiers: [{size: 10s, grace: 2s, ttl: 7d}]", ""},
		{"tiers: []", "windows.tiers: \"0\": must be 1 to 8 tiers"},
		{"tiers: [{size: 500ms, ttl: 7d}]", "windows.tiers[0].size: \"500ms\": must be a whole number of seconds, at least 1s"},
		{"tiers: [{size: 1s, ttl: 7d}]", ""},
		{"tiers: [{size: 2h, ttl: 7d}]", "must be at most 1h for the smallest tier"},
		{"tiers: [{size: 10s, ttl: 7d}, {size: 25s, ttl: 7d}]", "windows.tiers[1].size: \"25s\": must be a multiple of the tier before, 10s"},
		{"tiers: [{size: 10s, ttl: 7d}, {size: 2d, ttl: 7d}]", "must be at most 1d"},
		{"tiers: [{size: 10s, grace: 11s, ttl: 7d}]", "windows.tiers[0].grace: \"11s\": must be at least 0s and at most the tier's size"},
		{"tiers: [{size: 10s, grace: 10s, ttl: 7d}]", ""},
		{"tiers: [{size: 10s, grace: 2s, ttl: 7d}, {size: 1m, grace: 1s, ttl: 7d}]", "must be at least that of the tier before, 2s"},
		{"tiers: [{size: 10s, ttl: 10s}]", "windows.tiers[0].ttl: \"10s\": must be more than the tier's size"},
		{"max_age: 59s", "windows.max_age: \"59s\": must be at least 1m"},
		{"max_age: 1m", ""},
		{"max_future: -1s", "windows.max_future: \"-1s\": must be at least 0s"},
		{"max_series: 0", "windows.max_series: \"0\": must be 1 to 65535"},
		{"max_series: 65536", "must be 1 to 65535"},
		{"max_series: 65535", ""},
		{"max_series_per_metric: 0", "windows.max_series_per_metric: \"0\": must be 1 to 65535"},
		{"max_series_per_metric: 65536", "must be 1 to 65535"},
		{"max_series_per_metric: 65535", ""},
		{"max_series_total: 0", "windows.max_series_total: \"0\": must be 1 to 1000000000"},
		{"max_series_total: 1000000001", "must be 1 to 1000000000"},
		{"max_series_total: 1000000000", ""},
		{"max_rate: 0", "windows.max_rate: \"0\": must be 1 to 1000000 samples a second"},
		{"max_rate: 1000001", "must be 1 to 1000000"},
		{"max_rate: 1000000", ""},
		{"group_labels: [a]", "windows"},
	} {
		into := struct {
			Windows Config `yaml:"windows"`
		}{Default()}
		d := conf.Parse("weir.yaml", []byte("windows: {"+tc.yaml+"}"), &into)
		into.Windows.Validate("windows", d)
		err := d.Err()
		switch {
		case tc.fault == "" && err != nil:
			t.Errorf("%s: %v", tc.yaml, err)
		case tc.fault != "" && (err == nil || !strings.Contains(err.Error(), tc.fault)):
			t.Errorf("%s: got %v, want %s", tc.yaml, err, tc.fault)
		}
	}
}
