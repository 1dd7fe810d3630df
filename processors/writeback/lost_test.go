package writeback

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
)

// fat is counting with values and records of any size: a number above fatFrom sets the size in bytes of its key's value, or
// of what the key emits, from then on.
type fat struct {
	counting
	mu   sync.Mutex
	lost map[string]int64
}

const fatFrom, emitFrom = 1_000_000, 1_000_000_000

// fatBytes is what a record of so many bytes adds.
func fatBytes(n int) uint64 { return fatFrom + uint64(n) }

func newFat() *fat {
	return &fat{counting: counting{stalls: map[int32]time.Duration{}}, lost: map[string]int64{}}
}

func (f *fat) Append(p *Partition[counter, none], dst []byte, v *counter) []byte {
	return append(f.counting.Append(p, dst, v), noise(v.weight)...)
}

// noise returns n bytes that do not compress.
func noise(n int) []byte {
	b, rnd := make([]byte, n), rand.New(rand.NewPCG(1, 1))
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

func (f *fat) Decode(p *Partition[counter, none], key string, b []byte) (*counter, error) {
	if len(b) < 24 {
		return nil, schemas.ErrCorrupt
	}
	v, err := f.counting.Decode(p, key, b[:24])
	v.weight = len(b) - 24
	return v, err
}
func (f *fat) Apply(p *Partition[counter, none], e *Entry[counter, none], r Record) {
	n := binary.BigEndian.Uint64(r.Value)
	switch {
	case n > emitFrom: // emit something of so many bytes
		e.Emit(p, outTopic, []byte(e.Key), make([]byte, n-emitFrom))
	case n > fatFrom:
		e.V.weight = int(n - fatFrom)
	default:
		f.counting.Apply(p, e, r)
	}
}
func (f *fat) Lost(_ *Partition[counter, none], v *counter, atMS int64) {
	v.lostMS = atMS
	f.mu.Lock()
	f.lost["any"]++
	f.mu.Unlock()
}

// sized makes a bed whose topics accept batches up to a size.
func sizedBed(t testing.TB, most int) *bed {
	b := newBed(t)
	compact, size := "compact", strconv.Itoa(most)
	for topic, cfg := range map[string]map[string]*string{"small-in": nil, "small-out": {"max.message.bytes": &size}, topics.DeadLetter: nil,
		"small-table": {"cleanup.policy": &compact, "max.message.bytes": &size}} {
		if _, err := kadm.NewClient(b.client).CreateTopic(context.Background(), 1, 1, cfg, topic); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func (b *bed) startSmall(dir string, l Logic[counter, none]) *member {
	store, err := OpenStore(dir, b.log)
	if err != nil {
		b.t.Fatal(err)
	}
	m := &member{store: store, done: make(chan error, 1)}
	m.eng = New(Options{Brokers: b.brokers, ConsumerGroup: "small", Input: "small-in", Table: "small-table",
		Counts:   map[string]int32{"small-in": 1, outTopic: shards, "small-out": 1, "small-table": 1, topics.DeadLetter: 1},
		Instance: "one", Store: store, Tick: 10 * time.Millisecond, Flush: 100 * time.Millisecond,
		Registry: prometheus.NewRegistry(), Log: b.log}, l)
	ctx, cancel := context.WithCancelCause(context.Background())
	m.stop, m.kill = func() { cancel(nil) }, cancel
	go func() { m.done <- m.eng.Run(ctx) }()
	return m
}

// number sends a number to partition 0 and returns the offset after it.
func (b *bed) number(topic, key string, n uint64) int64 {
	b.t.Helper()
	r := &kgo.Record{Topic: topic, Key: []byte(key), Value: binary.BigEndian.AppendUint64(nil, n)}
	if err := b.client.ProduceSync(context.Background(), r).FirstErr(); err != nil {
		b.t.Fatal(err)
	}
	return r.Offset + 1
}

func (b *bed) committed(group string) (n int64) {
	offs, err := kadm.NewClient(b.client).FetchOffsets(context.Background(), group)
	if err != nil {
		return -1
	}
	offs.Each(func(o kadm.OffsetResponse) { n += max(0, o.At) })
	return n
}

// stored reads the value of each key from the table.
func (b *bed) stored(table string) map[string][]byte {
	b.t.Helper()
	all := map[string][]byte{}
	b.each(table, func(r *kgo.Record) {
		key, _ := splitTableKey(string(r.Key))
		if r.Value != nil && (all[key] == nil || storedRank(r.Value) >= storedRank(all[key])) {
			all[key] = r.Value
		}
	})
	return all
}

// each reads a topic of one partition to its end.
func (b *bed) each(topic string, f func(r *kgo.Record)) {
	b.t.Helper()
	ends, err := kadm.NewClient(b.client).ListEndOffsets(context.Background(), topic)
	if err != nil {
		b.t.Fatal(err)
	}
	end, _ := ends.Lookup(topic, 0)
	c := kafkatest.Client(b.t, b.brokers, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for at := int64(0); at < end.Offset; {
		c.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			at = r.Offset + 1
			f(r)
		})
		if ctx.Err() != nil {
			b.t.Fatalf("%s: read to %d of %d", topic, at, end.Offset)
		}
	}
}

// TestParked: a value that cannot be written, because it is larger than any record may be or than the broker accepts, affects
// only its key. Its partition commits, and the neighbours are there after a restart; what the key had is lost, and does not
// come back.
func TestParked(t *testing.T) {
	for name, c := range map[string]struct{ limit, size int }{
		"larger than any record":       {maxValueBytes + 1<<20, 17 << 20},
		"larger than the broker takes": {40_000, 60_000},
	} {
		t.Run(name, func(t *testing.T) {
			b := sizedBed(t, c.limit)
			dir, l := t.TempDir(), newFat()
			m := b.startSmall(dir, l)
			sent := int64(0)
			number := func(key string, n uint64) { sent = b.number("small-in", key, n) }
			number("big", 5) // stored before the key is parked: must not come back
			kafkatest.Eventually(b.t, "committed", func() bool { return b.committed("small") >= sent })
			number("big", fatBytes(c.size))
			for i := range 30 {
				number("neighbour-"+strconv.Itoa(i), 7)
			}
			kafkatest.Eventually(b.t, "big is parked", func() bool { return counted(m.eng, "weir_writeback_lost_values_total") > 0 })
			kafkatest.Eventually(b.t, "committed", func() bool { return b.committed("small") >= sent })
			if w := m.eng.Warning(); !strings.Contains(w, "big") {
				t.Errorf("warning: %q", w)
			}
			number("big", 2)
			kafkatest.Eventually(b.t, "committed", func() bool { return b.committed("small") >= sent })
			b.end(m, true)
			for i, dir := range []string{dir, t.TempDir()} {
				l := newFat()
				m := b.startSmall(dir, l)
				kafkatest.Eventually(b.t, "ready", m.eng.Ready)
				number("big", 1)
				kafkatest.Eventually(b.t, "committed", func() bool { return b.committed("small") >= sent })
				stored := b.stored("small-table")
				if _, v := decodeCounter(t, stored["neighbour-3"]); v.sum != 7 {
					t.Errorf("a neighbour has %d, want 7", v.sum)
				}
				lostMS, v := decodeCounter(t, stored["big"])
				if want := uint64(i + 2); v.n != want || v.weight != 0 || lostMS == 0 {
					t.Errorf("big has %d records of after it was parked, want %d; weight %d, lost at %d", v.n, want, v.weight, lostMS)
				}
				b.end(m, true)
			}
		})
	}
}

func decodeCounter(t *testing.T, b []byte) (lostMS int64, v *counter) {
	t.Helper()
	_, p, _ := drivenCounter(t)
	p.eng.logic = newFat()
	e, err := decodeEntry(p, "k", bytes.Clone(b))
	if err != nil {
		t.Fatal(err)
	}
	return e.lostMS, e.V
}

// TestDroppedEmission: a record that the broker does not accept becomes a dead letter, cut to size, and stops nothing.
func TestDroppedEmission(t *testing.T) {
	b := sizedBed(t, maxValueBytes)
	m := b.startSmall(t.TempDir(), newFat())
	sent := b.number("small-in", "big", emitFrom+17<<20)
	for i := range 30 {
		sent = b.number("small-in", "other-"+strconv.Itoa(i%3), uint64(i))
	}
	kafkatest.Eventually(b.t, "committed", func() bool { return b.committed("small") >= sent })
	b.end(m, false)
	letters := 0
	b.each(topics.DeadLetter, func(r *kgo.Record) {
		letters++
		if string(r.Key) != "big" || len(r.Value) > topics.MaxLetterBytes {
			t.Errorf("letter of %q, %d bytes", r.Key, len(r.Value))
		}
	})
	if letters != 1 {
		t.Errorf("%d letters, want 1", letters)
	}
	if n := counted(m.eng, "weir_writeback_lost_values_total"); n != 1 {
		t.Errorf("counted %v, want 1", n)
	}
}

// TestRubbishInTable: table records that do not decode, under new keys and under keys with a valid value, affect only their
// key, also across restarts.
func TestRubbishInTable(t *testing.T) {
	b := sizedBed(t, maxValueBytes+1<<20)
	dir := t.TempDir()
	m := b.startSmall(dir, newFat())
	sent := int64(0)
	for i := range 20 {
		sent = b.number("small-in", "k"+strconv.Itoa(i), 3)
	}
	kafkatest.Eventually(b.t, "committed", func() bool { return b.committed("small") >= sent })
	b.end(m, false)
	whole := b.stored("small-table")["k3"]
	rubbish := map[string][]byte{
		"":                         []byte("no key"),
		"k0":                       []byte("rubbish"),
		"k1":                       {},
		"k2":                       bytes.Repeat([]byte{0xff}, 900<<10),
		"k3":                       whole[:len(whole)-3],
		"k4":                       append([]byte{entryVersion + 1}, whole[1:]...),
		"new":                      whole[:5],
		strings.Repeat("k", 1<<16): whole,
	}
	for key, v := range rubbish {
		if err := b.client.ProduceSync(context.Background(), &kgo.Record{Topic: "small-table", Key: []byte(key), Value: v}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for round, dir := range []string{t.TempDir(), dir, t.TempDir()} {
		m := b.startSmall(dir, newFat())
		kafkatest.Eventually(b.t, "ready", m.eng.Ready)
		for i := range 20 {
			b.number("small-in", "k"+strconv.Itoa(i), 3)
		}
		sent = b.number("small-in", "new", 3)
		kafkatest.Eventually(b.t, "committed", func() bool { return b.committed("small") >= sent })
		if got := counted(m.eng, "weir_writeback_lost_values_total"); (got > 0) != (round == 0) {
			t.Errorf("round %d: %v values lost", round, got)
		}
		b.end(m, false)
		stored := b.stored("small-table")
		for i := range 20 { // their valid values are there, under their writer
			if _, v := decodeCounter(t, stored["k"+strconv.Itoa(i)]); v.n != uint64(round)+2 {
				t.Errorf("round %d: k%d has %d records, want %d", round, i, v.n, round+2)
			}
		}
		if lost, v := decodeCounter(t, stored["new"]); v.n != uint64(round)+1 || lost == 0 {
			t.Errorf("round %d: new has %d records, want %d; lost at %d", round, v.n, round+1, lost)
		}
	}
	reasons := map[string]int{}
	b.each(topics.DeadLetter, func(r *kgo.Record) {
		for _, h := range r.Headers {
			if h.Key == "weir.reason" {
				reasons[string(h.Value)]++
			}
		}
	})
	if n := reasons["undecodable_state"]; n < len(rubbish)-1 {
		t.Errorf("%v letters for %d records of rubbish", reasons, len(rubbish))
	}
}

// TestLane: the records of a refused batch are sent again one by one, in order, and only the record at fault is refused.
func TestLane(t *testing.T) {
	type out struct {
		r    *kgo.Record
		done func(*kgo.Record, error)
	}
	var outs []out
	failed := error(nil)
	p := newProducer(&Options{Counts: map[string]int32{outTopic: 1}}, func(err error) { failed = err })
	p.later = func(f func()) { f() }
	p.out = func(_ context.Context, r *kgo.Record, done func(*kgo.Record, error)) {
		outs = append(outs, out{r, done})
	}
	answers := map[string]error{}
	produce := func(key string) {
		p.produce(&kgo.Record{Topic: outTopic, Key: []byte(key)}, func(err error) { answers[key] = err })
	}
	for _, key := range []string{"a", "b", "c"} {
		produce(key)
	}
	for _, o := range outs[:2] { // franz-go fails all buffered records, one after the other
		o.done(o.r, kerr.MessageTooLarge)
	}
	produce("d") // comes in between
	outs[2].done(outs[2].r, kerr.MessageTooLarge)
	for i, key := range []string{"a", "b", "c", "d"} {
		if len(outs) != 4+i || string(outs[3+i].r.Key) != key {
			t.Fatalf("%d sent, the last %s; want %s alone", len(outs), outs[len(outs)-1].r.Key, key)
		}
		var err error
		if key == "b" {
			err = kerr.MessageTooLarge
		}
		outs[3+i].done(outs[3+i].r, err)
	}
	for _, key := range []string{"a", "b", "c", "d"} {
		if err, told := answers[key]; !told || errors.Is(err, ErrRefused) != (key == "b") || key != "b" && err != nil {
			t.Errorf("%s: told %v: %v", key, told, err)
		}
	}
	if p.anyCareful() || failed != nil {
		t.Errorf("still careful: %v; failed: %v", p.anyCareful(), failed)
	}

	// A record that was already on its way may overtake others. That is a failure only if one of them has its key.
	for _, key := range []string{"y", "x"} {
		outs = nil
		produce("x")
		produce(key)
		outs[0].done(outs[0].r, kerr.MessageTooLarge)
		outs[1].done(outs[1].r, nil)
		if (failed != nil) != (key == "x") {
			t.Errorf("x was overtaken by %s: %v", key, failed)
		}
		if len(outs) > 2 {
			outs[2].done(outs[2].r, nil)
		}
	}
}

// TestLettersAreNoState: unacknowledged dead letters are not part of the value, which is not written before they are
// acknowledged. A crash loses none.
func TestLettersAreNoState(t *testing.T) {
	e, p, sent := drivenCounter(t)
	_ = e
	acks := map[string]func(){}
	p.eng.prod.out = func(_ context.Context, r *kgo.Record, done func(*kgo.Record, error)) {
		*sent = append(*sent, r)
		acks[r.Topic] = func() { done(r, nil) }
	}
	k := p.entry("k")
	k.offset = 3
	for range 100 {
		k.Deadletter(p, &kgo.Record{Topic: "dead", Key: []byte("k"), Value: make([]byte, 10_000)})
	}
	if n := len(k.encode(p, nil)); n > 100 {
		t.Errorf("the value has %d bytes", n)
	}
	d := &driven[counter, none]{e: p.eng, opened: map[int32]*Partition[counter, none]{0: p}, flushes: map[int32][]*Entry[counter, none]{}}
	*sent = nil
	d.Begin(0)
	if !d.Flush(0) || len(*sent) != 0 {
		t.Fatalf("%d records sent before the letters are acknowledged", len(*sent))
	}
	k.letters.Store(1)
	acks["dead"]()
	if !d.Flush(0) || len(*sent) != 1 || d.Flush(0) {
		t.Errorf("%d records sent after the letters are acknowledged, want 1", len(*sent))
	}
	if fmt.Sprint((*sent)[0].Topic) != group+"-table" {
		t.Errorf("sent to %s", (*sent)[0].Topic)
	}
}

// TestStoreBreaks: an engine whose local store breaks ends, and the next one rebuilds it.
func TestStoreBreaks(t *testing.T) {
	b := sizedBed(t, maxValueBytes)
	m := b.startSmall(t.TempDir(), newFat())
	sent := b.number("small-in", "a", 3)
	kafkatest.Eventually(b.t, "committed", func() bool { return b.committed("small") >= sent })
	m.store.files.breaks(errors.New("checksum mismatch"))
	sent = b.number("small-in", "a", 4)
	if err := <-m.done; !errors.Is(err, ErrBroken) {
		t.Fatalf("ended with %v", err)
	}
	next := &member{store: m.store, done: make(chan error, 1)}
	next.eng = New(m.eng.opts, newFat())
	ctx, cancel := context.WithCancel(context.Background())
	next.stop = cancel
	go func() { next.done <- next.eng.Run(ctx) }()
	kafkatest.Eventually(b.t, "committed", func() bool { return b.committed("small") >= sent })
	if _, v := decodeCounter(t, b.stored("small-table")["a"]); v.sum != 7 || v.n != 2 {
		t.Errorf("%d records, sum %d", v.n, v.sum)
	}
	if n := counted(next.eng, "weir_writeback_stores_rebuilt_total"); n != 1 {
		t.Errorf("rebuilt %v times", n)
	}
	b.end(next, false)
}

func FuzzDecodeEntry(f *testing.F) {
	_, p, _ := drivenCounter(&testing.T{})
	e := p.entry("k")
	e.offset = 7
	e.Emit(p, outTopic, []byte("k"), []byte("v"))
	whole := e.encode(p, nil)
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add([]byte{entryVersion + 1})
	f.Add([]byte{2, 0, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeEntry(p, "k", b)
		if err != nil {
			if !errors.Is(err, schemas.ErrCorrupt) && !errors.Is(err, schemas.ErrVersion) {
				t.Error(err)
			}
			return
		}
		again, err := decodeEntry(p, "k", e.encode(p, nil))
		if err != nil || again.offset != e.offset || again.lostMS != e.lostMS || *again.V != *e.V || len(again.pending) != len(e.pending) {
			t.Errorf("%+v became %+v, %v", e, again, err)
		}
	})
}
