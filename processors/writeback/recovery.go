package writeback

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// openPartition begins the recovery of a partition, from the table that there is of it and from the
// partition put aside, if there is one.
func (e *Engine[T, L]) openPartition(id int32) (*Partition[T, L], error) {
	table, err := e.openTable(id)
	if err != nil {
		return nil, err
	}
	p := &Partition[T, L]{table: table, ID: id, eng: e, flushed: make(chan flushed, 1), acks: make(chan struct{}, 1), writer: e.newWriter()}
	at := table.Offset()
	p.offset.Store(at)
	e.mu.Lock()
	was := e.aside[id]
	delete(e.aside, id)
	p.from, p.to = at+1, max(at+1, e.ends[id])
	p.session = e.session
	e.opened[id] = p
	e.mu.Unlock()
	if was == nil {
		p.live, p.todo = map[string]*Entry[T, L]{}, &changes[T, L]{}
		return p, nil
	}
	p.kept, p.reload = true, map[string][]writer{}
	p.Local, p.live, p.heap, p.waiting, p.todo = was.Local, was.live, was.heap, was.waiting, was.todo
	p.gone, p.goneOrder, p.owed = was.gone, was.goneOrder, was.owed
	p.anyWaiting.Store(len(p.waiting) > 0)
	p.dueMS.Store(was.dueMS.Load())
	return p, nil
}

// wrote records that a record of the changelog is acknowledged.
func (e *Engine[T, L]) wrote(r *kgo.Record) {
	e.mu.RLock()
	p := e.partitions[r.Partition]
	e.mu.RUnlock()
	if p == nil {
		return
	}
	if err := p.reached(r.Offset); err != nil {
		e.fail(err)
	}
}

// addPartition takes a partition into use, unless it was given up before its recovery ended: Goka
// does not wait for the end, and never closes the partition of a session that ended in the middle of it.
func (e *Engine[T, L]) addPartition(p *Partition[T, L]) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.opened[p.ID] == p {
		delete(e.opened, p.ID)
	}
	if p.closed.Load() || p.session != e.session {
		return
	}
	e.partitions[p.ID] = p
}

// dropPartition takes a partition out of use, and puts it aside in case the rebalance gives it back.
// Its goroutine has ended, unless it is in the middle of its recovery, in which case the partition
// is not kept.
func (e *Engine[T, L]) dropPartition(p *Partition[T, L]) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p.closed.Store(true)
	if e.opened[p.ID] == p {
		delete(e.opened, p.ID)
	}
	if e.partitions[p.ID] == p {
		delete(e.partitions, p.ID)
		if p.complete {
			e.aside[p.ID] = p
		}
	}
}

// endSession gives up the partitions that the ended session has not closed, so that none outlives
// its session.
func (e *Engine[T, L]) endSession() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.session++
	for _, p := range e.partitions {
		p.closed.Store(true)
	}
	for _, p := range e.opened {
		p.closed.Store(true)
	}
	clear(e.partitions)
	clear(e.opened)
}

// tableEnds checks whether somebody altered the topics, and returns the end offset of each
// partition of the table.
func (e *Engine[T, L]) tableEnds() (map[int32]int64, error) {
	// Not with the session's context, which may end here without an error.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	adm := kadm.NewClient(e.prod.client)
	if err := e.look(ctx, adm); err != nil {
		return nil, err
	}
	listed, err := adm.ListEndOffsets(ctx, e.opts.Table)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("list the end of %s: %w", e.opts.Table, err)
	}
	ends := map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) { ends[o.Partition] = o.Offset })
	e.mu.Lock()
	e.ends, e.began = ends, time.Now()
	e.mu.Unlock()
	return ends, nil
}

// recovered is called when a session is alive and Goka reports that its partitions have recovered:
// at least to ends, unless something stopped the reading of the table, which Goka takes for its
// end.
func (e *Engine[T, L]) recovered(ends map[int32]int64) error {
	for _, p := range e.owned() {
		if at := p.offset.Load(); at < ends[p.ID]-1 {
			return fmt.Errorf("partition %d: %w: read to %d of %d", p.ID, ErrRecovery, at+1, ends[p.ID])
		}
	}
	e.setUp()
	e.mu.RLock()
	keys := 0
	for _, p := range e.partitions {
		keys += len(p.live)
	}
	e.log.Info("recovered", "partitions", len(e.partitions), "keys", keys, "took", time.Since(e.began).Round(time.Millisecond))
	e.mu.RUnlock()
	return nil
}

// setUp marks the partitions as complete, and forgets those put aside, which others have now.
func (e *Engine[T, L]) setUp() {
	e.mu.Lock()
	for _, p := range e.partitions {
		p.complete = true
	}
	clear(e.aside)
	e.mu.Unlock()
}

// ErrRecovery is wrapped by Run's error when the table was not read to its end.
var ErrRecovery = errors.New("recovery is not complete")

// Recovery is how far a member is with its partitions of the table.
type Recovery struct {
	Partitions, Recovered int   // the partitions that it will own, and how many of those are complete
	Records, Read         int64 // of the changelog that its local store did not have, and those of them read; offsets, of which compaction may have left out some
	Began                 time.Time
}

// Done reports whether there is nothing left to wait for.
func (r Recovery) Done() bool { return r.Recovered == r.Partitions }

// readingShare is how much of the time goes into reading the changelog, if there is anything to
// read, rather than into decoding the values: measured.
const readingShare = 0.75

// Fraction is how much of it is done, 0 to 1.
func (r Recovery) Fraction() float64 {
	if r.Done() {
		return 1
	}
	complete := float64(r.Recovered) / float64(r.Partitions)
	if r.Records == 0 {
		return complete
	}
	return readingShare*float64(r.Read)/float64(r.Records) + (1-readingShare)*complete
}

// And combines r and o, from when the first of them began.
func (r Recovery) And(o Recovery) Recovery {
	if r.Began.IsZero() || !o.Began.IsZero() && o.Began.Before(r.Began) {
		r.Began = o.Began
	}
	return Recovery{r.Partitions + o.Partitions, r.Recovered + o.Recovered, r.Records + o.Records, r.Read + o.Read, r.Began}
}

// String is such as "3 of 8 partitions, 120 of 400 records".
func (r Recovery) String() string {
	return fmt.Sprintf("%d of %d partitions, %d of %d records", r.Recovered, r.Partitions, r.Read, r.Records)
}

// Recovery returns how far the current recovery is, or how far the last one was.
func (e *Engine[T, L]) Recovery() Recovery {
	e.mu.RLock()
	defer e.mu.RUnlock()
	r := Recovery{Partitions: len(e.opened) + len(e.partitions), Recovered: len(e.partitions), Began: e.began}
	for _, p := range e.partitions {
		r.Records += p.to - p.from
		r.Read += p.to - p.from
	}
	for _, p := range e.opened {
		r.Records += p.to - p.from
		r.Read += max(0, min(p.offset.Load()+1, p.to)-p.from)
	}
	return r
}

// Waiting tells what this member waits for before it is Ready, in words; "" if nothing.
func (e *Engine[T, L]) Waiting() string {
	if e.Ready() {
		return ""
	}
	if r := e.Recovery(); !r.Done() {
		return fmt.Sprintf("recovering %s: %s, %.0f %%", e.opts.Table, r, 100*r.Fraction())
	}
	return "joining the group"
}
