package writeback

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"weir/schemas"
)

// transaction produces a number to a key of the input in a transaction of its own.
func (b *bed) transaction(key string, n uint64, end kgo.TransactionEndTry) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.brokers...), kgo.TransactionalID("t"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		b.t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		b.t.Fatal(err)
	}
	r := &kgo.Record{Topic: inTopic, Key: []byte(key), Value: binary.BigEndian.AppendUint64(nil, n), Partition: schemas.Shard([]byte(key), shards)}
	if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
		b.t.Fatal(err)
	}
	if err := cl.EndTransaction(ctx, end); err != nil {
		b.t.Fatal(err)
	}
}

// TestOnlyCommittedRecordsCount: what aborted transactions left in the input is not
// counted, and markers at its end hold up neither a checkpoint nor the next start.
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
	b.until("the member is ready", m.eng.Ready)
	b.end(m, false)
}
