package consume

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-metrics/weir/schemas/consume/batches"
)

// wire is a connection on which the answers of a broker are already waiting.
type wire struct {
	net.Conn
	answers *bytes.Reader
	short   int // most bytes that a Read returns; 0: any number
}

func (w *wire) Read(b []byte) (int, error) {
	if w.short > 0 {
		b = b[:min(len(b), w.short)]
	}
	return w.answers.Read(b)
}
func (*wire) Write(b []byte) (int, error)          { return len(b), nil }
func (w *wire) Dial(_, _ string) (net.Conn, error) { return w, nil }

// fetchVersion is the version of Fetch that sarama uses.
const fetchVersion = 11

// asked returns a request with a key, as the reader writes it.
func asked(key kmsg.Key, version int16, id int32, n int) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+n))
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	return append(binary.BigEndian.AppendUint32(b, uint32(id)), make([]byte, n)...)
}

func answered(id int32, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(4+len(body)))
	return append(binary.BigEndian.AppendUint32(b, uint32(id)), body...)
}

// fetched returns the answer to a Fetch of partitions of the topic, with these batches.
func fetched(parts ...[]byte) []byte {
	r := kmsg.NewPtrFetchResponse()
	r.SetVersion(fetchVersion)
	topicOf := kmsg.NewFetchResponseTopic()
	topicOf.Topic = topic
	for i, raw := range parts {
		p := kmsg.NewFetchResponseTopicPartition()
		p.Partition, p.HighWatermark, p.RecordBatches = int32(i), 100, raw
		topicOf.Partitions = append(topicOf.Partitions, p)
	}
	r.Topics = append(r.Topics, topicOf)
	return r.AppendTo(nil)
}

// read returns what the reader gets as answers to the requests: the batches of each partition, for each Fetch. It writes the
// requests, and reads the answers, in pieces of a few bytes.
func read(t *testing.T, w Watch, piece int, requests, answers []byte, ids ...int32) (all [][][]byte) {
	t.Helper()
	d := &Dialer{Inner: &wire{answers: bytes.NewReader(answers), short: piece}, Watch: w}
	c, err := d.Dial("", "")
	if err != nil {
		t.Fatal(err)
	}
	for len(requests) > 0 {
		n := min(max(piece, 1), len(requests))
		if _, err := c.Write(requests[:n]); err != nil {
			t.Fatal(err)
		}
		requests = requests[n:]
	}
	for _, want := range ids {
		var head [answerHead]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			t.Fatal(err)
		}
		if id := int32(binary.BigEndian.Uint32(head[4:])); id != want {
			t.Fatalf("an answer to %d, want %d", id, want)
		}
		body := make([]byte, binary.BigEndian.Uint32(head[:])-4)
		if _, err := io.ReadFull(c, body); err != nil {
			t.Fatal(err)
		}
		r := kmsg.NewPtrFetchResponse()
		r.SetVersion(fetchVersion)
		if r.ReadFrom(body) != nil || len(r.Topics) == 0 {
			all = append(all, [][]byte{body})
			continue
		}
		var parts [][]byte
		for _, p := range r.Topics[0].Partitions {
			parts = append(parts, p.RecordBatches)
		}
		all = append(all, parts)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("after the answers: %v", err)
	}
	return all
}

func at(offset int64, batch []byte) []byte {
	b := bytes.Clone(batch)
	binary.BigEndian.PutUint64(b, uint64(offset))
	return b
}

// TestDialerPassesWhatIsGood: readable batches arrive unpacked, with the same records, and all other answers unchanged, however the bytes are cut.
func TestDialerPassesWhatIsGood(t *testing.T) {
	records := append(batches.Record(0, []byte("k"), []byte("v")), batches.Record(1, nil, nil)...)
	want := at(3, batches.New(batches.None, 2, records))
	var pack bytes.Buffer
	zeros, err := batches.Zeros(batches.Gzip, []byte("k"), 100_000)
	if err != nil {
		t.Fatal(err)
	}
	snappy, err := batches.Zeros(batches.Snappy, []byte("k"), 100_000)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := batches.Zeros(batches.None, []byte("k"), 100_000)
	if err != nil {
		t.Fatal(err)
	}
	pack.Write(at(5, batches.New(batches.Gzip, 1, zeros)))
	unpacked := at(5, batches.New(batches.None, 1, plain))
	pack.Write(at(7, batches.New(batches.Snappy, 1, snappy)))
	unpacked = append(unpacked, at(7, batches.New(batches.None, 1, plain))...)
	cut := want[:len(want)-1]
	for _, piece := range []int{0, 1, 7} {
		other := bytes.Repeat([]byte("metadata"), 100)
		requests := append(asked(kmsg.Metadata, 5, 1, 30), asked(kmsg.Fetch, fetchVersion, 2, 0)...)
		requests = append(append(requests, asked(kmsg.Fetch, fetchVersion, 3, 100)...), asked(kmsg.Heartbeat, 3, 4, 9)...)
		answers := append(answered(1, other), answered(2, fetched(want, nil, append(bytes.Clone(want), pack.Bytes()...)))...)
		answers = append(append(answers, answered(3, fetched(append(append(bytes.Clone(want), pack.Bytes()...), cut...), cut))...), answered(4, nil)...)
		got := read(t, Watch{Skipped: func(b Batch) { t.Errorf("skipped: %v", b.String()) }}, piece, requests, answers, 1, 2, 3, 4)
		wanted := [][][]byte{{other}, {want, nil, append(bytes.Clone(want), unpacked...)}, {append(append(bytes.Clone(want), unpacked...), cut...), cut}, {{}}}
		for i := range wanted {
			for k := range wanted[i] {
				if !bytes.Equal(got[i][k], wanted[i][k]) {
					t.Errorf("answer %d, partition %d: %d bytes, want %d, in pieces of %d", i+1, k, len(got[i][k]), len(wanted[i][k]), piece)
				}
			}
		}
	}
}

// TestDialerStandsInForWhatIsBad: each batch that would crash sarama, or stop it for ever, is replaced by a record that names
// it; the batches around it arrive.
func TestDialerStandsInForWhatIsBad(t *testing.T) {
	varint := func(n int64) []byte { return binary.AppendVarint(nil, n) }
	framed := func(body ...[]byte) []byte {
		b := bytes.Join(body, nil)
		return append(varint(int64(len(b))), b...)
	}
	head := bytes.Join([][]byte{{0}, varint(0), varint(0)}, nil)
	good := batches.Record(0, nil, []byte("v"))
	broken := at(0, batches.New(batches.None, 1, good))
	broken[len(broken)-2] ^= 1
	old := at(0, batches.New(batches.Gzip, 1, nil))
	old[atMagic] = 1
	bad := map[string][]byte{
		"a wrong checksum":    broken,
		"of an old format":    old,
		"an unknown codec":    batches.New(7, 1, good),
		"rubbish":             batches.New(batches.Zstd, 1, []byte("rubbish")),
		"a cut record":        batches.New(batches.None, 1, good[:len(good)-1]),
		"bytes behind":        batches.New(batches.None, 1, append(bytes.Clone(good), 0)),
		"a record too few":    batches.New(batches.None, 2, good),
		"2^30 records":        batches.New(batches.None, 1<<30, good),
		"-5 records":          batches.New(batches.None, -5, good),
		"2^40 headers":        batches.New(batches.None, 1, framed(head, varint(-1), varint(-1), varint(1<<40))),
		"-1 headers":          batches.New(batches.None, 1, framed(head, varint(-1), varint(-1), varint(-1))),
		"a key of 2^40 bytes": batches.New(batches.None, 1, framed(head, varint(1<<40), varint(-1), varint(0))),
		"a key of -2 bytes":   batches.New(batches.None, 1, framed(head, varint(-2), varint(-1), varint(0))),
		"an offset beyond":    batches.New(batches.None, 1, batches.Record(7, nil, nil)),
		"an offset before":    batches.New(batches.None, 1, batches.Record(-1, nil, nil)),
		"an offset twice":     batches.New(batches.None, 2, append(bytes.Clone(good), good...)),
		// Snappy that sarama's library does not accept, although the one that this package otherwise uses does.
		"snappy's successor": batches.New(batches.Snappy, 1, s2.Encode(nil, batches.Record(0, nil, bytes.Repeat([]byte("abcdefgh"), 5000)))),
		"snappy of rubbish":  batches.New(batches.Snappy, 1, s2.EncodeSnappy(nil, []byte("rubbish"))),
		"an endless varint":  batches.New(batches.None, 1, framed([]byte{0}, bytes.Repeat([]byte{0xff}, 12))),
	}
	for codec := batches.Gzip; codec <= batches.Zstd; codec++ {
		zeros, err := batches.Zeros(codec, nil, mostUnpacked+1)
		if err != nil {
			t.Fatal(err)
		}
		bad[fmt.Sprintf("much, by codec %d", codec)] = batches.New(codec, 1, zeros)
	}
	behind := at(50, batches.New(batches.None, 1, good))
	for name, b := range bad {
		b = at(7, b)
		var told []Batch
		answer := answered(1, fetched(append(append(bytes.Clone(behind), b...), behind...)))
		got := read(t, Watch{Skipped: func(b Batch) { told = append(told, b) }}, 0, asked(kmsg.Fetch, fetchVersion, 1, 0), answer, 1)[0][0]
		if !bytes.HasPrefix(got, behind) || !bytes.HasSuffix(got, behind) || len(told) != 1 || told[0].From != 7 || told[0].Topic != topic || told[0].Reason == "" {
			t.Errorf("%s: reported %v; the batches around it are there: %v", name, told, bytes.HasSuffix(got, behind))
			continue
		}
		var in kmsg.RecordBatch
		if err := in.ReadFrom(got[len(behind) : len(got)-len(behind)]); err != nil || in.FirstOffset != 7 || in.NumRecords != 1 ||
			!strings.Contains(string(in.Records), told[0].Reason) || !bytes.Equal(at(7, batches.Seal(&in)), got[len(behind):len(got)-len(behind)]) {
			t.Errorf("%s: it is replaced by %+v, %v", name, in, err)
		}
		if to := in.FirstOffset + int64(in.LastOffsetDelta); to != told[0].To {
			t.Errorf("%s: ends at %d, but %d was reported", name, to, told[0].To)
		}
	}
}

// TestDialerBoundsAnswers: batches that are each within the bounds, but not all together, come in several answers, and no
// answer is longer than sarama accepts.
func TestDialerBoundsAnswers(t *testing.T) {
	zeros, err := batches.Zeros(batches.Zstd, nil, mostUnpacked-1<<10)
	if err != nil {
		t.Fatal(err)
	}
	part := bytes.Repeat(batches.New(batches.Zstd, 1, zeros), 20)
	got := read(t, Watch{}, 0, asked(kmsg.Fetch, fetchVersion, 1, 0), answered(1, fetched(part, part, part)), 1)[0]
	n := 0
	for _, p := range got {
		n += len(p)
	}
	if len(got[0]) == 0 || n > answerBudget+mostUnpacked+1<<20 {
		t.Errorf("%d MiB in one answer", n>>20)
	}
}

// FuzzSift: whatever a broker answers, the result is whole batches, and nothing panics.
func FuzzSift(f *testing.F) {
	zeros, err := batches.Zeros(batches.Snappy, []byte("k"), 1000)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(batches.New(batches.Snappy, 1, zeros))
	f.Add(append(batches.New(batches.None, 1, batches.Record(0, nil, []byte("v"))), batches.New(batches.Gzip, 2, []byte("x"))...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s := sifter{topic: topic, unzip: newUnpacker(1 << 20)}
		out := s.sift(raw)
		again := sifter{topic: topic, unzip: newUnpacker(1 << 20)}
		if twice := again.sift(bytes.Clone(out)); !bytes.Equal(twice, out) {
			t.Errorf("%d bytes became %d, and those %d", len(raw), len(out), len(twice))
		}
	})
}

// TestLargeBuffersGo: a connection keeps the large buffer of a backlog only as long as answers are large.
func TestLargeBuffersGo(t *testing.T) {
	large := make([]byte, 4*keptBuffer)
	for _, tc := range []struct {
		b    []byte
		kept bool
	}{{large, true}, {large[:keptBuffer], true}, {large[:keptBuffer-1], false}, {large[:0], false}, {make([]byte, 1, keptBuffer), true}, {nil, false}} {
		if got := reusable(tc.b); (got != nil) != tc.kept {
			t.Errorf("%d of %d bytes used: kept: %t", len(tc.b), cap(tc.b), got != nil)
		}
	}
}
