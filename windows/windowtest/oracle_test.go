package windowtest

import (
	"strings"
	"testing"

	"github.com/weir-metrics/weir/schemas"
)

var cpu = schemas.Series{Metric: "cpu", Labels: schemas.Labels{{Name: "host", Value: "a"}}}

func at(ms int64, v float64) schemas.Sample { return schemas.Sample{Series: cpu, TimeMS: ms, Value: v} }

// TestOracle compares the oracle with windows that were worked out by hand.
func TestOracle(t *testing.T) {
	got := Oracle([]schemas.Sample{
		at(12_000, 5),
		at(12_000, 5), // a repeat
		at(12_000, 7), // another value at the same time: it counts, and is the last there
		at(11_000, 2), // out of order
		at(11_000, 3), // the first value there arrived earlier
		at(19_999, 1),
		at(20_000, 9), // on the boundary: the next window
		at(-1, 4),
	}, 10_000, 60_000)
	window := func(tier, start int64, count uint32, sum, lo, hi, first, last float64, firstMS, lastMS int64) schemas.Window {
		return schemas.Window{
			Series: cpu, TierMS: tier, StartMS: start, Aggregate: schemas.Aggregate{Count: count, Sum: sum, Min: lo, Max: hi,
				First: first, Last: last, FirstOff: uint32(firstMS - start), LastOff: uint32(lastMS - start)},
		}
	}
	want := []schemas.Window{
		window(10_000, -10_000, 1, 4, 4, 4, 4, 4, -1, -1),
		window(10_000, 10_000, 5, 18, 1, 7, 2, 1, 11_000, 19_999),
		window(10_000, 20_000, 1, 9, 9, 9, 9, 9, 20_000, 20_000),
		window(60_000, -60_000, 1, 4, 4, 4, 4, 4, -1, -1),
		window(60_000, 0, 6, 27, 1, 9, 2, 9, 11_000, 20_000),
	}
	if len(got) != len(want) {
		t.Fatalf("%d windows, want %d: %+v", len(got), len(want), got)
	}
	for i := range want {
		if text(&got[i]) != text(&want[i]) {
			t.Errorf("got  %s\nwant %s", text(&got[i]), text(&want[i]))
		}
	}
	// With the later times cut off, the tie at 12_000 decides Last.
	if w := Oracle([]schemas.Sample{at(12_000, 5), at(12_000, 7)}, 10_000)[0]; w.First != 5 || w.Last != 7 {
		t.Errorf("first %v, last %v of a tie, want 5 and 7", w.First, w.Last)
	}
}

func TestCompareTellsEveryKindOfDifference(t *testing.T) {
	want := Oracle([]schemas.Sample{at(0, 0.1), at(1, 0.2), at(10_000, 3)}, 10_000)
	change := func(f func(ws []schemas.Window) []schemas.Window) []schemas.Window {
		return f(append([]schemas.Window(nil), want...))
	}
	field := func(f func(w *schemas.Window)) []schemas.Window {
		return change(func(ws []schemas.Window) []schemas.Window { f(&ws[0]); return ws })
	}
	if err := Compare(field(func(w *schemas.Window) { w.Sum *= 1 + 1e-13; w.Revision = 3 }), want); err != nil {
		t.Errorf("within the tolerance, another revision: %v", err)
	}
	for name, c := range map[string]struct {
		got  []schemas.Window
		says string
	}{
		"missing":    {want[:1], "missing: cpu"},
		"unexpected": {change(func(ws []schemas.Window) []schemas.Window { ws[1].StartMS += 10_000; return ws }), "unexpected: cpu"},
		"twice":      {change(func(ws []schemas.Window) []schemas.Window { return append(ws, ws[0]) }), "twice: cpu"},
		"sum":        {field(func(w *schemas.Window) { w.Sum *= 1 + 1e-11 }), "want cpu"},
		"count":      {field(func(w *schemas.Window) { w.Count++ }), "want cpu"},
		"min":        {field(func(w *schemas.Window) { w.Min-- }), "want cpu"},
		"max":        {field(func(w *schemas.Window) { w.Max++ }), "want cpu"},
		"first":      {field(func(w *schemas.Window) { w.First++ }), "want cpu"},
		"last":       {field(func(w *schemas.Window) { w.Last++ }), "want cpu"},
		"first time": {field(func(w *schemas.Window) { w.FirstOff++ }), "want cpu"},
		"last time":  {field(func(w *schemas.Window) { w.LastOff++ }), "want cpu"},
	} {
		if err := Compare(c.got, want); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want an error with %q", name, err, c.says)
		}
	}
}
