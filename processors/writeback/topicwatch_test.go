package writeback

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/weir-metrics/weir/schemas/kafkatest"
)

// TestAltered: partitions are added to the input, or to the table, while the engine runs. Whatever happens to that run, the
// next one continues with the shards on record and all state, and raises the alarm.
func TestAltered(t *testing.T) {
	for _, altered := range []string{inTopic, group + "-table"} {
		t.Run(altered, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			dir := t.TempDir()
			logic := &counting{stalls: map[int32]time.Duration{}}
			rnd := rand.New(rand.NewPCG(7, 7))
			stop := make(chan struct{})
			done := b.feed(rnd, 5*time.Millisecond, stop)
			m := b.start("one", dir, logic)
			kafkatest.Eventually(b.t, "the engine is ready", m.eng.Ready)
			adm := kadm.NewClient(b.client)
			if _, err := adm.UpdatePartitions(context.Background(), shards+3, altered); err != nil {
				t.Fatal(err)
			}
			b.end(m, true)
			m = b.start("one", dir, logic)
			kafkatest.Eventually(b.t, "the engine is ready again", m.eng.Ready)
			kafkatest.Eventually(b.t, "records are applied", func() bool { logic.mu.Lock(); defer logic.mu.Unlock(); return logic.applied > 1000 })
			close(stop)
			want := <-done
			list, err := adm.ListTopics(context.Background(), inTopic, group+"-table")
			if err != nil {
				t.Fatal(err)
			}
			for name, topic := range list {
				if n := len(topic.Partitions); n != shards+3 {
					t.Errorf("%s has %d partitions", name, n)
				}
			}
			if v := alarm(t, m.eng.opts.Registry.(*prometheus.Registry), altered); v != 3 {
				t.Errorf("the alarm for %s is %v", altered, v)
			}
			if w := m.eng.Altered(); !strings.Contains(w, fmt.Sprintf("%s has %d partitions, %d are on record", altered, shards+3, shards)) {
				t.Errorf("the warning is %q", w)
			}
			b.compare(want)
			b.end(m, false)
			if v := alarm(t, m.eng.opts.Registry.(*prometheus.Registry), altered); v != -1 {
				t.Errorf("after the end, the alarm for %s is %v", altered, v)
			}
		})
	}
}

// TestAlteredBeforeARebalance: partitions are added to the input, and before the engine notices, it joins its group anew and
// gets them. It continues.
func TestAlteredBeforeARebalance(t *testing.T) {
	b := newBed(t)
	logic := &counting{stalls: map[int32]time.Duration{}}
	stop := make(chan struct{})
	done := b.feed(rand.New(rand.NewPCG(8, 8)), 5*time.Millisecond, stop)
	one := b.start("one", t.TempDir(), logic)
	kafkatest.Eventually(b.t, "one has all partitions", func() bool { return one.eng.Owned() == shards })
	adm := kadm.NewClient(b.client)
	if _, err := adm.UpdatePartitions(t.Context(), shards+3, inTopic); err != nil {
		t.Fatal(err)
	}
	if _, err := adm.LeaveGroup(t.Context(), kadm.LeaveGroup(group).InstanceIDs("one")); err != nil {
		t.Fatal(err)
	}
	kafkatest.Eventually(b.t, "one has the new partitions", func() bool { return one.eng.Owned() == shards+3 })
	close(stop)
	b.compare(<-done)
	b.end(one, false)
}

// lines is a log that keeps its level, its message up to the first colon or semicolon, and its numbers.
type lines struct {
	slog.Handler
	all []string
}

func (l *lines) Enabled(context.Context, slog.Level) bool { return true }

func (l *lines) Handle(_ context.Context, r slog.Record) error {
	said, _, _ := strings.Cut(r.Message, ";")
	said, _, _ = strings.Cut(said, ":")
	line := r.Level.String() + " " + said
	r.Attrs(func(a slog.Attr) bool { line += fmt.Sprintf(" %s=%v", a.Key, a.Value); return true })
	l.all = append(l.all, line)
	return nil
}

func (l *lines) WithAttrs([]slog.Attr) slog.Handler { return l }

// TestGuardTellsWhoAltered: the log names the altered topic, and tells that weir enlarged the other one. A process that starts
// later cannot know which is which, and does not claim to. Nothing is logged twice.
func TestGuardTellsWhoAltered(t *testing.T) {
	b := newBed(t)
	adm := kadm.NewClient(b.client)
	const table = group + "-table"
	process := func() (look func(want ...string)) {
		l := &lines{Handler: slog.DiscardHandler}
		e := New(Options{Brokers: b.brokers, ConsumerGroup: group, Input: inTopic, Table: table,
			Counts: map[string]int32{inTopic: shards, table: shards}, Registry: prometheus.NewRegistry(), Log: slog.New(l)}, &counting{})
		return func(want ...string) {
			t.Helper()
			list, err := adm.ListTopics(t.Context(), inTopic, table)
			if err == nil {
				err = e.guard(t.Context(), adm, list)
			}
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(l.all)
			if !slices.Equal(l.all, want) {
				t.Errorf("logged\n%s\nwant\n%s", strings.Join(l.all, "\n"), strings.Join(want, "\n"))
			}
			l.all = nil
		}
	}
	alter := func(topic string, to int) {
		if _, err := adm.UpdatePartitions(t.Context(), to, topic); err != nil {
			t.Fatal(err)
		}
	}
	look := process()
	look()
	alter(inTopic, 7)
	look("ERROR somebody altered a topic topic=in partitions=7 on_record=6",
		"INFO enlarged a topic to match the one that was altered topic=counts-table from=6 partitions=7")
	look()
	alter(table, 9)
	look("ERROR somebody altered a topic topic=counts-table partitions=9 on_record=6",
		"INFO enlarged a topic to match the one that was altered topic=in from=7 partitions=9")
	look()
	later := process()
	later("ERROR a topic has more partitions than on record topic=counts-table partitions=9 on_record=6",
		"ERROR a topic has more partitions than on record topic=in partitions=9 on_record=6")
	later()
	alter(inTopic, 10)
	process()("ERROR a topic has more partitions than on record topic=counts-table partitions=9 on_record=6",
		"ERROR somebody altered a topic topic=in partitions=10 on_record=6",
		"INFO enlarged a topic to match the one that was altered topic=counts-table from=9 partitions=10")
}

// alarm returns weir_topics_altered for a topic.
func alarm(t *testing.T, reg *prometheus.Registry, topic string) float64 {
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "weir_topics_altered" && m.GetLabel()[0].GetValue() == topic {
				return m.GetGauge().GetValue()
			}
		}
	}
	return -1
}

func TestTooFewPartitions(t *testing.T) {
	b := newBed(t)
	store, err := OpenStore(t.TempDir(), b.log)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	e := New(Options{Brokers: b.brokers, ConsumerGroup: group, Input: inTopic, Table: group + "-table",
		Counts:   map[string]int32{inTopic: shards + 1, outTopic: shards, group + "-table": shards + 1},
		Instance: "one", Store: store, Tick: time.Second, Flush: time.Second, Registry: prometheus.NewRegistry(), Log: b.log}, &counting{})
	if err := e.Run(t.Context()); !errors.Is(err, ErrPartitions) {
		t.Errorf("Run: %v", err)
	}
}
