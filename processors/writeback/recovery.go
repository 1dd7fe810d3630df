package writeback

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lovoo/goka"
	"github.com/lovoo/goka/storage"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// storage builds what Goka keeps a partition of the table in.
func (e *Engine[T]) storage(topic string, id int32) (storage.Storage, error) {
	ps, err := e.local(topic, id)
	if err != nil {
		return nil, err
	}
	p := &Part[T]{Storage: ps, ID: id, eng: e, flushed: make(chan flushed, 1)}
	e.mu.Lock()
	was := e.parked[id]
	delete(e.parked, id)
	e.opened[id] = p
	e.mu.Unlock()
	if was == nil {
		p.live = map[string]*Entry[T]{}
		return p, nil
	}
	p.kept, p.reload = true, map[string]struct{}{}
	p.Local, p.live, p.heap, p.dirty = was.Local, was.live, was.heap, was.dirty
	p.dueMS.Store(was.dueMS.Load())
	return p, nil
}

// wrote notes that a record of the changelog is acknowledged.
func (e *Engine[T]) wrote(r *kgo.Record) {
	e.mu.RLock()
	p := e.parts[r.Partition]
	e.mu.RUnlock()
	if p == nil {
		return
	}
	if err := p.SetOffset(r.Offset); err != nil {
		e.fail(err)
	}
}

// keepNewer puts a record of the changelog into the local store, unless that has the
// value as of a later record of the input. A process that was killed, or that has lost
// the partition and does not know, may write after its successor did.
func keepNewer(_ goka.UpdateContext, s storage.Storage, key string, value []byte) error {
	if value == nil {
		return s.Delete(key)
	}
	have, err := s.Get(key)
	if err != nil {
		return err
	}
	if have != nil && storedOffset(have) > storedOffset(value) {
		return nil
	}
	return s.Set(key, value)
}

func (e *Engine[T]) addPart(p *Part[T]) {
	e.mu.Lock()
	e.parts[p.ID] = p
	delete(e.opened, p.ID)
	e.mu.Unlock()
}

// parkPart takes a partition out of use. Its goroutine has ended. Goka calls
// MarkRecovered, too, when a session ends in the middle of a recovery: such a
// partition is not kept.
func (e *Engine[T]) parkPart(p *Part[T]) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.opened[p.ID] == p {
		delete(e.opened, p.ID)
	}
	if e.parts[p.ID] == p {
		delete(e.parts, p.ID)
		if p.complete {
			e.parked[p.ID] = p
		}
	}
}

// tableEnds returns the end offset of each partition of the table.
func (e *Engine[T]) tableEnds() (map[int32]int64, error) {
	// Not under the session's context: that it ends here is no error.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	listed, err := kadm.NewClient(e.prod.client).ListEndOffsets(ctx, e.opts.Table)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("list the end of %s: %w", e.opts.Table, err)
	}
	ends := map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) { ends[o.Partition] = o.Offset })
	e.mu.Lock()
	e.ends = ends
	e.mu.Unlock()
	return ends, nil
}

// recovered is called when a session is alive and Goka says that its partitions have
// recovered: at least to ends, or something stopped the reading of the table, which
// Goka takes for the end of it.
func (e *Engine[T]) recovered(ends map[int32]int64) error {
	for _, p := range e.owned() {
		if at, err := p.GetOffset(-1); err != nil || at < ends[p.ID]-1 {
			return fmt.Errorf("partition %d: %w: read to %d of %d, %v", p.ID, ErrRecovery, at+1, ends[p.ID], err)
		}
	}
	e.setUp()
	e.mu.RLock()
	keys := 0
	for _, p := range e.parts {
		keys += len(p.live)
	}
	e.log.Info("recovered", "partitions", len(e.parts), "keys", keys)
	e.mu.RUnlock()
	return nil
}

// setUp marks the partitions as complete, and forgets those that the rebalance gave
// to others.
func (e *Engine[T]) setUp() {
	e.mu.Lock()
	for _, p := range e.parts {
		p.complete = true
	}
	clear(e.parked)
	e.mu.Unlock()
}

// ErrRecovery is wrapped by Run's error when the table was not read to its end.
var ErrRecovery = errors.New("recovery is not complete")

// Recovering says how much of the table has been read by the partitions that are
// being recovered: their number, and records read and to be read in all.
func (e *Engine[T]) Recovering() (partitions int, read, of int64) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	for id, p := range e.opened {
		at, err := p.GetOffset(-1)
		if err == nil {
			read += at + 1
		}
		of += e.ends[id]
	}
	return len(e.opened), read, max(of, read)
}

// Waiting is what stands between this member and being Ready, in words, or "".
func (e *Engine[T]) Waiting() string {
	if e.Ready() {
		return ""
	}
	if n, read, of := e.Recovering(); n > 0 {
		return fmt.Sprintf("recovering %d partitions: %d of %d records read", n, read, of)
	}
	return "joining the group"
}

// tellEvery is the time between two log lines about a recovery.
const tellEvery = 2 * time.Second

// tellRecovery logs how a recovery goes until ctx ends.
func (e *Engine[T]) tellRecovery(ctx context.Context) {
	t := time.NewTicker(tellEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if n, read, of := e.Recovering(); n > 0 {
			e.log.Info("recovering", "partitions", n, "read", read, "of", of, "percent", 100*read/max(of, 1))
		}
	}
}
