package consume

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas/consume/batches"
	"github.com/weir-metrics/weir/schemas/kafkatest"
)

const topic = "t"

type bed struct {
	*testing.T
	cluster *kfake.Cluster
	client  *kgo.Client
}

func newBed(t *testing.T, partitions int32) *bed {
	t.Helper()
	c := kafkatest.Cluster(t, kfake.SeedTopics(partitions, topic),
		kfake.BrokerConfigs(map[string]string{"message.max.bytes": "20000000", "group.initial.rebalance.delay.ms": "0"}))
	b := &bed{T: t, cluster: c}
	b.client = b.plain(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	return b
}

func (b *bed) plain(opts ...kgo.Opt) *kgo.Client {
	b.Helper()
	return kafkatest.Client(b, b.cluster.ListenAddrs(), opts...)
}

func (b *bed) context() context.Context {
	ctx, cancel := context.WithTimeout(b.Context(), 30*time.Second)
	b.Cleanup(cancel)
	return ctx
}

func (b *bed) produce(value string) {
	b.Helper()
	if err := b.client.ProduceSync(b.context(), &kgo.Record{Topic: topic, Value: []byte(value)}).FirstErr(); err != nil {
		b.Fatal(err)
	}
}

// raw writes a batch that claims n records as it is, whatever it contains.
func (b *bed) raw(codec int16, n int32, records []byte) {
	b.Helper()
	if _, err := batches.Produce(b.context(), b.client, topic, 0, batches.New(codec, n, records)); err != nil {
		b.Fatal(err)
	}
}

// packed returns a record with a value of n zero bytes, compressed with a codec.
func packed(t *testing.T, codec int16, n int) []byte {
	t.Helper()
	records, err := batches.Zeros(codec, nil, n)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// values polls until it has n values, including those that stand for batches.
func values(b *bed, c *Client, n int) []string {
	b.Helper()
	ctx := b.context()
	var got []string
	for len(got) < n {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			b.Fatalf("after %v: %v", got, err)
		}
		c.MarkCommitRecords(fetches.Records()...)
		fetches.EachRecord(func(r *kgo.Record) {
			if s := SkippedBatch(r); s != nil {
				got = append(got, fmt.Sprintf("skipped %d-%d", s.From, s.To))
				return
			}
			got = append(got, string(r.Value))
		})
	}
	return got
}

// TestBatchesThatCannotBeRead: batches that unpack to far too much, in every codec, batches that do not unpack, and batches
// with too many records are skipped, even at the start of a partition, and with little memory. A commit of the group moves
// past them.
func TestBatchesThatCannotBeRead(t *testing.T) {
	const huge = maxUnpacked + 8<<20
	bombs := map[int16][]byte{}
	for codec := int16(1); codec <= 4; codec++ {
		bombs[codec] = packed(t, codec, huge)
	}
	var many bytes.Buffer
	w := gzip.NewWriter(&many)
	var all []byte
	for i := range maxRecords + 1 {
		all = append(all, batches.Record(int64(i), nil, []byte{})...)
	}
	if _, err := w.Write(all); err != nil {
		t.Fatal(err)
	}
	w.Close()
	for _, group := range []bool{false, true} {
		t.Run(fmt.Sprintf("in a group %v", group), func(t *testing.T) {
			b := newBed(t, 1)
			want := []string{}
			for codec := int16(1); codec <= 4; codec++ {
				b.raw(codec, 1, bombs[codec]) // the first one is the first of the partition
				b.produce("good")
				b.raw(codec, 3, []byte("rubbish that does not unpack"))
				b.produce("good too")
				at := len(want) * 3 / 2
				want = append(want, fmt.Sprintf("skipped %d-%d", at, at), "good", fmt.Sprintf("skipped %d-%d", at+2, at+4), "good too")
			}
			b.raw(1, maxRecords+1, many.Bytes())
			b.produce("last")
			want = append(want, fmt.Sprintf("skipped 24-%d", 24+maxRecords), "last")
			var told []Batch
			opts := []kgo.Opt{kgo.SeedBrokers(b.cluster.ListenAddrs()...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}
			if group {
				opts = append(opts, kgo.ConsumerGroup("g"), kgo.AutoCommitMarks(), kgo.BlockRebalanceOnPoll())
			}
			c, err := New(Watch{Skipped: func(s Batch) { told = append(told, s) }}, opts...)
			if err != nil {
				t.Fatal(err)
			}
			defer c.CloseAllowingRebalance()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got := values(b, c, len(want))
			runtime.ReadMemStats(&after)
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("read\n%q, want\n%q", got, want)
			}
			if len(told) != 9 || told[0].Reason == "" || told[0].From != 0 {
				t.Errorf("%d batches were reported: %v", len(told), told)
			}
			// Of the nine batches, none was unpacked beyond its bound or needlessly, except the one with many records.
			if grown := (after.TotalAlloc - before.TotalAlloc) >> 20; grown > 4*maxUnpacked>>20 {
				t.Errorf("%d MiB were allocated", grown)
			}
			if !group {
				return
			}
			if err := c.CommitMarkedOffsets(b.context()); err != nil {
				t.Fatal(err)
			}
			offsets, err := kadm.NewClient(b.client).FetchOffsets(b.context(), "g")
			if err != nil {
				t.Fatal(err)
			}
			if o, _ := offsets.Lookup(topic, 0); o.At != 24+maxRecords+2 {
				t.Errorf("committed up to %d", o.At)
			}
		})
	}
}

// TestBatchesAtTheEnd: a batch that cannot be read is committed even if nothing follows it.
func TestBatchesAtTheEnd(t *testing.T) {
	b := newBed(t, 1)
	b.raw(4, 7, []byte("rubbish"))
	c, err := New(Watch{}, kgo.SeedBrokers(b.cluster.ListenAddrs()...), kgo.ConsumeTopics(topic), kgo.ConsumerGroup("g"), kgo.AutoCommitMarks(),
		kgo.BlockRebalanceOnPoll(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseAllowingRebalance()
	fetches := c.PollFetches(b.context())
	if fetches.NumRecords() != 1 || fetches.Err() != nil {
		t.Fatalf("%d records, %v", fetches.NumRecords(), fetches.Err())
	}
	c.MarkCommitRecords(fetches.Records()...)
	if err := c.CommitMarkedOffsets(b.context()); err != nil {
		t.Fatal(err)
	}
	offsets, err := kadm.NewClient(b.client).FetchOffsets(b.context(), "g")
	if err != nil {
		t.Fatal(err)
	}
	if o, _ := offsets.Lookup(topic, 0); o.At != 7 {
		t.Errorf("committed up to %d, want 7", o.At)
	}
}

// TestManyBatchesThatUnpackToMuch: if each batch of a fetch is within its bound, but all together are not, they come one after
// the other.
func TestManyBatchesThatUnpackToMuch(t *testing.T) {
	b := newBed(t, 1)
	const n, size = 5, 50 << 20
	for range n {
		b.raw(4, 1, packed(t, 4, size))
	}
	c, err := New(Watch{}, kgo.SeedBrokers(b.cluster.ListenAddrs()...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	most, read := 0, 0
	for read < n {
		fetches := c.PollFetches(b.context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		held := 0
		fetches.EachRecord(func(r *kgo.Record) {
			read++
			held += len(r.Value)
		})
		most = max(most, held)
	}
	if most > pollBudget+maxUnpacked {
		t.Errorf("%d MiB in one poll", most>>20)
	}
}

// TestOnlyCommitted: records of aborted transactions, and of one that is open, are not read.
func TestOnlyCommitted(t *testing.T) {
	b := newBed(t, 1)
	ctx := b.context()
	transaction := func(id, value string, end func(*kgo.Client)) {
		cl := b.plain(kgo.TransactionalID(id), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte(value)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		end(cl)
	}
	ending := func(try kgo.TransactionEndTry) func(cl *kgo.Client) {
		return func(cl *kgo.Client) {
			if err := cl.EndTransaction(ctx, try); err != nil {
				t.Fatal(err)
			}
		}
	}
	transaction("a", "aborted", ending(kgo.TryAbort))
	transaction("b", "committed", ending(kgo.TryCommit))
	b.produce("plain")
	transaction("c", "aborted too", ending(kgo.TryAbort))
	transaction("d", "open", func(*kgo.Client) {})
	// Not even if the options ask for all records.
	c, err := New(Watch{}, kgo.SeedBrokers(b.cluster.ListenAddrs()...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadUncommitted()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := strings.Join(values(b, c, 2), ","); got != "committed,plain" {
		t.Errorf("read %q", got)
	}
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if n := c.PollFetches(short).NumRecords(); n != 0 {
		t.Errorf("%d records more", n)
	}
}

// TestLostRecords: records that retention deleted are reported, when a client starts and while it runs; offsets that
// transactions left empty are not.
func TestLostRecords(t *testing.T) {
	b := newBed(t, 1)
	ctx := b.context()
	adm := kadm.NewClient(b.client)
	drop := func(to int64) {
		var o kadm.Offsets
		o.Add(kadm.Offset{Topic: topic, Partition: 0, At: to})
		if _, err := adm.DeleteRecords(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	var gaps []Gap
	open := func() *Client {
		c, err := New(Watch{Lost: func(g Gap) { gaps = append(gaps, g) }}, kgo.SeedBrokers(b.cluster.ListenAddrs()...), kgo.ConsumeTopics(topic),
			kgo.ConsumerGroup("g"), kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for i := range 4 {
		b.produce(fmt.Sprint(i))
	}
	drop(2) // before the client first read, so it lost nothing
	c := open()
	if got := fmt.Sprint(values(b, c, 2)); got != "[2 3]" || len(gaps) != 0 {
		t.Errorf("read %s, lost %v", got, gaps)
	}
	tx := b.plain(kgo.TransactionalID("a"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for i := range 3 {
		if err := tx.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := tx.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("tx")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := tx.EndTransaction(ctx, kgo.TransactionEndTry(i == 1)); err != nil { // 4 to 9: aborted, committed, aborted
			t.Fatal(err)
		}
	}
	b.produce("10")
	if got := fmt.Sprint(values(b, c, 2)); got != "[tx 10]" || len(gaps) != 0 {
		t.Errorf("read %s, lost %v", got, gaps)
	}
	if err := c.CommitUncommittedOffsets(ctx); err != nil {
		t.Fatal(err)
	}
	c.Close()
	for i := 11; i < 16; i++ {
		b.produce(fmt.Sprint(i))
	}
	drop(14)
	c = open()
	defer c.Close()
	if got := fmt.Sprint(values(b, c, 2)); got != "[14 15]" || fmt.Sprint(gaps) != "[{t 0 11 13}]" || gaps[0].Records() != 3 {
		t.Errorf("read %s, lost %v", got, gaps)
	}
}
