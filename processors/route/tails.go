package route

import (
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// behindAfter is how long a record may have waited in metrics before it is said to have.
const behindAfter = 10 * time.Second

// tails knows which partitions are read as they are written. Records' own times do not
// tell: they may be of the producer's clock.
type tails struct {
	mu       sync.Mutex
	of       map[int32]tail // none: nothing is known of the partition
	returned time.Time      // when the last poll returned
	stalled  bool           // nobody had polled for behindAfter when the last poll began
}

// tail is what is known of the end of a partition.
type tail struct {
	reached bool      // the last poll that had records of it had the last
	at      time.Time // when what was beyond the end that was reached began to wait, at the earliest
}

// begin forgets all.
func (t *tails) begin(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.of, t.returned, t.stalled = map[int32]tail{}, now, false
}

// polling notes that a poll begins: what comes while it waits comes as it is written.
func (t *tails) polling(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stalled = now.Sub(t.returned) > behindAfter
}

// polled notes what a poll returned, and says of which partitions it had waited.
func (t *tails) polled(fetches kgo.Fetches, now time.Time) (waited map[int32]bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.returned = now
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		n := len(p.Records)
		if n == 0 {
			return
		}
		was := t.of[p.Partition]
		if was.reached && !t.stalled {
			was.at = now
		}
		if now.Sub(was.at) > behindAfter {
			if waited == nil {
				waited = map[int32]bool{}
			}
			waited[p.Partition] = true
		}
		was.reached = p.HighWatermark <= p.Records[n-1].Offset+1
		t.of[p.Partition] = was
	})
	return waited
}

// lost forgets partitions that somebody else reads now.
func (t *tails) lost(partitions []int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range partitions {
		delete(t.of, p)
	}
}
