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

// topic is a topic of the broker: what is appended stays.
type topic struct {
	name  string
	nowMS func() int64 // if set, records have the time when they were appended
	parts [][]*kgo.Record
	// compacted are the records that compaction has taken.
	compacted map[*kgo.Record]bool
}

func newTopic(name string, partitions int) *topic {
	return &topic{name: name, parts: make([][]*kgo.Record, partitions), compacted: map[*kgo.Record]bool{}}
}

// compact takes all records of a partition but the newest of each key, and says how many.
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

// poison appends to a table what does not decode, for each value that is there, and says how
// many: rubbish
// under the key as it is, and what its writer wrote, cut, as a writer that nobody knows.
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

// append stores a copy of r and sets its offset. The copy is what readers get: the
// producer may use its record again.
func (t *topic) append(r *kgo.Record) {
	r.Offset = int64(len(t.parts[r.Partition]))
	c := *r
	if t.nowMS != nil {
		c.Timestamp = time.UnixMilli(t.nowMS())
	}
	t.parts[r.Partition] = append(t.parts[r.Partition], &c)
}

// outbox is what one producer has buffered: a queue for each partition that it writes
// to. A queue keeps its order, as the idempotent producer does; between queues there
// is none.
type outbox struct {
	w      *World
	queues []*queue
	dead   bool  // nobody is told of anything
	until  int64 // of a killed producer: when the network gives up what it still holds, ms; 0: never
	// refused are the keys whose last value was refused, by partition.
	refused map[int32]map[string]bool
	// moot says which values the process has since let go of, or read anew: those by writers up
	// to a number, of a partition and, unless it is "", a key.
	moot map[tableEntry]uint64
}

// queue holds records that are not acknowledged; the first stored of them the broker
// has already.
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

// errTimeout is what a producer is told of a record that was not acknowledged in time.
var errTimeout = errors.New("timed out")

// topicOrder numbers the topics: queue n of an outbox is that of partition n%16 of topic
// n/16. Traces name queues so; new topics come last.
var topicOrder = []string{topics.Samples, topics.Windows, topics.Conditions, topics.Alerts, topics.DeadLetter,
	topics.WindowTable, topics.AlertTable, topics.SamplesOf(1), topics.WindowTableOf(1)}

// newOutbox has a queue for each partition of each topic.
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

// queue returns a queue by its number, or nil.
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

// put stores the next n records and acknowledges the first acks of what is
// stored. It reports whether that did anything.
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

// fail stores the next n records and then tells the producer that none of
// the queue was acknowledged.
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

// networkMS is how long the network may hold what a process that was killed had sent, ms: connections end, and nobody sends it again.
// Records bear the time at which they were sent, so what came when groups are forgotten already would be taken for what came then.
func (w *World) networkMS() int64 { return min(15*60_000, max(60_000, w.windowsCfg.MaxAge.MS()/2)) }

// expire loses what the network has held for too long.
func (o *outbox) expire() *outbox {
	if o.until > 0 && o.w.now > o.until {
		for _, q := range o.queues {
			q.items, q.stored = nil, 0
		}
	}
	return o
}

// die is a kill of the producer: the next keep records of each queue are stored, the
// following haunt go to an outbox that may be stored within networkMS, the rest is lost.
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
