package windows

import (
	"math/rand/v2"
	"testing"

	"github.com/weir-metrics/weir/schemas"
)

// TestSeriesIndex: a series is found by its place and by its name, whatever else is added, and however often series are
// forgotten.
func TestSeriesIndex(t *testing.T) {
	rnd := rand.New(rand.NewPCG(seed(t), 0))
	all := testSeries(700)
	cfg := Default()
	sh := NewShard(&cfg, 0, nil)
	g := NewGroup(sh)
	live := map[schemas.ID]schemas.Series{}
	for range 2000 {
		s := all[rnd.IntN(len(all))]
		if _, ok := live[s.ID()]; !ok {
			g.series.add(s, s.ID(), 0)
			live[s.ID()] = s
			sh.total++
		}
		if rnd.IntN(200) == 0 {
			to, kept := make([]int, g.Series()), 0
			for i := range to {
				if rnd.IntN(3) > 0 {
					kept++
					to[i] = kept
				} else {
					delete(live, g.series.ids[i])
				}
			}
			g.keep(sh, to, kept)
		}
	}
	text, pairs := 0, map[schemas.Label]bool{}
	for id, s := range live {
		i := g.series.find(id)
		if i < 0 {
			t.Fatalf("%s is not found", s)
		}
		if got := g.series.name(i); got.String() != s.String() {
			t.Errorf("place %d is %s, want %s", i, got, s)
		}
		text += textBytes(s)
		pairs[schemas.Label{Value: s.Metric}] = true
		for _, l := range s.Labels {
			pairs[l] = true
		}
	}
	if g.Series() != len(live) || sh.Series() != len(live) || g.series.textBytes != text || len(g.series.dict) != len(pairs) {
		t.Errorf("%d series, %d in the shard, %d bytes, %d pairs; want %d, %d, %d and %d",
			g.Series(), sh.Series(), g.series.textBytes, len(g.series.dict), len(live), len(live), text, len(pairs))
	}
	if i := g.series.find(schemas.Series{Metric: "unknown"}.ID()); i != -1 {
		t.Errorf("a series that was never added is at %d", i)
	}
}
