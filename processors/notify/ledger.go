package notify

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"weir/schemas"
	"weir/schemas/consume"
	"weir/schemas/topics"
)

const (
	// keepEntries is how long an entry that ended stays in the ledger: longer than
	// any replay of alerts is younger than max_age.
	keepEntries = 30 * 24 * time.Hour
	// loadTimeout bounds the reading of the ledger: far more than it takes.
	loadTimeout = time.Minute
	// barrierKey is the key of the tombstones that mark how far to read.
	barrierKey = "barrier"
)

// ledgerRecord is the entry of d in the ledger partition of its alert's partition.
// Only an entry that is PENDING holds the alert.
func ledgerRecord(d *schemas.Delivery, partition int32) *kgo.Record {
	v := *d
	if v.Status != schemas.DeliveryPending {
		v.Alert = nil
	}
	return &kgo.Record{
		Topic: topics.NotificationLog, Partition: partition,
		Key: []byte(d.Key()), Value: schemas.EncodeDoc(&v),
	}
}

// load reads the ledger partitions whole. The end is a record that it writes
// itself: the end offset of a compacted partition may never be reached, since the
// newest records may be gone.
func (p *Processor) load(ctx context.Context, ids []int32) (map[int32]map[string]*schemas.Delivery, error) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	loaded := map[int32]map[string]*schemas.Delivery{}
	start := map[int32]kgo.Offset{}
	var barriers []*kgo.Record
	for _, id := range ids {
		loaded[id] = map[string]*schemas.Delivery{}
		start[id] = kgo.NewOffset().AtStart()
		barriers = append(barriers, &kgo.Record{Topic: topics.NotificationLog, Partition: id, Key: []byte(barrierKey)})
	}
	if err := p.produce(ctx, barriers); err != nil {
		return nil, err
	}
	end := map[int32]int64{}
	for _, b := range barriers {
		end[b.Partition] = b.Offset
	}
	in, err := consume.New(consume.Counted("notify", p.reg, p.log), append(slices.Clone(p.opts),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topics.NotificationLog: start}),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	defer in.Close()
	for len(end) > 0 {
		fetches := in.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("read %s: %w", topics.NotificationLog, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			p.loadRecord(loaded[r.Partition], r)
			if last, open := end[r.Partition]; open && r.Offset >= last {
				delete(end, r.Partition)
			}
		})
	}
	return loaded, nil
}

func (p *Processor) loadRecord(into map[string]*schemas.Delivery, r *kgo.Record) {
	if r.Value == nil {
		delete(into, string(r.Key))
		return
	}
	d, err := schemas.DecodeDoc[schemas.Delivery](r.Value)
	if err == nil && d.Status == schemas.DeliveryPending && d.Alert == nil {
		err = fmt.Errorf("PENDING without an alert: %w", schemas.ErrCorrupt)
	}
	if err != nil {
		p.metrics.undecodable.WithLabelValues(r.Topic).Inc()
		p.log.Error("ledger entry skipped", "key", string(r.Key), "partition", r.Partition, "offset", r.Offset, "error", err)
		return
	}
	into[d.Key()] = d
}

// pendingOf lists the deliveries to make again, triggers before their resolves.
func pendingOf(loaded map[string]*schemas.Delivery) []*schemas.Delivery {
	var ds []*schemas.Delivery
	for _, d := range loaded {
		if d.Status == schemas.DeliveryPending {
			ds = append(ds, d)
		}
	}
	slices.SortFunc(ds, func(a, b *schemas.Delivery) int {
		// "firing" sorts before "resolved", should both have one time.
		return cmp.Or(cmp.Compare(a.AtMS, b.AtMS), cmp.Compare(a.To, b.To), cmp.Compare(a.Key(), b.Key()))
	})
	return ds
}

// produce writes records and returns when all are acknowledged.
func (p *Processor) produce(ctx context.Context, rs []*kgo.Record) error {
	if err := p.out.ProduceSync(ctx, rs...).FirstErr(); err != nil {
		return fmt.Errorf("write %s: %w", rs[0].Topic, err)
	}
	return nil
}
