package writeback

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
)

// transaction produces a number under a key of the input, in a transaction of its own.
func (b *bed) transaction(key string, n uint64, end kgo.TransactionEndTry) {
	b.t.Helper()
	b.transact(&kgo.Record{Topic: inTopic, Key: []byte(key), Value: binary.BigEndian.AppendUint64(nil, n), Partition: schemas.Shard([]byte(key), shards)}, end)
}

func (b *bed) transact(r *kgo.Record, end kgo.TransactionEndTry) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cl := kafkatest.Client(b.t, b.brokers, kgo.TransactionalID("t"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err := cl.BeginTransaction(); err != nil {
		b.t.Fatal(err)
	}
	if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
		b.t.Fatal(err)
	}
	if err := cl.EndTransaction(ctx, end); err != nil {
		b.t.Fatal(err)
	}
}

// TestOnlyCommittedRecordsCount: records of aborted transactions in the input do not count, and markers at its end hold up
// neither a checkpoint nor the next start.
func TestOnlyCommittedRecordsCount(t *testing.T) {
	b := newBed(t)
	b.transaction("a", 1, kgo.TryAbort)
	b.transaction("a", 10, kgo.TryCommit)
	b.transaction("a", 100, kgo.TryAbort)
	dir := t.TempDir()
	m := b.start("one", dir, &counting{stalls: map[int32]time.Duration{}})
	b.compare(map[string]counter{"a": {n: 1, sum: 10}})
	b.end(m, false)
	b.transaction("a", 1000, kgo.TryCommit)
	b.transaction("a", 10_000, kgo.TryAbort)
	m = b.start("one", dir, &counting{stalls: map[int32]time.Duration{}})
	b.compare(map[string]counter{"a": {n: 2, sum: 1010}})
	kafkatest.Eventually(b.t, "the member is ready", m.eng.Ready)
	b.end(m, false)
}

// TestMarkersAtTheEndOfTheTable: recovery ends, with a local store and without one, even if the last offsets of the table
// belong to an aborted transaction.
func TestMarkersAtTheEndOfTheTable(t *testing.T) {
	b := newBed(t)
	dir := t.TempDir()
	m := b.start("one", dir, &counting{stalls: map[int32]time.Duration{}})
	b.transaction("a", 1, kgo.TryCommit)
	b.compare(map[string]counter{"a": {n: 1, sum: 1}})
	b.end(m, false)
	for p := range int32(shards) {
		b.transact(&kgo.Record{Topic: group + "-table", Key: []byte("x"), Value: []byte("rubbish"), Partition: p}, kgo.TryAbort)
	}
	for _, folder := range []string{dir, t.TempDir()} {
		m = b.start("one", folder, &counting{stalls: map[int32]time.Duration{}})
		kafkatest.Eventually(b.t, "the member is ready", m.eng.Ready)
		b.end(m, false)
	}
}

// TestLostRecordsAreCounted: records that retention deleted from the input before they were read are counted.
func TestLostRecordsAreCounted(t *testing.T) {
	b := newBed(t)
	dir := t.TempDir()
	reg := prometheus.NewRegistry()
	m := b.startWith(reg, "one", dir, &counting{stalls: map[int32]time.Duration{}})
	b.transaction("a", 1, kgo.TryCommit)
	b.compare(map[string]counter{"a": {n: 1, sum: 1}})
	b.end(m, false)
	for range 5 {
		b.transaction("a", 1, kgo.TryCommit)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	adm := kadm.NewClient(b.client)
	committed, err := adm.FetchOffsets(ctx, group)
	if err != nil {
		t.Fatal(err)
	}
	p := schemas.Shard([]byte("a"), shards)
	c, _ := committed.Lookup(inTopic, p)
	var o kadm.Offsets
	o.Add(kadm.Offset{Topic: inTopic, Partition: p, At: c.At + 4})
	if _, err := adm.DeleteRecords(ctx, o); err != nil {
		t.Fatal(err)
	}
	m = b.startWith(reg, "one", dir, &counting{stalls: map[int32]time.Duration{}})
	kafkatest.Eventually(b.t, "the member is ready", m.eng.Ready)
	b.end(m, false)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "weir_lost_records_total" {
			if n := f.Metric[0].GetCounter().GetValue(); n != 4 {
				t.Errorf("%g records lost, want 4", n)
			}
			return
		}
	}
	t.Error("no records were counted as lost")
}
