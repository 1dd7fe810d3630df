package route

import (
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/consume"
	"github.com/weir-metrics/weir/schemas/formats"
	"github.com/weir-metrics/weir/schemas/topics"
)

const (
	// chunkBytes and sampleBytes decide where an origin's samples for a group are cut into chunks.
	// Readers deduplicate by that: see doc.go.
	chunkBytes  = 512 << 10
	sampleBytes = 32 // index, time, value and ID; at most 42 with fractions of a ms, so a chunk is below 672 KiB

	// batchBytes is the length at which a batch gets no further section. With one more chunk it
	// stays below Kafka's default record limit of 1 MB.
	batchBytes = 256 << 10

	// roundBytes bounds what is held between two flushes, bytes, plus or minus a record.
	roundBytes = 8 << 20

	// maxFree is how many builders are kept for later batches, and maxFreeBytes the longest batch
	// whose builder is kept.
	maxFree, maxFreeBytes = 2048, 16 << 10

	// maxKnown bounds the series that are remembered from record to record.
	maxKnown = 1 << 18
)

// output receives what the encoder makes. send and refuse only start the writing; flush waits until
// all of it is acknowledged, and returns an error if some of it never will be. Values given to send
// may be reused once flush has returned.
type output interface {
	send(topic string, key []byte, shard int32, value []byte)
	refuse(r *kgo.Record, v *verdict)
	flush() error
}

// encoder turns records of metrics into batches of samples.
type encoder struct {
	cfg   Config
	gens  []generation // oldest first, at least one
	epoch uint64
	out   output
	count *counters

	dec      *formats.Decoder
	known    map[seriesKey]*series
	groups   map[string][]*group // of a key, one for each of gens
	open     []*group            // those with a batch, in the order of their first sample
	free     []*schemas.BatchBuilder
	buffered int    // roughly the bytes in open batches and in the arena
	arena    []byte // values sent in this round
	behind   bool   // what is being added had queued in metrics
	sender   uint64 // of the record in hand, see schemas.SenderOf
	round    uint64 // number of flushes
	record   uint64 // number of the record in hand
}

// seriesKey is a series as the decoder gave it. Label sets are distinguished by their address: the
// decoder shares them, and the key keeps them alive, so that an address is never that of another
// set.
type seriesKey struct {
	metric string
	labels *schemas.Label
	n      int
}

// series is what a seriesKey stands for.
type series struct {
	groups []*group // one for each of the encoder's gens
	hash   uint64
	id     schemas.ID
	cost   int // most bytes that one sample of it takes in a batch
	reason string
	err    error // why it is refused, or nil
}

// group is a series group and its open batch.
type group struct {
	key   string
	topic string
	shard int32
	batch *schemas.BatchBuilder // nil if there are no samples to send
	round uint64                // in which it last sent a batch, +1
	sent  [2]past               // series of its last batches, the latest first

	record uint64 // the record whose section is open
	chunk  uint32
	size   int // of the open section, an upper bound, bytes
}

// past is what is remembered of a batch: its series, and their shape once it has been used.
type past struct {
	ids   []schemas.ID
	shape schemas.ID
}

// leastShaped is the smallest number of series for which a shape is worth its bytes.
const leastShaped = 2

// shape returns the shape of a batch with these series, or zero if it is to name them. It is to name
// them the first time: readers need to be told of a shape only if it comes again.
func (g *group) shape(ids []schemas.ID) schemas.ID {
	if len(ids) < leastShaped {
		return schemas.ID{}
	}
	for i := range g.sent {
		s := &g.sent[i]
		if !slices.Equal(s.ids, ids) {
			continue
		}
		if s.shape == (schemas.ID{}) {
			s.shape = schemas.ShapeOf(ids)
		}
		shape := s.shape
		g.sent[0], g.sent[i] = g.sent[i], g.sent[0]
		return shape
	}
	g.sent[0], g.sent[1] = past{ids: append(g.sent[1].ids[:0], ids...)}, g.sent[0]
	return schemas.ID{}
}

func newEncoder(cfg Config, gens []generation, epoch uint64, count *counters, out output) *encoder {
	return &encoder{cfg: cfg, gens: gens, epoch: epoch, out: out, count: count, dec: formats.NewDecoderOf(cfg.Samples),
		known: map[seriesKey]*series{}, groups: map[string][]*group{}}
}

// add puts the samples of r into the batches of their groups, and sends batches
// that are full. It returns the error of a flush.
func (e *encoder) add(r *kgo.Record) error {
	if r.Attrs.IsControl() {
		return nil // the marker of a transaction
	}
	e.record++
	e.count.records.Inc()
	var v verdict
	err := e.decode(r, &v)
	if v.reasons != nil {
		for _, rc := range v.reasons {
			e.count.refused.WithLabelValues(rc.Reason).Add(float64(rc.N))
		}
		e.out.refuse(r, &v)
		e.buffered += len(r.Value)
	}
	if err == nil && e.buffered > roundBytes {
		err = e.finish()
	}
	return err
}

func (e *encoder) decode(r *kgo.Record, v *verdict) error {
	if b := consume.SkippedBatch(r); b != nil {
		v.add(reasonBatch, errors.New(b.String()))
		return nil
	}
	contentType := header(r, "content-type")
	switch {
	case len(r.Value) == 0:
		v.add(reasonEmpty, fmt.Errorf("the record has no value"))
		return nil
	case len(r.Value) > e.cfg.MaxRecordBytes:
		v.add(reasonTooLarge, fmt.Errorf("%d bytes, at most %d", len(r.Value), e.cfg.MaxRecordBytes))
		return nil
	case !formats.Readable(contentType):
		v.add(reasonContentType, fmt.Errorf("content-type %.100q: must name json, influx or text/plain", contentType))
		return nil
	}
	// A line without a time gets the record's, so that it means the same whenever it is read.
	e.sender = schemas.SenderOf([]byte(header(r, topics.HeaderSender)))
	e.dec.ResetBy(contentType, r.Value, r.Timestamp.UnixMilli())
	origin := schemas.Origin{Epoch: e.epoch, Partition: r.Partition, Offset: r.Offset}
	good, skipped, unknown := 0, 0, 0
	for entry := e.dec.Next(); entry != nil; entry = e.dec.Next() {
		if entry.Fault != nil {
			v.add(string(entry.Fault.Reason), entry.Fault)
			continue
		}
		skipped += entry.Skipped
		unknown += entry.Unknown
		for i := range entry.Samples {
			s := &entry.Samples[i]
			k := e.lookup(&s.Series)
			if k.err != nil {
				v.add(k.reason, k.err)
				continue
			}
			if err := e.put(k, s, origin); err != nil {
				return err
			}
			good++
		}
	}
	e.count.samples.Add(float64(good))
	e.count.skipped.Add(float64(skipped))
	e.count.unknown.Add(float64(unknown))
	return nil
}

func (e *encoder) lookup(s *schemas.Series) *series {
	key := seriesKey{metric: s.Metric, n: len(s.Labels)}
	if key.n > 0 {
		key.labels = &s.Labels[0]
	}
	k := e.known[key]
	if k == nil {
		k = e.learn(s)
		e.known[key] = k
	}
	return k
}

func (e *encoder) learn(s *schemas.Series) *series {
	text := len(s.Metric)
	for _, l := range s.Labels {
		text += len(l.Name) + len(l.Value)
	}
	if len(s.Labels) > e.cfg.MaxLabels {
		return &series{reason: reasonManyLabels, err: fmt.Errorf("series %.100q: %d labels, at most %d", s.Metric, len(s.Labels), e.cfg.MaxLabels)}
	}
	key := schemas.GroupOf(*s, e.cfg.GroupLabels)
	gs := e.groups[key]
	if gs == nil {
		for _, n := range e.gens {
			gs = append(gs, &group{key: key, topic: n.topic, shard: schemas.Shard([]byte(key), n.shards)})
		}
		e.groups[key] = gs
	}
	// A label costs its text, two lengths in the dictionary and a reference to it.
	return &series{groups: gs, hash: s.Hash(), id: s.ID(), cost: sampleBytes + text + 7*(len(s.Labels)+1)}
}

// put adds a sample to its group's batch.
func (e *encoder) put(k *series, s *schemas.Sample, origin schemas.Origin) error {
	g := k.groups[e.generation(s.TimeMS)]
	newRecord := g.record != e.record
	if newRecord || g.size+k.cost > chunkBytes {
		if g.batch != nil && g.batch.Size() > batchBytes {
			if err := e.emit(g); err != nil {
				return err
			}
		}
		g.chunk++
		g.size = 0
		if newRecord {
			g.record, g.chunk = e.record, 0
		}
		if g.batch == nil {
			g.batch = e.builder()
			e.open = append(e.open, g)
		}
		g.batch.Begin(origin, g.chunk)
		if e.behind {
			g.batch.Behind()
		}
		g.batch.Sender(e.sender)
	}
	g.size += k.cost
	e.buffered += k.cost
	g.batch.AddSample(s, k.hash, k.id)
	return nil
}

func (e *encoder) builder() *schemas.BatchBuilder {
	if n := len(e.free); n > 0 {
		b := e.free[n-1]
		e.free = e.free[:n-1]
		return b
	}
	return new(schemas.BatchBuilder)
}

// emit sends the group's batch. If one of this round is already in flight, emit waits for it,
// because this one must not arrive if that one does not.
func (e *encoder) emit(g *group) error {
	if g.round == e.round+1 {
		if err := e.flush(); err != nil {
			return err
		}
	}
	g.round = e.round + 1
	if size := g.batch.Size(); cap(e.arena)-len(e.arena) < size {
		e.arena = make([]byte, 0, max(size, 1<<20))
	}
	from := len(e.arena)
	e.arena = g.batch.AppendShapedTo(e.arena, g.shape(g.batch.IDs()))
	value := e.arena[from:len(e.arena):len(e.arena)]
	e.count.batches.Inc()
	e.count.bytes.Add(float64(len(value)))
	e.out.send(g.topic, []byte(g.key), g.shard, value)
	if len(e.free) < maxFree && len(value) <= maxFreeBytes {
		g.batch.Reset()
		e.free = append(e.free, g.batch)
	}
	g.batch = nil
	return nil
}

// finish sends all batches and returns when they are acknowledged.
func (e *encoder) finish() error {
	for _, g := range e.open {
		if g.batch == nil {
			continue // already sent when it was full
		}
		if err := e.emit(g); err != nil {
			return err
		}
	}
	clear(e.open)
	e.open = e.open[:0]
	if len(e.known) > maxKnown {
		clear(e.known)
		clear(e.groups)
	}
	e.buffered = 0
	return e.flush()
}

func (e *encoder) flush() error {
	e.round++
	err := e.out.flush()
	e.arena = e.arena[:0]
	return err
}
