package windowtest

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strings"

	"github.com/weir-metrics/weir/schemas"
)

// SumTolerance is how far a sum may be off, relative to the exact sum: the same numbers added in
// another order differ in the last bits. It is meant for samples of one sign; where they cancel,
// the exact sum is no fair scale.
const SumTolerance = 1e-12

type key struct {
	series  string
	tierMS  int64
	startMS int64
}

// Oracle returns every window of every tier that the samples belong to, sorted by
// tier, series text and start, with Part and Revision 0. The order of samples is
// the order of arrival: of several samples at the first (last) event time of a
// window, First (Last) is the one that arrived first (last). The same series, time, to the ns,
// and value counts once, however often it arrives; 0 and -0 are one value, and windows hold 0.
func Oracle(samples []schemas.Sample, tiersMS ...int64) []schemas.Window {
	type point struct {
		series string
		timeMS int64
		subNS  uint32
		bits   uint64
	}
	seen := map[point]bool{}
	windows := map[key]*schemas.Window{}
	sums := map[key]*big.Float{}
	for _, s := range samples {
		name := s.Series.String()
		if s.Value == 0 {
			s.Value = 0
		}
		p := point{name, s.TimeMS, s.SubNS, math.Float64bits(s.Value)}
		if seen[p] {
			continue
		}
		seen[p] = true
		for _, tier := range tiersMS {
			start := floor(s.TimeMS, tier)
			k := key{name, tier, start}
			w := windows[k]
			if w == nil {
				off := uint32(s.TimeMS - start)
				w = &schemas.Window{Series: s.Series, TierMS: tier, StartMS: start,
					Aggregate: schemas.Aggregate{Min: s.Value, Max: s.Value, First: s.Value, FirstOff: off, Last: s.Value, LastOff: off}}
				windows[k], sums[k] = w, new(big.Float).SetPrec(256)
			}
			w.Count++
			sums[k].Add(sums[k], big.NewFloat(s.Value))
			w.Min, w.Max = min(w.Min, s.Value), max(w.Max, s.Value)
			if s.TimeMS < w.FirstMS() {
				w.First, w.FirstOff = s.Value, uint32(s.TimeMS-start)
			}
			if s.TimeMS >= w.LastMS() {
				w.Last, w.LastOff = s.Value, uint32(s.TimeMS-start)
			}
		}
	}
	keys := slices.SortedFunc(maps.Keys(windows), func(a, b key) int {
		return cmp.Or(cmp.Compare(a.tierMS, b.tierMS), cmp.Compare(a.series, b.series), cmp.Compare(a.startMS, b.startMS))
	})
	all := make([]schemas.Window, len(keys))
	for i, k := range keys {
		all[i] = *windows[k]
		all[i].Sum, _ = sums[k].Float64()
	}
	return all
}

// floor is the start of the window of length tier that t lies in, also before 1970.
func floor(t, tier int64) int64 {
	start := t - t%tier
	if start > t {
		start -= tier
	}
	return start
}

// maxTold bounds the differences that an error of Compare spells out.
const maxTold = 10

// Compare returns an error that tells how got differs from want, or nil. got must hold merged
// windows: the same window twice is a difference. Sums may be off by SumTolerance; everything else
// must be equal; Part and Revision are ignored. The error names the first 10 windows that are
// missing, unexpected or different, and counts the rest.
func Compare(got, want []schemas.Window) error {
	expected := make(map[key]*schemas.Window, len(want))
	for i := range want {
		expected[keyOf(&want[i])] = &want[i]
	}
	var faults []string
	seen := make(map[key]bool, len(got))
	for i := range got {
		g := &got[i]
		k := keyOf(g)
		w := expected[k]
		switch {
		case seen[k]:
			faults = append(faults, "twice: "+text(g))
		case w == nil:
			faults = append(faults, "unexpected: "+text(g))
		case !equal(g, w):
			faults = append(faults, "got  "+text(g)+"\n  want "+text(w))
		}
		seen[k] = true
	}
	for i := range want {
		if !seen[keyOf(&want[i])] {
			faults = append(faults, "missing: "+text(&want[i]))
		}
	}
	if len(faults) == 0 {
		return nil
	}
	n := len(faults)
	if n > maxTold {
		faults = append(faults[:maxTold], fmt.Sprintf("and %d more", n-maxTold))
	}
	return fmt.Errorf("%d of %d windows differ:\n  %s", n, len(want), strings.Join(faults, "\n  "))
}

func keyOf(w *schemas.Window) key { return key{w.Series.String(), w.TierMS, w.StartMS} }

func equal(g, w *schemas.Window) bool {
	return g.Count == w.Count && g.Min == w.Min && g.Max == w.Max &&
		g.First == w.First && g.Last == w.Last && g.FirstOff == w.FirstOff && g.LastOff == w.LastOff &&
		math.Abs(g.Sum-w.Sum) <= SumTolerance*math.Abs(w.Sum)
}

func text(w *schemas.Window) string {
	return fmt.Sprintf("%s %s [%d, %d) count=%d sum=%v min=%v max=%v first=%v@%d last=%v@%d revision=%d part=%d",
		w.Series, schemas.TierName(w.TierMS), w.StartMS, w.EndMS(), w.Count, w.Sum, w.Min, w.Max,
		w.First, w.FirstMS(), w.Last, w.LastMS(), w.Revision, w.Part)
}
