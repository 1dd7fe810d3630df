package writeback

import (
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"time"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"
	"github.com/lovoo/goka/storage"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
)

// This is the only file that imports Goka. Goka joins the group, reads the input and the changelog,
// and calls what is here.

// processor defines the Goka group: callbacks that hand over to the partition.
func (e *Engine[T, L]) processor() (*goka.Processor, error) {
	cfg := goka.DefaultConfig()
	cfg.Version = sarama.V2_8_0_0
	cfg.ClientID = e.opts.ConsumerGroup
	cfg.Consumer.Offsets.Initial = sarama.OffsetOldest
	cfg.Consumer.IsolationLevel = sarama.ReadCommitted // see schemas/consume
	cfg.Consumer.Group.InstanceId = e.opts.Instance
	cfg.Consumer.Group.Session.Timeout = 10 * time.Second
	cfg.Consumer.Group.Heartbeat.Interval = 250 * time.Millisecond // how long it takes to notice a rebalance
	cfg.Consumer.Group.Rebalance.Retry.Backoff = 100 * time.Millisecond
	cfg.Consumer.MaxWaitTime = 100 * time.Millisecond
	cfg.Consumer.Fetch.Default = 64 << 10
	cfg.Metadata.RefreshFrequency = 30 * time.Second
	if err := e.opts.Kafka.Sarama(cfg); err != nil {
		return nil, fmt.Errorf("%s: %w", e.opts.ConsumerGroup, err)
	}
	e.bound(cfg)
	tmc := goka.NewTopicManagerConfig()
	tmc.NoCreate = true
	tmc.MismatchBehavior = goka.TMConfigMismatchBehaviorIgnore // open has compared what matters

	// A partition is looked up once per record; sessions change it rarely.
	at := func(ctx goka.Context) *Partition[T, L] {
		e.mu.RLock()
		p := e.partitions[ctx.Partition()]
		e.mu.RUnlock()
		if p == nil {
			ctx.Fail(fmt.Errorf("partition %d: no state", ctx.Partition()))
		}
		return p
	}
	graph := goka.DefineGroup(goka.Group(e.opts.ConsumerGroup),
		goka.Input(goka.Stream(e.opts.Input), raw{}, func(ctx goka.Context, msg any) {
			value, _ := msg.([]byte) // nil for a record without a value
			at(ctx).record(ctx.Key(), value, ctx.Offset(), ctx.Timestamp())
		}),
		goka.Persist(raw{}))
	return goka.NewProcessor(e.opts.Brokers, graph,
		goka.WithHasher(newMurmur2),
		goka.WithLogger(gokaLog{e.log}),
		goka.WithStorageBuilder(e.storage),
		goka.WithUpdateCallback(e.loadRecord),
		goka.WithNilHandling(goka.NilProcess),
		goka.WithTopicManagerBuilder(goka.TopicManagerBuilderWithConfig(cfg, tmc)),
		goka.WithConsumerSaramaBuilder(goka.SaramaConsumerBuilderWithConfig(cfg)),
		goka.WithConsumerGroupBuilder(e.gate.wrap(goka.ConsumerGroupBuilderWithConfig(cfg), hooks{e.tableEnds, e.recovered, e.endSession, e.countLost, e.fail})),
		goka.WithProducerBuilder(func([]string, string, func() hash.Hash32) (goka.Producer, error) { return e.prod, nil }),
	)
}

// loadRecord is Goka's update callback: it puts a record of the changelog into the local copy.
func (e *Engine[T, L]) loadRecord(ctx goka.UpdateContext, _ storage.Storage, raw string, value []byte) error {
	e.mu.RLock()
	p := e.opened[int32(ctx.Partition())]
	e.mu.RUnlock()
	if p == nil {
		return nil // the session has ended
	}
	return p.load(raw, value, ctx.Offset())
}

// storage is Goka's storage builder.
func (e *Engine[T, L]) storage(_ string, id int32) (storage.Storage, error) {
	p, err := e.openPartition(id)
	if err != nil {
		return nil, err
	}
	return gokaStorage[T, L]{p}, nil
}

// gokaStorage is a Partition as Goka sees it: how far recovery is, its end, and the end of the
// partition. Goka never touches values: loadRecord and Partition.write put them into the table.
type gokaStorage[T, L any] struct{ p *Partition[T, L] }

// errPastGoka is returned by what only visits, views and the values of a goka.Context would call.
var errPastGoka = errors.New("values are not read or written through Goka")

func (s gokaStorage[T, L]) Open() error                  { return nil }
func (s gokaStorage[T, L]) Close() error                 { return s.p.close() }
func (s gokaStorage[T, L]) MarkRecovered() error         { return s.p.finishRecovery() }
func (s gokaStorage[T, L]) SetOffset(offset int64) error { return s.p.reached(offset) }
func (s gokaStorage[T, L]) Has(string) (bool, error)     { return false, errPastGoka }
func (s gokaStorage[T, L]) Get(string) ([]byte, error)   { return nil, errPastGoka }
func (s gokaStorage[T, L]) Set(string, []byte) error     { return errPastGoka }
func (s gokaStorage[T, L]) Delete(string) error          { return errPastGoka }

// GetOffset returns the offset up to which the table has the changelog, or def if it has nothing.
func (s gokaStorage[T, L]) GetOffset(def int64) (int64, error) {
	if o := s.p.offset.Load(); o >= 0 {
		return o, nil
	}
	return def, nil
}

func (s gokaStorage[T, L]) Iterator() (storage.Iterator, error) { return nil, errPastGoka }
func (s gokaStorage[T, L]) IteratorWithRange(_, _ []byte) (storage.Iterator, error) {
	return nil, errPastGoka
}

// Emit implements goka.Producer.
func (p *producer) Emit(topic, key string, value []byte) *goka.Promise {
	return p.EmitWithHeaders(topic, key, value, nil)
}

// EmitWithHeaders implements goka.Producer.
func (p *producer) EmitWithHeaders(topic, key string, value []byte, headers goka.Headers) *goka.Promise {
	promise, finish := goka.NewPromiseWithFinisher()
	r := &kgo.Record{Topic: topic, Key: []byte(key), Value: value}
	for k, v := range headers {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: k, Value: v})
	}
	p.produce(r, func(err error) {
		if err != nil {
			finish(nil, err)
			return
		}
		finish(&sarama.ProducerMessage{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}, nil)
	})
	return promise
}

// murmur2 is schemas.Murmur2 as the hash.Hash32 that Goka requires. With its default, FNV-1a, Goka
// would look for a key in another partition than the one to which Kafka's clients write it.
type murmur2 struct{ key []byte }

func newMurmur2() hash.Hash32 { return &murmur2{} }

func (m *murmur2) Write(b []byte) (int, error) { m.key = append(m.key, b...); return len(b), nil }
func (m *murmur2) Sum32() uint32               { return schemas.Murmur2(m.key) }
func (m *murmur2) Reset()                      { m.key = m.key[:0] }
func (m *murmur2) Size() int                   { return 4 }
func (m *murmur2) BlockSize() int              { return 4 }
func (m *murmur2) Sum(b []byte) []byte {
	s := m.Sum32()
	return append(b, byte(s>>24), byte(s>>16), byte(s>>8), byte(s))
}

// raw passes bytes through Goka; it cannot fail, as a codec's error would stop the processor at the
// same record for ever.
type raw struct{}

func (raw) Encode(v any) ([]byte, error) { return v.([]byte), nil }
func (raw) Decode(b []byte) (any, error) { return b, nil }

// gokaLog passes on Goka's messages at debug level: it logs every rebalance several times.
type gokaLog struct{ log *slog.Logger }

func (l gokaLog) Print(a ...any)            { l.log.Debug(fmt.Sprint(a...)) }
func (l gokaLog) Println(a ...any)          { l.log.Debug(fmt.Sprint(a...)) }
func (l gokaLog) Printf(f string, a ...any) { l.log.Debug(fmt.Sprintf(f, a...)) }
