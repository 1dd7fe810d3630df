package route

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/topics"
)

// state is what readers of samples keep: the newest section of each origin partition and, in this test, every sample that
// was applied.
type state struct {
	newest  map[originKey]mark
	samples map[string]map[sample]int // by group
	batches int
	replays int
}

type originKey struct {
	group     string
	epoch     uint64
	partition int32
}

type mark struct {
	offset int64
	chunk  uint32
}

func newState() *state {
	return &state{newest: map[originKey]mark{}, samples: map[string]map[sample]int{}}
}

// sample is a schemas.Sample that can be a key of a map.
type sample struct {
	series string
	ms     int64
	value  float64
}

// apply treats a record of samples as a group's state does.
func (st *state) apply(t *testing.T, key string, value []byte) {
	t.Helper()
	var b schemas.SampleBatch
	if err := b.Decode(value); err != nil {
		t.Fatalf("batch of %s: %v", key, err)
	}
	st.batches++
	for _, s := range b.Sections {
		k, m := originKey{key, s.Origin.Epoch, s.Origin.Partition}, mark{s.Origin.Offset, s.Chunk}
		if old, ok := st.newest[k]; ok && (m.offset < old.offset || m.offset == old.offset && m.chunk <= old.chunk) {
			st.replays++
			continue
		}
		st.newest[k] = m
		for _, p := range b.Points[s.From:s.To] {
			series, err := b.Series(int(p.Series))
			if err != nil {
				t.Fatalf("batch of %s: %v", key, err)
			}
			if st.samples[key] == nil {
				st.samples[key] = map[sample]int{}
			}
			st.samples[key][sample{series.String(), p.TimeMS, p.Value}]++
		}
	}
}

func (st *state) total() int {
	n := 0
	for _, group := range st.samples {
		for _, times := range group {
			n += times
		}
	}
	return n
}

// tape is an output that keeps everything.
type tape struct {
	sent    []sent
	refused []string
	flushed int // length of sent at the last flush
	fail    error
	flushes int
}

type sent struct {
	key   string
	shard int32
	value []byte
}

func (o *tape) send(_ string, key []byte, shard int32, value []byte) {
	o.sent = append(o.sent, sent{string(key), shard, slices.Clone(value)})
}

func (o *tape) refuse(r *kgo.Record, v *verdict) {
	o.refused = append(o.refused, fmt.Sprintf("%d %v %s", r.Offset, v.reasons, v.first))
}

func (o *tape) flush() error {
	round := map[string]bool{}
	for _, s := range o.sent[o.flushed:] {
		if round[s.key] {
			o.fail = fmt.Errorf("two batches of %s in one round", s.key)
		}
		round[s.key] = true
	}
	o.flushed = len(o.sent)
	o.flushes++
	return o.fail
}

const testEpoch = 0xabcdef0123456789

func testEncoder(cfg Config) (*encoder, *tape) {
	o := &tape{}
	return newEncoder(cfg, []generation{{topic: topics.Samples, shards: 8}}, testEpoch, newCounters(prometheus.NewRegistry()), o), o
}

func counted(t testing.TB, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

func jsonRecord(offset int64, value string) *kgo.Record {
	return &kgo.Record{Topic: "metrics", Partition: 3, Offset: offset, Value: []byte(value), Timestamp: time.UnixMilli(1_700_000_000_000)}
}

func encodeAll(t *testing.T, e *encoder, records ...*kgo.Record) {
	t.Helper()
	for _, r := range records {
		if err := e.add(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.finish(); err != nil {
		t.Fatal(err)
	}
}

func TestSamplesOfAPollAreOneBatchPerGroup(t *testing.T) {
	e, o := testEncoder(Default())
	encodeAll(t, e,
		jsonRecord(10, `[{"metricName":"cpu","tags":{"host":"a"},"timestamp":1,"value":1},{"metricName":"cpu","tags":{"host":"b"},"timestamp":1,"value":2}]`),
		jsonRecord(11, `{"metricName":"mem","tags":{"host":"a"},"timestamp":2,"value":3}`),
		jsonRecord(12, `{"metricName":"lonely","timestamp":2,"value":4}`),
	)
	var keys []string
	for _, s := range o.sent {
		keys = append(keys, s.key)
		if want := schemas.Shard([]byte(s.key), 8); s.shard != want {
			t.Errorf("%s went to shard %d, want %d", s.key, s.shard, want)
		}
	}
	if want := []string{"a", "b", "lonely"}; !reflect.DeepEqual(keys, want) {
		t.Fatalf("batches of %v, want %v", keys, want)
	}
	var b schemas.SampleBatch
	if err := b.Decode(o.sent[0].value); err != nil {
		t.Fatal(err)
	}
	if len(b.Sections) != 2 || b.Sections[0].Origin != (schemas.Origin{Epoch: testEpoch, Partition: 3, Offset: 10}) ||
		b.Sections[1].Origin.Offset != 11 || b.Points[1].Value != 3 {
		t.Errorf("batch of a: %+v %+v", b.Sections, b.Points)
	}
}

// TestShapes: a batch names its series the first time, and if it has too few; it has their shape when they come again, for as
// many lists of series as are remembered per group.
func TestShapes(t *testing.T) {
	e, o := testEncoder(Default())
	batch := func(names string) (shaped bool) {
		t.Helper()
		var body strings.Builder
		for _, n := range names {
			fmt.Fprintf(&body, `{"metricName":"%c","tags":{"host":"a"},"timestamp":1,"value":1}`+"\n", n)
		}
		before := len(o.sent)
		encodeAll(t, e, jsonRecord(int64(before), body.String()))
		var b schemas.SampleBatch
		if err := b.Decode(o.sent[before].value); err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, p := range b.Points {
			s, err := b.Series(int(p.Series))
			if err != nil {
				t.Fatal(err)
			}
			got += s.Metric
		}
		if got != names {
			t.Fatalf("sent %s, %s arrived", names, got)
		}
		return b.Shape != schemas.ID{}
	}
	for i, step := range []struct {
		names  string
		shaped bool
	}{
		{"c", false}, {"c", false}, // too few
		{"cd", false}, {"cd", true}, {"cd", true}, // the same again
		{"dc", false}, {"cd", true}, {"dc", true}, {"cde", false}, // in another order, and two in turns
		{"dc", true}, {"cd", false}, {"cde", false}, {"cde", true}, // three in turns are too many
		{"ded", false}, {"de", true}, {"ded", true}, // a batch lists a series once, where it comes first
	} {
		if got := batch(step.names); got != step.shaped {
			t.Errorf("step %d, %s: has a shape: %t", i, step.names, got)
		}
	}
}

func TestPartlyBadRecordIsRefusedWholeAndItsRestHandedOn(t *testing.T) {
	e, o := testEncoder(Default())
	var body strings.Builder
	for i := range 10 {
		value := fmt.Sprint(i)
		if i == 2 || i == 5 {
			value = "NaN"
		}
		name := "m"
		if i == 8 {
			name = ""
		}
		fmt.Fprintf(&body, `{"metricName":%q,"tags":{"host":"a"},"timestamp":%d,"value":%s}`+"\n", name, i, value)
	}
	encodeAll(t, e, jsonRecord(7, body.String()))
	st := newState()
	for _, s := range o.sent {
		st.apply(t, s.key, s.value)
	}
	if st.total() != 7 {
		t.Errorf("%d samples handed on, want 7: %v", st.total(), st.samples)
	}
	if len(o.refused) != 1 || !strings.HasPrefix(o.refused[0], "7 [{not_finite 2} {empty_name 1}] line 3: not_finite") {
		t.Errorf("refused: %q", o.refused)
	}
	if got := counted(t, e.count.refused.WithLabelValues("not_finite")); got != 2 {
		t.Errorf("not_finite counted %v times, want 2", got)
	}
	if got := counted(t, e.count.samples); got != 7 {
		t.Errorf("counted %v samples, want 7", got)
	}
}

func TestRefusals(t *testing.T) {
	cfg := Default()
	cfg.MaxRecordBytes, cfg.MaxLabels = 100_000, 3
	long := strings.Repeat("x", 4000)
	good := `{"metricName":"m","tags":{"host":"a"},"timestamp":1,"value":1}`
	for _, c := range []struct {
		name, contentType, value, want string
	}{
		{"tombstone", "", "", reasonEmpty},
		{"at the limit", "", good + strings.Repeat(" ", 100_000-len(good)), ""},
		{"one byte over", "", good + strings.Repeat(" ", 100_001-len(good)), reasonTooLarge},
		{"protobuf", "application/x-protobuf", good, reasonContentType},
		{"octets", "application/octet-stream", good, ""},
		{"json", "Application/JSON; charset=utf-8", good, ""},
		{"json with suffix", "application/vnd.weir+json", good, ""},
		{"binary", "", "\x00\xff\x00", "invalid_utf8"},
		{"half a document", "", `{"metricName":"m","ta`, "undecodable"},
		{"bad precision", "text/plain; precision=fortnight", "m,host=a value=1 1", "undecodable"},
		{"three labels", "", `{"metricName":"m","tags":{"a":"1","b":"1","c":"1"},"timestamp":1,"value":1}`, ""},
		{"four labels", "", `{"metricName":"m","tags":{"a":"1","b":"1","c":"1","d":"1"},"timestamp":1,"value":1}`, reasonManyLabels},
		{"long labels", "", `{"metricName":"` + long + `","tags":{"` + long + `":"` + long + `","y` + long + `":"` + long + `"},"timestamp":1,"value":1}`, "too_long"},
		{"infinite", "", `{"metricName":"m","timestamp":1,"value":-Infinity}`, "not_finite"},
		{"duplicate label", "text/plain", "m,host=a,host=b value=1 1", "duplicate_label"},
		{"invalid UTF-8", "text/plain", "m,host=\xff value=1 1", "invalid_utf8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, o := testEncoder(cfg)
			r := jsonRecord(1, c.value)
			if c.contentType != "" {
				r.Headers = []kgo.RecordHeader{{Key: "Content-Type", Value: []byte(c.contentType)}}
			}
			encodeAll(t, e, r, jsonRecord(2, good))
			var got string
			if len(o.refused) == 1 {
				got, _, _ = strings.Cut(strings.TrimPrefix(o.refused[0], "1 [{"), " ")
			}
			if got != c.want || len(o.refused) > 1 {
				t.Errorf("reason %q, want %q: %q", got, c.want, o.refused)
			}
			st := newState()
			for _, s := range o.sent {
				st.apply(t, s.key, s.value)
			}
			want := 1
			if c.want == "" {
				want = 2
			}
			if st.total() != want {
				t.Errorf("%d samples, want %d", st.total(), want)
			}
		})
	}
}

func TestLineWithoutTimeGetsTheRecords(t *testing.T) {
	e, o := testEncoder(Default())
	r := jsonRecord(1, "m,host=a value=1\nm,host=a value=2,text=\"x\" 17")
	r.Headers = []kgo.RecordHeader{{Key: "content-type", Value: []byte("text/plain; precision=ms")}}
	encodeAll(t, e, r)
	st := newState()
	st.apply(t, o.sent[0].key, o.sent[0].value)
	want := map[sample]int{{`m{host="a"}`, 1_700_000_000_000, 1}: 1, {`m{host="a"}`, 17, 2}: 1}
	if !reflect.DeepEqual(st.samples["a"], want) {
		t.Errorf("got %v, want %v", st.samples["a"], want)
	}
	if got := counted(t, e.count.skipped); got != 1 {
		t.Errorf("%v fields skipped, want 1", got)
	}
}

// big returns a record in line protocol with n series of one group.
func big(offset int64, host string, n int) *kgo.Record {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "m,host=%s,i=%d value=%d 1000\n", host, i, i)
	}
	return jsonRecord(offset, b.String())
}

func TestManySeriesOfOneGroupPassInChunks(t *testing.T) {
	const n = 100_000
	e, o := testEncoder(Default())
	encodeAll(t, e, jsonRecord(4, "m,host=a value=1 1"), big(5, "a", n), jsonRecord(6, "m,host=a value=2 1"))
	st := newState()
	var chunks []uint32
	for _, s := range o.sent {
		if len(s.value) > 900_000 {
			t.Errorf("a batch of %d bytes", len(s.value))
		}
		var b schemas.SampleBatch
		if err := b.Decode(s.value); err != nil {
			t.Fatal(err)
		}
		for _, sec := range b.Sections {
			if sec.Origin.Offset == 5 {
				chunks = append(chunks, sec.Chunk)
			}
		}
		st.apply(t, s.key, s.value)
	}
	if st.total() != n+2 || st.replays != 0 {
		t.Errorf("%d samples, want %d; %d sections dropped", st.total(), n+2, st.replays)
	}
	for i, c := range chunks {
		if c != uint32(i) {
			t.Fatalf("chunks %v are not 0, 1, 2, …", chunks)
		}
	}
	if len(chunks) < 5 {
		t.Errorf("%d chunks of about half a megabyte, from 100,000 series", len(chunks))
	}
	if len(o.refused) > 0 {
		t.Errorf("refused: %q", o.refused)
	}
}

// TestSectionsDoNotDependOnNeighbours reads the same records again, in other polls, and wants the same sections, by which
// readers recognize a replay.
func TestSectionsDoNotDependOnNeighbours(t *testing.T) {
	const seed = 7
	rng := rand.New(rand.NewPCG(seed, 0))
	var records []*kgo.Record
	for i := range 60 {
		host := string(rune('a' + rng.IntN(3)))
		n := 1 + rng.IntN(50)
		if i%20 == 7 {
			n = 12_000
		}
		records = append(records, big(int64(i), host, n))
	}
	type id struct {
		group  string
		offset int64
		chunk  uint32
	}
	sections := func(polls [][]*kgo.Record) map[id]schemas.ID {
		e, o := testEncoder(Default())
		for _, poll := range polls {
			encodeAll(t, e, poll...)
		}
		all := map[id]schemas.ID{}
		for _, s := range o.sent {
			var b schemas.SampleBatch
			if err := b.Decode(s.value); err != nil {
				t.Fatal(err)
			}
			for _, sec := range b.Sections {
				k := id{s.key, sec.Origin.Offset, sec.Chunk}
				if _, twice := all[k]; twice {
					t.Fatalf("section %+v is in two batches", k)
				}
				all[k] = sec.Digest
			}
		}
		return all
	}
	want := sections([][]*kgo.Record{records})
	if len(want) < 63 {
		t.Fatalf("%d sections: no record was cut", len(want))
	}
	for range 5 {
		var polls [][]*kgo.Record
		for rest := records; len(rest) > 0; {
			n := min(1+rng.IntN(20), len(rest))
			polls, rest = append(polls, rest[:n]), rest[n:]
		}
		if got := sections(polls); !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: other sections in polls of other lengths", seed)
		}
	}
}

func TestFailedFlushStops(t *testing.T) {
	e, o := testEncoder(Default())
	o.fail = errors.New("broker gone")
	if err := e.add(big(1, "a", 100_000)); !errors.Is(err, o.fail) {
		t.Errorf("add continued after a failed flush: %v", err)
	}
	if o.flushes != 1 {
		t.Errorf("%d flushes, want 1", o.flushes)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	e, _ := testEncoder(Default())
	var b strings.Builder
	for k := range maxFree + 1000 { // each a group of its own
		fmt.Fprintf(&b, "m%d value=1 1\n", k)
	}
	encodeAll(t, e, jsonRecord(1, b.String()))
	if len(e.free) != maxFree || len(e.open) != 0 || len(e.known) != maxFree+1000 {
		t.Errorf("keeps %d builders, %d open batches, %d series", len(e.free), len(e.open), len(e.known))
	}
	for i := len(e.known); i <= maxKnown; i++ {
		e.known[seriesKey{n: i}] = &series{}
	}
	encodeAll(t, e, jsonRecord(2, "m0 value=1 1"))
	if len(e.known) != 0 || len(e.groups) != 0 {
		t.Errorf("keeps %d series and %d groups, although they were too many", len(e.known), len(e.groups))
	}
	encodeAll(t, e, big(3, "a", 2_000)) // one large batch
	if len(e.free) >= maxFree {
		t.Errorf("keeps the builder of a large batch")
	}
}

func TestLetter(t *testing.T) {
	r := jsonRecord(42, "body")
	r.Key = []byte("key")
	r.Headers = []kgo.RecordHeader{{Key: "content-type", Value: []byte("text/plain")}, {Key: "weir.reason", Value: []byte("forged")}}
	var v verdict
	v.add("not_finite", errors.New("first"))
	v.add("empty_name", errors.New("second"))
	v.add("not_finite", errors.New("third"))
	l := letter(r, &v)
	got := map[string]string{}
	for _, h := range l.Headers {
		got[h.Key] = string(h.Value)
	}
	want := map[string]string{"content-type": "text/plain", "weir.reason": "not_finite", "weir.reasons": "not_finite=2,empty_name=1",
		"weir.error": "first", "weir.topic": "metrics", "weir.partition": "3", "weir.offset": "42", "weir.stage": "route"}
	if !reflect.DeepEqual(got, want) || string(l.Key) != "key" || string(l.Value) != "body" || l.Topic != "deadletter" {
		t.Errorf("letter %+v with headers %v", l, got)
	}
}
