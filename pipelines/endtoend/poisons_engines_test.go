//go:build engines

package endtoend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/pipelines/enginetest"
	"github.com/weir-metrics/weir/schemas/consume/batches"
	"github.com/weir-metrics/weir/schemas/topics"
)

// origin is the place of a record of poison.
type origin struct {
	topic     string
	partition int32
	offset    int64
}

// poisoner writes poison into every topic, and remembers what the broker took.
type poisoner struct {
	t      *testing.T
	client *kgo.Client
	codecs map[string]*kgo.Client
	topics kadm.TopicDetails
	defs   map[string]topics.Topic
	real   map[string]*kgo.Record // a record that weir wrote, by topic
	bombs  map[int16][]byte       // compressed zeros, by codec; the huge bomb is under hugeBomb

	number  atomic.Int64 // makes keys unique
	one     sync.Mutex   // held while writing bombs
	mu      sync.Mutex
	taken   map[origin]string  // kind of poison, by its place
	refused map[string]int     // records that the broker refused, by kind and error
	bombed  map[string]int     // bombs that the broker took, by topic
	sums    map[string]float64 // the process's counters, added up over its restarts
}

// hugeBomb unpacks to 1.5 GB, the others to bombBytes. That is more than weir unpacks, but no more than the
// broker can hold: it unpacks batches to compact them.
const (
	hugeBomb  = int16(-1)
	hugeBytes = 1_500_000_000
	bombBytes = 72 << 20
)

func newPoisoner(t *testing.T) *poisoner {
	t.Helper()
	p := &poisoner{t: t, codecs: map[string]*kgo.Client{}, defs: map[string]topics.Topic{}, real: map[string]*kgo.Record{},
		bombs: map[int16][]byte{}, taken: map[origin]string{}, refused: map[string]int{}, bombed: map[string]int{}, sums: map[string]float64{}}
	for name, codec := range map[string]kgo.CompressionCodec{"": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()} {
		cl, err := kgo.NewClient(kgo.SeedBrokers(enginetest.Kafka(t).Addr), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0),
			kgo.ProducerBatchCompression(codec), kgo.ProducerBatchMaxBytes(16<<20), kgo.BrokerMaxWriteBytes(100<<20))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cl.Close)
		p.codecs[name] = cl
	}
	p.client = p.codecs[""]
	var err error
	if p.topics, err = kadm.NewClient(p.client).ListTopics(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, def := range topics.All(topics.Default()) {
		if !p.topics.Has(def.Name) {
			t.Fatalf("there is no topic %s", def.Name)
		}
		p.defs[def.Name] = def
		for _, r := range readSome(t, def.Name) {
			if len(r.Key) > 0 && len(r.Value) > 4 {
				p.real[def.Name] = r
			}
		}
	}
	for _, codec := range []int16{batches.Gzip, batches.Snappy, batches.Lz4, batches.Zstd} {
		if p.bombs[codec], err = batches.Zeros(codec, []byte("bomb"), bombBytes); err != nil {
			t.Fatal(err)
		}
	}
	if p.bombs[hugeBomb], err = batches.Zeros(batches.Zstd, []byte("bomb"), hugeBytes); err != nil {
		t.Fatal(err)
	}
	return p
}

// readSome returns the records of a topic that arrive within a second.
func readSome(t *testing.T, topic string) []*kgo.Record {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(enginetest.Kafka(t).Addr), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	return cl.PollFetches(ctx).Records()
}

// poison is one kind of poison.
type poison struct {
	what  string
	codec string
	r     kgo.Record
}

// small returns the kinds that go to every partition.
func (p *poisoner) small(topic string) []poison {
	key := []byte("poison")
	all := []poison{
		{what: "rubbish", r: kgo.Record{Key: key, Value: []byte("\x07\xffrubbish\x00\x01")}},
		{what: "rubbish without a key", r: kgo.Record{Value: []byte("\x07\xffrubbish\x00\x01")}},
		{what: "empty", r: kgo.Record{Key: key, Value: []byte{}}},
		{what: "null", r: kgo.Record{Key: key}},
		{what: "null without a key", r: kgo.Record{}},
		{what: "unrelated JSON", r: kgo.Record{Key: key, Value: []byte("\x01[1,2,3]")}},
		{what: "a key that is not text", r: kgo.Record{Key: []byte("\xff\x00\xfe\x1b[2J"), Value: []byte("\x01")}},
	}
	if was := p.real[topic]; topic == topics.Metrics { // half of a record with several samples may decode, so cut a record with one
		sample := fmt.Appendf(nil, `{"metricName":"load","tags":{"host":%q},"timestamp":%d,"value":1e9}`, hostName(0), time.Now().UnixMilli())
		all = append(all, poison{what: "cut", r: kgo.Record{Key: key, Value: sample[:len(sample)/2]}},
			poison{what: "cut by a byte", r: kgo.Record{Key: key, Value: sample[:len(sample)-1]}})
	} else if was != nil {
		key := was.Key
		if p.defs[topic].Cleanup == topics.Compact {
			key = []byte("poison") // under its own key it would be the value of that key
		}
		foreign := bytes.Clone(was.Value)
		foreign[0] = 0xfe
		all = append(all, poison{what: "cut", r: kgo.Record{Key: key, Value: was.Value[:len(was.Value)/2]}},
			poison{what: "cut by a byte", r: kgo.Record{Key: key, Value: was.Value[:len(was.Value)-1]}},
			poison{what: "of another version", r: kgo.Record{Key: key, Value: foreign}})
	}
	return all
}

// large returns the kinds that go to one partition. In each topic they share a key, and so the limit on letters of a source.
func large(topic string) []poison {
	key := []byte("large poison " + topic)
	all := []poison{
		{what: "900 KB", r: kgo.Record{Key: key, Value: bytes.Repeat([]byte("\x01x"), 450_000)}},
		{what: "1.1 MB", r: kgo.Record{Key: key, Value: bytes.Repeat([]byte("\xfey"), 550_000)}},
		{what: "12 MB", codec: "snappy", r: kgo.Record{Key: key, Value: bytes.Repeat([]byte("\x02z"), 6_000_000)}},
		{what: "a key of 60 KB", r: kgo.Record{Key: bytes.Repeat([]byte("k"), 60_000), Value: []byte("\x01")}},
		{what: "a key of 12 MB", codec: "snappy", r: kgo.Record{Key: bytes.Repeat([]byte("k"), 12_000_000), Value: []byte("\x01")}},
		{what: "a header of 900 KB", r: kgo.Record{Key: key, Value: []byte("\x01"), Headers: []kgo.RecordHeader{{Key: "content-type", Value: bytes.Repeat([]byte("h"), 900_000)}}}},
		{what: "of 1970", r: kgo.Record{Key: key, Value: []byte("\x01"), Timestamp: time.UnixMilli(1)}},
		{what: "of 1900", r: kgo.Record{Key: key, Value: []byte("\x01"), Timestamp: time.UnixMilli(-2_208_988_800_000)}},
		{what: "of 2100", r: kgo.Record{Key: key, Value: []byte("\x01"), Timestamp: time.UnixMilli(4_102_444_800_000)}},
	}
	many := poison{what: "20,000 headers", r: kgo.Record{Key: key, Value: []byte("\x01")}}
	for i := range 20_000 {
		many.r.Headers = append(many.r.Headers, kgo.RecordHeader{Key: fmt.Sprint("weir.", i), Value: []byte("x")})
	}
	all = append(all, many)
	for _, codec := range []string{"gzip", "snappy", "lz4", "zstd"} {
		all = append(all, poison{what: "rubbish in " + codec, codec: codec, r: kgo.Record{Key: key, Value: []byte(strings.Repeat("\x03rubbish", 1000))}})
	}
	return all
}

// all writes every kind into every topic. The number of the round decides into which partition the large
// ones go; huge adds the largest bombs.
func (p *poisoner) all(round int, huge bool) {
	p.t.Helper()
	began := time.Now()
	var group sync.WaitGroup
	n := 0
	for _, def := range p.defs {
		n++
		turn := n + round
		group.Go(func() {
			parts := int32(len(p.topics[def.Name].Partitions))
			at := int32(turn) % parts
			for part := range parts {
				for _, kind := range p.small(def.Name) {
					p.produce(def.Name, part, kind)
				}
			}
			for _, kind := range large(def.Name) {
				p.produce(def.Name, at, kind)
			}
			p.aborted(def.Name, at)
			p.one.Lock() // the broker unpacks bombs, too
			defer p.one.Unlock()
			codec := int16(turn%4) + 1
			p.batch(def.Name, at, "a bomb", batches.New(codec, 1, p.bombs[codec]))
			if huge && def.Cleanup == topics.Delete {
				p.batch(def.Name, at, "a huge bomb", batches.New(batches.Zstd, 1, p.bombs[hugeBomb]))
			}
			p.batch(def.Name, at, "a batch that does not unpack", batches.New(batches.Gzip, 1, []byte("rubbish")))
			p.batch(def.Name, at, "a batch of an unknown codec", batches.New(7, 1, []byte("rubbish")))
			p.batch(def.Name, at, "2^30 records", batches.New(batches.None, 1<<30, batches.Record(0, []byte("bomb"), nil)))
		})
	}
	group.Wait()
	p.t.Logf("round %d: %d records of poison so far, written in %v", round, len(p.taken), time.Since(began).Round(time.Millisecond))
}

// produce writes a record, and notes it as taken, or the broker's error as a refusal.
func (p *poisoner) produce(topic string, part int32, kind poison) {
	r := kind.r
	r.Topic, r.Partition = topic, part
	if len(r.Key) > 0 && p.defs[topic].Cleanup == topics.Compact { // so that compaction does not remove what is not read yet
		r.Key = fmt.Appendf(slices.Clip(r.Key), " %d", p.number.Add(1))
	}
	err := p.codecs[kind.codec].ProduceSync(p.t.Context(), &r).FirstErr()
	if !p.note(topic, kind.what, err) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken[origin{topic, part, r.Offset}] = kind.what
}

// batch writes an encoded batch as it is.
func (p *poisoner) batch(topic string, part int32, what string, batch []byte) {
	offset, err := batches.Produce(p.t.Context(), p.client, topic, part, batch)
	if !p.note(topic, what, err) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken[origin{topic, part, offset}] = what
	p.bombed[topic]++
}

func (p *poisoner) note(topic, what string, err error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	var said *kerr.Error
	switch {
	case err == nil:
		return true
	case errors.As(err, &said):
		p.refused[what+": "+said.Message]++
	default:
		p.t.Errorf("%s to %s: %v", what, topic, err)
	}
	return false
}

// aborted writes a sample in a transaction and aborts it. In metrics the sample would show if it were read; in the other
// topics it is rubbish.
func (p *poisoner) aborted(topic string, part int32) {
	ctx := p.t.Context()
	cl, err := kgo.NewClient(kgo.SeedBrokers(enginetest.Kafka(p.t).Addr), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.TransactionalID("poison "+topic), kgo.DefaultProduceTopic(topic))
	if err != nil {
		p.t.Error(err)
		return
	}
	defer cl.Close()
	sample := fmt.Sprintf(`{"metricName":"load","tags":{"host":%q},"timestamp":%d,"value":1e9}`, hostName(0), time.Now().UnixMilli())
	err = cl.BeginTransaction()
	if err == nil {
		err = cl.ProduceSync(ctx, &kgo.Record{Key: []byte("aborted"), Value: []byte(sample), Partition: part}).FirstErr()
	}
	if err = errors.Join(err, cl.EndTransaction(ctx, kgo.TryAbort)); err != nil {
		p.t.Errorf("transaction in %s: %v", topic, err)
	}
}
