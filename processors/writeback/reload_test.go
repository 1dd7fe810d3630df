package writeback

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-metrics/weir/schemas/kafkatest"
)

// renewing counts the partitions that are renewed.
type renewing struct {
	counting
	renewed atomic.Int64
}

func (r *renewing) Renew(*Partition[counter, none]) { r.renewed.Add(1) }

// TestRenewWaitsForNoTick: new settings are used at once, also where ticks and checkpoints are an hour apart.
func TestRenewWaitsForNoTick(t *testing.T) {
	b := newBed(t)
	store, err := OpenStore(t.TempDir(), b.log)
	if err != nil {
		t.Fatal(err)
	}
	logic := &renewing{}
	m := &member{store: store, done: make(chan error, 1)}
	m.eng = New(Options{Brokers: b.brokers, ConsumerGroup: group, Input: inTopic, Table: group + "-table",
		Counts:   map[string]int32{inTopic: shards, outTopic: shards, group + "-table": shards},
		Instance: "one", Store: store, Tick: time.Hour, Flush: time.Hour, Registry: prometheus.NewRegistry(), Log: b.log}, logic)
	b.run(m)
	kafkatest.Eventually(t, "it owns all partitions", func() bool { return m.eng.Ready() && m.eng.Owned() == shards })
	for want := int64(shards); want <= 2*shards; want += shards {
		m.eng.Renew()
		kafkatest.Eventually(t, "all partitions are renewed", func() bool { return logic.renewed.Load() == want })
	}
	b.end(m, false)
}
