package windows

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-metrics/weir/schemas"
)

// goldenConfig has limits that even a small group meets.
func goldenConfig() Config {
	cfg := Default()
	cfg.MaxSeries, cfg.MaxSeriesPerMetric, cfg.MaxRate = 30, 8, 40
	return cfg
}

// goldenGroup returns a group with some of everything that a state can hold. It uses only what existed in version 2 of
// the state, which wrote group_v2.golden.
func goldenGroup(t *testing.T, sh *Shard) *Group {
	rnd := rand.New(rand.NewPCG(1, 2))
	series, g, now := testSeries(60), NewGroup(sh), int64(1_700_000_000_000)
	var r Result
	for i := range 200 {
		now += rnd.Int64N(9_000)
		var bb schemas.BatchBuilder
		bb.Begin(schemas.Origin{Epoch: 7, Partition: int32(i % 3), Offset: int64(i)}, uint32(i%2))
		if i%50 == 49 {
			bb.Behind()
		}
		for j := range series[:20+i/5] {
			ts := now - rnd.Int64N(500)
			switch {
			case j%2 == 0:
				ts = now // a row
			case rnd.IntN(30) == 0:
				ts = now - rnd.Int64N(90_000) // late
			case rnd.IntN(50) == 0:
				ts = now + 70_000 // refused
			}
			bb.Add(&series[j], series[j].Hash(), ts, float64(rnd.IntN(9))+0.5)
		}
		var b schemas.SampleBatch
		if err := b.Decode(bb.AppendTo(nil)); err != nil {
			t.Fatal(err)
		}
		g.Apply(sh, &b, int64(i), now, &r)
		r.Reset()
	}
	return g
}

// TestStateGolden: the states in testdata, written by earlier versions, decode and, when everything closes, emit what the
// file next to each says. Today's bytes equal those of the newest; if they change, the state needs a new version.
func TestStateGolden(t *testing.T) {
	for _, version := range []int{2, 3} {
		cfg := goldenConfig()
		sh := NewShard(&cfg, 0, nil)
		file := filepath.Join("testdata", fmt.Sprintf("group_v%d.golden", version))
		if version == stateVersion && *rewrite {
			if err := os.WriteFile(file, goldenGroup(t, sh).AppendTo(sh, nil), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		state, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if version == stateVersion {
			if now := goldenGroup(t, sh).AppendTo(sh, nil); !bytes.Equal(now, state) {
				t.Errorf("%s: today's bytes differ: %d bytes, want %d", file, len(now), len(state))
			}
		}
		g, err := DecodeGroup(sh, state)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if again := g.AppendTo(sh, nil); version == stateVersion && !bytes.Equal(again, state) {
			t.Errorf("%s: decoded and encoded again, the bytes differ", file)
		}
		var r Result
		g.CloseAll(sh, g.NewestMS(), &r)
		got := strings.Join((&tracer{t: t}).print(&r), "\n") + "\n"
		file += ".closed"
		if *rewrite {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s: now it emits\n%s\nwant\n%s", file, got, want)
		}
	}
}
