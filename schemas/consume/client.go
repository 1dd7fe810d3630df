package consume

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Watch is what is told of what a client could not read. Both may be nil. They are called
// by whoever polls.
type Watch struct {
	// Skipped is told of a batch that does not unpack.
	Skipped func(Batch)
	// Lost is told of records that retention took before they were read.
	Lost func(Gap)
}

// Batch is one that was skipped: the offsets From to To, both included, and why.
type Batch struct {
	Topic     string
	Partition int32
	From, To  int64
	Reason    string
}

// String says it in a sentence.
func (b *Batch) String() string {
	return fmt.Sprintf("offsets %d to %d of %s/%d were skipped: the batch cannot be read: %s", b.From, b.To, b.Topic, b.Partition, b.Reason)
}

// Gap is offsets that are gone: From to To, both included. Some of them may have been
// markers of transactions, which are no records.
type Gap struct {
	Topic     string
	Partition int32
	From, To  int64
}

// Records is how many offsets are gone.
func (g *Gap) Records() int64 { return g.To - g.From + 1 }

// Client is a kgo.Client that reads as the package says. Poll it through PollFetches and
// PollRecords of this type only.
type Client struct {
	*kgo.Client
	watch Watch
	unzip *unpacker

	mu   sync.Mutex
	next map[string]map[int32]int64 // offset after the last record that was polled
}

// New returns a client of the options, which say what it reads. What the package promises
// they cannot override.
func New(w Watch, opts ...kgo.Opt) (*Client, error) {
	c := &Client{watch: w, unzip: newUnpacker(maxUnpacked), next: map[string]map[int32]int64{}}
	var err error
	c.Client, err = kgo.NewClient(append(append([]kgo.Opt{}, opts...),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.WithDecompressor(c.unzip))...)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// PollFetches is kgo's; see PollRecords.
func (c *Client) PollFetches(ctx context.Context) kgo.Fetches { return c.PollRecords(ctx, -1) }

// PollRecords is kgo's, but that a batch that cannot be read is no error: a record stands
// for it, and the partition is read on behind it. (Only a group without marks that has
// never read the partition fails there once: it has the batch behind it when it is back.)
func (c *Client) PollRecords(ctx context.Context, most int) kgo.Fetches {
	c.unzip.refill()
	fetches := c.Client.PollRecords(ctx, most)
	for i := range fetches {
		for k := range fetches[i].Topics {
			t := &fetches[i].Topics[k]
			for n := range t.Partitions {
				c.sift(ctx, t.Topic, &t.Partitions[n])
			}
		}
	}
	if fetches.NumRecords() == 0 && Denied(fetches.Err()) {
		select { // kgo asks again at once, thousands of times a second
		case <-time.After(deniedPause):
		case <-ctx.Done():
		}
	}
	return fetches
}

// deniedPause is the pause after a poll that brought only what Kafka's ACLs deny.
const deniedPause = 250 * time.Millisecond

// sift puts a record in the place of a batch that cannot be read, and has the partition
// read on behind it.
func (c *Client) sift(ctx context.Context, topic string, p *kgo.FetchPartition) {
	var bad *kgo.ErrDecompressTooLarge
	switch {
	case p.Err == nil:
	case errors.As(p.Err, &bad):
		b := Batch{Topic: topic, Partition: p.Partition, From: bad.Offset, To: bad.NextOffset - 1, Reason: c.unzip.reason()}
		p.Err = c.pass(ctx, bad)
		p.Records = append(p.Records, standIn(&b, bad.Epoch))
		if c.watch.Skipped != nil {
			c.watch.Skipped(b)
		}
	case strings.Contains(p.Err.Error(), later):
		p.Err = nil
	}
	if len(p.Records) > 0 {
		c.follow(topic, p)
	}
}

// pass has the partition read on behind a batch. kgo takes what is set here for committed;
// the epoch is one that any mark is newer than, so that the mark of the record that stands
// for the batch is committed like any other.
func (c *Client) pass(ctx context.Context, bad *kgo.ErrDecompressTooLarge) error {
	at := func(o kgo.EpochOffset) map[string]map[int32]kgo.EpochOffset {
		return map[string]map[int32]kgo.EpochOffset{bad.Topic: {bad.Partition: o}}
	}
	behind := kgo.EpochOffset{Epoch: -1, Offset: bad.NextOffset}
	if group, _ := c.GroupMetadata(); group == "" {
		c.SetOffsets(at(behind))
		return nil
	}
	// SetOffsets passes over partitions of which kgo has neither a mark nor a record.
	c.MarkCommitOffsets(at(kgo.EpochOffset{Epoch: -1, Offset: bad.Offset}))
	c.SetOffsets(at(behind))
	if c.CommittedOffsets()[bad.Topic][bad.Partition] == behind {
		return nil
	}
	failed := fmt.Errorf("a batch at the start of %s/%d that cannot be read: going on behind it", bad.Topic, bad.Partition)
	c.CommitOffsetsSync(ctx, at(behind), func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, _ *kmsg.OffsetCommitResponse, err error) {
		failed = errors.Join(failed, err)
	})
	return failed
}

// follow notes how far the partition is read, and looks whether something is gone.
func (c *Client) follow(topic string, p *kgo.FetchPartition) {
	c.mu.Lock()
	of := c.next[topic]
	if of == nil {
		of = map[int32]int64{}
		c.next[topic] = of
	}
	next, known := of[p.Partition]
	of[p.Partition] = p.Records[len(p.Records)-1].Offset + 1
	c.mu.Unlock()
	first := p.Records[0].Offset
	if known && first <= next || p.LogStartOffset <= 0 || c.watch.Lost == nil {
		return
	}
	// Somebody else may have read on in between, or in an earlier life.
	if committed, ok := c.CommittedOffsets()[topic][p.Partition]; ok && committed.Offset > 0 { // 0: nothing yet
		next, known = max(next, committed.Offset), true
	}
	if to := min(p.LogStartOffset, first) - 1; known && to >= next {
		c.watch.Lost(Gap{Topic: topic, Partition: p.Partition, From: next, To: to})
	}
}

// standInKey is the key of the context of a record that stands for a batch.
type standInKey struct{}

func standIn(b *Batch, epoch int32) *kgo.Record {
	return &kgo.Record{Topic: b.Topic, Partition: b.Partition, Offset: b.To, LeaderEpoch: epoch, ProducerEpoch: -1, ProducerID: -1,
		Value: []byte(b.String()), Context: context.WithValue(context.Background(), standInKey{}, b)}
}

// SkippedBatch is the batch that the record stands for, or nil.
func SkippedBatch(r *kgo.Record) *Batch {
	if r.Context == nil {
		return nil
	}
	b, _ := r.Context.Value(standInKey{}).(*Batch)
	return b
}
