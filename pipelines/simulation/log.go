package simulation

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/windows"
)

// topic is a topic of the broker. It keeps every record, even those that compaction removed.
type topic struct {
	name  string
	nowMS func() int64 // if set, the broker stamps records with its own time when it appends them
	parts [][]*kgo.Record
	// compacted holds the records that compaction removed.
	compacted map[*kgo.Record]bool
}

func newTopic(name string, partitions int) *topic {
	return &topic{name: name, parts: make([][]*kgo.Record, partitions), compacted: map[*kgo.Record]bool{}}
}

// compact removes all records of a partition except the newest of each key, and returns how many.
func (t *topic) compact(p int) (n int) {
	newest := map[string]*kgo.Record{}
	for _, r := range t.parts[p] {
		if old := newest[string(r.Key)]; old != nil && !t.compacted[old] {
			t.compacted[old] = true
			n++
		}
		newest[string(r.Key)] = r
	}
	return n
}

// poison appends two records that do not decode for each key with a value in a table: rubbish
// under the bare key, and the first byte of the value under an unknown writer. It returns the
// number of keys.
func (t *topic) poison(p int) (n int) {
	newest := map[string]*kgo.Record{}
	for _, r := range t.parts[p] {
		newest[string(r.Key)] = r
	}
	for _, raw := range slices.Sorted(maps.Keys(newest)) {
		r := newest[raw]
		if end := len(raw); r.Value != nil && end > 10 {
			t.append(&kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: []byte(raw[:end-10]), Value: []byte("\xffrubbish")})
			t.append(&kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: []byte(raw[:end-8] + "stranger"), Value: r.Value[:1]})
			n++
		}
	}
	return n
}

// append stores a copy of r and sets r's offset. Readers get the copy, because the producer
// may reuse its record.
func (t *topic) append(r *kgo.Record) {
	r.Offset = int64(len(t.parts[r.Partition]))
	c := *r
	if t.nowMS != nil {
		c.Timestamp = time.UnixMilli(t.nowMS())
	}
	t.parts[r.Partition] = append(t.parts[r.Partition], &c)
}

// outbox holds what one producer has buffered: a queue for each partition that it writes to.
// A queue keeps its order, as the idempotent producer does; queues have no order among each
// other.
type outbox struct {
	w      *World
	queues []*queue
	dead   bool  // the process is gone, so callbacks are not called
	until  int64 // when the network drops a killed producer's records, ms; 0: never
	// refused holds the keys whose last value the broker refused, by partition.
	refused map[int32]map[string]bool
	// moot tells which values no longer matter to the process, because it has given up the
	// partition or read the key anew: those of writers up to a number. An empty key stands for
	// the whole partition.
	moot map[tableEntry]uint64
}

// queue holds the records that are not acknowledged. The broker has already stored the first
// few of them, as many as stored says.
type queue struct {
	of     *outbox
	id     int
	topic  *topic
	part   int32
	items  []item
	stored int
}

type item struct {
	r    *kgo.Record
	done func(*kgo.Record, error)
}

// errTimeout is the error of a record that was not acknowledged in time.
var errTimeout = errors.New("timed out")

// topicOrder numbers the topics: queue n of an outbox belongs to partition n%16 of topic n/16.
// Traces use these numbers, so new topics come last.
var topicOrder = []string{topics.Samples, topics.Windows, topics.Conditions, topics.Alerts, topics.DeadLetter,
	topics.WindowTable, topics.AlertTable, topics.SamplesOf(1), topics.WindowTableOf(1)}

// newOutbox returns an outbox with a queue for each partition of each topic.
func newOutbox(w *World) *outbox {
	o := &outbox{w: w, refused: map[int32]map[string]bool{}, moot: map[tableEntry]uint64{}}
	for i, name := range topicOrder {
		if t := w.topics[name]; t != nil {
			for p := range t.parts {
				o.queues = append(o.queues, &queue{of: o, id: i*16 + p, topic: t, part: int32(p)})
			}
		}
	}
	return o
}

// queue returns the queue with a number, or nil.
func (o *outbox) queue(id int) *queue {
	for _, q := range o.queues {
		if q.id == id {
			return q
		}
	}
	return nil
}

func (o *outbox) produce(atMS int64, r *kgo.Record, done func(*kgo.Record, error)) {
	if r.Timestamp.IsZero() {
		r.Timestamp = time.UnixMilli(atMS)
	}
	t := o.w.topics[r.Topic]
	if r.Topic == topics.DeadLetter && headerOf(r, "weir.reason") == string(windows.TotalLimit) {
		o.w.turned[string(r.Key)] = true
	}
	o.replaced(r)
	for _, q := range o.queues {
		if q.topic == t && q.part == r.Partition {
			q.items = append(q.items, item{r, done})
		}
	}
}

func (o *outbox) empty() bool {
	for _, q := range o.queues {
		if len(q.items) > 0 {
			return false
		}
	}
	return true
}

// put stores the next n records and acknowledges the first acks records that are stored. It
// reports whether that did anything.
func (q *queue) put(n, acks int) bool {
	if q == nil {
		return false
	}
	n = min(n, len(q.items)-q.stored)
	for range n {
		if it := q.items[q.stored]; q.of.w.tooLarge(it.r) {
			q.items = slices.Delete(q.items, q.stored, q.stored+1)
			if q.of.dead {
				it.done = nil
			}
			q.of.refuse(it)
			continue
		}
		q.topic.append(q.items[q.stored].r)
		q.stored++
	}
	acks = min(acks, q.stored)
	for range acks {
		it := q.items[0]
		q.items = q.items[1:]
		q.stored--
		if it.done != nil {
			it.done(it.r, nil)
		}
	}
	return n > 0 || acks > 0
}

// fail stores the next n records, and then fails the whole queue with errTimeout, stored
// records included.
func (q *queue) fail(n int) bool {
	if q == nil || len(q.items) == 0 {
		return false
	}
	q.put(n, 0)
	items := q.items
	q.items, q.stored = nil, 0
	for _, it := range items {
		if it.done != nil {
			it.done(it.r, errTimeout)
		}
	}
	return true
}

// networkMS is how long the network may hold the records of a killed process, ms. Then its connections are gone, and nobody sends
// the records again. A record has the time at which it was sent: if it arrived after its group was forgotten, it would pass for new.
func (w *World) networkMS() int64 { return min(15*60_000, max(60_000, w.windowsCfg.MaxAge.MS()/2)) }

// expire drops the records of a ghost that the network has held for too long.
func (o *outbox) expire() *outbox {
	if o.until > 0 && o.w.now > o.until {
		for _, q := range o.queues {
			q.items, q.stored = nil, 0
		}
	}
	return o
}

// die kills the producer. The next keep records of each queue are stored; the haunt records
// after these go to the outbox that die returns, and may be stored within networkMS; the
// rest is lost.
func (o *outbox) die(keep, haunt int) *outbox {
	o.dead = true
	ghost := newOutbox(o.w)
	ghost.until = o.w.now + o.w.networkMS()
	for i, q := range o.queues {
		q.put(keep, 0)
		if rest := q.items[q.stored:]; len(rest) > 0 && haunt > 0 {
			rest = rest[:min(haunt, len(rest))]
			for k := range rest {
				rest[k].done = nil
			}
			ghost.queues[i].items = slices.Clone(rest)
		}
	}
	o.queues = nil
	if ghost.empty() {
		return nil
	}
	return ghost
}
