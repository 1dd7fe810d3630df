package operations

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/alerts/backtest"
	"github.com/weir-metrics/weir/processors/connect"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/consume"
	"github.com/weir-metrics/weir/schemas/topics"
)

// topicSource plays the topic windows: each window when it closed, and again when it was revised.
type topicSource struct {
	kafka   *connect.Kafka
	skipped int   // batches and records that cannot be read
	lost    int64 // records that were deleted before they were read
	silent  int64 // offsets at the ends of partitions for which no record came
}

func (s *topicSource) span(context.Context, *progress) (fromMS, toMS int64, err error) {
	fromMS, toMS = lastDay()
	return fromMS, toMS, nil
}

func (s *topicSource) hints() (all []string) {
	if s.skipped > 0 {
		all = append(all, fmt.Sprintf("batches or records of the topic %s that cannot be read: %d", topics.Windows, s.skipped))
	}
	if s.lost > 0 {
		all = append(all, fmt.Sprintf("records of the topic %s that were deleted while it was read: %d", topics.Windows, s.lost))
	}
	if s.silent > 0 {
		all = append(all, fmt.Sprintf("offsets at the ends of partitions of the topic %s without records, or with none that arrived within %s: %d", topics.Windows, silentFor, s.silent))
	}
	return all
}

const (
	// Partitions are read at their own pace. One that holds more than manyHeld records, because others lag, is paused until it
	// holds fewer than fewHeld.
	manyHeld, fewHeld = 2000, 500
	// silentFor is how long to wait for the last records of a partition. There may be none, as its last offsets may be markers.
	silentFor = 10 * time.Second
)

// reader reads a partition up to its end.
type reader struct {
	next, end int64
	held      []*schemas.WindowBatch
	paused    bool
}

func (r *reader) done() bool { return r.next >= r.end }

func (s *topicSource) play(ctx context.Context, to *backtest.Backtest, c *backtest.Config, say *progress) error {
	say.what = "windows"
	if err := s.kafka.Probe(ctx); err != nil {
		return err
	}
	_, historyMS := reads(c)
	from := c.FromMS - historyMS
	readers, cl, err := s.open(ctx, from)
	if err != nil {
		return err
	}
	defer cl.Close()
	for unread(readers) {
		poll, cancel := context.WithTimeout(ctx, silentFor)
		fetches := cl.PollFetches(poll)
		cancel()
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fetches.Err(); err != nil && fetches.NumRecords() == 0 && poll.Err() == nil {
			return fmt.Errorf("topic %s: %w", topics.Windows, s.kafka.Explain(err))
		}
		fetches.EachRecord(func(r *kgo.Record) { s.take(readers[r.Partition], r, c) })
		if fetches.NumRecords() == 0 {
			s.finish(readers)
		}
		n := 0
		for b := oldest(readers); b != nil; b = oldest(readers) {
			n += playBatch(to, b)
		}
		pace(cl, readers)
		say.playing(n, from, to.NowMS(), c.ToMS)
	}
	return nil
}

// open starts to read each partition at its first record from fromMS on.
func (s *topicSource) open(ctx context.Context, fromMS int64) (map[int32]*reader, *consume.Client, error) {
	admin, err := consume.New(consume.Watch{}, s.kafka.Options()...)
	if err != nil {
		return nil, nil, err
	}
	defer admin.Close()
	adm := kadm.NewClient(admin.Client)
	starts, err := adm.ListOffsetsAfterMilli(ctx, fromMS, topics.Windows)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("topic %s: %w", topics.Windows, s.kafka.Explain(err))
	}
	ends, err := adm.ListEndOffsets(ctx, topics.Windows)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("topic %s: %w", topics.Windows, s.kafka.Explain(err))
	}
	readers := map[int32]*reader{}
	at := map[int32]kgo.Offset{}
	starts.Each(func(o kadm.ListedOffset) {
		end, _ := ends.Lookup(topics.Windows, o.Partition)
		readers[o.Partition] = &reader{next: o.Offset, end: end.Offset}
		if o.Offset < end.Offset {
			at[o.Partition] = kgo.NewOffset().At(o.Offset)
		}
	})
	watch := consume.Watch{Skipped: func(consume.Batch) { s.skipped++ }, Lost: func(g consume.Gap) { s.lost += g.Records() }}
	cl, err := consume.New(watch, append([]kgo.Opt{
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topics.Windows: at}),
		kgo.FetchMaxBytes(8 << 20), kgo.FetchMaxPartitionBytes(1 << 20), kgo.FetchMaxWait(500 * time.Millisecond),
	}, s.kafka.Options()...)...)
	return readers, cl, err
}

// take holds a record's windows. The first record after the report's time ends the partition.
func (s *topicSource) take(p *reader, r *kgo.Record, c *backtest.Config) {
	if p == nil || p.done() {
		return
	}
	p.next = r.Offset + 1
	if consume.SkippedBatch(r) != nil {
		return
	}
	b, err := schemas.DecodeWindowBatch(r.Value)
	if err != nil {
		s.skipped++
		return
	}
	if b.EmitMS >= c.ToMS {
		p.end = p.next
		return
	}
	b.Group = string(r.Key)
	p.held = append(p.held, b)
}

func unread(readers map[int32]*reader) bool {
	for _, p := range readers {
		if !p.done() || len(p.held) > 0 {
			return true
		}
	}
	return false
}

// finish ends the partitions for which no more records come, unless they are paused.
func (s *topicSource) finish(readers map[int32]*reader) {
	for _, p := range readers {
		if !p.paused && !p.done() {
			s.silent += p.end - p.next
			p.end = p.next
		}
	}
}

// oldest removes and returns the batch that was emitted first, or nil while a partition may still hold an earlier one.
func oldest(readers map[int32]*reader) *schemas.WindowBatch {
	var first *reader
	least, which := int64(math.MaxInt64), int32(0)
	for i, p := range readers {
		switch {
		case len(p.held) == 0 && !p.done():
			return nil
		case len(p.held) == 0:
		case first == nil || p.held[0].EmitMS < least || p.held[0].EmitMS == least && i < which:
			first, least, which = p, p.held[0].EmitMS, i
		}
	}
	if first == nil {
		return nil
	}
	b := first.held[0]
	first.held = first.held[1:]
	return b
}

// playBatch plays a batch. Windows of one tier and end are played together, as they closed together.
func playBatch(to *backtest.Backtest, b *schemas.WindowBatch) int {
	for rest := b.Windows; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].TierMS == rest[0].TierMS && rest[n].StartMS == rest[0].StartMS {
			n++
		}
		to.Windows(b.Group, b.EmitMS, rest[0].TierMS, rest[0].EndMS(), rest[:n])
		rest = rest[n:]
	}
	return len(b.Windows)
}

// pace keeps a partition from being read far ahead of the others.
func pace(cl *consume.Client, readers map[int32]*reader) {
	for i, p := range readers {
		one := map[string][]int32{topics.Windows: {i}}
		switch {
		case !p.paused && len(p.held) > manyHeld:
			p.paused = true
			cl.PauseFetchPartitions(one)
		case p.paused && len(p.held) < fewHeld:
			p.paused = false
			cl.ResumeFetchPartitions(one)
		}
	}
}
