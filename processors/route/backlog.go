package route

import (
	"math"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// behindAfter is how long a record may wait in metrics before it counts as queued.
	behindAfter = 10 * time.Second
	// silentAfter is how long the others wait for a partition from which nothing comes.
	silentAfter = 10 * time.Second
	// maxHeld is how much may wait, bytes, before its partitions are no longer fetched.
	maxHeld = 64 << 20
)

// tails knows which partitions are read as they are written, and merges the others by the records'
// times: a producer may spread a host over all of them, and its windows close by the newest of its
// samples. Only the order depends on those times, which may be of the producer's clock.
type tails struct {
	mu       sync.Mutex
	of       map[int32]*tail // missing: nothing is known about the partition
	returned time.Time       // when the last poll returned
	stalled  bool            // nobody had polled for behindAfter when the last poll began
	queued   int             // values in all queues, bytes
}

// tail is what is known about the end of a partition.
type tail struct {
	reached bool      // the last poll with records of it had the last one
	at      time.Time // the earliest time at which records after the reached end began to wait
	heard   time.Time // when records of it were last polled
	stamp   int64     // the last one's time, ms
	waited  bool      // they had queued, or come after some that still do
	queue   []*kgo.Record
}

// begin forgets everything.
func (t *tails) begin(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.of, t.returned, t.stalled, t.queued = map[int32]*tail{}, now, false, 0
}

// polling records that a poll begins: what comes while it waits comes as it is written.
func (t *tails) polling(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stalled = now.Sub(t.returned) > behindAfter
}

// polled takes what a poll returned.
func (t *tails) polled(fetches kgo.Fetches, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.returned = now
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		n := len(p.Records)
		if n == 0 {
			return
		}
		f := t.of[p.Partition]
		if f == nil {
			f = &tail{}
			t.of[p.Partition] = f
		}
		if f.reached && !t.stalled {
			f.at = now
		}
		last := p.Records[n-1]
		f.waited = now.Sub(f.at) > behindAfter || len(f.queue) > 0
		f.reached = p.HighWatermark <= last.Offset+1
		f.heard, f.stamp = now, last.Timestamp.UnixMilli()
		f.queue = append(f.queue, p.Records...)
		for _, r := range p.Records {
			t.queued += len(r.Value)
		}
	})
}

// next calls add with each record, and reports whether it had queued. It merges lagging partitions
// by timestamp, up to the slowest's newest record; the rest waits, in order. Partitions that are
// read as they are written wait for nobody. next stops at the first error, and returns it.
func (t *tails) next(now time.Time, add func(r *kgo.Record, waited bool) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	slowest, until := int32(-1), int64(math.MaxInt64)
	for id, f := range t.of {
		if f.waited && !f.reached && (len(f.queue) > 0 || now.Sub(f.heard) < silentAfter) && f.stamp < until {
			slowest, until = id, f.stamp
		}
	}
	for id, f := range t.of {
		n := len(f.queue)
		if f.waited && id != slowest {
			for n = 0; n < len(f.queue) && f.queue[n].Timestamp.UnixMilli() <= until; n++ {
			}
		}
		for _, r := range f.queue[:n] {
			t.queued -= len(r.Value)
			if err := add(r, f.waited); err != nil {
				return err
			}
		}
		if f.queue = f.queue[n:]; len(f.queue) == 0 {
			f.queue = nil
		}
	}
	return nil
}

// waiting reports whether records wait, and which partitions should no longer be fetched.
func (t *tails) waiting() (some bool, full []int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, f := range t.of {
		some = some || len(f.queue) > 0
		if len(f.queue) > 0 && t.queued > maxHeld {
			full = append(full, id)
		}
	}
	return some, full
}

// lost forgets partitions that somebody else now reads, from the committed offsets.
func (t *tails) lost(partitions []int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range partitions {
		if f := t.of[p]; f != nil {
			for _, r := range f.queue {
				t.queued -= len(r.Value)
			}
		}
		delete(t.of, p)
	}
}
