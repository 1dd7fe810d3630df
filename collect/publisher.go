package collect

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/formats"
	"github.com/weir-metrics/weir/schemas/topics"
)

// recordBytes bounds the value of a record of metrics, bytes. Brokers accept 1 MB by default, and a
// batch has headers, too.
const recordBytes = 900_000

// Publisher writes to the topics metrics and deadletter. It is safe for
// concurrent use.
type Publisher struct {
	client *kgo.Client
	ack    time.Duration
}

// NewPublisher returns a publisher on a client of its own, made with opts (kgo.SeedBrokers, and TLS
// and SASL if needed). The error is kgo's, for bad options.
func NewPublisher(cfg Config, opts ...kgo.Opt) (*Publisher, error) {
	client, err := kgo.NewClient(append(slices.Clip(opts),
		kgo.MetadataMaxAge(5*time.Second), // partitions may be added to metrics at any time
		kgo.MetadataMinAge(backSoon), kgo.RetryBackoffFn(soonAgain),
		kgo.RecordDeliveryTimeout(cfg.AckTimeout.Std()),
		kgo.MaxBufferedRecords(1<<20),
		kgo.MaxBufferedBytes(2*cfg.MaxHeldBytes), // letters about what was refused may be as long as what was held
		kgo.ProducerBatchMaxBytes(1_000_000),
	)...)
	if err != nil {
		return nil, fmt.Errorf("publisher: %w", err)
	}
	return &Publisher{client, cfg.AckTimeout.Std()}, nil
}

// backSoon is roughly how soon Kafka is found again after an outage. kgo's own pauses are up to 2.5
// s: with a short ack_timeout, the first requests after its return would wait in vain.
const backSoon = 250 * time.Millisecond

// soonAgain is the pause after so many failures in a row, spread so that not all clients come back
// at once.
func soonAgain(failures int) time.Duration {
	longest := min(backSoon<<min(failures, 10)/4, 2*backSoon)
	return longest/2 + rand.N(longest/2)
}

// Close gives up what is not yet acknowledged, and closes the client.
func (p *Publisher) Close() { p.client.Close() }

// errNoAck ends the waiting for Kafka.
var errNoAck = errors.New("no acknowledgement from Kafka in time")

// produce starts writing the records, and calls done with the first error, or nil, when the fate of
// each is known. It does not block: if its buffer is full, the error is kgo.ErrMaxBuffered.
func (p *Publisher) produce(records []*kgo.Record, done func(error)) {
	if len(records) == 0 {
		done(nil)
		return
	}
	var mu sync.Mutex
	var first error
	left := len(records)
	for _, r := range records {
		p.client.TryProduce(context.Background(), r, func(r *kgo.Record, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil && first == nil {
				first = fmt.Errorf("write %d bytes to %s: %w", len(r.Value), r.Topic, err)
			}
			if left--; left == 0 {
				done(first)
			}
		})
	}
}

// write produces the records and waits, for at most the acknowledgement timeout. settled, which may
// be nil, is called when the fate of each record is known, perhaps later.
func (p *Publisher) write(ctx context.Context, records []*kgo.Record, settled func()) error {
	fate := make(chan error, 1)
	p.produce(records, func(err error) {
		if settled != nil {
			settled()
		}
		fate <- err
	})
	timeout := time.NewTimer(p.ack)
	defer timeout.Stop()
	select {
	case err := <-fate:
		return err
	case <-timeout.C:
		return fmt.Errorf("%w: %s", errNoAck, p.ack)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Publish writes samples and returns when they are acknowledged. Samples of a series group go, in
// their order, into records whose key is the group, so that a group's samples stay in order through
// the partitions of metrics. The errors are the broker's, ctx's, or that the acknowledgement took
// too long.
func (p *Publisher) Publish(ctx context.Context, samples []schemas.Sample) error {
	return p.write(ctx, recordsOf(samples), nil)
}

// recordsOf encodes samples as JSON, in one or more records for each series group.
func recordsOf(samples []schemas.Sample) []*kgo.Record {
	groups := make(map[string]*chunks)
	var order []string
	var buf []byte
	for _, s := range samples {
		group := schemas.GroupOf(s.Series, schemas.GroupLabels)
		c := groups[group]
		if c == nil {
			c = newChunks(formats.JSON)
			groups[group] = c
			order = append(order, group)
		}
		buf = appendJSON(buf[:0], &s)
		c.add(buf)
	}
	var records []*kgo.Record
	for _, group := range order {
		for _, value := range groups[group].values() {
			records = append(records, metricsRecord([]byte(group), value, formats.JSON.ContentType, ""))
		}
	}
	return records
}

func metricsRecord(key, value []byte, contentType, sender string) *kgo.Record {
	r := &kgo.Record{Topic: topics.Metrics, Key: key, Value: value,
		Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte(contentType)}}}
	if sender != "" {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: schemas.SenderHeader, Value: []byte(sender)})
	}
	return r
}

// chunks joins entries of a body to values of at most limit bytes. A longer entry gets a value of
// its own.
type chunks struct {
	limit              int
	open, between, end string
	full               [][]byte
	last               []byte
}

// newChunks joins entries to whole bodies of the format.
func newChunks(f *formats.Format) *chunks {
	return &chunks{limit: recordBytes, open: f.Open, between: f.Between, end: f.End}
}

// add adds an entry, made of parts.
func (c *chunks) add(parts ...[]byte) {
	length := len(c.between) + len(c.end)
	for _, p := range parts {
		length += len(p)
	}
	if c.last != nil && len(c.last)+length > c.limit {
		c.flush()
	}
	if c.last == nil {
		c.last = append(make([]byte, 0, length), c.open...)
	} else {
		c.last = append(c.last, c.between...)
	}
	for _, p := range parts {
		c.last = append(c.last, p...)
	}
}

func (c *chunks) flush() {
	c.full = append(c.full, append(c.last, c.end...))
	c.last = nil
}

// values ends the last value and returns all of them.
func (c *chunks) values() [][]byte {
	if c.last != nil {
		c.flush()
	}
	return c.full
}
