package writeback

import (
	"errors"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/processors/deadletter"
	"github.com/weir-metrics/weir/schemas/topics"
)

// maxLetters bounds the unacknowledged dead letters of a partition, bytes: beyond it, its records
// wait. Refusing costs no more than accepting.
const maxLetters = 4 << 20

// Deadletter sends a dead letter about the entry: a refused record, or a representation of refused
// samples. It is not part of the stored form; instead, the value that has applied the record is not
// written before the letter is acknowledged, so that after a crash the record is refused again.
// Deadletter waits while too many letters are in flight. r may be reused afterwards. Call it only
// from Logic.
func (e *Entry[T, L]) Deadletter(p *Partition[T, L], r *kgo.Record) {
	if e.letters == nil {
		e.letters = new(atomic.Int32)
	}
	letters := e.letters
	letters.Add(1)
	p.touch(e)
	p.letter(r, func() { letters.Add(-1) })
}

// lettersOut reports whether some letters about the entry are not acknowledged.
func (e *Entry[T, L]) lettersOut() bool { return e.letters != nil && e.letters.Load() > 0 }

// letter sends a dead letter, cut shorter until the broker accepts it.
func (p *Partition[T, L]) letter(r *kgo.Record, done func()) {
	n := int64(sizeOf(r))
	p.await(func() bool { have := p.letters.Load(); return have == 0 || have+n <= maxLetters })
	p.letters.Add(n)
	p.sendLetter(r, func() {
		p.letters.Add(-n)
		if done != nil {
			done()
		}
		p.acknowledged()
	})
}

func (p *Partition[T, L]) sendLetter(r *kgo.Record, done func()) {
	c := *r
	c.Partition, c.Offset = 0, 0
	p.eng.prod.produce(&c, func(err error) {
		switch {
		case err == nil:
			done()
		case errors.Is(err, ErrRefused):
			p.eng.prod.later(func() { p.cutLetter(&c, err, done) })
		}
	})
}

// cutLetter sends what is left of a letter that the broker did not accept.
func (p *Partition[T, L]) cutLetter(r *kgo.Record, err error, done func()) {
	if len(r.Value) < 1<<10 {
		p.eng.harm("letter", string(r.Key), err)
		done()
		return
	}
	p.sendLetter(deadletter.Shorter(r), done)
}

// dropEmission is called when the broker will never accept what Logic emitted.
func (p *Partition[T, L]) dropEmission(m *emission, r *kgo.Record, err error) {
	p.eng.harm("emission", m.topic+" "+string(m.key), err)
	acked := func() {
		m.acked.Store(true)
		p.acknowledged()
	}
	if !p.eng.writes(topics.DeadLetter) {
		acked()
		return
	}
	r.Offset = -1
	p.sendLetter(deadletter.Of(r, "writeback", "unwritable", err), acked)
}

// acknowledged wakes the partition's goroutine if it waits for the broker.
func (p *Partition[T, L]) acknowledged() {
	if p.waits.Load() {
		select {
		case p.acks <- struct{}{}:
		default:
		}
	}
}

// await returns true once ok does, or false if the partition must be given up before. It is for the
// partition's goroutine, or for whoever recovers it.
func (p *Partition[T, L]) await(ok func() bool) bool {
	if ok() {
		return true
	}
	if p.eng.driven {
		return false // the caller continues and comes back
	}
	p.waits.Store(true)
	defer p.waits.Store(false)
	var session <-chan struct{}
	if s := p.eng.gate.session.Load(); s != nil {
		session = s.Context().Done()
	}
	for !ok() {
		select {
		case <-p.acks:
		case <-p.eng.run.Done():
			return false
		case <-session:
			return false
		}
	}
	return true
}
