package frames

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/weir-metrics/weir/schemas/kafkatest"
)

// discard is a Registerer that registers nothing.
type discard struct{}

func (discard) Register(prometheus.Collector) error  { return nil }
func (discard) MustRegister(...prometheus.Collector) {}
func (discard) Unregister(prometheus.Collector) bool { return true }

// guarded is a broker behind a gate.
func guarded(t testing.TB, cfg Config) (addr string, g *Gate) {
	t.Helper()
	g = New(cfg, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	c := kafkatest.Cluster(t, kfake.ListenFn(g.Listen), kfake.MaxVersions(Versions()), kfake.DataDir(t.TempDir()),
		kfake.SeedTopics(2, "honest", "t"))
	return c.ListenAddrs()[0], g
}

func (g *Gate) counted(t testing.TB) map[string]int {
	t.Helper()
	all := map[string]int{}
	ch := make(chan prometheus.Metric, 100)
	g.refused.Collect(ch)
	close(ch)
	for m := range ch {
		var d dto.Metric
		if err := m.Write(&d); err != nil {
			t.Fatal(err)
		}
		all[d.Label[0].GetValue()] = int(d.Counter.GetValue())
	}
	return all
}

// rubbishFor is how long rubbish is sent: WEIR_RUBBISH, or a short time.
func rubbishFor() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("WEIR_RUBBISH")); err == nil {
		return d
	}
	return 3 * time.Second
}

// attacks lists the kinds of rubbish that come over one connection.
var attacks = map[string]func(r filler, c net.Conn){
	"bytes": func(r filler, c net.Conn) {
		for range 1 + r.IntN(4) {
			b := make([]byte, 1+r.IntN(4000))
			for i := range b {
				b[i] = byte(r.Uint32())
			}
			send(c, b)
		}
	},
	"announcements": func(r filler, c net.Conn) {
		send(c, binary.BigEndian.AppendUint32(nil, []uint32{1<<32 - 1, 1 << 31, 1<<31 - 1, 1 << 30, 100 << 20, 0, 7}[r.IntN(7)]))
		send(c, []byte{0, 0, 0, 9, 0, 0, 0, 1})
	},
	"half frames": func(r filler, c net.Conn) {
		send(c, []byte{6, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1})
		send(c, make([]byte, r.IntN(1<<20)))
	},
	"mutated": func(r filler, c net.Conn) {
		for range 20 {
			b := r.request()
			for range 1 + r.IntN(3) {
				b[r.IntN(len(b))] ^= byte(1 << r.IntN(8))
			}
			send(c, frame(b))
		}
	},
	"requests": func(r filler, c net.Conn) {
		for range 50 {
			send(c, frame(r.request()))
		}
	},
	"records": func(r filler, c net.Conn) {
		for range 20 {
			req := kmsg.NewPtrProduceRequest()
			req.Version, req.Acks, req.TimeoutMillis = int16(3+r.IntN(10)), int16(r.IntN(3)-1), 100
			b := record([]int64{0, 0, -1, 9, 1 << 40}[r.IntN(5)], int32(r.IntN(2)), plainBody)
			if r.IntN(3) == 0 {
				b[r.IntN(len(b))] ^= byte(1 << r.IntN(8))
			}
			raw := batch(b, int32(1+r.IntN(2)), int16([]int{0, 0, 0, 1, 2, 3, 4, 5, 8, 16, 32}[r.IntN(11)]))
			req.Topics = []kmsg.ProduceRequestTopic{{Topic: "t", Partitions: []kmsg.ProduceRequestTopicPartition{{Partition: int32(r.IntN(2)), Records: raw}}}}
			send(c, frame(encoded(req)))
		}
		// The broker looks into what it took.
		for partition := range int32(2) {
			list := kmsg.NewPtrListOffsetsRequest()
			list.Version, list.ReplicaID = 5, -1
			list.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "t", Partitions: []kmsg.ListOffsetsRequestTopicPartition{
				{Partition: partition, CurrentLeaderEpoch: -1, Timestamp: int64(r.IntN(3))}}}}
			send(c, frame(encoded(list)))
		}
	},
}

// request returns a random well-formed request of an accepted kind.
func (r filler) request() []byte {
	keys := make([]kmsg.Key, 0, len(layouts))
	for key := range layouts {
		keys = append(keys, key)
	}
	key := keys[r.IntN(len(keys))]
	req := key.Request()
	req.SetVersion(least[key] + int16(r.IntN(int(newestOf(req)-least[key])+1)))
	r.fill(reflect.ValueOf(req).Elem(), 0)
	switch req := req.(type) {
	case *kmsg.DeleteTopicsRequest, *kmsg.DeleteRecordsRequest: // honest is left alone
		_ = req
		return r.request()
	case *kmsg.CreateTopicsRequest: // few get through all of the checks
		for i := range req.Topics {
			req.Topics[i].NumPartitions, req.Topics[i].ReplicationFactor, req.Topics[i].ReplicaAssignment, req.Topics[i].Configs = 1+int32(r.IntN(3)), 1, nil, nil
		}
	case *kmsg.CreatePartitionsRequest:
		for i := range req.Topics {
			req.Topics[i].Count, req.Topics[i].Assignment = 1+int32(r.IntN(9)), nil
		}
	case *kmsg.JoinGroupRequest:
		req.ProtocolType = "consumer"
	case *kmsg.InitProducerIDRequest:
		req.TransactionTimeoutMillis = 1 + int32(r.IntN(60000))
	}
	return encoded(req)
}

func frame(b []byte) []byte { return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...) }

func send(c net.Conn, b []byte) { _, _ = c.Write(b) } // which is cut off half-way, as it should be

// TestBrokerSurvivesRubbish: whatever comes over other connections, an honest client continues to write and read, memory stays
// bounded, and refusals are counted.
func TestBrokerSurvivesRubbish(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	cfg := Default()
	cfg.FirstWithin, cfg.FrameWithin, cfg.WriteWithin, cfg.Connections = time.Second, time.Second, time.Second, 256
	cfg.Held = 64 << 20
	addr, g := guarded(t, cfg)
	runtime.GC()
	ctx, cancel := context.WithTimeout(t.Context(), rubbishFor())
	defer cancel()

	var attackers sync.WaitGroup
	tried := map[string]*atomic.Int64{}
	i := uint64(0)
	for name, attack := range attacks {
		n := new(atomic.Int64)
		tried[name] = n
		for range 2 {
			i++
			r := filler{rand.New(rand.NewPCG(seed, i)), []string{"", "t", "u", "__x", "a/b", "1.2_3"}}
			attackers.Go(func() {
				for ctx.Err() == nil {
					c, err := net.Dial("tcp", addr)
					if err != nil {
						continue
					}
					_ = c.SetDeadline(time.Now().Add(500 * time.Millisecond))
					go func() {
						b := make([]byte, 1<<16)
						for {
							if _, err := c.Read(b); err != nil {
								return
							}
						}
					}()
					attack(r, c)
					if name == "half frames" && r.IntN(4) > 0 {
						time.AfterFunc(2*time.Second, func() { _ = c.Close() }) // held until it is cut off
					} else {
						_ = c.Close()
					}
					n.Add(1)
				}
			})
		}
	}
	most := honest(t, ctx, addr)
	attackers.Wait()
	counted := g.counted(t)
	for name, n := range tried {
		t.Logf("%s: %d connections", name, n.Load())
	}
	t.Logf("refused: %v, %d MiB of heap at most", counted, most>>20)
	for _, reason := range []string{"key", "length", "body", "records"} {
		if counted[reason] == 0 {
			t.Errorf("nothing was refused as %s", reason)
		}
	}
	if most > 400<<20 {
		t.Errorf("%d MiB of heap", most>>20)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held > g.cfg.Held {
		t.Errorf("%d bytes are held", g.held)
	}
}

// honest writes and reads until ctx ends, and returns the largest heap that it saw, in bytes.
func honest(t *testing.T, ctx context.Context, addr string) (most uint64) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumeTopics("honest"), kgo.DefaultProduceTopic("honest"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	patient, cancel := context.WithTimeout(t.Context(), time.Minute+rubbishFor())
	defer cancel()
	written, read := 0, map[string]bool{}
	poll := func() {
		fs := cl.PollFetches(patient)
		if err := fs.Err0(); err != nil {
			t.Fatalf("%d of %d read: %v", len(read), written, err)
		}
		fs.EachRecord(func(r *kgo.Record) { read[string(r.Value)] = true })
	}
	for ctx.Err() == nil {
		if err := cl.ProduceSync(patient, &kgo.Record{Value: fmt.Append(nil, written)}).FirstErr(); err != nil {
			t.Fatalf("record %d: %v", written, err)
		}
		written++
		var m runtime.MemStats
		if written%8 == 0 {
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
		}
	}
	for len(read) < written {
		poll()
	}
	t.Logf("an honest client wrote and read %d records meanwhile", written)
	return most
}

// TestHonestClientsNeedNoMore: all requests of kadm pass.
func TestHonestClientsNeedNoMore(t *testing.T) {
	addr, g := guarded(t, Default())
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.TransactionalID("x"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "t", Value: []byte("v")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := cl.EndTransaction(ctx, kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	if fs := cl.PollFetches(ctx); fs.NumRecords() != 1 {
		t.Fatal(fs.Errors())
	}
	if err := cl.CommitUncommittedOffsets(ctx); err != nil {
		t.Fatal(err)
	}
	adm := kadm.NewClient(cl)
	for what, err := range map[string]error{
		"create": errOf(adm.CreateTopics(ctx, 3, 1, nil, "new")), "grow": errOf(adm.CreatePartitions(ctx, 1, "new")),
		"topics": errOf(adm.ListTopics(ctx)), "ends": errOf(adm.ListEndOffsets(ctx, "t")), "groups": errOf(adm.DescribeGroups(ctx, "g")),
		"lag": errOf(adm.Lag(ctx, "g")), "configs": errOf(adm.DescribeTopicConfigs(ctx, "t")), "cluster": errOf(adm.BrokerMetadata(ctx)),
		"delete": errOf(adm.DeleteTopics(ctx, "new")),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if n := g.counted(t); len(n) > 0 {
		t.Errorf("refused: %v", n)
	}
}

func errOf[T any](_ T, err error) error { return err }

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// ended reports whether the other side has closed c.
func ended(t *testing.T, c net.Conn) bool {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
	_, err := c.Read(make([]byte, 1))
	return err != nil && !os.IsTimeout(err)
}

// TestSlowClientsEnd: a connection ends that sends nothing, half a length or half a frame, or does not read its answers.
func TestSlowClientsEnd(t *testing.T) {
	cfg := Default()
	cfg.FirstWithin, cfg.FrameWithin, cfg.WriteWithin = 500*time.Millisecond, 500*time.Millisecond, 500*time.Millisecond
	addr, g := guarded(t, cfg)
	for _, begin := range [][]byte{nil, {0}, {0, 0, 0, 100, 0}, {0, 0, 0, 100, 0, 3, 0, 1, 0}, {6, 0, 0, 0, 0, 0, 0, 9, 0}} {
		c := dial(t, addr)
		send(c, begin)
		if !ended(t, c) {
			t.Errorf("%v: is open", begin)
		}
	}
	if n := g.counted(t)["slow"]; n != 5 {
		t.Errorf("%d counted", n)
	}

	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for range 8 {
		r := &kgo.Record{Topic: "t", Partition: 0, Value: make([]byte, 900_000)}
		if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	c := dial(t, addr)
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxBytes = 4, 1<<30
	for p := range int32(2) {
		req.Topics = append(req.Topics, kmsg.FetchRequestTopic{Topic: "t", Partitions: []kmsg.FetchRequestTopicPartition{{Partition: p, CurrentLeaderEpoch: -1, PartitionMaxBytes: 1 << 30}}})
	}
	for range 4 {
		send(c, frame(encoded(req)))
	}
	kafkatest.Eventually(t, "counted as unread", func() bool { return g.counted(t)["unread"] == 1 })
}

// TestConnectionsAreBounded: those that never sent a request make room for one that does.
func TestConnectionsAreBounded(t *testing.T) {
	cfg := Default()
	cfg.Connections = 8
	addr, g := guarded(t, cfg)
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for range 40 {
		dial(t, addr)
		if err := cl.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	kafkatest.Eventually(t, "bounded", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return len(g.conns) <= 8
	})
	kafkatest.Eventually(t, "counted", func() bool { return g.counted(t)["connections"] >= 30 })
}

// TestFramesTakeWhatHasArrived: announced bytes cost nothing, and the total is bounded: the frame that has taken longest makes
// room.
func TestFramesTakeWhatHasArrived(t *testing.T) {
	cfg := Default()
	cfg.Held = 4 << 20
	addr, g := guarded(t, cfg)
	var all []net.Conn
	for range 100 {
		c := dial(t, addr)
		send(c, []byte{6, 0, 0, 0, 0, 0, 0, 9})
		all = append(all, c)
	}
	held := func() int64 {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.held
	}
	kafkatest.Eventually(t, "held", func() bool { return held() >= 60*smallFrame })
	for _, c := range all {
		go send(c, make([]byte, 1<<20))
	}
	kafkatest.Eventually(t, "bounded", func() bool { return g.counted(t)["memory"] > 0 })
	if n := held(); n > cfg.Held {
		t.Errorf("%d bytes are held", n)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Value: make([]byte, 900_000)}).FirstErr(); err != nil {
		t.Error(err)
	}
}

func TestOnlyThisMachineIsServed(t *testing.T) {
	g := testGate(t)
	for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0", "example.org:0"} {
		if ln, err := g.Listen("tcp", address); err == nil {
			_ = ln.Close()
			t.Errorf("%s: listens", address)
		}
	}
}
