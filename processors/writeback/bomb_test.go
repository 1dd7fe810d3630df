package writeback

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/consume/batches"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
)

// batch writes an encoded batch as it is.
func (b *bed) batch(topic string, partition int32, batch []byte) {
	b.t.Helper()
	if _, err := batches.Produce(b.t.Context(), b.client, topic, partition, batch); err != nil {
		b.t.Fatal(err)
	}
}

// bombs returns batches that cannot be read: some unpack to too much, and others do not unpack, which a broker does not
// accept for a table.
func bombs(t *testing.T) (huge, rubbish [][]byte) {
	for codec := batches.Gzip; codec <= batches.Zstd; codec++ {
		zeros, err := batches.Zeros(codec, []byte("a"), 40<<20)
		if err != nil {
			t.Fatal(err)
		}
		huge = append(huge, batches.New(codec, 1, zeros))
		rubbish = append(rubbish, batches.New(codec, 3, []byte("rubbish that does not unpack")))
	}
	return huge, rubbish
}

// TestBatchesThatGokaCannotRead: batches in the input and in the table that unpack to far too much, or do not unpack, are
// skipped and reported. Records between and after them count, before a restart and after it.
func TestBatchesThatGokaCannotRead(t *testing.T) {
	b := newBed(t)
	reg := prometheus.NewRegistry()
	dir := t.TempDir()
	partition := schemas.Shard([]byte("a"), shards)
	huge, rubbish := bombs(t)
	want := counter{}
	number := func() {
		want.n++
		want.sum += want.n
		r := &kgo.Record{Topic: inTopic, Key: []byte("a"), Value: binary.BigEndian.AppendUint64(nil, want.n), Partition: partition}
		if err := b.client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	spread := func() {
		for _, bomb := range huge {
			b.batch(inTopic, partition, bomb)
			b.batch(group+"-table", partition, bomb)
			number()
		}
		for _, bomb := range rubbish {
			b.batch(inTopic, partition, bomb)
			number()
		}
	}
	spread()
	m := b.startWith(reg, "one", dir, &counting{stalls: map[int32]time.Duration{}})
	b.compare(map[string]counter{"a": want})
	spread()
	b.compare(map[string]counter{"a": want})
	b.end(m, false)
	for _, folder := range []string{dir, t.TempDir()} {
		spread()
		m = b.startWith(reg, "one", folder, &counting{stalls: map[int32]time.Duration{}})
		b.compare(map[string]counter{"a": want})
		kafkatest.Eventually(b.t, "the member is ready", m.eng.Ready)
		b.end(m, false)
	}
	if n := counted(m.eng, "weir_unread_batches_total"); n < float64(4*len(huge)+4*len(rubbish)) {
		t.Errorf("%g batches were reported, want at least %d", n, 4*len(huge)+4*len(rubbish))
	}
}

// TestRecordsWithoutKey: a record that has no key and is not a tick is counted, and becomes a letter that is cut to size.
func TestRecordsWithoutKey(t *testing.T) {
	b := sizedBed(t, maxValueBytes)
	rubbish := map[int64][]byte{}
	for _, value := range [][]byte{nil, {}, []byte("rubbish"), {1}, {0xfe}, make([]byte, 990_000)} {
		r := &kgo.Record{Topic: "small-in", Value: value}
		if err := b.client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
		rubbish[r.Offset] = value
	}
	sent := b.number("small-in", "a", 3)
	m := b.startSmall(t.TempDir(), newFat())
	kafkatest.Eventually(b.t, "committed", func() bool { return b.committed("small") >= sent })
	b.end(m, false)
	b.each(topics.DeadLetter, func(r *kgo.Record) {
		for _, h := range r.Headers {
			if h.Key != topics.HeaderOffset {
				continue
			}
			at, err := strconv.ParseInt(string(h.Value), 10, 64)
			want, known := rubbish[at]
			if err != nil || !known || !bytes.Equal(r.Value, want[:min(len(want), topics.MaxLetterValue)]) {
				t.Errorf("a letter of offset %s with %d bytes, want %d", h.Value, len(r.Value), len(want))
			}
			delete(rubbish, at)
		}
	})
	if n := counted(m.eng, "weir_writeback_bad_ticks_total"); len(rubbish) > 0 || n != 6 {
		t.Errorf("no letter of offsets %v; %g counted, want 6", rubbish, n)
	}
}
