package schemas

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
)

// content is the content of a batch, independent of its encoding.
type content struct {
	sections []section
}

type section struct {
	origin  Origin
	chunk   uint32
	behind  bool
	sender  uint64
	samples []Sample
}

// encode adds c to a builder, which must be empty.
func (c content) encode(b *BatchBuilder) []byte {
	for _, s := range c.sections {
		b.Begin(s.origin, s.chunk)
		if s.behind {
			b.Behind()
		}
		b.Sender(s.sender)
		for i := range s.samples {
			x := &s.samples[i]
			b.AddSample(x, x.Series.Hash(), x.Series.ID())
		}
	}
	return b.AppendTo(nil)
}

// contentOf reads a decoded batch. It fails the test if no builder could have written it.
func contentOf(t *testing.T, b *SampleBatch) content {
	t.Helper()
	var c content
	next := 0
	for _, s := range b.Sections {
		if s.From != next || s.To < s.From || s.To > len(b.Points) {
			t.Fatalf("section %+v does not begin at %d or not end within %d", s, next, len(b.Points))
		}
		next = s.To
		out := section{origin: s.Origin, chunk: s.Chunk, behind: s.Behind, sender: s.Sender}
		for _, p := range b.Points[s.From:s.To] {
			series, err := b.Series(int(p.Series))
			if err != nil {
				t.Fatal(err)
			}
			out.samples = append(out.samples, Sample{series, p.TimeMS, p.Value, p.SubNS})
		}
		c.sections = append(c.sections, out)
	}
	if next != len(b.Points) {
		t.Fatalf("%d points after the last section", len(b.Points)-next)
	}
	return c
}

func goldenBatch() content {
	cpu := Series{"cpu.usage", Labels{{"cpu", "0"}, {"host", "web01"}}}
	mem := Series{"mem", Labels{{"host", "web01"}}}
	return content{[]section{
		{Origin{0xfedcba9876543210, 3, 1 << 40}, 0, false, 0, []Sample{{cpu, 1_700_000_000_123, 42.5, 0}, {mem, 1_700_000_000_100, 0, 0}}},
		{Origin{1, math.MaxInt32, math.MaxInt64}, 7, true, 0, []Sample{{cpu, -1, math.MaxFloat64, 0}}},
		{Origin{1, 0, 8}, 0, false, SenderOf([]byte("10.0.0.7")), []Sample{{cpu, 5, 1, 0}, {cpu, 5, 1, 999_999}, {mem, 4, 2, 1}}},
	}}
}

// golden returns a file of testdata, whose bytes must decode for ever. WEIR_WRITE_GOLDEN writes files that do not exist yet.
func golden(t *testing.T, name string, now []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", name)
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && os.Getenv("WEIR_WRITE_GOLDEN") != "" {
		data, err = now, os.WriteFile(path, now, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestSampleBatchGolden(t *testing.T) {
	now := goldenBatch().encode(new(BatchBuilder))
	data := golden(t, "sample_batch_v3.golden", now)
	var b SampleBatch
	if err := b.Decode(data); err != nil {
		t.Fatal(err)
	}
	if got := contentOf(t, &b); !reflect.DeepEqual(got, goldenBatch()) {
		t.Errorf("the golden bytes mean %+v", got)
	}
	if !bytes.Equal(data, now) {
		t.Errorf("today's bytes differ from the golden ones: a new form needs a new version byte\n%x\n%x", now, data)
	}
}

// TestShapedBatch: a batch may name its series by their shape. A reader that does not know the shape works out their IDs by
// itself; one that does skips the IDs. Other series are not taken for them.
func TestShapedBatch(t *testing.T) {
	var builder BatchBuilder
	plain := goldenBatch().encode(&builder)
	shape := ShapeOf(builder.IDs())
	shaped := builder.AppendShapedTo(nil, shape)
	if data := golden(t, "sample_batch_v4.golden", shaped); !bytes.Equal(data, shaped) {
		t.Errorf("today's bytes differ from the golden ones: a new form needs a new version byte\n%x\n%x", shaped, data)
	}
	if want := len(plain) - 16*len(builder.IDs()) + 16; len(shaped) != want {
		t.Errorf("%d bytes, want %d", len(shaped), want)
	}
	var b SampleBatch
	if err := b.Decode(shaped); err != nil {
		t.Fatal(err)
	}
	if got := contentOf(t, &b); !reflect.DeepEqual(got, goldenBatch()) || b.Shape != shape || !slices.Equal(b.IDs, builder.IDs()) {
		t.Errorf("shape %x, IDs %x: %+v", b.Shape, b.IDs, got)
	}
	points := slices.Clone(b.Points)
	asked := 0
	if err := b.DecodeFor(shaped, func(id ID, n int) bool { asked++; return id == shape && n == len(builder.IDs()) }); err != nil {
		t.Fatal(err)
	}
	if asked != 1 || len(b.IDs) != 0 || b.Len() != len(builder.IDs()) || !slices.Equal(b.Points, points) {
		t.Errorf("asked %d times; with a known shape there are %d IDs for %d series, and %v", asked, len(b.IDs), b.Len(), b.Points)
	}
	if err := b.DecodeFor(plain, func(ID, int) bool { t.Error("asked of a batch without a shape"); return true }); err != nil || len(b.IDs) != b.Len() || b.Shape != (ID{}) {
		t.Errorf("%d IDs of %d series, shape %x: %v", len(b.IDs), b.Len(), b.Shape, err)
	}
	for _, wrong := range []ID{{shape.Hi ^ 1, shape.Lo}, {shape.Hi, shape.Lo ^ 1<<63}} {
		if err := b.Decode(builder.AppendShapedTo(nil, wrong)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("a shape that is not its series': %v", err)
		}
	}
	zero := bytes.Replace(shaped, shape.appendTo(nil), make([]byte, 16), 1)
	if err := b.DecodeFor(zero, func(ID, int) bool { return true }); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a shape of zero: %v", err)
	}
}

// TestSampleBatchOfOldVersions: batches of an older weir, which knew no senders and kept the sign of 0, can be read.
func TestSampleBatchOfOldVersions(t *testing.T) {
	for _, name := range []string{"sample_batch_v1.golden", "sample_batch_v2.golden"} {
		var b SampleBatch
		if err := b.Decode(golden(t, name, nil)); err != nil {
			t.Fatal(err)
		}
		if math.Float64bits(b.Points[1].Value) != 1<<63 {
			t.Error("minus zero lost its sign")
		}
		b.Points[1].Value = 0
		want := goldenBatch()
		want.sections = want.sections[:2]
		want.sections[1].behind = name != "sample_batch_v1.golden"
		if got := contentOf(t, &b); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: the golden bytes mean %+v", name, got)
		}
	}
}

// randomContent makes up to 5 sections of samples of up to 9 series.
func randomContent(rng *rand.Rand) content {
	names := []string{"m", "größe", "a b", "x=\"y\""}
	var series []Series
	for range 1 + rng.IntN(9) {
		labels := map[string]string{}
		for range rng.IntN(4) {
			labels[names[rng.IntN(4)]] = names[rng.IntN(4)]
		}
		s := Series{Metric: names[rng.IntN(4)]}
		if len(labels) > 0 {
			s.Labels = NewLabels(labels)
		}
		series = append(series, s)
	}
	var c content
	for range rng.IntN(6) {
		s := section{origin: Origin{rng.Uint64(), int32(rng.Uint32() >> 1), int64(rng.Uint64() >> 1)}, chunk: rng.Uint32() >> rng.IntN(32), behind: rng.IntN(2) == 0,
			sender: rng.Uint64() * uint64(rng.IntN(2))}
		subMS, n := rng.IntN(3) == 0, 1+rng.IntN(30)
		if rng.IntN(50) == 0 {
			n = 300 // more than a digest reads at a time
		}
		for range n {
			v := math.Float64frombits(rng.Uint64())
			if math.IsNaN(v) {
				v = 0.1 // never equal to itself
			}
			sub := uint32(0)
			if subMS && rng.IntN(2) == 0 {
				sub = uint32(rng.IntN(nsPerMS))
			}
			s.samples = append(s.samples, Sample{series[rng.IntN(len(series))], int64(rng.Uint64()) >> rng.IntN(64), v, sub})
		}
		c.sections = append(c.sections, s)
	}
	return c
}

func TestSampleBatchRoundTrip(t *testing.T) {
	const seed = 11
	rng := rand.New(rand.NewPCG(seed, 0))
	var builder BatchBuilder // reused, as in route
	var b SampleBatch
	for i := range 2000 {
		want := randomContent(rng)
		value := want.encode(&builder)
		n := 0
		for _, s := range want.sections {
			n += len(s.samples)
		}
		if builder.Len() != n || builder.Size() < len(value) || builder.Size() > len(value)+220+4*n*5 {
			t.Fatalf("seed %d, batch %d: Len %d, want %d; Size %d of %d bytes", seed, i, builder.Len(), n, builder.Size(), len(value))
		}
		builder.Reset()
		if err := b.Decode(value); err != nil {
			t.Fatalf("seed %d, batch %d: %v", seed, i, err)
		}
		if got := contentOf(t, &b); !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d, batch %d:\n%+v\n%+v", seed, i, got, want)
		}
	}
}

func TestDigestIsOfTheSamplesAlone(t *testing.T) {
	digest := func(c content, i int) ID {
		var b SampleBatch
		if err := b.Decode(c.encode(new(BatchBuilder))); err != nil {
			t.Fatal(err)
		}
		return b.Sections[i].Digest
	}
	samples := goldenBatch().sections[0].samples
	alone := digest(content{[]section{{Origin{1, 2, 3}, 0, false, 5, samples}}}, 0)
	behind := digest(content{[]section{goldenBatch().sections[1], {Origin{4, 5, 6}, 9, false, 0, samples}}}, 1)
	if alone != behind {
		t.Errorf("the same samples have digest %x alone and %x after others", alone, behind)
	}
	swapped := []Sample{samples[1], samples[0]}
	later := []Sample{samples[0], {samples[1].Series, samples[1].TimeMS + 1, samples[1].Value, 0}}
	other := []Sample{samples[0], {samples[0].Series, samples[1].TimeMS, samples[1].Value, 0}}
	within := []Sample{samples[0], {samples[1].Series, samples[1].TimeMS, samples[1].Value, 1}}
	for name, s := range map[string][]Sample{"swapped": swapped, "later": later, "other series": other, "later within the ms": within, "fewer": samples[:1]} {
		if digest(content{[]section{{Origin{1, 2, 3}, 0, false, 0, s}}}, 0) == alone {
			t.Errorf("%s samples have the same digest", name)
		}
	}
}

func TestSampleBatchRefuses(t *testing.T) {
	value := goldenBatch().encode(new(BatchBuilder))
	var b SampleBatch
	for _, version := range []byte{0, shapedBatchVersion + 1} {
		if err := b.Decode(append([]byte{version}, value[1:]...)); !errors.Is(err, ErrVersion) {
			t.Errorf("version %d: %v", version, err)
		}
	}
	if err := b.Decode(nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("no bytes: %v", err)
	}
	// A prefix that does not end between two sections is corrupt.
	whole := 0
	for i := 1; i < len(value); i++ {
		if err := b.Decode(value[:i]); err == nil {
			whole++
		} else if !errors.Is(err, ErrCorrupt) {
			t.Errorf("the first %d bytes: %v", i, err)
		}
	}
	if whole != 3 {
		t.Errorf("%d prefixes are accepted, want 3: with none, one and two of the three sections", whole)
	}
	head := func(fps int, rest ...byte) []byte { // an empty dictionary and a number of fingerprints
		v := append([]byte{3, 0, byte(fps)}, make([]byte, 16*fps)...)
		return append(v, rest...)
	}
	for name, v := range map[string][]byte{
		"count beyond the rest": {3, 0, 200, 1, 2, 3},
		"series out of range":   append(append(head(1, 0), make([]byte, 8)...), append([]byte{0, 0, 0}, append(make([]byte, 16), append([]byte{1, 1, 0}, make([]byte, 8)...)...)...)...),
		"wide series index": append(append(head(1, 0), make([]byte, 8)...), append([]byte{0, 0, 0}, append(make([]byte, 16),
			append(append([]byte{1}, binary.AppendUvarint(nil, 1<<32)...), make([]byte, 12)...)...)...)...),
	} {
		if err := b.Decode(v); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSeriesOfACorruptDictionary asks twice, because the first failure must not leave half a dictionary.
func TestSeriesOfACorruptDictionary(t *testing.T) {
	id := make([]byte, 16)
	for name, value := range map[string][]byte{
		"dictionary cut":   append(append([]byte{3, 4, 0, 1, 'm', 9, 1}, id...), 2, 1, 0),
		"definitions cut":  append(append([]byte{3, 3, 0, 1, 'm', 1}, id...), 1, 5),
		"reference beyond": append(append([]byte{3, 3, 0, 1, 'm', 1}, id...), 2, 1, 1),
		"wrong ID":         append(append([]byte{3, 3, 0, 1, 'm', 1}, id...), 2, 1, 0),
	} {
		var b SampleBatch
		if err := b.Decode(value); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for range 2 {
			if _, err := b.Series(0); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// FuzzSampleBatchDecode: no input causes a panic or an unnamed error, and a batch that decodes completely encodes to bytes that
// mean the same.
func FuzzSampleBatchDecode(f *testing.F) {
	f.Add(goldenBatch().encode(new(BatchBuilder)))
	rng := rand.New(rand.NewPCG(3, 0))
	for range 5 {
		f.Add(randomContent(rng).encode(new(BatchBuilder)))
	}
	var builder BatchBuilder
	goldenBatch().encode(&builder)
	f.Add(builder.AppendShapedTo(nil, ShapeOf(builder.IDs())))
	f.Add([]byte{1, 4, 0, 1, 'm', 9, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0})
	f.Fuzz(func(t *testing.T, value []byte) {
		var b SampleBatch
		if err := b.Decode(value); err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		if max := len(value); cap(b.Points) > max || cap(b.IDs) > max || len(b.Sections) > max {
			t.Fatalf("%d bytes became %d points, %d series and %d sections", len(value), cap(b.Points), cap(b.IDs), len(b.Sections))
		}
		valid := true
		for i := range b.IDs {
			_, err := b.Series(i)
			valid = valid && err == nil
		}
		if !valid {
			return
		}
		want := contentOf(t, &b)
		again := want.encode(new(BatchBuilder))
		var second SampleBatch
		if err := second.Decode(again); err != nil {
			t.Fatal(err)
		}
		if third := contentOf(t, &second).encode(new(BatchBuilder)); !bytes.Equal(third, again) {
			t.Fatalf("%x encodes to %x and then to %x", value, again, third)
		}
	})
}
