package writeback

import (
	"context"
	"encoding/binary"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
)

// heldTable is a Table whose Each waits, as a slow disk or a busy machine makes it.
type heldTable struct {
	Table
	hold chan struct{}
}

func (h heldTable) Each(f func(string, []byte) bool) error { <-h.hold; return h.Table.Each(f) }

// TestZombiePartition: a session that ends during a recovery leaves no partition owned, whenever the recovery ends.
func TestZombiePartition(t *testing.T) {
	for _, closes := range []bool{true, false} { // Goka does not always close a partition
		p := newProcess(t, newDisk())
		hold := make(chan struct{})
		open := p.e.openTable
		p.e.openTable = func(id int32) (Table, error) {
			table, err := open(id)
			return heldTable{table, hold}, err
		}
		p.e.ends = map[int32]int64{0: 525}
		if _, err := p.Open(0); err != nil {
			t.Fatal(err)
		}
		lost := p.opened[0]
		marked := make(chan error, 1)
		go func() { marked <- lost.finishRecovery() }()
		if closes {
			if err := lost.close(); err != nil {
				t.Fatal(err)
			}
		}
		p.e.endSession()
		close(hold)
		if err := <-marked; err != nil {
			t.Fatal(err)
		}
		if n := p.e.Owned(); n != 0 {
			t.Errorf("closed %v: %d partitions are owned after the session, want 0", closes, n)
		}
		if err := p.e.recovered(map[int32]int64{0: 525}); err != nil {
			t.Errorf("closed %v: the next session, which does not have the partition: %v", closes, err)
		}
		if r := p.e.Recovery(); !r.Done() {
			t.Errorf("closed %v: %v", closes, r)
		}
	}
}

// TestZombieReplacesNoPartition: the same, but the partition has come back in the meantime.
func TestZombieReplacesNoPartition(t *testing.T) {
	first := newProcess(t, newDisk())
	first.open()
	first.apply(0, "a", 7)
	first.checkpoint()
	log := first.sent[0](0)

	p := newProcess(t, newDisk())
	hold, held := make(chan struct{}), true
	open := p.e.openTable
	p.e.openTable = func(id int32) (Table, error) {
		table, err := open(id)
		if held {
			held = false
			return heldTable{table, hold}, err
		}
		return table, err
	}
	if _, err := p.Open(0); err != nil {
		t.Fatal(err)
	}
	zombie := p.opened[0]
	marked := make(chan error, 1)
	go func() { marked <- zombie.finishRecovery() }()
	p.e.endSession()
	p.open(log)
	live := p.opened[0]
	close(hold)
	if err := <-marked; err != nil {
		t.Fatal(err)
	}
	if got := p.e.partitions[0]; got != live {
		t.Errorf("records go to the partition that was given up, not to the live one of %d keys", len(live.live))
	}
	if err := zombie.close(); err != nil {
		t.Fatal(err)
	}
	if p.e.partitions[0] != live || p.sum("a") != 7 {
		t.Errorf("the live partition is gone when the other is closed, or has %d, want 7", p.sum("a"))
	}
}

// heldDecoder decodes when it is released.
type heldDecoder struct {
	counting
	release  chan struct{}
	waiting  atomic.Int32
	released atomic.Int32
}

func (s *heldDecoder) Decode(p *Partition[counter, none], key string, b []byte) (*counter, error) {
	s.waiting.Add(1)
	<-s.release
	s.released.Add(1)
	return s.counting.Decode(p, key, b)
}

// TestSessionEndsInRecovery is the same on Goka: c joins while b is recovering. Each partition is owned once, and a reload, which
// asks all partitions, ends.
func TestSessionEndsInRecovery(t *testing.T) {
	b := newBed(t)
	c := &counting{stalls: map[int32]time.Duration{}}
	a := b.start("a", t.TempDir(), c)
	send := func(n int) {
		for i := range n {
			key := "key-" + strconv.Itoa(i)
			if err := b.client.ProduceSync(context.Background(), &kgo.Record{Topic: inTopic, Key: []byte(key), Value: binary.BigEndian.AppendUint64(nil, 1),
				Partition: schemas.Shard([]byte(key), shards)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	send(60)
	kafkatest.Eventually(b.t, "a has flushed all", func() bool {
		return counted(a.eng, "weir_writeback_flushed_values_total") >= 60 && counted(a.eng, "weir_writeback_checkpoints_total") > 1
	})
	start := func(name string, l Logic[counter, none]) *member {
		store, err := OpenStore(t.TempDir(), b.log)
		if err != nil {
			t.Fatal(err)
		}
		m := &member{store: store, done: make(chan error, 1)}
		m.eng = New(Options{Brokers: b.brokers, ConsumerGroup: group, Input: inTopic, Table: group + "-table",
			Counts:   map[string]int32{inTopic: shards, outTopic: shards, group + "-table": shards},
			Instance: name, Store: store, Tick: 10 * time.Millisecond, Flush: 100 * time.Millisecond,
			Registry: prometheus.NewRegistry(), Log: b.log.With("member", name)}, l)
		ctx, cancel := context.WithCancel(context.Background())
		m.stop = cancel
		go func() { m.done <- m.eng.Run(ctx) }()
		return m
	}
	slow := &heldDecoder{counting: counting{stalls: map[int32]time.Duration{}}, release: make(chan struct{})}
	mb := start("b", slow)
	kafkatest.Eventually(b.t, "b is in the middle of a recovery", func() bool { return slow.waiting.Load() > 0 })
	was := slow.waiting.Load()
	mc := start("c", &counting{stalls: map[int32]time.Duration{}})
	// The session that b recovers in has ended when the next one recovers.
	kafkatest.Eventually(b.t, "b recovers again", func() bool { return slow.waiting.Load() > was || mc.eng.Owned() > 0 })
	close(slow.release)
	ready := func() bool { return a.eng.Ready() && mb.eng.Ready() && mc.eng.Ready() }
	sum := func() int { return a.eng.Owned() + mb.eng.Owned() + mc.eng.Owned() }
	kafkatest.Eventually(b.t, "all are ready and own all", func() bool { return ready() && sum() >= shards && slow.released.Load() == slow.waiting.Load() })
	if n := sum(); n != shards {
		t.Errorf("%d partitions are owned, of %d: a %d, b %d, c %d", n, shards, a.eng.Owned(), mb.eng.Owned(), mc.eng.Owned())
	}
	mb.eng.Renew()
	before := counted(mb.eng, "weir_writeback_checkpoints_total")
	kafkatest.Eventually(b.t, "b has made a checkpoint after a reload", func() bool { send(10); return counted(mb.eng, "weir_writeback_checkpoints_total") > before })
	for _, m := range []*member{mc, mb, a} {
		b.end(m, false)
	}
}

// counted returns the sum of an engine's counter.
func counted(e *Engine[counter, none], name string) (sum float64) {
	families, _ := e.opts.Registry.(*prometheus.Registry).Gather()
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}
