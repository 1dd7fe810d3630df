package consume

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestCount: markers and records of aborted transactions do not count; those of an open transaction may still count later.
func TestCount(t *testing.T) {
	b := newBed(t, 1)
	ctx := b.context()
	begin := func(id string) *kgo.Client {
		tx := b.plain(kgo.TransactionalID(id), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err := tx.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := tx.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("tx")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		return tx
	}
	end := func(tx *kgo.Client, how kgo.TransactionEndTry) {
		if err := tx.EndTransaction(ctx, how); err != nil {
			t.Fatal(err)
		}
	}
	b.produce("0")
	end(begin("a"), kgo.TryCommit) // 1 and 2
	end(begin("b"), kgo.TryAbort)  // 3 and 4
	opts := []kgo.Opt{kgo.SeedBrokers(b.cluster.ListenAddrs()...)}
	count := func(from, to, want int64) {
		t.Helper()
		if n, err := Count(ctx, opts, topic, 0, from, to); err != nil || n != want {
			t.Errorf("%d to %d: %d, %v, want %d", from, to, n, err, want)
		}
	}
	count(0, 5, 2)
	count(1, 5, 1)
	count(2, 5, 0) // markers, and aborted records
	count(3, 5, 0)
	open := begin("c") // 5
	count(2, 6, 1)
	end(open, kgo.TryAbort) // 6
	count(2, 7, 0)
}
