package writeback

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/processors/writeback/disk"
	"github.com/weir-metrics/weir/schemas"
)

// none is shared by partitions that share nothing.
type none struct{}

func newDisk() *disk.Disk { return disk.New(ErrBroken) }

func onDisk(d *disk.Disk) func(int32) Table { return func(id int32) Table { return d.Table(id) } }

// process is an Engine driven by hand: the test acknowledges its changelog.
type process struct {
	*driven[counter, none]
	t     *testing.T
	local *disk.Disk
	logic *counting
	sent  []func(offset int64) *kgo.Record // of the changelog, in order
	ticks int                              // records of other topics
}

func newProcess(t *testing.T, local *disk.Disk) *process {
	p := &process{t: t, local: local, logic: &counting{stalls: map[int32]time.Duration{}}}
	p.driven = Drive(Options{ConsumerGroup: group, Input: inTopic, Table: group + "-table", Registry: prometheus.NewRegistry(),
		Counts: map[string]int32{inTopic: 1, outTopic: 1, group + "-table": 1},
		Log:    slog.New(slog.NewTextHandler(io.Discard, nil))}, p.logic, Host{Table: onDisk(local),
		Produce: func(r *kgo.Record, done func(*kgo.Record, error)) {
			if r.Topic != group+"-table" {
				p.ticks++
				return
			}
			p.sent = append(p.sent, func(offset int64) *kgo.Record {
				r.Offset = offset
				done(r, nil)
				return r
			})
		}}).(*driven[counter, none])
	return p
}

// open recovers partition 0 from a changelog and returns where it began to read it.
func (p *process) open(changelog ...*kgo.Record) int64 {
	p.t.Helper()
	from, err := p.Open(0)
	for _, r := range changelog {
		if err == nil && r.Offset >= from {
			err = p.Load(0, r)
		}
	}
	if err == nil {
		err = p.Recovered(0)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.Joined()
	return from
}

// apply processes a record that adds n to key.
func (p *process) apply(offset int64, key string, n uint64) {
	p.Record(0, &kgo.Record{Key: []byte(key), Offset: offset, Value: binary.BigEndian.AppendUint64(nil, n), Timestamp: time.UnixMilli(offset * 1000)})
}

func (p *process) checkpoint() int64 {
	next := p.Begin(0)
	for p.Flush(0) {
	}
	return next
}

func (p *process) sum(key string) uint64 {
	if e := p.opened[0].live[key]; e != nil {
		return e.V.sum
	}
	return 0
}

// TestLocalStoreAheadOfChangelog: a value is flushed to the local store, but its changelog record is lost with the process. The
// value is written again before its records are committed, because the next owner has only the changelog.
func TestLocalStoreAheadOfChangelog(t *testing.T) {
	local := newDisk()
	killed := newProcess(t, local)
	killed.open()
	killed.apply(0, "a", 7)
	killed.checkpoint()
	if len(killed.sent) != 1 {
		t.Fatalf("%d values flushed, want 1", len(killed.sent))
	}
	p := newProcess(t, local)
	p.open()
	p.apply(0, "a", 7) // not committed, so it comes again
	if next := p.checkpoint(); next != 1 || len(p.sent) != 1 {
		t.Fatalf("%d values flushed before the commit of %d, want 1", len(p.sent), next)
	}
	other := newProcess(t, newDisk())
	other.open(p.sent[0](0))
	if other.sum("a") != 7 {
		t.Errorf("the next owner has %d, want 7", other.sum("a"))
	}
}

// TestOlderValueLoses: a value that a process writes after it has lost the partition, later than its successor, does not
// win.
func TestOlderValueLoses(t *testing.T) {
	before, after := newProcess(t, newDisk()), newProcess(t, newDisk())
	before.open()
	before.apply(0, "a", 1)
	before.checkpoint()
	after.open()
	after.apply(0, "a", 1)
	after.apply(1, "a", 2)
	after.checkpoint()
	p := newProcess(t, newDisk())
	p.open(after.sent[0](0), before.sent[0](1))
	if p.sum("a") != 3 {
		t.Errorf("recovered %d, want 3", p.sum("a"))
	}
}

// TestRecoverySaysHowFar: progress does not count records that the local store already has.
func TestRecoverySaysHowFar(t *testing.T) {
	local := newDisk()
	first := newProcess(t, local)
	first.open()
	for i := range int64(6) {
		first.apply(i, string(rune('a'+i)), 1)
	}
	first.checkpoint()
	var changelog []*kgo.Record
	for i, ack := range first.sent {
		changelog = append(changelog, ack(int64(i)))
	}
	if err := first.Close(0); err != nil {
		t.Fatal(err)
	}
	expect := func(e *Engine[counter, none], part float64, waiting string, want Recovery) {
		t.Helper()
		got := e.Recovery()
		if got.Began = (time.Time{}); got != want || got.Fraction() != part || e.Waiting() != waiting {
			t.Errorf("%+v, %v of it, waiting: %s\nwant %+v, %v, %s", got, got.Fraction(), e.Waiting(), want, part, waiting)
		}
	}
	for _, c := range []struct {
		name       string
		local      *disk.Disk
		ends, from int64
		after4     Recovery
		part       float64
		waiting    string
	}{
		{"from the changelog alone", newDisk(), 6, 0, Recovery{Partitions: 1, Records: 6, Read: 4}, 0.5,
			"recovering counts-table: 0 of 1 partitions, 4 of 6 records, 50 %"},
		{"from the local store", local, 6, 6, Recovery{Partitions: 1}, 0, "recovering counts-table: 0 of 1 partitions, 0 of 0 records, 0 %"},
		{"from the local store and the tail", local, 8, 6, Recovery{Partitions: 1, Records: 2}, 0,
			"recovering counts-table: 0 of 1 partitions, 0 of 2 records, 0 %"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newProcess(t, c.local)
			p.e.ends = map[int32]int64{0: c.ends}
			expect(p.e, 1, "joining the group", Recovery{})
			from, err := p.Open(0)
			if err != nil || from != c.from {
				t.Fatalf("read from %d, %v", from, err)
			}
			for _, r := range changelog[min(from, 4):4] {
				if err := p.Load(0, r); err != nil {
					t.Fatal(err)
				}
			}
			expect(p.e, c.part, c.waiting, c.after4)
			if err := p.Recovered(0); err != nil {
				t.Fatal(err)
			}
			done := c.after4
			done.Recovered, done.Read = 1, done.Records
			expect(p.e, 1, "joining the group", done)
		})
	}
}

// TestRecoveriesTogether: the sum of recoveries adds the numbers, and has the time of the first.
func TestRecoveriesTogether(t *testing.T) {
	began := time.Now()
	a := Recovery{Partitions: 2, Recovered: 1, Records: 100, Read: 50, Began: began.Add(time.Second)}
	b := Recovery{Partitions: 1, Records: 20, Read: 10, Began: began}
	want := Recovery{Partitions: 3, Recovered: 1, Records: 120, Read: 60, Began: began}
	if got := (Recovery{}).And(a).And(b); got != want || got.Fraction() != 0.75*60/120+0.25*1/3 || got.Done() {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestForeignWrites: the local store's offset follows this process's own writes, and stops at the first write of another
// process in between.
func TestForeignWrites(t *testing.T) {
	local := newDisk()
	p := newProcess(t, local)
	if from := p.open(); from != 0 {
		t.Fatalf("an empty store is read from %d on", from)
	}
	for i, offset := range []int64{0, 1, 3, 4} { // 2 is another's
		p.apply(int64(i), "a", 1)
		p.checkpoint()
		p.sent[i](offset)
	}
	if err := p.Close(0); err != nil {
		t.Fatal(err)
	}
	if from := newProcess(t, local).open(); from != 2 {
		t.Errorf("the changelog is read from %d on, want 2", from)
	}
}

// TestReadAnew: a value that another owner changed meanwhile is read anew when the partition comes back, and the timer of
// the old value does not fire.
func TestReadAnew(t *testing.T) {
	p := newProcess(t, newDisk())
	p.open()
	p.apply(0, "a", 1) // due at 50
	other := newProcess(t, newDisk())
	other.open()
	other.apply(0, "a", 1)
	other.apply(1, "a", 4) // due at 1050
	other.checkpoint()
	if err := p.Close(0); err != nil {
		t.Fatal(err)
	}
	p.open(other.sent[0](0))
	if p.sum("a") != 5 {
		t.Fatalf("%d after the return, want 5", p.sum("a"))
	}
	p.ticks = 0
	p.Record(0, &kgo.Record{Offset: 2, Value: (&schemas.Tick{NowMS: 100}).AppendTo(nil)})
	if p.ticks != 0 {
		t.Error("the timer of the value as it was before fired")
	}
	p.Record(0, &kgo.Record{Offset: 3, Value: (&schemas.Tick{NowMS: 1100}).AppendTo(nil)})
	if p.ticks != 1 {
		t.Errorf("%d records emitted by the timer, want 1", p.ticks)
	}
}

// endless is a session for which no checkpoint is requested.
type endless struct {
	sarama.ConsumerGroupSession
	ctx context.Context
}

func (s endless) Context() context.Context { return s.ctx }

// TestAnySessionBegins: if another member joins and so ends a member's first session before the loop has seen it, the member is
// ready in the next session, and does what is due by the clock. (Goka's WaitForReady waited for ever for the first
// session's partitions.)
func TestAnySessionBegins(t *testing.T) {
	e := newProcess(t, newDisk()).e
	e.opts.Tick, e.opts.Flush = time.Millisecond, time.Hour
	asked := make(chan struct{}, 1)
	e.opts.Behind = func(*schemas.Tick) {
		select {
		case asked <- struct{}{}:
		default:
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	e.gate.begin(&session{endless{ctx: ctx}})
	e.gate.session.Store(nil) // Cleanup
	done := make(chan struct{})
	go func() { defer close(done); e.loop(t.Context(), ctx) }() // ended by run: no last checkpoint
	for deadline := time.Now().Add(15 * time.Second); !e.ready.Load(); {
		if time.Now().After(deadline) {
			t.Fatal("the loop has not begun")
		}
		runtime.Gosched()
	}
	if e.Ready() {
		t.Error("ready without a session")
	}
	e.gate.begin(&session{endless{ctx: ctx}})
	select {
	case <-asked:
	case <-time.After(15 * time.Second):
		t.Error("no tick")
	}
	if !e.Ready() {
		t.Error("not ready in a session")
	}
	stop()
	<-done
}
