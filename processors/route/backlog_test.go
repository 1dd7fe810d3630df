package route

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas/topics"
)

// poll makes the result of a poll of a partition: its last offset, and the end of the partition.
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
		tails.polled(f, now)
		n := 0
		err := tails.next(now, func(r *kgo.Record, waited bool) error {
			n++
			if r.Partition != partition || waited != want {
				t.Errorf("%s: waited is %v, of partition %d", what, waited, r.Partition)
			}
			return nil
		})
		if err != nil || n != 1 {
			t.Errorf("%s: %d records, %v", what, n, err)
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

// TestTailsMerge: lagging partitions are handed on in order of time, each as far as the slowest has been read. A partition
// from which nothing comes does not hold up the others for long.
func TestTailsMerge(t *testing.T) {
	var tails tails
	now := time.Unix(1_700_000_000, 0)
	tails.begin(now)
	begin := now.Add(-time.Hour)
	value := make([]byte, maxHeld/280)
	records := func(p int32, from, to, step int64, end int64) kgo.Fetches {
		f := kgo.FetchPartition{Partition: p, HighWatermark: end}
		for at := from; at <= to; at += step {
			f.Records = append(f.Records, &kgo.Record{Partition: p, Offset: at / step, Timestamp: begin.Add(time.Duration(at) * time.Second), Value: value})
		}
		return kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: topics.Metrics, Partitions: []kgo.FetchPartition{f}}}}}
	}
	step := func(want string, polls ...kgo.Fetches) {
		t.Helper()
		for _, f := range polls {
			tails.polled(f, now)
		}
		newest := map[int32]int64{}
		err := tails.next(now, func(r *kgo.Record, waited bool) error {
			at := int64(r.Timestamp.Sub(begin).Seconds())
			if before, ok := newest[r.Partition]; ok && at <= before || !waited {
				t.Errorf("partition %d: %d after %d, waited %v", r.Partition, at, before, waited)
			}
			newest[r.Partition] = at
			return nil
		})
		some, full := tails.waiting()
		if got := fmt.Sprint(newest, " wait ", some, full); err != nil || got != want {
			t.Errorf("handed on up to %s, want %s (%v)", got, want, err)
		}
	}
	// Partition 0 has ten records for each record of partition 1, and partition 1 is read in one poll.
	step("map[0:99 1:90] wait true [1]", records(0, 0, 99, 1, 3000), records(1, 0, 3000, 10, 301))
	step("map[0:199 1:190] wait true [1]", records(0, 100, 199, 1, 3000))
	step("map[0:299 1:290] wait true []", records(0, 200, 299, 1, 3000)) // less than it takes to stop
	step("map[] wait true []")
	now = now.Add(silentAfter)
	step("map[1:3000] wait false []")
	step("map[0:399] wait false []", records(0, 300, 399, 1, 3000))
	step("map[0:3000] wait false []", records(0, 400, 3000, 1, 3001))
}
