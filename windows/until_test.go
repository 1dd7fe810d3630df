package windows

import (
	"math"
	"testing"

	"github.com/weir-metrics/weir/schemas"
)

// TestUntil: a tick moves a group's clock only as far as route has read the partitions from which the group gets samples.
// The group waits neither for other partitions, nor for one that gave it samples long ago, nor for those of a topic that
// was deleted.
func TestUntil(t *testing.T) {
	const minute = int64(60_000)
	mark := func(epoch uint64, partition int32, newest int64) originMark {
		return originMark{epoch: epoch, partition: partition, newest: newest}
	}
	const now = 100 * minute
	behind := func(bs ...schemas.Behind) *schemas.Tick { return &schemas.Tick{NowMS: now, Epoch: 1, Behind: bs} }
	three := behind(schemas.Behind{Partition: 3, HandedMS: 90 * minute})
	for name, c := range map[string]struct {
		origins []originMark
		tick    *schemas.Tick
		want    int64
	}{
		"route is behind with nothing":            {[]originMark{mark(1, 3, 50*minute)}, behind(), now},
		"with a partition of the group":           {[]originMark{mark(1, 2, 50*minute), mark(1, 3, 50*minute)}, three, 90 * minute},
		"with another":                            {[]originMark{mark(1, 2, 50*minute)}, three, now},
		"with two of the group":                   {[]originMark{mark(1, 2, 50*minute), mark(1, 3, 50*minute)}, behind(schemas.Behind{Partition: 2, HandedMS: 80 * minute}, schemas.Behind{Partition: 3, HandedMS: 90 * minute}), 80 * minute},
		"one that gave nothing for long":          {[]originMark{mark(1, 3, 40*minute), mark(1, 2, 50*minute)}, three, now},
		"one that gave nothing for a while":       {[]originMark{mark(1, 3, 41*minute), mark(1, 2, 50*minute)}, three, 90 * minute},
		"one of a topic that is gone":             {[]originMark{mark(7, 3, 50*minute), mark(1, 2, 50*minute)}, three, now},
		"all of a topic that is gone":             {[]originMark{mark(7, 3, 50*minute)}, three, 90 * minute},
		"nothing has come from anywhere":          {nil, three, 90 * minute},
		"it may come from anywhere":               {[]originMark{mark(0, unknownOrigin, 50*minute), mark(1, 2, 50*minute)}, three, 90 * minute},
		"it came from where it comes":             {[]originMark{mark(0, unknownOrigin, 30*minute), mark(1, 2, 50*minute)}, three, now},
		"all that came from there was refused":    {[]originMark{mark(1, 3, math.MinInt64), mark(1, 2, 50*minute)}, three, now},
		"all that came from anywhere was refused": {[]originMark{mark(1, 3, math.MinInt64)}, three, 90 * minute},
		"nobody knows of route":                   {[]originMark{mark(7, 2, 50*minute)}, &schemas.Tick{NowMS: now, Unknown: true}, schemas.NoTime},
		"before 1970":                             {[]originMark{mark(1, 3, -50*minute), mark(1, 2, -50*minute)}, three, 90 * minute},
	} {
		g := &Group{origins: c.origins}
		if got := g.Until(c.tick); got != c.want {
			t.Errorf("%s: until %d min, want %d", name, got/minute, c.want/minute)
		}
	}
}
