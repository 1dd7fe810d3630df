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

// Watch is told what a client could not read. Both functions may be nil. They are called by whoever
// polls.
type Watch struct {
	// Skipped is told of a batch that does not unpack.
	Skipped func(Batch)
	// Lost is told of records that retention took before they were read.
	Lost func(Gap)
}

// Batch is a skipped batch: the offsets From to To, both included, and why it was skipped.
type Batch struct {
	Topic     string
	Partition int32
	From, To  int64
	Reason    string
}

// String describes the batch in a sentence.
func (b *Batch) String() string {
	return fmt.Sprintf("offsets %d to %d of %s/%d were skipped: the batch cannot be read: %s", b.From, b.To, b.Topic, b.Partition, b.Reason)
}

// Gap is a range of offsets that are gone: From to To, both included. Some of them may have been
// markers of transactions, which are not records.
type Gap struct {
	Topic     string
	Partition int32
	From, To  int64
}

// Records is the number of offsets that are gone.
func (g *Gap) Records() int64 { return g.To - g.From + 1 }

// Client is a kgo.Client that reads as the package documents. Poll it only through PollFetches and
// PollRecords of this type.
type Client struct {
	*kgo.Client
	watch Watch
	unzip *unpacker

	mu   sync.Mutex
	next map[string]map[int32]int64 // offset after the last record that was polled
}

// New returns a client with these options, which set what it reads. They cannot override what the
// package promises.
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

// PollRecords is kgo's, except that a batch that cannot be read is not an error: a record stands in
// for it, and the partition is read on after it. (Only a group without marks that has never read
// the partition fails there once; when it comes back, it is past the batch.)
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
		select { // kgo would ask again at once, thousands of times a second
		case <-time.After(deniedPause):
		case <-ctx.Done():
		}
	}
	return fetches
}

// deniedPause is the pause after a poll that brought only what Kafka's ACLs deny.
const deniedPause = 250 * time.Millisecond

// sift puts a record in the place of a batch that cannot be read, and makes the partition continue
// after it.
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

// pass makes the partition continue after a batch. kgo takes what is set here as committed; the
// epoch is older than any mark's, so that the mark of the record that stands in for the batch is
// committed like any other.
func (c *Client) pass(ctx context.Context, bad *kgo.ErrDecompressTooLarge) error {
	at := func(o kgo.EpochOffset) map[string]map[int32]kgo.EpochOffset {
		return map[string]map[int32]kgo.EpochOffset{bad.Topic: {bad.Partition: o}}
	}
	behind := kgo.EpochOffset{Epoch: -1, Offset: bad.NextOffset}
	if group, _ := c.GroupMetadata(); group == "" {
		c.SetOffsets(at(behind))
		return nil
	}
	// SetOffsets ignores partitions of which kgo has neither a mark nor a record.
	c.MarkCommitOffsets(at(kgo.EpochOffset{Epoch: -1, Offset: bad.Offset}))
	c.SetOffsets(at(behind))
	if c.CommittedOffsets()[bad.Topic][bad.Partition] == behind {
		return nil
	}
	failed := fmt.Errorf("a batch at the start of %s/%d cannot be read: continuing after it", bad.Topic, bad.Partition)
	c.CommitOffsetsSync(ctx, at(behind), func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, _ *kmsg.OffsetCommitResponse, err error) {
		failed = errors.Join(failed, err)
	})
	return failed
}

// follow records how far the partition has been read, and checks whether anything is gone.
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
	// Another member may have read on in between, or this one in an earlier life.
	if committed, ok := c.CommittedOffsets()[topic][p.Partition]; ok && committed.Offset > 0 { // 0: nothing yet
		next, known = max(next, committed.Offset), true
	}
	if to := min(p.LogStartOffset, first) - 1; known && to >= next {
		c.watch.Lost(Gap{Topic: topic, Partition: p.Partition, From: next, To: to})
	}
}

// standInKey is the context key of a record that stands in for a batch.
type standInKey struct{}

func standIn(b *Batch, epoch int32) *kgo.Record {
	return &kgo.Record{Topic: b.Topic, Partition: b.Partition, Offset: b.To, LeaderEpoch: epoch, ProducerEpoch: -1, ProducerID: -1,
		Value: []byte(b.String()), Context: context.WithValue(context.Background(), standInKey{}, b)}
}

// SkippedBatch returns the batch that the record stands in for, or nil.
func SkippedBatch(r *kgo.Record) *Batch {
	if r.Context == nil {
		return nil
	}
	b, _ := r.Context.Value(standInKey{}).(*Batch)
	return b
}
