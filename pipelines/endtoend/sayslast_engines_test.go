//go:build engines

package endtoend

import (
	"slices"
	"testing"

	"github.com/weir-metrics/weir/schemas"
)

// TestSaysLast: what TestTakeover tolerates, and what it does not.
func TestSaysLast(t *testing.T) {
	events := func(text string) (all []change) {
		for _, c := range text {
			to := schemas.Firing
			if c%2 == 1 {
				to = schemas.Resolved
			}
			all = append(all, change{to, int64(c)})
		}
		return all
	}
	for _, c := range []struct {
		got, once string
		late      int
	}{
		{"0123", "0123", 0},
		{"00112333", "0123", 0},
		{"0101", "01", 1},         // a late change, then the newest again
		{"0123023", "0123023", 0}, // the newest does not follow at once
		{"010", "010", 0},         // nor at all: an incident that nobody ends
		{"01023", "01023", 0},     // nor at all
		{"01232", "01232", 0},     // nor at all
		{"012323", "0123", 1},
		{"012123", "0123", 1}, // resolved comes late, then firing again
	} {
		once, late := saysLast(events(c.got))
		want := slices.Compact(events(c.once))
		if late != c.late || !slices.Equal(once, want) {
			t.Errorf("%s: %v and %d late, want %v and %d", c.got, once, late, want, c.late)
		}
	}
}
