package writeback

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ErrRefused is wrapped by the error for a record that the broker will never accept because of its
// content, above all because it is too large.
var ErrRefused = errors.New("refused by the broker")

// errOvertaken ends the Engine: a record was stored before an earlier one with the same key. The
// next Engine sends both again, in order.
var errOvertaken = errors.New("a record overtook one that was refused with others")

// contentErrors are the broker's answers about the records of a batch, rather than about the
// broker, the topic or the caller's rights: trying again does not help.
var contentErrors = []error{kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.InvalidTimestamp,
	kerr.CorruptMessage, kerr.UnsupportedForMessageFormat}

func isContentError(err error) bool {
	return slices.ContainsFunc(contentErrors, func(e error) bool { return errors.Is(err, e) })
}

// A lane is a partition that is written to. The broker refuses batches, not records, and with a
// batch franz-go fails everything buffered for the partition. So, after a refusal, a lane sends
// again what failed, followed by what came in the meantime, one record at a time: then a refusal
// concerns that record. When nothing is left, it sends batches again.
//
// A record that was produced after franz-go failed the batch, and before the lane knew of that, may
// be stored before those that failed. If one of those has its key, the Engine ends: readers rely on
// the order within a key.
type lane struct {
	inflight atomic.Int64 // sendings handed to out
	careful  atomic.Bool  // one at a time

	mu    sync.Mutex
	queue []*sending // by seq, while careful
	busy  bool       // one of them is being sent
}

type laneID struct {
	topic     string
	partition int32
}

// sending is a record in flight.
type sending struct {
	r    *kgo.Record
	done func(error)
	seq  uint64
}

func (p *producer) lane(r *kgo.Record) *lane {
	if of := p.known[r.Topic]; int(r.Partition) < len(of) {
		return &of[r.Partition]
	}
	id := laneID{r.Topic, r.Partition}
	if l, ok := p.others.Load(id); ok {
		return l.(*lane)
	}
	l, _ := p.others.LoadOrStore(id, &lane{})
	return l.(*lane)
}

// flush returns when everything produced before has been answered.
func (p *producer) flush(ctx context.Context) error {
	for {
		if err := p.client.Flush(ctx); err != nil {
			return err
		}
		if !p.anyCareful() {
			return nil
		}
		select { // refusals are rare, and soon dealt with
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (p *producer) anyCareful() bool {
	for _, of := range p.known {
		for i := range of {
			if of[i].careful.Load() {
				return true
			}
		}
	}
	found := false
	p.others.Range(func(_, l any) bool { found = found || l.(*lane).careful.Load(); return !found })
	return found
}

func (l *lane) send(p *producer, s *sending) {
	l.inflight.Add(1) // before the look at careful: pump waits for those that saw it false
	if l.careful.Load() {
		l.mu.Lock()
		if l.careful.Load() {
			l.enqueue(s)
			l.mu.Unlock()
			l.landed(p)
			return
		}
		l.mu.Unlock()
	}
	p.out(context.Background(), s.r, func(_ *kgo.Record, err error) { l.answered(p, s, err) })
}

// answered is called with the outcome of a sending that was not alone.
func (l *lane) answered(p *producer, s *sending, err error) {
	switch {
	case err == nil:
		if l.careful.Load() && l.overtook(s) {
			p.fail(fmt.Errorf("produce to %s/%d: %w", s.r.Topic, s.r.Partition, errOvertaken))
		}
		s.done(nil)
	case isContentError(err):
		l.mu.Lock()
		l.careful.Store(true)
		l.enqueue(s)
		l.mu.Unlock()
	default:
		p.end(s, err)
	}
	l.landed(p)
}

// landed takes a sending out of inflight, and continues when none is left.
func (l *lane) landed(p *producer) {
	if l.inflight.Add(-1) == 0 && l.careful.Load() {
		l.pump(p)
	}
}

// overtook reports whether an earlier record of the same key is waiting.
func (l *lane) overtook(s *sending) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.queue, func(q *sending) bool { return q.seq < s.seq && bytes.Equal(q.r.Key, s.r.Key) })
}

func (l *lane) enqueue(s *sending) {
	i := len(l.queue)
	for i > 0 && l.queue[i-1].seq > s.seq {
		i--
	}
	l.queue = slices.Insert(l.queue, i, s)
}

// pump sends the head of the queue, unless something is in flight.
func (l *lane) pump(p *producer) {
	l.mu.Lock()
	switch {
	case l.busy || l.inflight.Load() > 0:
	case len(l.queue) == 0:
		l.careful.Store(false)
	default:
		s := l.queue[0]
		l.queue = slices.Delete(l.queue, 0, 1)
		l.busy = true
		defer p.later(func() { l.alone(p, s) })
	}
	l.mu.Unlock()
}

// alone sends a record while no other is in flight.
func (l *lane) alone(p *producer, s *sending) {
	next := func() {
		l.mu.Lock()
		l.busy = false
		l.mu.Unlock()
		l.pump(p)
	}
	if err := p.first.Load(); err != nil {
		s.done(*err)
		next()
		return
	}
	p.out(context.Background(), s.r, func(_ *kgo.Record, err error) {
		switch {
		case err == nil:
			s.done(nil)
		case isContentError(err):
			s.done(fmt.Errorf("produce to %s/%d, %d bytes: %w: %w", s.r.Topic, s.r.Partition, sizeOf(s.r), ErrRefused, err))
		default:
			p.end(s, err)
		}
		next()
	})
}

// end ends the Engine because a sending failed.
func (p *producer) end(s *sending, err error) {
	err = fmt.Errorf("produce to %s/%d: %w", s.r.Topic, s.r.Partition, err)
	p.fail(err)
	s.done(err)
}

// sizeOf is roughly what a record takes in a batch, uncompressed, bytes.
func sizeOf(r *kgo.Record) int {
	n := len(r.Key) + len(r.Value) + 32
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value) + 10
	}
	return n
}
