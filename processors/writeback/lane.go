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

// ErrRefused is wrapped by what a producer is told of a record that the broker will never
// take, because of what it holds: too large, above all.
var ErrRefused = errors.New("refused by the broker")

// errOvertaken ends the Engine: a record was stored before one of its key that was
// produced earlier. The next Engine sends both again, in order.
var errOvertaken = errors.New("a record overtook one that was refused with others")

// contentErrors are the broker's answers that are about the records of a batch, and not
// about the broker, the topic or who asks: asking again does not help.
var contentErrors = []error{kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.InvalidTimestamp,
	kerr.CorruptMessage, kerr.UnsupportedForMessageFormat}

func isContentError(err error) bool {
	return slices.ContainsFunc(contentErrors, func(e error) bool { return errors.Is(err, e) })
}

// A lane is a partition that is written to. The broker refuses batches, not records, and
// with a batch franz-go fails all that is buffered for the partition. So a lane that was
// refused something sends what failed again, and what comes in the meantime after it, one
// record at a time: then a refusal is about the record. When nothing is left, batches are
// sent again.
//
// A record that was produced after franz-go failed the batch, and before the lane knew of
// it, may be stored before those that failed. If one of them has its key, the Engine ends:
// the order within a key is what readers rely on.
type lane struct {
	inflight atomic.Int64 // sendings that out has
	careful  atomic.Bool  // one at a time

	mu    sync.Mutex
	queue []*sending // by seq, while careful
	busy  bool       // one of them is being sent
}

type laneID struct {
	topic     string
	partition int32
}

// sending is a record on its way.
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

// flush returns when all that was produced before is told of.
func (p *producer) flush(ctx context.Context) error {
	for {
		if err := p.client.Flush(ctx); err != nil {
			return err
		}
		if !p.anyCareful() {
			return nil
		}
		select { // a refusal is rare, and over soon
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

// answered is told what became of a sending that was not alone.
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

// landed takes a sending out of inflight, and goes on when none is left.
func (l *lane) landed(p *producer) {
	if l.inflight.Add(-1) == 0 && l.careful.Load() {
		l.pump(p)
	}
}

// overtook reports whether a record of the same key that was produced earlier waits.
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

// pump sends the head of the queue, unless something is on its way.
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

// alone sends a record when there is no other.
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

// end ends the Engine because of a sending that failed.
func (p *producer) end(s *sending, err error) {
	err = fmt.Errorf("produce to %s/%d: %w", s.r.Topic, s.r.Partition, err)
	p.fail(err)
	s.done(err)
}

// sizeOf is about what a record takes in a batch, uncompressed, bytes.
func sizeOf(r *kgo.Record) int {
	n := len(r.Key) + len(r.Value) + 32
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value) + 10
	}
	return n
}
