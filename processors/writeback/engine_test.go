package writeback

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
)

const (
	inTopic  = "in"
	outTopic = "out"
	group    = "counts"
	shards   = 6
)

// counter counts the records of each key and adds up their numbers. It emits the total at every third record, and 50 ms
// after the last one, by the clock in the log.
type counter struct {
	n, sum uint64
	due    int64
	weight int   // see fat
	lostMS int64 // see fat
}

type counting struct {
	mu      sync.Mutex
	stalls  map[int32]time.Duration // the longest time from produced to applied, by partition
	applied int
	from    map[uint64]int32 // the partition of metrics that holds back values with a sum
}

func (*counting) Open(*Partition[counter, none]) *none            { return nil }
func (*counting) New(*Partition[counter, none], string) *counter  { return &counter{} }
func (*counting) Due(v *counter) int64                            { return v.due }
func (*counting) Gone(*counter) bool                              { return false }
func (*counting) Lost(*Partition[counter, none], *counter, int64) {}
func (*counting) Append(_ *Partition[counter, none], dst []byte, v *counter) []byte {
	dst = binary.BigEndian.AppendUint64(dst, v.n)
	dst = binary.BigEndian.AppendUint64(dst, v.sum)
	return binary.BigEndian.AppendUint64(dst, uint64(v.due))
}
func (*counting) Decode(_ *Partition[counter, none], _ string, b []byte) (*counter, error) {
	if len(b) != 24 {
		return nil, schemas.ErrCorrupt
	}
	return &counter{n: binary.BigEndian.Uint64(b), sum: binary.BigEndian.Uint64(b[8:]), due: int64(binary.BigEndian.Uint64(b[16:]))}, nil
}
func (c *counting) Until(v *counter, t *schemas.Tick) int64 {
	if p, ok := c.from[v.sum]; ok {
		return t.Of(p)
	}
	return t.NowMS
}
func (c *counting) Apply(p *Partition[counter, none], e *Entry[counter, none], r Record) {
	e.V.n++
	e.V.sum += binary.BigEndian.Uint64(r.Value)
	e.V.due = r.TimeMS + 50
	if e.V.n%3 == 0 {
		c.emit(p, e)
	}
	c.mu.Lock()
	c.applied++
	if d := time.Since(time.UnixMilli(r.TimeMS)); d > c.stalls[p.ID] {
		c.stalls[p.ID] = d
	}
	c.mu.Unlock()
}
func (c *counting) Tick(p *Partition[counter, none], e *Entry[counter, none], _, _ int64) {
	e.V.due = 0
	c.emit(p, e)
}
func (*counting) emit(p *Partition[counter, none], e *Entry[counter, none]) {
	b := binary.BigEndian.AppendUint64(nil, e.V.n)
	e.Emit(p, outTopic, []byte(e.Key), binary.BigEndian.AppendUint64(b, e.V.sum))
}

// bed is a broker with the topics.
type bed struct {
	t       testing.TB
	cluster *kfake.Cluster
	brokers []string
	client  *kgo.Client
	log     *slog.Logger
}

func newBed(t testing.TB) *bed {
	c := kafkatest.Cluster(t)
	b := &bed{t: t, cluster: c, brokers: c.ListenAddrs(), log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	if os.Getenv("WEIR_TEST_LOG") != "" {
		b.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	b.client = kafkatest.Client(t, b.brokers, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	compact, large := "compact", "20000000"
	for topic, cfg := range map[string]map[string]*string{inTopic: {"max.message.bytes": &large}, outTopic: nil,
		group + "-table": {"cleanup.policy": &compact, "max.message.bytes": &large}} {
		if _, err := kadm.NewClient(b.client).CreateTopic(context.Background(), shards, 1, cfg, topic); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// member is a running engine.
type member struct {
	eng   *Engine[counter, none]
	store *Store
	stop  func()
	kill  context.CancelCauseFunc // ends the engine with an error, without a last checkpoint
	done  chan error
}

func (b *bed) start(name, dir string, c *counting) *member {
	return b.startWith(prometheus.NewRegistry(), name, dir, c)
}

func (b *bed) startWith(reg prometheus.Registerer, name, dir string, c *counting) *member {
	store, err := OpenStore(dir, b.log)
	if err != nil {
		b.t.Fatal(err)
	}
	m := &member{store: store, done: make(chan error, 1)}
	m.eng = New(Options{Brokers: b.brokers, ConsumerGroup: group, Input: inTopic, Table: group + "-table",
		Counts:   map[string]int32{inTopic: shards, outTopic: shards, group + "-table": shards},
		Instance: name, Store: store, Tick: 10 * time.Millisecond, Flush: 200 * time.Millisecond,
		Registry: reg, Log: b.log.With("member", name)}, c)
	b.run(m)
	return m
}

// run runs the member's engine until end.
func (*bed) run(m *member) {
	ctx, cancel := context.WithCancelCause(context.Background())
	m.stop, m.kill = func() { cancel(nil) }, cancel
	go func() { m.done <- m.eng.Run(ctx) }()
}

func (b *bed) end(m *member, crash bool) {
	if crash {
		m.kill(ErrKilled)
	} else {
		m.stop()
	}
	err := <-m.done
	m.stop()
	if crash != errors.Is(err, ErrKilled) || !crash && err != nil {
		b.t.Errorf("ended with %v", err)
	}
	if err := m.store.Close(); err != nil {
		b.t.Error(err)
	}
}

// feed produces numbers under random keys until stop is closed, and then sends the count and sum of each key on done.
func (b *bed) feed(rnd *rand.Rand, every time.Duration, stop <-chan struct{}) (done chan map[string]counter) {
	done = make(chan map[string]counter, 1)
	go func() {
		want := map[string]counter{}
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				if err := b.client.Flush(context.Background()); err != nil {
					b.t.Error(err)
				}
				done <- want
				return
			case <-tick.C:
			}
			for range 20 {
				key := "key-" + strconv.Itoa(rnd.IntN(200))
				n := rnd.Uint64N(1000)
				w := want[key]
				w.n++
				w.sum += n
				want[key] = w
				b.client.Produce(context.Background(), &kgo.Record{Topic: inTopic, Key: []byte(key), Value: binary.BigEndian.AppendUint64(nil, n),
					Partition: schemas.Shard([]byte(key), shards)}, func(_ *kgo.Record, err error) {
					if err != nil {
						b.t.Errorf("produce: %v", err)
					}
				})
			}
		}
	}()
	return done
}

// totals reads the output topic: the last total of each key, and every (n, sum) that was seen.
func (b *bed) totals() map[string]counter {
	c := kafkatest.Client(b.t, b.brokers, kgo.ConsumeTopics(outTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ends, err := kadm.NewClient(b.client).ListEndOffsets(context.Background(), outTopic)
	if err != nil {
		b.t.Fatal(err)
	}
	left := int64(0)
	ends.Each(func(o kadm.ListedOffset) { left += o.Offset })
	last := map[string]counter{}
	seen := map[string]uint64{}
	for left > 0 {
		c.PollFetches(context.Background()).EachRecord(func(r *kgo.Record) {
			left--
			n, sum := binary.BigEndian.Uint64(r.Value), binary.BigEndian.Uint64(r.Value[8:])
			id := fmt.Sprintf("%s/%d", r.Key, n)
			if was, ok := seen[id]; ok && was != sum {
				b.t.Errorf("%s emitted as %d and as %d", id, was, sum)
			}
			seen[id] = sum
			if n > last[string(r.Key)].n {
				last[string(r.Key)] = counter{n: n, sum: sum}
			}
		})
	}
	return last
}

func (b *bed) compare(want map[string]counter) {
	b.t.Helper()
	var diff string
	ok := func() bool {
		diff = ""
		got := b.totals()
		for key, w := range want {
			if g := got[key]; g.n != w.n || g.sum != w.sum {
				diff = fmt.Sprintf("%s: got %d records, sum %d; want %d, sum %d", key, g.n, g.sum, w.n, w.sum)
				return false
			}
		}
		return true
	}
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatal(diff)
		}
	}
}

// TestMembersComeAndGo: members join, leave and are killed, and keep their local state or lose it. At the end every key has
// every record once, and no (key, n) was ever emitted with two sums.
func TestMembersComeAndGo(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if v := os.Getenv("WEIR_SEED"); v != "" {
		seed, _ = strconv.ParseUint(v, 10, 64)
	}
	t.Logf("seed %d (set WEIR_SEED to repeat)", seed)
	rnd := rand.New(rand.NewPCG(seed, 5))
	b := newBed(t)
	c := &counting{stalls: map[int32]time.Duration{}}
	stop := make(chan struct{})
	done := b.feed(rand.New(rand.NewPCG(seed, 6)), 2*time.Millisecond, stop)
	dirs := map[string]string{}
	running := map[string]*member{}
	for _, name := range []string{"a", "b", "c"} {
		dirs[name] = t.TempDir()
	}
	owned := func() int {
		n := 0
		for _, m := range running {
			n += m.eng.Owned()
		}
		return n
	}
	running["a"] = b.start("a", dirs["a"], c)
	for round := range 8 {
		kafkatest.Eventually(b.t, "all partitions are owned", func() bool { return owned() == shards })
		name := string(rune('a' + rnd.IntN(3)))
		m := running[name]
		switch {
		case m == nil:
			t.Logf("round %d: %s joins", round, name)
		case len(running) == 1 || rnd.IntN(2) == 0:
			t.Logf("round %d: %s is killed and comes back", round, name)
			b.end(m, true)
			if rnd.IntN(2) == 0 {
				dirs[name] = t.TempDir()
			}
		default:
			t.Logf("round %d: %s leaves", round, name)
			b.end(m, false)
			delete(running, name)
			name = ""
		}
		if name != "" {
			running[name] = b.start(name, dirs[name], c)
		}
		c.mu.Lock()
		before := c.applied
		c.mu.Unlock()
		kafkatest.Eventually(b.t, "records are applied", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.applied > before+300 })
	}
	close(stop)
	b.compare(<-done)
	for _, m := range running {
		b.end(m, false)
	}
}

// TestPause measures how long records wait when a member joins and when it leaves.
func TestPause(t *testing.T) {
	b := newBed(t)
	c := &counting{stalls: map[int32]time.Duration{}}
	stop := make(chan struct{})
	done := b.feed(rand.New(rand.NewPCG(1, 1)), 5*time.Millisecond, stop)
	steady := func(ms ...*member) {
		kafkatest.Eventually(b.t, "every partition is owned and applies", func() bool {
			n := 0
			for _, m := range ms {
				n += m.eng.Owned()
			}
			return n == shards
		})
		c.mu.Lock()
		before := c.applied
		c.mu.Unlock()
		kafkatest.Eventually(b.t, "records are applied", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.applied > before+2000 })
	}
	worst := func() (d time.Duration) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, s := range c.stalls {
			d = max(d, s)
		}
		clear(c.stalls)
		return d
	}
	first := b.start("a", t.TempDir(), c)
	steady(first)
	worst()
	second := b.start("b", t.TempDir(), c)
	steady(first, second)
	kafkatest.Eventually(b.t, "both own partitions", func() bool { return first.eng.Owned() > 0 && second.eng.Owned() > 0 })
	join := worst()
	b.end(second, false)
	steady(first)
	leave := worst()
	t.Logf("longest wait of a record: join %v, leave %v", join, leave)
	if join > 1500*time.Millisecond || leave > 2500*time.Millisecond {
		t.Errorf("a record waited %v at a join (at most 1.5s), %v at a leave (at most 2.5s)", join, leave)
	}
	close(stop)
	b.compare(<-done)
	b.end(first, false)
}

// TestStoppedBeforeItBegan: a stop while the engine looks up its topics is a clean stop.
func TestStoppedBeforeItBegan(t *testing.T) {
	b := newBed(t)
	m := b.start("one", t.TempDir(), &counting{})
	b.end(m, false)
}

// TestKilledAtAnyTime: a kill ends Run with its cause, however early it comes. Any other cause, such as that of
// signal.NotifyContext, stops Run cleanly.
func TestKilledAtAnyTime(t *testing.T) {
	b := newBed(t)
	early := b.start("early", t.TempDir(), &counting{stalls: map[int32]time.Duration{}})
	b.end(early, true) // it has not even opened its producer

	m := b.start("one", t.TempDir(), &counting{stalls: map[int32]time.Duration{}})
	kafkatest.Eventually(b.t, "all partitions are owned", func() bool { return m.eng.Owned() == shards && m.eng.Ready() })
	sent := b.number(inTopic, "key", 3)
	kafkatest.Eventually(b.t, "applied", func() bool { m := m.eng.logic.(*counting); m.mu.Lock(); defer m.mu.Unlock(); return m.applied == 1 })
	m.kill(errors.New("interrupt signal received"))
	if err := <-m.done; err != nil {
		t.Errorf("ended with %v", err)
	}
	if n := b.committed(group); n < sent {
		t.Errorf("%d records committed, want %d: there was no last checkpoint", n, sent)
	}
	if err := m.store.Close(); err != nil {
		t.Error(err)
	}
}
