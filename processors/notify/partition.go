package notify

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"weir/schemas"
)

// partition is one partition of alerts while this instance owns it: its ledger
// and the deliveries under way.
//
// Deliveries wait in lanes, one for each receiver and alert, and a lane with
// deliveries has one goroutine, which makes them in order.
type partition struct {
	id       int32
	stopping chan struct{}   // closed: start no call, end every wait
	calls    context.Context // ended: give up calls and writes in flight
	giveUp   context.CancelFunc
	running  sync.WaitGroup // lanes

	mu      sync.Mutex
	entries map[string]entry
	lanes   map[laneKey][]*schemas.Delivery // present while its goroutine runs
}

type laneKey struct{ receiver, fingerprint string }

func newPartition(id int32) *partition {
	calls, giveUp := context.WithCancel(context.Background())
	return &partition{
		id: id, stopping: make(chan struct{}), calls: calls, giveUp: giveUp,
		entries: map[string]entry{}, lanes: map[laneKey][]*schemas.Delivery{},
	}
}

// enqueue puts d behind what is under way for its receiver and alert.
func (part *partition) enqueue(p *Processor, r *receiver, d *schemas.Delivery) {
	key := laneKey{d.Receiver, d.Fingerprint}
	part.mu.Lock()
	defer part.mu.Unlock()
	queue, running := part.lanes[key]
	part.lanes[key] = append(queue, d)
	if !running {
		part.running.Add(1)
		go part.run(p, r, key)
	}
}

// run makes the deliveries of a lane until there are none, or the partition stops.
func (part *partition) run(p *Processor, r *receiver, key laneKey) {
	defer part.running.Done()
	for {
		part.mu.Lock()
		queue := part.lanes[key]
		if len(queue) == 0 {
			delete(part.lanes, key)
			part.mu.Unlock()
			return
		}
		part.lanes[key] = queue[1:]
		part.mu.Unlock()
		if !p.deliver(part, r, queue[0]) {
			part.mu.Lock()
			r.release(1 + len(part.lanes[key]))
			part.mu.Unlock()
			return
		}
		r.release(1)
	}
}

// assigned reads the ledger of partitions that this instance was given, and makes
// again what is PENDING there, before any of their alerts is read.
func (p *Processor) assigned(ctx context.Context, _ *kgo.Client, given map[string][]int32) {
	for _, ids := range given {
		loaded, err := p.load(ctx, ids)
		if err != nil {
			p.fail(fmt.Errorf("partitions assigned: %w", err))
			return
		}
		for _, id := range ids {
			if err := p.resume(ctx, id, loaded[id]); err != nil {
				p.fail(fmt.Errorf("partition %d assigned: %w", id, err))
				return
			}
		}
	}
}

// resume starts the work of a partition from its ledger.
func (p *Processor) resume(ctx context.Context, id int32, loaded map[string]*schemas.Delivery) error {
	part := newPartition(id)
	for key, d := range loaded {
		part.entries[key] = entryOf(d)
	}
	pending := pendingOf(loaded)
	now := time.Now().UnixMilli()
	var writes []*kgo.Record
	for _, d := range pending {
		r := p.receivers[d.Receiver]
		// A trigger that was retried for as long as it may be is as old as both.
		reason := stale(d, part.entries, now, p.cfg.MaxAge.MS()+p.cfg.Retry.MaxElapsed.MS())
		switch {
		case r == nil:
			reason = "the config has no such receiver any more"
		case reason == "":
			r.force()
			continue
		}
		fail(d, now, "given up after a restart: "+reason)
		part.entries[d.Key()] = entryOf(d)
		writes = append(writes, ledgerRecord(d, id))
	}
	if len(writes) > 0 {
		if err := p.produce(ctx, writes); err != nil {
			return err
		}
	}
	p.mu.Lock()
	p.partitions[id] = part
	p.mu.Unlock()
	for _, d := range pending {
		p.start(part, d)
	}
	p.log.Debug("partition assigned", "partition", id, "entries", len(part.entries), "pending", len(pending)-len(writes))
	return nil
}

// revoked gives up partitions that this instance loses.
func (p *Processor) revoked(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
	var parts []*partition
	for _, ids := range lost {
		for _, id := range ids {
			if part := p.partition(id); part != nil {
				parts = append(parts, part)
			}
		}
	}
	p.giveUp(parts)
}

// giveUp starts nothing more on the partitions, lets calls in flight end, at most
// for the drain, and returns when nothing runs any more.
func (p *Processor) giveUp(parts []*partition) {
	p.mu.Lock()
	for _, part := range parts {
		delete(p.partitions, part.id)
	}
	p.mu.Unlock()
	for _, part := range parts {
		close(part.stopping)
		timer := time.AfterFunc(p.drain, part.giveUp)
		defer timer.Stop()
	}
	for _, part := range parts {
		part.running.Wait()
		part.giveUp()
	}
}

func (p *Processor) partition(id int32) *partition {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.partitions[id]
}

// owned lists the partitions, by number.
func (p *Processor) owned() []*partition {
	p.mu.Lock()
	defer p.mu.Unlock()
	var parts []*partition
	for _, part := range p.partitions {
		parts = append(parts, part)
	}
	slices.SortFunc(parts, func(a, b *partition) int { return int(a.id - b.id) })
	return parts
}
