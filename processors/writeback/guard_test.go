package writeback

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
)

// TestAltered: somebody adds partitions to the input, or to the table, while the engine
// runs. Whatever becomes of that run, the next one goes on with the shards on record
// and all state, and raises the alarm.
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
			b.until("the engine is ready", m.eng.Ready)
			adm := kadm.NewClient(b.client)
			if _, err := adm.UpdatePartitions(context.Background(), shards+3, altered); err != nil {
				t.Fatal(err)
			}
			b.end(m, true)
			m = b.start("one", dir, logic)
			b.until("the engine is ready again", m.eng.Ready)
			b.until("records are applied", func() bool { logic.mu.Lock(); defer logic.mu.Unlock(); return logic.applied > 1000 })
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
				t.Errorf("the alarm of %s says %v", altered, v)
			}
			if w := m.eng.Altered(); !strings.Contains(w, fmt.Sprintf("%s has %d partitions, %d are on record", altered, shards+3, shards)) {
				t.Errorf("the warning is %q", w)
			}
			b.compare(want)
			b.end(m, false)
			if v := alarm(t, m.eng.opts.Registry.(*prometheus.Registry), altered); v != -1 {
				t.Errorf("after the end, the alarm of %s says %v", altered, v)
			}
		})
	}
}

// alarm is what weir_topics_altered says of a topic.
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
	e := New(Options{Brokers: b.brokers, Group: group, Input: inTopic, Table: group + "-table",
		Counts:   map[string]int32{inTopic: shards + 1, outTopic: shards, group + "-table": shards + 1},
		Instance: "one", Store: store, Tick: time.Second, Flush: time.Second, Registry: prometheus.NewRegistry(), Log: b.log}, &counting{})
	if err := e.Run(t.Context()); !errors.Is(err, ErrPartitions) {
		t.Errorf("Run: %v", err)
	}
}
