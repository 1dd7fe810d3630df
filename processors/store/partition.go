package store

import (
	"context"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// partition is what is in flight of one partition that this instance owns.
type partition struct {
	ctx    context.Context // ends when its writes must be abandoned
	cancel context.CancelFunc
	writes sync.WaitGroup

	mu    sync.Mutex
	queue []*item // in order of offset; the first is not yet acknowledged
}

// item is a record in flight.
type item struct {
	record *kgo.Record
	acked  bool
}

func newPartition() *partition {
	p := &partition{}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// add queues a record; records come in order of offset.
func (p *partition) add(r *kgo.Record) *item {
	it := &item{record: r}
	p.mu.Lock()
	p.queue = append(p.queue, it)
	p.mu.Unlock()
	return it
}

// ack records that a record is acknowledged, and passes mark the last record up to which all are.
// It returns how many left the queue.
func (p *partition) ack(it *item, mark func(*kgo.Record)) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	it.acked = true
	n := 0
	for n < len(p.queue) && p.queue[n].acked {
		n++
	}
	if n > 0 {
		mark(p.queue[n-1].record)
		p.queue = append(p.queue[:0:0], p.queue[n:]...)
	}
	return n
}

// drain waits until all writes have ended, abandons them when patience ends, and returns how many
// records are left in the queue. Nothing may be added any more.
func (p *partition) drain(patience context.Context) int {
	ended := make(chan struct{})
	go func() {
		p.writes.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-patience.Done():
	}
	p.cancel()
	<-ended
	return len(p.queue)
}
