package windows

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/weir-metrics/weir/schemas"
)

// TestSortedIDs: IDs are sorted, however many there are and whatever their first bits.
func TestSortedIDs(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 2, 3, 7, 8, 1000, 70_000} {
		for name, hi := range map[string]func() uint64{
			"spread": rnd.Uint64, "close": func() uint64 { return 1<<63 | rnd.Uint64N(5) }, "same": func() uint64 { return 7 }} {
			set := map[schemas.ID]struct{}{}
			for len(set) < n {
				set[schemas.ID{Hi: hi(), Lo: rnd.Uint64()}] = struct{}{}
			}
			if got, want := sortedIDs(set), slices.SortedFunc(maps.Keys(set), compareIDs); !slices.Equal(got, want) {
				t.Errorf("%d IDs, %s: not in order, or not all", n, name)
			}
		}
	}
}
