package route

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
)

const testShards = 4

// bed is a broker with the topics that route uses, and clients to feed and read it.
type bed struct {
	t       *testing.T
	cluster *kfake.Cluster
	client  *kgo.Client
	admin   *kadm.Client
	readers map[string]*kgo.Client
	want    map[string]map[sample]int
}

func newBed(t *testing.T, partitions int32) *bed {
	t.Helper()
	cluster := kafkatest.Cluster(t, kfake.SeedTopics(partitions, topics.Metrics),
		kfake.SeedTopics(testShards, topics.Samples), kfake.SeedTopics(1, topics.DeadLetter),
		kfake.BrokerConfigs(map[string]string{"message.max.bytes": "20000000", "group.initial.rebalance.delay.ms": "0"}))
	b := &bed{t: t, cluster: cluster, readers: map[string]*kgo.Client{}, want: map[string]map[sample]int{}}
	b.reopen()
	b.admin = kadm.NewClient(b.client)
	return b
}

// reopen gives the bed a new producer, which knows nothing of the topics' past.
func (b *bed) reopen() {
	b.client = b.open(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(20_000_000))
}

func (b *bed) open(opts ...kgo.Opt) *kgo.Client {
	b.t.Helper()
	return kafkatest.Client(b.t, b.cluster.ListenAddrs(), opts...)
}

// context ends before the test binary's own deadline, so that a hang is explained.
func (b *bed) context() context.Context {
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	b.t.Cleanup(cancel)
	return ctx
}

// produce writes values to a partition of metrics.
func (b *bed) produce(partition int32, headers []kgo.RecordHeader, values ...string) {
	b.t.Helper()
	var records []*kgo.Record
	for _, v := range values {
		records = append(records, &kgo.Record{Topic: topics.Metrics, Partition: partition, Value: []byte(v), Key: []byte("origin"), Headers: headers})
	}
	if err := b.client.ProduceSync(b.context(), records...).FirstErr(); err != nil {
		b.t.Fatal(err)
	}
}

// feed writes n records to each of the partitions, with three samples of two hosts each, and remembers them.
func (b *bed) feed(from, n int, partitions int32) {
	b.t.Helper()
	for p := range partitions {
		var values []string
		for i := from; i < from+n; i++ {
			h1, h2 := fmt.Sprintf("h%d", i%7), fmt.Sprintf("h%d", (i+1)%7)
			values = append(values, fmt.Sprintf("cpu,host=%s,p=%d value=%d %d\nmem,host=%s,p=%d value=%d %d\ncpu,host=%s,p=%d value=%d %d",
				h1, p, i, i*1_000_000, h1, p, i, i*1_000_000, h2, p, i, i*1_000_000))
			b.expect(h1, fmt.Sprintf(`cpu{host=%q,p="%d"}`, h1, p), int64(i), float64(i))
			b.expect(h1, fmt.Sprintf(`mem{host=%q,p="%d"}`, h1, p), int64(i), float64(i))
			b.expect(h2, fmt.Sprintf(`cpu{host=%q,p="%d"}`, h2, p), int64(i), float64(i))
		}
		b.produce(p, nil, values...)
	}
}

func (b *bed) expect(group, series string, ms int64, value float64) {
	if b.want[group] == nil {
		b.want[group] = map[sample]int{}
	}
	b.want[group][sample{series, ms, value}]++
}

// read polls a topic from where the last call stopped, until done returns true.
func (b *bed) read(topic string, done func() bool, each func(*kgo.Record)) {
	b.t.Helper()
	cl := b.readers[topic]
	if cl == nil {
		cl = b.open(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(50*time.Millisecond))
		b.readers[topic] = cl
	}
	ctx := b.context()
	for !done() {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			b.t.Fatalf("read %s: %v", topic, err)
		}
		fetches.EachRecord(each)
	}
}

// settled reads samples until everything that was fed has arrived. It fails the test unless each sample arrived once, in
// the partition of its key.
func (b *bed) settled(st *state) {
	b.t.Helper()
	want := (&state{samples: b.want}).total()
	b.read(topics.Samples, func() bool { return st.total() >= want }, func(r *kgo.Record) {
		if p := schemas.Shard(r.Key, testShards); r.Partition != p {
			b.t.Fatalf("%s is in partition %d, want %d", r.Key, r.Partition, p)
		}
		st.apply(b.t, string(r.Key), r.Value)
	})
	for group, samples := range b.want {
		for s, n := range samples {
			if st.samples[group][s] != n {
				b.t.Errorf("%s: %v arrived %d times, want %d", group, s, st.samples[group][s], n)
			}
		}
	}
	if got := st.total(); got != want {
		b.t.Errorf("%d samples arrived, want %d", got, want)
	}
}

// running is a router whose Run is running in a goroutine.
type running struct {
	*Router
	cancel context.CancelFunc
	done   chan error
}

func (b *bed) router(cfg Config, opts ...kgo.Opt) *Router {
	return New(cfg, Deps{Brokers: b.cluster.ListenAddrs(), Shards: testShards, Registry: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler), Options: opts})
}

func (b *bed) start(r *Router) *running {
	ctx, cancel := context.WithCancel(b.t.Context())
	run := &running{Router: r, cancel: cancel, done: make(chan error, 1)}
	go func() { run.done <- r.Run(ctx) }()
	b.t.Cleanup(cancel)
	return run
}

// wait returns what Run returned.
func (b *bed) wait(run *running) error {
	b.t.Helper()
	select {
	case err := <-run.done:
		return err
	case <-b.context().Done():
		b.t.Fatal("Run does not end")
		return nil
	}
}

// committed returns the sum of the group's committed offsets.
func (b *bed) committed() int64 {
	b.t.Helper()
	offsets, err := b.admin.FetchOffsets(b.context(), ConsumerGroup)
	if err != nil {
		b.t.Fatal(err)
	}
	var sum int64
	offsets.Each(func(o kadm.OffsetResponse) { sum += max(o.At, 0) })
	return sum
}

// refuseSamples makes the broker answer writes to samples with err while refuse returns true.
func (b *bed) refuseSamples(err *kerr.Error, refuse func() bool) {
	b.cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.cluster.KeepControl()
		p := req.(*kmsg.ProduceRequest)
		if id := b.cluster.TopicInfo(topics.Samples).TopicID; p.Topics[0].Topic != topics.Samples && p.Topics[0].TopicID != id {
			return nil, nil, false
		}
		if !refuse() {
			return nil, nil, false
		}
		resp := p.ResponseKind().(*kmsg.ProduceResponse)
		for _, in := range p.Topics {
			out := kmsg.NewProduceResponseTopic()
			out.Topic, out.TopicID = in.Topic, in.TopicID
			for _, part := range in.Partitions {
				op := kmsg.NewProduceResponseTopicPartition()
				op.Partition, op.ErrorCode = part.Partition, err.Code
				out.Partitions = append(out.Partitions, op)
			}
			resp.Topics = append(resp.Topics, out)
		}
		return resp, nil, true
	})
}
