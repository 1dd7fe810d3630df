package route

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/topics"
)

func TestRunHandsOnAndCommits(t *testing.T) {
	b := newBed(t, 2)
	b.feed(0, 200, 2)
	run := b.start(b.router(Default()))
	st := newState()
	b.settled(st)
	if !run.Ready() {
		t.Error("not ready, although it hands records on")
	}
	b.feed(200, 50, 2)
	b.settled(st)
	run.cancel()
	if err := b.wait(run); err != nil {
		t.Fatalf("Run: %v", err)
	}
	if run.Ready() {
		t.Error("ready after its end")
	}
	if got := b.committed(); got != 500 {
		t.Errorf("committed %d of 500 records", got)
	}
	if st.replays != 0 {
		t.Errorf("%d sections came twice, although nothing failed", st.replays)
	}
	if got := counted(t, run.count.samples); got != 1500 {
		t.Errorf("counted %v samples, want 1500", got)
	}
}

// TestLagIsKnownWhileNothingIsHandedOn: records come while the router is stuck with earlier ones.
func TestLagIsKnownWhileNothingIsHandedOn(t *testing.T) {
	b := newBed(t, 1)
	var stuck atomic.Bool
	b.refuseSamples(kerr.NotLeaderForPartition, stuck.Load) // tried again by the client
	run := b.start(b.router(Default()))
	st := newState()
	b.feed(0, 10, 1)
	b.settled(st)
	stuck.Store(true)
	b.feed(10, 30, 1)
	ctx, tick := b.context(), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for lag := 0.0; lag != 30; <-tick.C {
		var m dto.Metric
		if err := run.count.lag.WithLabelValues("0").Write(&m); err != nil {
			t.Fatal(err)
		}
		if lag = m.GetGauge().GetValue(); ctx.Err() != nil {
			t.Fatalf("the lag is %v, want 30", lag)
		}
	}
	stuck.Store(false)
	b.settled(st)
	run.cancel()
	if err := b.wait(run); err != nil {
		t.Fatalf("Run: %v", err)
	}
}

func TestEpochIsOfTheTopicsID(t *testing.T) {
	b := newBed(t, 1)
	run := b.start(b.router(Default()))
	b.feed(0, 1, 1)
	b.settled(newState())
	info := b.cluster.TopicInfo(topics.Metrics)
	cl := b.open(kgo.ConsumeTopics(topics.Samples), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	var batch schemas.SampleBatch
	if err := batch.Decode(cl.PollFetches(b.context()).Records()[0].Value); err != nil {
		t.Fatal(err)
	}
	want := uint64(0)
	for _, c := range info.TopicID[:8] {
		want = want<<8 | uint64(c)
	}
	if got := batch.Sections[0].Origin.Epoch; got != want || want == 0 {
		t.Errorf("epoch %016x, want %016x", got, want)
	}
	run.cancel()
}

func TestRecreatedTopicEndsRunAndIsNoReplay(t *testing.T) {
	b := newBed(t, 1)
	r := b.router(Default())
	r.watchEvery = 100 * time.Millisecond
	run := b.start(r)
	st := newState()
	b.feed(0, 20, 1)
	b.settled(st)
	if err := b.cluster.DeleteTopic(topics.Metrics); err != nil {
		t.Fatal(err)
	}
	if err := b.cluster.CreateTopic(topics.Metrics, 1, nil); err != nil {
		t.Fatal(err)
	}
	err := b.wait(run) // the watch or a fetch finds it first
	if !errors.Is(err, ErrRecreated) && !errors.Is(err, kerr.UnknownTopicID) {
		t.Fatalf("Run: %v, want ErrRecreated", err)
	}
	b.reopen()
	b.feed(20, 5, 1) // offsets 0 to 4 again
	b.start(r)
	b.settled(st)
}

func TestNewPartitionsAreFoundLive(t *testing.T) {
	b := newBed(t, 2)
	b.start(b.router(Default(), kgo.MetadataMaxAge(300*time.Millisecond)))
	st := newState()
	b.feed(0, 100, 2)
	b.settled(st)
	if _, err := b.admin.UpdatePartitions(b.context(), 6, topics.Metrics); err != nil {
		t.Fatal(err)
	}
	b.reopen()
	b.feed(100, 100, 6)
	b.settled(st)
}

func TestTwoMembersShareAndHandOver(t *testing.T) {
	b := newBed(t, 4)
	st := newState()
	first := b.start(b.router(Default()))
	b.feed(0, 50, 4)
	b.settled(st)
	second := b.start(b.router(Default()))
	stop := make(chan struct{})
	var fed sync.WaitGroup
	fed.Go(func() { // keeps records coming while partitions change hands
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				b.feed(50+10*i, 10, 4)
			}
		}
	})
	if _, err := b.cluster.WaitGroupStable(b.context(), ConsumerGroup, 2); err != nil {
		t.Fatal(err)
	}
	close(stop)
	fed.Wait()
	b.settled(st)
	first.cancel()
	if err := b.wait(first); err != nil {
		t.Fatal(err)
	}
	b.feed(1_000_000, 10, 4)
	b.settled(st)
	second.cancel()
	if err := b.wait(second); err != nil {
		t.Fatal(err)
	}
}

func TestPoisonBetweenGoodRecords(t *testing.T) {
	b := newBed(t, 1)
	cfg := Default()
	cfg.MaxRecordBytes = 1 << 20
	run := b.start(b.router(cfg))
	b.feed(0, 5, 1)
	b.produce(0, nil, "{", "", "m,host=a value=1 1\nm,host= value=2 2")
	b.expect("a", `m{host="a"}`, 0, 1)
	b.produce(0, []kgo.RecordHeader{{Key: "content-type", Value: []byte("application/x-protobuf")}}, "\x0a\x02")
	huge := strings.Repeat("x", 10<<20)
	b.produce(0, nil, huge)
	b.feed(5, 5, 1)
	st := newState()
	b.settled(st)
	letters := map[string]*kgo.Record{}
	b.read(topics.DeadLetter, func() bool { return len(letters) >= 5 }, func(r *kgo.Record) { letters[header(r, "weir.offset")] = r })
	for offset, want := range map[string][2]string{
		"5": {"undecodable", "{"}, "6": {reasonEmpty, ""}, "7": {"undecodable", "m,host=a value=1 1\nm,host= value=2 2"},
		"8": {reasonContentType, "\x0a\x02"}, "9": {reasonTooLarge, huge},
	} {
		l := letters[offset]
		if l == nil {
			t.Errorf("offset %s has no letter", offset)
			continue
		}
		if got := header(l, "weir.reason"); got != want[0] || !strings.HasPrefix(want[1], string(l.Value)) || len(l.Value) != min(len(want[1]), topics.MaxLetterValue) || string(l.Key) != "origin" ||
			header(l, "weir.topic") != "metrics" || header(l, "weir.partition") != "0" || header(l, "weir.stage") != "route" {
			t.Errorf("offset %s: reason %q, %d bytes, headers %v; want %q, %d bytes", offset, got, len(l.Value), l.Headers, want[0], len(want[1]))
		}
	}
	if got := counted(t, run.count.refused.WithLabelValues(reasonTooLarge)); got != 1 {
		t.Errorf("counted %v too_large, want 1", got)
	}
}

func TestLetterThatTheBrokerFindsTooLargeIsCut(t *testing.T) {
	b := newBed(t, 1)
	limit := "200000"
	if _, err := b.admin.AlterTopicConfigs(b.context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: &limit}}, topics.DeadLetter); err != nil {
		t.Fatal(err)
	}
	cfg := Default()
	cfg.MaxRecordBytes = 1024
	run := b.start(b.router(cfg, kgo.ProducerBatchCompression(kgo.NoCompression())))
	b.produce(0, nil, strings.Repeat("x", 3_000_000), "short", strings.Repeat("y", 100_000))
	b.feed(0, 5, 1)
	b.settled(newState())
	lengths := map[string]string{}
	b.read(topics.DeadLetter, func() bool { return len(lengths) >= 3 }, func(r *kgo.Record) {
		lengths[header(r, "weir.offset")] = fmt.Sprintf("%d %s", len(r.Value), header(r, "weir.cut"))
	})
	if lengths["0"] != "52154 value=3000000" || lengths["1"] != "5 " || lengths["2"] != "100000 " {
		t.Errorf("lengths and headers %v", lengths)
	}
	if got := counted(t, run.count.truncated); got != 1 {
		t.Errorf("counted %v cut letters, want 1", got)
	}
}

func TestProduceErrorEndsRunAndNothingIsLost(t *testing.T) {
	b := newBed(t, 2)
	st := newState()
	r := b.router(Default())
	run := b.start(r)
	b.feed(0, 50, 2)
	b.settled(st)
	var once sync.Once
	b.refuseSamples(kerr.TopicAuthorizationFailed, func() (refused bool) {
		once.Do(func() { refused = true })
		return refused
	})
	b.feed(50, 50, 2)
	if err := b.wait(run); !errors.Is(err, kerr.TopicAuthorizationFailed) || !strings.Contains(err.Error(), "samples/") {
		t.Fatalf("Run: %v, want the produce error", err)
	}
	if got := b.committed(); got >= 200 {
		t.Errorf("committed %d of 200 records, although some failed", got)
	}
	b.feed(100, 50, 2)
	b.start(r)
	b.settled(st)
}

func TestTooFewPartitionsOfSamples(t *testing.T) {
	b := newBed(t, 1)
	r := New(Default(), Deps{Brokers: b.cluster.ListenAddrs(), Shards: testShards + 1, Registry: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
	if err := b.wait(b.start(r)); err == nil || !strings.Contains(err.Error(), "samples has 4 partitions, must have at least the 5 shards on record") {
		t.Errorf("Run: %v", err)
	}
}

func TestLatencyIsAFewMilliseconds(t *testing.T) {
	b := newBed(t, 1)
	b.start(b.router(Default()))
	st := newState()
	b.feed(0, 1, 1)
	b.settled(st)
	var took []time.Duration
	for i := range 21 {
		from := time.Now()
		b.feed(1+i, 1, 1)
		b.settled(st)
		took = append(took, time.Since(from))
	}
	slices.Sort(took)
	t.Logf("from producer to reader: median %v, longest %v", took[10], took[20])
	if took[10] > 50*time.Millisecond {
		t.Errorf("half of 21 records took more than %v from their producer to their reader", took[10])
	}
}

// childBrokers in the environment makes the test binary a router for TestKill to kill.
const childBrokers = "WEIR_ROUTE_TEST_BROKERS"

func TestMain(m *testing.M) {
	if seeds := os.Getenv(childBrokers); seeds != "" {
		log := slog.New(slog.NewTextHandler(os.Stderr, nil))
		cfg := Default()
		cfg.Commit = minCommit
		err := New(cfg, Deps{Brokers: strings.Split(seeds, ","), Shards: testShards, Registry: prometheus.NewRegistry(), Log: log,
			Options: []kgo.Opt{kgo.InstanceID("child"), kgo.SessionTimeout(6 * time.Second)}}).Run(context.Background())
		log.Error("child ended", "err", err)
		os.Exit(1)
	}
	if format := os.Getenv(benchFormat); format != "" {
		if err := benchBroker(format); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestKill kills a process that runs route in the middle of its work (SIGKILL) and restarts it, several times.
func TestKill(t *testing.T) {
	b := newBed(t, 3)
	st := newState()
	next := 0
	for round := range 5 {
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), childBrokers+"="+strings.Join(b.cluster.ListenAddrs(), ","))
		child.Stderr = os.Stderr
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		killed := make(chan struct{})
		var fed sync.WaitGroup
		fed.Go(func() {
			for ; ; next += 10 {
				select {
				case <-killed:
					return
				default:
					b.feed(next, 10, 3)
				}
			}
		})
		before := st.batches
		b.read(topics.Samples, func() bool { return st.batches > before+10*round }, func(r *kgo.Record) { st.apply(t, string(r.Key), r.Value) })
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = child.Wait() // its error tells only that it was killed
		close(killed)
		fed.Wait()
	}
	b.start(b.router(Default(), kgo.InstanceID("child")))
	b.settled(st)
	t.Logf("%d batches, %d sections came twice and were dropped", st.batches, st.replays)
	if st.replays == 0 {
		t.Error("no section came twice: the kills hit nothing")
	}
}

// TestShardsAreKafkas compares shards with franz-go's default partitioner of keys, which other producers use.
func TestShardsAreKafkas(t *testing.T) {
	for _, shards := range []int32{1, 8, 96, 1000} {
		p := kgo.StickyKeyPartitioner(nil).ForTopic(topics.Samples)
		for i := range 500 {
			key := []byte(strings.Repeat("x", i%17) + fmt.Sprint("host-", i))
			if got, want := schemas.Shard(key, shards), p.Partition(&kgo.Record{Key: key}, int(shards)); got != int32(want) {
				t.Fatalf("%s of %d: shard %d, Kafka's is %d", key, shards, got, want)
			}
		}
	}
}
