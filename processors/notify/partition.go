package notify

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
)

// partition is one partition of alerts while this instance owns it: what its ledger knows, by
// alert, and the deliveries in progress.
type partition struct {
	id       int32
	memory   *memory
	stopping chan struct{}   // closed: start no call, end every wait
	calls    context.Context // ended: give up calls and writes in flight
	giveUp   context.CancelFunc
	running  sync.WaitGroup // deliveries, the survey

	term   int64       // of this owner: see term.go
	newest int64       // the highest earlier term in what was loaded
	from   int64       // the offset after what was loaded
	lost   atomic.Bool // others already have it

	mu      sync.Mutex
	stopped bool // with stopping
	alerts  map[string][]*lane
	unsure  map[string]bool // fingerprints whose state must be looked up; see survey
	foreign map[string]bool // keys last written by a former owner; true: it told somebody, which has not been dealt with yet
	tended  bool            // a goroutine takes care of unsure and foreign
}

func newPartition(id int32, m *memory) *partition {
	calls, giveUp := context.WithCancel(context.Background())
	return &partition{
		id: id, memory: m, stopping: make(chan struct{}), calls: calls, giveUp: giveUp,
		alerts: map[string][]*lane{}, unsure: map[string]bool{}, foreign: map[string]bool{},
	}
}

// join counts one more goroutine, unless the partition has stopped.
func (part *partition) join() bool {
	part.mu.Lock()
	defer part.mu.Unlock()
	if part.stopped {
		return false
	}
	part.running.Add(1)
	return true
}

// laneOf returns the lane of a receiver, by ID, and an alert, making it if there is none. The
// caller holds the lock.
func (part *partition) laneOf(p *Processor, id, fingerprint string) *lane {
	lanes := part.alerts[fingerprint]
	for _, l := range lanes {
		if l.receiver == id {
			return l
		}
	}
	l := &lane{part: part, r: p.receivers[id], receiver: id, fingerprint: fingerprint}
	if l.r != nil {
		l.receiver = l.r.id // all lanes share one string
	}
	if len(lanes) > 0 {
		l.fingerprint = lanes[0].fingerprint
	}
	part.alerts[l.fingerprint] = append(lanes, l)
	return l
}

// assigned reads the ledger of partitions that this instance was given, and resumes what is PENDING
// there, before any of their alerts is read.
func (p *Processor) assigned(ctx context.Context, member *kgo.Client, given map[string][]int32) {
	p.member.Store(member)
	for _, ids := range given {
		parts := map[int32]*partition{}
		for _, id := range ids {
			parts[id] = newPartition(id, &p.memory)
		}
		_, generation := member.GroupMetadata()
		if err := p.load(ctx, parts, generation); err != nil {
			p.fail(fmt.Errorf("partitions assigned: %w", err))
			return
		}
		for _, part := range parts {
			if err := p.resume(ctx, part); err != nil {
				p.fail(fmt.Errorf("partition %d assigned: %w", part.id, err))
				return
			}
		}
	}
}

// resume starts the work of a partition from what was read of its ledger.
func (p *Processor) resume(ctx context.Context, part *partition) error {
	now := time.Now()
	due, waiting, keys, entries := p.takeUp(part, now)
	p.forget(part, keys)
	if err := p.enter(ctx, part, due); err != nil {
		return err
	}
	p.mu.Lock()
	p.partitions[part.id] = part
	p.mu.Unlock()
	// Sort them in the order in which they were entered, which alerts of one urgency keep.
	slices.SortFunc(waiting, func(a, b *lane) int {
		x, _ := a.head()
		y, _ := b.head()
		return int(x.offset - y.offset)
	})
	for _, l := range waiting {
		p.schedule(l, now)
	}
	p.tend(part)
	if err := p.watch(part); err != nil {
		return err
	}
	p.log.Debug("partition assigned", "partition", part.id, "alerts", entries, "pending", len(waiting))
	return nil
}

// takeUp goes through what the ledger says about the partition's alerts: due is what is given up,
// waiting the lanes that continue, and keys what may be forgotten.
func (p *Processor) takeUp(part *partition, now time.Time) (due []planned, waiting []*lane, keys []string, alerts int) {
	part.mu.Lock()
	defer part.mu.Unlock()
	for _, lanes := range part.alerts {
		for _, l := range lanes {
			l.order()
		}
	}
	part.toldLate()
	for fingerprint, lanes := range part.alerts {
		for _, l := range lanes {
			if l.open() || slices.ContainsFunc(l.entries, func(e entry) bool { return e.status == lost }) {
				part.unsure[fingerprint] = true
			}
			keys = append(keys, l.trim(now.UnixMilli(), p.keepMS())...)
			head, _ := l.head()
			switch {
			case head == nil:
			case l.r == nil:
				for i := range l.entries {
					if e := &l.entries[i]; e.status == pending {
						l.end(e, failedOff)
						d := l.bare(e)
						addAttempt(d, now.UnixMilli(), "given up after a restart: "+goneReason)
						due = append(due, planned{l, d})
					}
				}
			default:
				head.heard = max(head.heard, perhaps) // the last owner may have been making a call when it died
				waiting = append(waiting, l)
				l.r.waiting.Add(int64(l.waiting()))
				l.r.channel.gauge.Add(float64(l.waiting()))
			}
		}
	}
	return due, waiting, keys, len(part.alerts)
}

// isOld reports whether a pending trigger has waited so long that its alert must be known to fire
// still before anybody is told.
func (p *Processor) isOld(d *schemas.Delivery, now time.Time) bool {
	return d.To == schemas.Firing && d.Alert != nil &&
		now.UnixMilli()-max(d.AtMS, d.Alert.LastTrueMS) > p.cfg.MaxAge.MS()+p.cfg.Retry.MaxElapsed.MS()
}

// revoked gives up partitions that this instance loses.
func (p *Processor) revoked(_ context.Context, _ *kgo.Client, given map[string][]int32) {
	var parts []*partition
	for _, ids := range given {
		for _, id := range ids {
			if part := p.partition(id); part != nil {
				parts = append(parts, part)
			}
		}
	}
	p.giveUp(parts)
}

// lost gives up partitions that others already have.
func (p *Processor) lost(ctx context.Context, member *kgo.Client, given map[string][]int32) {
	for _, ids := range given {
		for _, id := range ids {
			if part := p.partition(id); part != nil {
				part.lost.Store(true)
			}
		}
	}
	p.revoked(ctx, member, given)
}

// giveUp starts nothing more on the partitions, lets calls in flight end, for at most the drain,
// and returns when nothing runs any more.
func (p *Processor) giveUp(parts []*partition) {
	p.mu.Lock()
	for _, part := range parts {
		delete(p.partitions, part.id)
	}
	p.mu.Unlock()
	p.unwatched(parts)
	for _, part := range parts {
		part.mu.Lock()
		part.stopped = true
		part.mu.Unlock()
		close(part.stopping)
		for _, c := range p.channels {
			c.forget(part)
		}
		timer := time.AfterFunc(p.drain, part.giveUp)
		defer timer.Stop()
	}
	for _, part := range parts {
		part.running.Wait()
		part.giveUp()
		part.free()
	}
}

// free returns the memory that is counted, and ends the count of what is pending.
func (part *partition) free() {
	part.mu.Lock()
	defer part.mu.Unlock()
	for _, lanes := range part.alerts {
		for _, l := range lanes {
			n := 0
			for i := range l.entries {
				e := &l.entries[i]
				l.drop(e)
				if e.status == pending && e.offset != unwritten {
					n++
				}
			}
			if l.r != nil {
				l.r.waiting.Add(int64(-n))
				l.r.channel.gauge.Sub(float64(n))
			}
		}
	}
	part.alerts = nil
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
