package frames

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// batch returns a batch that the broker accepts, around arbitrary bytes.
func batch(records []byte, count int32, codec int16) []byte {
	b := kmsg.RecordBatch{Length: int32(batchHead - 12 + len(records)), PartitionLeaderEpoch: -1, Magic: 2, Attributes: codec,
		LastOffsetDelta: count - 1, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: count, Records: records}
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

// record returns a record with the given length, or with the right one if that is 0.
func record(length int64, offset int32, body []byte) []byte {
	inner := append([]byte{0, 0}, binary.AppendVarint(nil, int64(offset))...)
	inner = append(inner, body...)
	if length == 0 {
		length = int64(len(inner))
	}
	return append(binary.AppendVarint(nil, length), inner...)
}

// plainBody has no key, the value v and no headers.
var plainBody = []byte{1, 2, 'v', 0}

func packed(t testing.TB, b []byte, codec kgo.CompressionCodec, kind kgo.CompressionCodecType) []byte {
	t.Helper()
	c, err := kgo.DefaultCompressor(codec)
	if err != nil {
		t.Fatal(err)
	}
	out, got := c.Compress(new(bytes.Buffer), b)
	if got != kind {
		t.Fatalf("packed as %d, want %d", got, kind)
	}
	return bytes.Clone(out)
}

// TestRecordsAreChecked: records on which the broker would fail later, at every start, are refused before they are written.
func TestRecordsAreChecked(t *testing.T) {
	two := append(record(0, 0, plainBody), record(0, 1, plainBody)...)
	headers := []byte{1, 1, 4, 2, 'h', 2, 'v', 2, 'i', 1} // two, the second with a null
	bomb := make([]byte, maxUnpacked+1)
	for name, c := range map[string]struct {
		batch []byte
		ok    bool
	}{
		"two records":             {batch(two, 2, 0), true},
		"headers":                 {batch(record(0, 0, headers), 1, 0), true},
		"gzip":                    {batch(packed(t, two, kgo.GzipCompression(), kgo.CodecGzip), 2, 1), true},
		"snappy":                  {batch(packed(t, two, kgo.SnappyCompression(), kgo.CodecSnappy), 2, 2), true},
		"lz4":                     {batch(packed(t, two, kgo.Lz4Compression(), kgo.CodecLz4), 2, 3), true},
		"zstd":                    {batch(packed(t, two, kgo.ZstdCompression(), kgo.CodecZstd), 2, 4), true},
		"left to the broker: cut": {batch(two, 2, 0)[:70], true},
		"left: no batch":          {[]byte("rubbish"), true},
		"length beyond the end":   {batch(record(1000, 0, plainBody), 1, 0), false},
		"negative length":         {batch(record(-100, 0, plainBody), 1, 0), false},
		"length of 2^62":          {batch(record(1<<62, 0, plainBody), 1, 0), false},
		"least length":            {batch(record(math.MinInt64, 0, plainBody), 1, 0), false},
		"too few records":         {batch(two, 3, 0), false},
		"too many records":        {batch(two, 1, 0), false},
		"no record":               {batch(nil, 0, 0), false},
		"-5 records":              {batch(two, -5, 0), false},
		"2 billion records":       {batch(two, 1<<31-1, 0), false},
		"the same offset twice":   {batch(append(record(0, 0, plainBody), record(0, 0, plainBody)...), 2, 0), false},
		"a key beyond the record": {batch(record(0, 0, []byte{100, 2, 'v', 0}), 1, 0), false},
		"a key of -2":             {batch(record(0, 0, []byte{3, 2, 'v', 0}), 1, 0), false},
		"-1 headers":              {batch(record(0, 0, []byte{1, 2, 'v', 1}), 1, 0), false},
		"2 billion headers":       {batch(record(0, 0, []byte{1, 2, 'v', 0xfe, 0xff, 0xff, 0xff, 0x0f}), 1, 0), false},
		"a header without a name": {batch(record(0, 0, []byte{1, 2, 'v', 2, 1, 2, 'v'}), 1, 0), false},
		"gzip of rubbish":         {batch([]byte("rubbish"), 1, 1), false},
		"snappy that announces":   {batch([]byte{0xff, 0xff, 0xff, 0xff, 0x07, 1}, 1, 2), false},
		"lz4 of rubbish":          {batch([]byte("rubbish"), 1, 3), false},
		"zstd of rubbish":         {batch([]byte("rubbish"), 1, 4), false},
		"gzip bomb":               {batch(packed(t, bomb, kgo.GzipCompression(), kgo.CodecGzip), 1, 1), false},
		"snappy bomb":             {batch(packed(t, bomb, kgo.SnappyCompression(), kgo.CodecSnappy), 1, 2), false},
		"lz4 bomb":                {batch(packed(t, bomb, kgo.Lz4Compression(), kgo.CodecLz4), 1, 3), false},
		"zstd bomb":               {batch(packed(t, bomb, kgo.ZstdCompression(), kgo.CodecZstd), 1, 4), false},
		"packed rubbish":          {batch(packed(t, record(-100, 0, plainBody), kgo.GzipCompression(), kgo.CodecGzip), 1, 1), false},
	} {
		g := testGate(t)
		for range 2 { // what was unpacked before is no matter
			if err := g.checkRecords(c.batch); (err == nil) != c.ok {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func FuzzRecords(f *testing.F) {
	f.Add(append(record(0, 0, plainBody), record(0, 1, plainBody)...), int32(2), int16(0))
	f.Add(packed(f, record(0, 0, plainBody), kgo.ZstdCompression(), kgo.CodecZstd), int32(1), int16(4))
	g := New(Default(), discard{}, nil)
	f.Fuzz(func(t *testing.T, b []byte, count int32, codec int16) {
		raw := batch(b, count, codec&7)
		if g.checkRecords(raw) != nil || codec&7 > 4 {
			return
		}
		// What passes is read as the broker reads it.
		records, err := kgo.DefaultDecompressor().Decompress(b, kgo.CompressionCodecType(codec&7))
		if err != nil {
			t.Fatal(err)
		}
		for range count {
			r := kmsg.NewRecord()
			if err := r.ReadFrom(records); err != nil {
				t.Fatal(err)
			}
			length, n := binary.Varint(records)
			records = records[length+int64(n):]
		}
		if len(records) > 0 {
			t.Fatalf("%d bytes are left", len(records))
		}
	})
}
