package notify

import (
	"container/heap"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-metrics/weir/sinks"
)

// receiver is a sinks.Receiver. Those with one name (the numbers of a phone list) share a channel.
type receiver struct {
	sinks.Receiver
	id       string
	channel  *channel
	waiting  atomic.Int64 // pending deliveries
	inMemory atomic.Int64 // of those, deliveries whose alert is in memory
}

// channel chooses what is delivered next to one receiver, and when: the lanes that have something
// to deliver are in queues, from which one goroutine takes them as the receiver's pace and the
// number of calls in flight allow.
//
// Triggers of firing alerts come first, the most urgent first, then in order of arrival; then
// triggers of alerts that are already over. Every third call is for a resolve, if one waits, so
// that no storm keeps alerts from being ended.
type channel struct {
	name  string
	limit int
	gauge prometheus.Gauge // pending deliveries
	rates prometheus.Gauge // learned rate
	wake  chan struct{}    // something changed

	mu       sync.Mutex
	pace     pace
	inFlight int
	turn     int    // calls so far
	arrivals uint64 // lanes that came so far
	triggers queue
	resolves queue
	delayed  queue // lanes that wait for a next attempt, by its time
}

// place is where a lane is in its channel.
type place struct {
	in      *queue // nil: nowhere
	pos     int
	rank    int    // the alert's urgency
	arrival uint64 // order among equals; 0: none yet
	trigger bool   // what it has to deliver
	over    bool   // a trigger whose alert is over
	due     time.Time
}

// queue is a heap of lanes.
type queue struct {
	lanes  []*lane
	before func(a, b *lane) bool
}

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (q *queue) Len() int           { return len(q.lanes) }
func (q *queue) Less(i, j int) bool { return q.before(q.lanes[i], q.lanes[j]) }
func (q *queue) Swap(i, j int) {
	q.lanes[i], q.lanes[j] = q.lanes[j], q.lanes[i]
	q.lanes[i].pos, q.lanes[j].pos = i, j
}

// Push adds a lane at the end.
func (q *queue) Push(x any) {
	l := x.(*lane)
	l.pos, l.in = len(q.lanes), q
	q.lanes = append(q.lanes, l)
}

// Pop removes the last lane.
func (q *queue) Pop() any {
	n := len(q.lanes) - 1
	l := q.lanes[n]
	q.lanes[n], q.lanes, l.in = nil, q.lanes[:n], nil
	return l
}

func newChannel(name string, limit int, gauge, rates prometheus.Gauge) *channel {
	urgent := func(a, b *lane) bool {
		switch {
		case a.over != b.over:
			return b.over
		case a.rank != b.rank:
			return a.rank < b.rank
		}
		return a.arrival < b.arrival
	}
	return &channel{name: name, limit: limit, gauge: gauge, rates: rates, wake: make(chan struct{}, 1),
		triggers: queue{before: urgent}, resolves: queue{before: urgent},
		delayed: queue{before: func(a, b *lane) bool { return a.due.Before(b.due) }}}
}

// put schedules the lane's first pending entry for delivery at due, or as soon as its turn comes
// after that. A lane that is already in a queue is moved.
func (c *channel) put(l *lane, trigger, over bool, rank int, due time.Time) {
	c.mu.Lock()
	c.remove(l)
	if l.arrival == 0 {
		c.arrivals++
		l.arrival = c.arrivals
	}
	l.trigger, l.over, l.rank, l.due = trigger, over && trigger, rank, due
	switch {
	case due.After(time.Now()):
		heap.Push(&c.delayed, l)
	default:
		c.enqueue(l)
	}
	c.mu.Unlock()
	c.poke()
}

func (c *channel) enqueue(l *lane) {
	if l.trigger {
		heap.Push(&c.triggers, l)
	} else {
		heap.Push(&c.resolves, l)
	}
}

func (c *channel) remove(l *lane) {
	if l.in != nil {
		heap.Remove(l.in, l.pos)
		l.in = nil
	}
}

// forget removes the lanes of a partition.
func (c *channel) forget(part *partition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, q := range []*queue{&c.triggers, &c.resolves, &c.delayed} {
		kept := q.lanes[:0]
		for _, l := range q.lanes {
			if l.part == part {
				l.in = nil
				continue
			}
			kept = append(kept, l)
		}
		clear(q.lanes[len(kept):])
		q.lanes = kept
		for i, l := range kept {
			l.pos = i
		}
		heap.Init(q)
	}
}

func (c *channel) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// next returns the lane whose turn it is, with a call in flight that done ends; or nil, and how
// long to wait unless something changes.
func (c *channel) next(now time.Time) (*lane, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.delayed.Len() > 0 && !c.delayed.lanes[0].due.After(now) {
		c.enqueue(heap.Pop(&c.delayed).(*lane))
	}
	wait := time.Hour
	if c.delayed.Len() > 0 {
		wait = c.delayed.lanes[0].due.Sub(now)
	}
	if c.inFlight >= c.limit {
		return nil, time.Hour
	}
	q := &c.triggers
	if c.triggers.Len() == 0 || c.resolves.Len() > 0 && c.turn%3 == 2 {
		q = &c.resolves
	}
	if q.Len() == 0 {
		return nil, wait
	}
	if wait := c.pace.wait(now, c.inFlight); wait > 0 {
		return nil, wait
	}
	c.turn++
	c.inFlight++
	c.pace.called(now)
	return heap.Pop(q).(*lane), 0
}

// done ends a call in flight; learn updates the pace with what the call showed.
func (c *channel) done(learn func(p *pace, now time.Time)) {
	c.mu.Lock()
	c.inFlight--
	if learn != nil {
		learn(&c.pace, time.Now())
		c.rates.Set(c.pace.rate)
	}
	c.mu.Unlock()
	c.poke()
}

// down reports whether the receiver is considered down.
func (c *channel) down() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pace.down()
}

// run hands lanes to start until ctx ends.
func (c *channel) run(ctx context.Context, start func(*lane)) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		l, wait := c.next(time.Now())
		if l != nil {
			start(l)
			continue
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case <-timer.C:
		}
	}
}
