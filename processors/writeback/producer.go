package writeback

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
)

// producer writes with franz-go: idempotent, acks=all, and a third of the CPU of
// sarama's, whose defaults (acks=1, not idempotent, five requests in flight) let a retry reorder a
// changelog. Partitions follow from the number on record, never from the live count. If the broker
// will never accept a record, its producer gets ErrRefused, and no other record is affected
// (lane.go); any other error ends the Engine.
type producer struct {
	client *kgo.Client
	out    func(context.Context, *kgo.Record, func(*kgo.Record, error)) // the client's Produce
	// later runs functions that may block; it is called where nothing may block, in out's callback.
	later  func(func())
	counts map[string]int32
	more   func(topic string) (int32, bool) // called for topics that are not in counts; may be nil
	failed func(error)
	first  atomic.Pointer[error] // the first error, after which nothing is sent

	seq    atomic.Uint64     // of sendings
	known  map[string][]lane // of the topics in counts, by partition
	others sync.Map          // laneID to *lane
}

// newProducer returns a producer that does not know yet what to write with.
func newProducer(o *Options, failed func(error)) *producer {
	p := &producer{counts: o.Counts, more: o.More, failed: failed, known: make(map[string][]lane, len(o.Counts))}
	for topic, n := range o.Counts {
		p.known[topic] = make([]lane, n)
	}
	return p
}

// Close sends what is buffered, and closes the client.
func (p *producer) Close() error {
	err := p.client.Flush(context.Background())
	p.client.Close()
	return err
}

// produce produces a record to the partition that follows from its key. done is called when the
// broker has acknowledged it, or with the reason why not; it must not block. An error that does not
// wrap ErrRefused ends the Engine, and nothing more is sent until it has ended: a record must not
// overtake one that failed, as readers take older ones for replays.
func (p *producer) produce(r *kgo.Record, done func(error)) {
	n, ok := p.counts[r.Topic]
	if !ok && p.more != nil {
		n, ok = p.more(r.Topic)
	}
	if !ok {
		err := fmt.Errorf("topic %s: number of partitions not given", r.Topic)
		p.fail(err)
		done(err)
		return
	}
	r.Partition = schemas.Shard(r.Key, n)
	p.produceTo(r, done)
}

// produceTo is produce for a record whose partition is set.
func (p *producer) produceTo(r *kgo.Record, done func(error)) {
	if err := p.first.Load(); err != nil {
		done(*err)
		return
	}
	p.lane(r).send(p, &sending{r: r, done: done, seq: p.seq.Add(1)})
}

func (p *producer) fail(err error) {
	p.first.CompareAndSwap(nil, &err)
	p.failed(err)
}
