package operations

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/weir-metrics/weir/pipelines/terminal"
	"github.com/weir-metrics/weir/schemas/kafkatest"
)

// TestReshardGivesUp: a wait without progress ends with an error that names what it waited for; a wait with progress
// continues.
func TestReshardGivesUp(t *testing.T) {
	w := &resharding{Reshard: &Reshard{patience: time.Nanosecond}, progress: terminal.NewProgress(io.Discard)}
	err := w.until(t.Context(), func() (bool, string) { return false, "2 of 8 shards not heard of (3, 5)" })
	if !errors.Is(err, ErrStuck) || !strings.Contains(err.Error(), "2 of 8 shards not heard of (3, 5)") {
		t.Errorf("%v", err)
	}
	looks := 0
	err = w.until(t.Context(), func() (bool, string) { looks++; return looks == 4, strings.Repeat("x", looks) })
	if err != nil || looks != 4 {
		t.Errorf("after %d looks: %v", looks, err)
	}
}

// TestReshardWaitsForNoMarker: uncommitted offsets that hold markers of transactions or aborted records do not count as lag.
func TestReshardWaitsForNoMarker(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c := kafkatest.Cluster(t, kfake.SeedTopics(1, "s"))
	client := []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}
	tx, err := kgo.NewClient(append(client, kgo.TransactionalID("t"))...)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Close()
	for _, how := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort} {
		err := tx.BeginTransaction()
		if err == nil {
			err = tx.ProduceSync(ctx, &kgo.Record{Topic: "s", Value: []byte("x")}).FirstErr()
		}
		if err == nil {
			err = tx.EndTransaction(ctx, how)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	adm := kadm.NewClient(tx)
	w := &resharding{Reshard: &Reshard{}, client: client, adm: adm}
	ends, err := adm.ListEndOffsets(ctx, "s")
	if err != nil {
		t.Fatal(err)
	}
	for committed, want := range map[int64]int64{0: 1, 1: 0} {
		var o kadm.Offsets
		o.Add(kadm.Offset{Topic: "s", Partition: 0, At: committed, LeaderEpoch: -1})
		if err := adm.CommitAllOffsets(ctx, "g", o); err != nil {
			t.Fatal(err)
		}
		if n, err := w.behind(ctx, "g", "s", ends); err != nil || n != want {
			t.Errorf("%d of 4 are committed: %d behind, %v, want %d", committed, n, err, want)
		}
	}
}
