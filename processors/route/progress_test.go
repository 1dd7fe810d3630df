package route

import (
	"slices"
	"testing"
	"time"

	"github.com/weir-metrics/weir/schemas"
)

// TestProgress: a partition has been handed on up to the newest look at its end that was handed on, even while the backlog
// grows. Nothing is reported about partitions that are not owned.
func TestProgress(t *testing.T) {
	var p progress
	begin := time.Unix(1_700_000_000, 0)
	now := begin
	p.begin(7, "me")
	p.gained([]int32{3})
	age := func(when string, want int64) {
		t.Helper()
		if got := p.of[3].ageMS(now); got != want {
			t.Errorf("%s: %d ms, want %d", when, got, want)
		}
	}
	age("nothing is known", schemas.Unseen)
	p.looked(3, 100, 40, now)
	age("60 wait", schemas.Unseen)
	p.handed(3, 90)
	age("10 wait", schemas.Unseen)
	now = now.Add(time.Second)
	p.handed(3, 100)
	age("all that was there is handed on", 1000)
	p.looked(3, 100, 0, now)
	age("nothing came since", 0)
	now = now.Add(time.Second)
	p.looked(3, 150, 0, now)
	p.handed(3, 149)
	age("one is missing", 1000)
	now = now.Add(time.Second)
	p.looked(3, 200, 0, now)
	p.handed(3, 170)
	age("level with the look before", 1000)
	p.looked(3, 200, 200, now) // committed by another member, or deleted
	age("somebody else has handed them on", 0)
	for i := range int64(100_000) { // nothing is handed on any more, but more records come
		now = now.Add(lookEvery)
		p.looked(3, 201+i, 0, now)
	}
	if n := len(p.of[3].looks); n > maxLooks {
		t.Errorf("%d looks are remembered", n)
	}
	age("route stands still", 100_000*lookEvery.Milliseconds())
	p.handed(3, 201+90_000)
	if got := p.of[3].ageMS(now); got < 10_000*lookEvery.Milliseconds() {
		t.Errorf("level %d ms ago, which is too late", got)
	}
	p.handed(5, 10)
	p.looked(5, 10, 10, now)
	said := p.say(now)
	if len(said) != 1 || said[0].Partition != 3 || said[0].Offset != 90_201 || said[0].End != 100_200 || said[0].Owner != "me" || said[0].Epoch != 7 {
		t.Errorf("reported %+v", said)
	}
	if said = p.say(now.Add(sayEvery / 2)); len(said) != 0 {
		t.Errorf("reported again: %+v", said)
	}
	p.handed(3, 100_200)
	if said = p.say(now.Add(sayEvery / 2)); len(said) != 1 {
		t.Error("it was not reported at once that the partition has no backlog")
	}
	if said = p.say(now.Add(2 * sayEvery)); len(said) != 1 {
		t.Error("nothing was reported for too long")
	}
	p.lost([]int32{3})
	if said = p.say(now.Add(time.Hour)); len(said) != 0 || !slices.Equal(said, nil) {
		t.Errorf("reported on a partition that was lost: %+v", said)
	}
}
