package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/sinks"
	"github.com/weir-metrics/weir/sinks/sinktest"
)

func quick() Config {
	return Config{InFlight: 20, Commit: conf.Duration(100 * time.Millisecond)}
}

func TestWritesAndCommits(t *testing.T) {
	b := newBed(t, 3)
	b.feed(300, 3)
	r := b.start(quick(), time.Second)
	kafkatest.Eventually(b, "all written", b.writtenAll)
	kafkatest.Eventually(b, "all committed", func() bool { return b.committed() == 300 })
	if !r.Ready() {
		t.Error("not ready, although it writes")
	}
	b.store.look(func() {
		for group, n := range b.store.written {
			if n != 1 {
				t.Errorf("%s written %d times although nothing failed", group, n)
			}
		}
	})
	if n := sinktest.Counter(t, r.reg, "weir_store_windows_total", ""); n != 300 {
		t.Errorf("%v windows counted, want 300", n)
	}
	b.stop(r)
	if r.Ready() {
		t.Error("ready after its end")
	}
}

// Nothing is committed past a record that is not acknowledged, even if later records are.
func TestCommitsOnlyWhatIsAcknowledged(t *testing.T) {
	b := newBed(t, 1)
	b.store.hold(func(group string) bool { return group == name(7) })
	b.feed(15, 1)
	r := b.start(quick(), 50*time.Millisecond)
	kafkatest.Eventually(b, "all but one written", func() (ok bool) {
		b.store.look(func() { ok = len(b.store.written) == 14 })
		return ok
	})
	kafkatest.Eventually(b, "the 7 before it committed", func() bool { return b.committed() == 7 })
	b.stop(r) // abandons the unacknowledged one
	if n := b.committed(); n != 7 {
		t.Errorf("committed %d when stopped, want 7", n)
	}
	b.store.hold(nothing)
	b.start(quick(), time.Second)
	kafkatest.Eventually(b, "all written", b.writtenAll)
	kafkatest.Eventually(b, "all committed", func() bool { return b.committed() == 15 })
}

// A stop waits for writes in flight and commits them.
func TestStopFlushesThenCommits(t *testing.T) {
	b := newBed(t, 2)
	b.store.hold(everything)
	b.feed(10, 2)
	r := b.start(quick(), 10*time.Second)
	kafkatest.Eventually(b, "all in flight", func() (ok bool) {
		b.store.look(func() { ok = b.store.calls == 10 })
		return ok
	})
	r.cancel()
	kafkatest.Eventually(b, "no member any more", func() bool { return !r.Ready() })
	b.store.hold(nothing)
	if err := b.ended(r); err != nil {
		t.Fatal(err)
	}
	if n := b.committed(); n != 10 || !b.writtenAll() {
		t.Errorf("committed %d, written all: %v; want 10 and true", n, b.writtenAll())
	}
}

// While the store is down, no more records are read than may be in flight, and the member stays in its group, even beyond
// its session timeout. Afterwards everything is written, once.
func TestOutage(t *testing.T) {
	b := newBed(t, 4)
	b.store.hold(everything)
	b.feed(2000, 4)
	r := b.start(quick(), time.Second)
	kafkatest.Eventually(b, "as many in flight as may be", func() (ok bool) {
		b.store.look(func() { ok = b.store.calls == 20 })
		return ok
	})
	before := b.cluster.GroupInfo(ConsumerGroup)
	began := time.Now()
	kafkatest.Eventually(b, "the session timeout has passed", func() bool { return time.Since(began) > 1500*time.Millisecond })
	after := b.cluster.GroupInfo(ConsumerGroup)
	if after.State != "Stable" || len(after.Members) != 1 || after.Epoch != before.Epoch {
		t.Errorf("the group was %+v and is %+v, want it as it was", before, after)
	}
	b.store.look(func() {
		if b.store.most > 20 || len(b.store.written) > 0 {
			t.Errorf("%d calls in flight, %d written; want at most 20, and 0", b.store.most, len(b.store.written))
		}
	})
	if n := b.committed(); n != 0 {
		t.Errorf("committed %d during the outage, want 0", n)
	}
	lag := func(want float64) func() bool {
		return func() bool {
			families, err := r.reg.Gather()
			if err != nil {
				t.Fatal(err)
			}
			sum := 0.0
			for _, f := range families {
				for _, m := range f.Metric {
					if f.GetName() == "weir_store_lag_records" {
						sum += m.GetGauge().GetValue()
					}
				}
			}
			return sum == want
		}
	}
	kafkatest.Eventually(b, "a lag of 2000", lag(2000))
	b.feed(100, 4)
	kafkatest.Eventually(b, "a lag of 2100, although nothing is read", lag(2100))
	b.store.hold(nothing)
	kafkatest.Eventually(b, "all written", b.writtenAll)
	kafkatest.Eventually(b, "all committed", func() bool { return b.committed() == 2100 })
	kafkatest.Eventually(b, "no lag", lag(0))
	b.store.look(func() {
		for group, n := range b.store.written {
			if n != 1 {
				t.Errorf("%s written %d times although no partition moved", group, n)
			}
		}
	})
	b.stop(r)
}

// A second member gets partitions of the first while the store is down: the first gives up their writes. Nothing is lost,
// whichever member writes it.
func TestRebalanceDuringAnOutage(t *testing.T) {
	b := newBed(t, 4)
	b.store.hold(everything)
	b.feed(400, 4)
	all := Config{InFlight: 400, Commit: quick().Commit} // enough for records of every partition, so that no slot is free
	first := b.start(all, 100*time.Millisecond)
	kafkatest.Eventually(b, "the first has its hands full", func() (ok bool) {
		b.store.look(func() { ok = b.store.calls == 400 })
		return ok
	})
	second := b.start(quick(), 100*time.Millisecond)
	owned := func(r *run) (n int) {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.partitions)
	}
	kafkatest.Eventually(b, "two partitions each", func() bool { return owned(first) == 2 && owned(second) == 2 })
	b.store.hold(nothing)
	kafkatest.Eventually(b, "all written", b.writtenAll)
	kafkatest.Eventually(b, "all committed", func() bool { return b.committed() == 400 })
	b.stop(first)
	b.feed(100, 4)
	kafkatest.Eventually(b, "all written by the second alone", b.writtenAll)
	kafkatest.Eventually(b, "all committed", func() bool { return b.committed() == 500 })
	b.stop(second)
	for _, r := range []*run{first, second} {
		if n := len(r.slots); n != 0 {
			t.Errorf("%d slots are taken after the end, want 0", n)
		}
	}
}

// letters reads n records of deadletter.
func (b *bed) letters(n int) []*kgo.Record {
	b.Helper()
	cl := kafkatest.Client(b, b.cluster.ListenAddrs(), kgo.ConsumeTopics(topics.DeadLetter),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Second)
	defer cancel()
	var out []*kgo.Record
	for len(out) < n {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			b.Fatalf("%d letters within 10 s, want %d", len(out), n)
		}
		out = append(out, fetches.Records()...)
	}
	return out
}

func headers(r *kgo.Record) string {
	var all []string
	for _, h := range r.Headers {
		all = append(all, h.Key+"="+string(h.Value))
	}
	return strings.Join(all, "\n")
}

// Records that do not decode, and those that the store refuses, go to deadletter whole, with reason and origin. The records
// around them are written, and everything is committed.
func TestBadRecordsGoToDeadletter(t *testing.T) {
	b := newBed(t, 1)
	const rejected = "no series group of ours"
	b.store.fault = func(group string) error {
		if group == rejected {
			return fmt.Errorf("3 windows: %w: too far ahead", sinks.ErrRefused)
		}
		return nil
	}
	b.feed(5, 1)
	b.produce(
		&kgo.Record{Topic: topics.Windows, Key: []byte("k"), Value: []byte("not a batch")},
		&kgo.Record{Topic: topics.Windows, Key: []byte("k"), Value: nil},
		&kgo.Record{Topic: topics.Windows, Key: []byte(rejected), Value: value()})
	b.feed(5, 1)
	r := b.start(quick(), time.Second)
	kafkatest.Eventually(b, "all committed", func() bool { return b.committed() == 13 })
	if !b.writtenAll() {
		t.Error("committed, but not all good records are written")
	}
	want := map[string]string{
		"5": "weir.reason=undecodable", "6": "weir.reason=undecodable", "7": "weir.reason=refused",
	}
	for _, l := range b.letters(3) {
		got := headers(l)
		_, offset, _ := strings.Cut(got, "weir.offset=")
		offset, _, _ = strings.Cut(offset, "\n")
		for _, h := range []string{want[offset], "weir.topic=windows", "weir.partition=0", "weir.stage=store", "weir.error="} {
			if h == "" || !strings.Contains(got, h) {
				t.Errorf("letter of offset %q lacks %q:\n%s", offset, h, got)
			}
		}
		if offset == "5" && (string(l.Value) != "not a batch" || string(l.Key) != "k") {
			t.Errorf("letter holds %q under %q, want the record", l.Value, l.Key)
		}
		if offset == "7" && (string(l.Value) != string(value()) || !strings.Contains(got, "too far ahead")) {
			t.Errorf("letter of the refused record holds %q:\n%s", l.Value, got)
		}
	}
	for reason, n := range map[string]float64{undecodable: 2, refused: 1} {
		if got := sinktest.Counter(t, r.reg, "weir_store_deadletters_total", reason); got != n {
			t.Errorf("%v counted as %s, want %v", got, reason, n)
		}
	}
	b.stop(r)
}

// A letter that is too large for the broker is cut: it is not lost, and holds up nothing.
func TestTooLargeLetterIsCut(t *testing.T) {
	b := newBed(t, 1)
	if err := b.cluster.DeleteTopic(topics.DeadLetter); err != nil {
		t.Fatal(err)
	}
	if err := b.cluster.CreateTopic(topics.DeadLetter, 1, map[string]string{"max.message.bytes": "20000"}); err != nil {
		t.Fatal(err)
	}
	big := make([]byte, 160_000)
	if _, err := rand.NewChaCha8([32]byte{}).Read(big); err != nil { // random bytes do not compress
		t.Fatal(err)
	}
	b.produce(&kgo.Record{Topic: topics.Windows, Key: []byte("k"), Value: big})
	b.feed(3, 1)
	r := b.start(quick(), time.Second)
	kafkatest.Eventually(b, "all committed", func() bool { return b.committed() == 4 })
	l := b.letters(1)[0]
	if n := len(l.Value); n != 10_000 || !bytes.HasPrefix(big, l.Value) {
		t.Errorf("letter of %d bytes, want the first 10000 of the record", n)
	}
	if got := headers(l); !strings.Contains(got, "weir.cut=value=160000") {
		t.Errorf("cut, but weir.cut is missing:\n%s", got)
	}
	if n := sinktest.Counter(t, r.reg, "weir_store_deadletter_truncated_total", ""); n != 1 {
		t.Errorf("%v counted as truncated, want 1", n)
	}
	b.stop(r)
}

// An error that is neither an outage nor a refusal ends Run, with an error that names the record.
func TestUnexpectedErrorEndsRun(t *testing.T) {
	b := newBed(t, 1)
	broken := errors.New("the disk is gone")
	b.store.fault = func(group string) error {
		if group == name(3) {
			return broken
		}
		return nil
	}
	b.feed(6, 1)
	r := b.start(quick(), 50*time.Millisecond)
	if err := b.ended(r); !errors.Is(err, broken) || !strings.Contains(err.Error(), "windows/0 offset 3") {
		t.Fatalf("Run: %v, want %v that names windows/0 offset 3", err, broken)
	}
	if n := b.committed(); n != 3 {
		t.Errorf("committed %d, want 3", n)
	}
	b.store.look(func() { b.store.fault = func(string) error { return nil } })
	b.start(quick(), time.Second)
	kafkatest.Eventually(b, "all written after the next start", b.writtenAll)
}

func TestConfig(t *testing.T) {
	load := func(yaml string) error {
		into := struct {
			Store Config `yaml:"store"`
		}{Default()}
		d := conf.Parse("weir.yaml", []byte(yaml), &into)
		into.Store.Validate("store", d)
		return d.Err()
	}
	for _, ok := range []string{"store: {}", "store: {in_flight: 1, commit: 100ms}", "store: {in_flight: 10000, commit: 1m}"} {
		if err := load(ok); err != nil {
			t.Errorf("%s: %v", ok, err)
		}
	}
	for bad, want := range map[string]string{
		"store: {in_flight: 0}":     `store.in_flight: "0": must be 1 to 10000`,
		"store: {in_flight: 10001}": `store.in_flight: "10001": must be`,
		"store: {commit: 99ms}":     `store.commit: "99ms": must be 100ms to 1m`,
		"store: {commit: 61s}":      `store.commit`,
	} {
		if err := load(bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", bad, err, want)
		}
	}
}
