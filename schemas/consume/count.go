package consume

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// countQuiet is how long nothing must come before what is missing is taken to be gone.
const countQuiet = 2 * time.Second

// Count returns how many records there are from one offset up to another: committed records, and
// batches that cannot be read. Nobody knows what an open transaction holds: the offsets from there
// on count as records. It is meant for short stretches.
func Count(ctx context.Context, opts []kgo.Opt, topic string, partition int32, from, to int64) (int64, error) {
	c, err := New(Watch{}, append(append([]kgo.Opt{}, opts...), kgo.KeepControlRecords(), kgo.FetchMaxWait(countQuiet/8),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(from)}}))...)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	n, next := int64(0), from
	for heard := time.Now(); next < to && time.Since(heard) < countQuiet; {
		short, cancel := context.WithTimeout(ctx, countQuiet/4)
		fetches := c.PollFetches(short)
		cancel()
		for _, e := range fetches.Errors() {
			if ctx.Err() != nil || !errors.Is(e.Err, context.DeadlineExceeded) {
				return 0, e.Err
			}
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			for _, r := range p.Records {
				heard = time.Now()
				if next = r.Offset + 1; r.Offset < to && !r.Attrs.IsControl() {
					n++
				}
			}
		})
	}
	if next < to { // nothing readable: is it held by an open transaction?
		lso, err := lastStable(ctx, c, topic, partition)
		if err != nil {
			return 0, err
		}
		n += max(0, to-max(next, lso))
	}
	return n, nil
}

// lastStable returns the offset at which the first open transaction begins, or the end.
func lastStable(ctx context.Context, c *Client, topic string, partition int32) (int64, error) {
	ends, err := kadm.NewClient(c.Client).ListCommittedOffsets(ctx, topic)
	if err != nil {
		return 0, err
	}
	o, _ := ends.Lookup(topic, partition)
	return o.Offset, o.Err
}
