package simulation

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/topics"
)

// metricsRecord is a record of metrics, decoded.
type metricsRecord struct {
	samples []schemas.Sample // none: the end marker of a transaction
	aborted bool             // its transaction was aborted, so readers must not see it
}

// router is a member of weir-route. It imitates processors/route: it cuts the samples of an
// origin into sections by group, and these into chunks, by the record alone; it sends one
// batch per group at a time; and it commits a position only when everything before it is
// acknowledged.
type router struct {
	w      *World
	skewMS int64
	out    *outbox
	at     map[int]int64 // next offset to read, by partition that it owns
	marked map[int]int64 // offset that may be committed, by partition
	tail   map[int]bool  // partitions that the last poll read to the end
}

func newRouter(w *World, skewMS int64) *router {
	r := &router{w: w, skewMS: skewMS, at: map[int]int64{}, marked: map[int]int64{}, tail: map[int]bool{}}
	r.out = newOutbox(w)
	return r
}

// take makes the router the reader of a partition, from the committed offset on.
func (r *router) take(p int) {
	r.at[p], r.marked[p] = r.w.routed[p], r.w.routed[p]
}

func (r *router) drop(p int) {
	delete(r.at, p)
	delete(r.marked, p)
	delete(r.tail, p)
}

// origins is the epoch of the metrics topic.
const origins = 0xfeed

// poll reads up to n records of each of the router's partitions and starts to send their
// samples. It does nothing until the previous poll is acknowledged.
func (r *router) poll(n int) bool {
	if !r.out.empty() {
		return false
	}
	type target struct {
		gen int
		key string
	}
	var keys []target
	read := false
	batches := map[target]*schemas.BatchBuilder{}
	for p := range r.w.metrics {
		from, owns := r.at[p]
		if !owns {
			continue
		}
		r.marked[p] = from
		for ; n > 0 && from < int64(len(r.w.metrics[p])) && from < r.at[p]+int64(n); from++ {
			if read = true; r.w.metrics[p][from].aborted {
				continue
			}
			for _, s := range r.w.sectionsOf(r.w.metrics[p][from].samples) {
				to := target{s.gen, s.group}
				b := batches[to]
				if b == nil {
					b = &schemas.BatchBuilder{}
					batches[to] = b
					keys = append(keys, to)
				}
				b.Begin(schemas.Origin{Epoch: origins, Partition: int32(p), Offset: from}, s.chunk)
				if !r.tail[p] {
					b.Behind()
				}
				for i := range s.samples {
					b.AddSample(&s.samples[i], s.samples[i].Series.Hash(), s.samples[i].Series.ID())
				}
			}
		}
		r.at[p], r.tail[p] = from, from == int64(len(r.w.metrics[p]))
		r.w.polled[p] = max(r.w.polled[p], from)
	}
	for _, k := range keys {
		key := []byte(k.key)
		r.out.produce(r.w.now+r.skewMS, &kgo.Record{Topic: topics.SamplesOf(k.gen), Key: key,
			Partition: schemas.Shard(key, r.w.generations.List[k.gen].Shards), Value: valueOf(batches[k])}, nil)
	}
	return read
}

// valueOf encodes a batch with the names of its series, or with their shape. route sends names the
// first time and the shape when it sends the same series again; readers must cope with either.
func valueOf(b *schemas.BatchBuilder) []byte {
	if b.Len()%2 == 0 {
		return b.AppendShapedTo(nil, schemas.ShapeOf(b.IDs()))
	}
	return b.AppendTo(nil)
}

// unread reports whether a poll would find any records.
func (r *router) unread() bool {
	for p := range r.w.metrics {
		if at, owns := r.at[p]; owns && at < int64(len(r.w.metrics[p])) {
			return true
		}
	}
	return false
}

// commit commits the acknowledged offsets of the partitions that the router still owns.
func (r *router) commit() bool {
	did := false
	for p := range r.w.metrics {
		at, owns := r.at[p]
		if !owns || r.w.routers[r.w.routerOf[p]] != r {
			continue
		}
		if r.out.empty() {
			r.marked[p] = at
		}
		did = did || r.w.routed[p] != r.marked[p]
		r.w.routed[p] = r.marked[p]
	}
	return did
}

// section holds the samples of one record for one group and generation, or a chunk of them.
type section struct {
	gen     int
	group   string
	chunk   uint32
	samples []schemas.Sample
}

// sectionsOf cuts the samples of a record into sections of at most Chunk samples.
func (w *World) sectionsOf(samples []schemas.Sample) []section {
	var out []section
	for _, s := range samples {
		key, gen := schemas.GroupOf(s.Series, schemas.GroupLabels), 0
		if g := w.generations.Newest(); s.TimeMS >= g.FromMS {
			gen = g.Gen
		}
		i := slices.IndexFunc(out, func(x section) bool { return x.gen == gen && x.group == key && len(x.samples) < w.params.Chunk })
		if i < 0 {
			n := uint32(0)
			for _, x := range out {
				if x.gen == gen && x.group == key {
					n++
				}
			}
			i = len(out)
			out = append(out, section{gen: gen, group: key, chunk: n})
		}
		out[i].samples = append(out[i].samples, s)
	}
	return out
}
