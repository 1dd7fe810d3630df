package route

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"weir/schemas/topics"
)

// poll makes what a poll returns of a partition: its last offset, and where it ends.
func poll(partition int32, last, end int64) kgo.Fetches {
	return kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: topics.Metrics, Partitions: []kgo.FetchPartition{
		{Partition: partition, HighWatermark: end, Records: []*kgo.Record{{Partition: partition, Offset: last}}}}}}}}
}

func TestTails(t *testing.T) {
	var tails tails
	now := time.Unix(1_700_000_000, 0)
	tails.begin(now)
	step := func(what string, pause, wait time.Duration, f kgo.Fetches, partition int32, want bool) {
		t.Helper()
		now = now.Add(pause) // until the next poll begins
		tails.polling(now)
		now = now.Add(wait) // until it returns
		if got := tails.polled(f, now)[partition]; got != want {
			t.Errorf("%s: waited is %v", what, got)
		}
	}
	step("nothing is known of a partition", 0, 0, poll(0, 99, 1000), 0, true)
	step("the backlog goes on", time.Second, 0, poll(0, 499, 1000), 0, true)
	step("its end is reached", time.Second, 0, poll(0, 999, 1000), 0, true)
	step("it is read as it is written", time.Second, 0, poll(0, 1000, 1001), 0, false)
	step("after an idle hour", time.Second, time.Hour, poll(0, 1001, 1003), 0, false)
	step("a little behind", time.Second, 0, poll(0, 1002, 1090), 0, false)
	step("behind for long", 10*time.Second, 0, poll(0, 1003, 1090), 0, true)
	step("the end again", time.Second, 0, poll(0, 1089, 1090), 0, true)
	step("a stall before the poll", 11*time.Second, 0, poll(0, 1090, 1091), 0, true)
	step("after the stall", time.Second, 0, poll(0, 1091, 1092), 0, false)
	step("another partition", time.Second, 0, poll(1, 5, 6), 1, true)
	tails.lost([]int32{0})
	step("a partition that was away", time.Second, 0, poll(0, 1092, 1093), 0, true)
}
