package schemas

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// Version 2 has Section.Behind in the lowest bit of the chunk.
const sampleBatchVersion = 2

// Section is what one origin record contributed to a batch. A group's state
// applies a section once: it remembers the highest (Offset, Chunk) of each
// (Epoch, Partition), and the last few digests, by which a producer that sends
// the same samples twice in two records is known (TRAPS 39).
type Section struct {
	Origin Origin
	Chunk  uint32 // 0, or the running number when one origin was too large for one batch
	Behind bool   // it waited in the origin topic: route was catching up
	Digest uint64 // of the section's series, times and values, in order
	From   int    // first of its samples in SampleBatch.Points
	To     int    // one past the last
}

// Point is one sample in a batch; Series indexes SampleBatch.Fingerprints.
type Point struct {
	TimeMS int64
	Value  float64
	Series uint32
}

// SampleBatch is the decoded value of a record of the samples topic: samples of
// one series group. Its slices are reused by the next Decode, and Series reads
// from the bytes that were decoded: keep neither longer than the record.
type SampleBatch struct {
	Sections     []Section
	Points       []Point
	Fingerprints []uint64

	dict, defs []byte
	ends       []int // of each series in defs, made when first asked
	labels     []Label
}

// Decode reads v. It returns an error that wraps ErrVersion or ErrCorrupt, and
// then the batch is not to be used. Label text is not looked at; see Series.
func (b *SampleBatch) Decode(v []byte) error {
	b.Sections, b.Points, b.Fingerprints = b.Sections[:0], b.Points[:0], b.Fingerprints[:0]
	b.ends, b.labels = b.ends[:0], nil
	w := wire{b: v}
	ver := w.byte()
	if w.err == nil && ver != sampleBatchVersion && ver != 1 {
		return fmt.Errorf("sample batch: version %d: %w", ver, ErrVersion)
	}
	b.dict = w.section()
	n := w.count(8)
	b.Fingerprints = slices.Grow(b.Fingerprints, n)[:n]
	for i := range b.Fingerprints {
		b.Fingerprints[i] = w.u64()
	}
	b.defs = w.section()
	for len(w.b) > 0 {
		s := Section{Origin: Origin{Epoch: w.u64(), Partition: int32(w.uvarint32()), Offset: int64(w.uvarint())}, From: len(b.Points)}
		chunk := w.uvarint()
		if ver > 1 {
			s.Behind = chunk&1 == 1
			chunk >>= 1
		}
		if chunk > math.MaxUint32 {
			w.fail("chunk out of range")
		}
		s.Chunk, s.Digest = uint32(chunk), w.u64()
		var ts int64
		k := w.count(10)
		b.Points = slices.Grow(b.Points, k)
		for range k {
			p := Point{Series: w.uvarint32()}
			ts += w.varint()
			p.TimeMS, p.Value = ts, w.f64()
			if p.Series >= uint32(n) {
				w.fail("series index out of range")
				break
			}
			b.Points = append(b.Points, p)
		}
		s.To = len(b.Points)
		b.Sections = append(b.Sections, s)
		if w.err != nil {
			break
		}
	}
	if w.err != nil {
		return fmt.Errorf("sample batch of %d bytes: %w", len(v), w.err)
	}
	return nil
}

// Series decodes the labels of series i: slow, and asked only for a series that
// the group does not know yet. The strings are copies. It returns an error when
// the bytes are corrupt, the series is not valid, or its hash is not its fingerprint.
func (b *SampleBatch) Series(i int) (Series, error) {
	if len(b.ends) == 0 {
		if err := b.decodeDefs(); err != nil {
			return Series{}, err
		}
	}
	from := 0
	if i > 0 {
		from = b.ends[i-1]
	}
	s, err := seriesOf(b.labels, &wire{b: b.defs[from:b.ends[i]]})
	if err != nil {
		return s, fmt.Errorf("series %d: %w", i, err)
	}
	if err := s.Validate(); err != nil {
		return s, err
	}
	if h := s.Hash(); h != b.Fingerprints[i] {
		return s, fmt.Errorf("series %s: fingerprint %016x, its labels hash to %016x: %w", s, b.Fingerprints[i], h, ErrCorrupt)
	}
	return s, nil
}

// decodeDefs sets labels and ends, or neither.
func (b *SampleBatch) decodeDefs() error {
	labels, err := decodeDict(b.dict)
	if err != nil {
		return fmt.Errorf("dictionary: %w", err)
	}
	w := wire{b: b.defs}
	for range b.Fingerprints {
		for k := w.count(1); k > 0; k-- {
			w.uvarint()
		}
		b.ends = append(b.ends, len(b.defs)-len(w.b))
	}
	if w.err != nil {
		b.ends = b.ends[:0]
		return fmt.Errorf("series definitions: %w", w.err)
	}
	b.labels = labels
	return nil
}

// BatchBuilder makes the value of a samples record. The zero value is ready; one
// builder serves one group at a time.
type BatchBuilder struct {
	dict     map[Label]uint32
	labels   []Label
	series   map[uint64]uint32
	fps      []byte
	defs     []byte
	body     []byte // sections, finished
	cur      []byte // samples of the open section
	curN     int
	curTS    int64
	digest   uint64
	origin   Origin
	chunk    uint32
	behind   bool
	n        int
	dictSize int
}

// Begin opens the section of an origin; samples added until the next Begin belong
// to it. Samples of one (origin, chunk) and group must all go into one section.
func (b *BatchBuilder) Begin(o Origin, chunk uint32) {
	b.endSection()
	b.origin, b.chunk, b.behind = o, chunk, false
}

// Behind says of the open section that it waited in its origin topic.
func (b *BatchBuilder) Behind() { b.behind = true }

// Add adds a sample; fp must be s.Hash().
func (b *BatchBuilder) Add(s *Series, fp uint64, tsMS int64, v float64) {
	if b.series == nil {
		b.series, b.dict = map[uint64]uint32{}, map[Label]uint32{}
	}
	idx, ok := b.series[fp]
	if !ok {
		idx = uint32(len(b.series))
		b.series[fp] = idx
		b.fps = binary.LittleEndian.AppendUint64(b.fps, fp)
		b.defs = binary.AppendUvarint(b.defs, uint64(len(s.Labels)+1))
		b.defs = binary.AppendUvarint(b.defs, uint64(b.ref(Label{Value: s.Metric})))
		for _, l := range s.Labels {
			b.defs = binary.AppendUvarint(b.defs, uint64(b.ref(l)))
		}
	}
	bits := math.Float64bits(v)
	b.cur = binary.AppendUvarint(b.cur, uint64(idx))
	b.cur = binary.AppendVarint(b.cur, tsMS-b.curTS)
	b.cur = binary.LittleEndian.AppendUint64(b.cur, bits)
	b.curTS = tsMS
	b.curN++
	b.n++
	for _, x := range [3]uint64{fp, uint64(tsMS), bits} {
		b.digest = (b.digest ^ x) * 0x9e3779b97f4a7c15
		b.digest ^= b.digest >> 29
	}
}

func (b *BatchBuilder) ref(l Label) uint32 {
	r, ok := b.dict[l]
	if !ok {
		r = uint32(len(b.labels))
		b.dict[l] = r
		b.labels = append(b.labels, l)
		b.dictSize += len(l.Name) + len(l.Value) + 4
	}
	return r
}

func (b *BatchBuilder) endSection() {
	if b.curN > 0 {
		b.body = binary.LittleEndian.AppendUint64(b.body, b.origin.Epoch)
		b.body = binary.AppendUvarint(b.body, uint64(uint32(b.origin.Partition)))
		b.body = binary.AppendUvarint(b.body, uint64(b.origin.Offset))
		chunk := uint64(b.chunk) << 1
		if b.behind {
			chunk |= 1
		}
		b.body = binary.AppendUvarint(b.body, chunk)
		b.body = binary.LittleEndian.AppendUint64(b.body, b.digest)
		b.body = binary.AppendUvarint(b.body, uint64(b.curN))
		b.body = append(b.body, b.cur...)
	}
	b.cur, b.curN, b.curTS, b.digest = b.cur[:0], 0, 0, 0
}

// Len is the number of samples added since the last Reset.
func (b *BatchBuilder) Len() int { return b.n }

// Size is about the length of the encoded batch, in bytes; never less than it.
func (b *BatchBuilder) Size() int {
	return len(b.body) + len(b.cur) + len(b.fps) + len(b.defs) + b.dictSize + 96
}

// AppendTo closes the last section and appends the encoded batch to dst.
func (b *BatchBuilder) AppendTo(dst []byte) []byte {
	b.endSection()
	dst = append(dst, sampleBatchVersion)
	dst = appendSection(dst, appendDict(nil, b.labels))
	dst = binary.AppendUvarint(dst, uint64(len(b.series)))
	dst = append(dst, b.fps...)
	dst = appendSection(dst, b.defs)
	return append(dst, b.body...)
}

// Reset empties the builder and keeps its memory.
func (b *BatchBuilder) Reset() {
	clear(b.dict)
	clear(b.series)
	b.labels, b.fps, b.defs, b.body, b.cur = b.labels[:0], b.fps[:0], b.defs[:0], b.body[:0], b.cur[:0]
	b.curN, b.curTS, b.digest, b.n, b.dictSize = 0, 0, 0, 0, 0
}
