package schemas

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// Version 3 names series by their IDs, versions 1 and 2 by a 64-bit hash. Version 2 had
// Section.Behind in the lowest bit of the chunk; version 3 has the flags below there. Version 4 is
// version 3 with one digest in the place of all IDs; see SampleBatch.Shape.
const (
	sampleBatchVersion = 3
	shapedBatchVersion = 4
)

const (
	sectionBehind = 1 << iota
	sectionSender // Section.Sender follows the digest
	sectionSubMS  // the points have Point.SubNS
	sectionFlags  = iota
)

// Section is what one origin record contributed to a batch. A group's state applies a section once:
// it remembers the highest (Offset, Chunk) of each (Epoch, Partition), and the last few digests. By
// its digest it recognizes a section whose producer sent the same samples twice in two records, as
// remote-write senders do after a request timed out that had been taken.
type Section struct {
	Origin Origin
	Chunk  uint32 // 0, or the running number when one origin was too large for one batch
	Behind bool   // it queued in the origin topic: route was catching up
	Digest ID     // of the section's series, times and values, in order; zero if there is none
	Sender uint64 // who sent the origin record, see SenderOf; 0 if unknown
	From   int    // first of its samples in SampleBatch.Points
	To     int    // one past the last
}

// Point is one sample in a batch; Series indexes SampleBatch.IDs.
type Point struct {
	TimeMS int64
	Value  float64
	Series uint32
	SubNS  uint32 // see Sample
}

// SampleBatch is the decoded value of a record of the samples topic: samples of one series group.
// Its slices are reused by the next Decode, and Series reads from the decoded bytes: keep neither
// longer than the record.
type SampleBatch struct {
	Sections []Section
	Points   []Point
	IDs      []ID // of the series; empty if DecodeFor was told that they are known
	// Shape stands for IDs: it is the digest of all of them, in order. Senders of metrics send the
	// same series again and again, so most batches of a group have one of a few shapes, and a reader
	// that remembers what a shape stands for need neither read nor look up each ID. Zero if the
	// batch has the IDs themselves.
	Shape ID

	n          int // series
	dict, defs []byte
	ends       []int // of each series in defs, made when first asked
	labels     []Label
}

// Len is the number of series in the batch.
func (b *SampleBatch) Len() int { return b.n }

// Decode reads v. It returns an error that wraps ErrVersion or ErrCorrupt; the batch must not be
// used then. It does not check the text of labels, except of a batch that has only a Shape; see
// Series.
func (b *SampleBatch) Decode(v []byte) error {
	return b.DecodeFor(v, func(ID, int) bool { return false })
}

// DecodeFor is Decode for a reader that knows which n IDs some shapes stand for: of a batch that has
// such a shape, IDs stays empty, and Series must not be called.
func (b *SampleBatch) DecodeFor(v []byte, knows func(shape ID, n int) bool) error {
	b.Sections, b.Points, b.IDs, b.Shape = b.Sections[:0], b.Points[:0], b.IDs[:0], ID{}
	clear(b.labels) // release the strings
	b.ends, b.labels = b.ends[:0], b.labels[:0]
	w := wire{b: v}
	ver := w.byte()
	if w.err == nil && (ver < 1 || ver > shapedBatchVersion) {
		return fmt.Errorf("sample batch: version %d: %w", ver, ErrVersion)
	}
	b.dict = w.section()
	b.decodeIDs(&w, ver)
	b.defs = w.section()
	for len(w.b) > 0 && w.err == nil {
		b.decodeSection(&w, ver, b.n)
	}
	err := w.err
	if err == nil && (ver < 3 || ver == shapedBatchVersion && !knows(b.Shape, b.n)) {
		err = b.identify()
	}
	if err != nil {
		return fmt.Errorf("sample batch of %d bytes: %w", len(v), err)
	}
	return nil
}

// decodeIDs reads what names the series of a batch; the caller checks w.err.
func (b *SampleBatch) decodeIDs(w *wire, ver byte) {
	switch ver {
	case 1, 2:
		b.n = w.count(8)
		w.bytes(uint64(b.n) * 8) // hashes, which are not identities
	case shapedBatchVersion:
		b.n = w.count(1) // each has a definition
		if b.Shape = w.id(); b.Shape == (ID{}) {
			w.fail("a shape of zero")
		}
	default:
		b.n = w.count(16)
		b.IDs = slices.Grow(b.IDs, b.n)[:b.n]
		if raw := w.bytes(16 * uint64(b.n)); w.err == nil {
			for i := range b.IDs {
				b.IDs[i] = ID{binary.LittleEndian.Uint64(raw[16*i:]), binary.LittleEndian.Uint64(raw[16*i+8:])}
			}
		}
	}
}

// decodeSection reads a section of a batch of n series; the caller checks w.err.
func (b *SampleBatch) decodeSection(w *wire, ver byte, n int) {
	s := Section{Origin: Origin{Epoch: w.u64(), Partition: int32(w.uvarint32()), Offset: int64(w.uvarint())}, From: len(b.Points)}
	chunk, flags := w.uvarint(), uint64(0)
	switch ver {
	case 1:
	case 2:
		chunk, flags = chunk>>1, chunk&sectionBehind
	default:
		chunk, flags = chunk>>sectionFlags, chunk&(1<<sectionFlags-1)
	}
	if chunk > math.MaxUint32 {
		w.fail("chunk out of range")
	}
	s.Chunk, s.Behind = uint32(chunk), flags&sectionBehind != 0
	if ver < 3 {
		s.Digest = ID{Lo: w.u64()}
	} else {
		s.Digest = w.id()
	}
	if flags&sectionSender != 0 {
		s.Sender = w.u64()
	}
	if !b.decodePoints(w, uint64(n), flags&sectionSubMS != 0) {
		return
	}
	s.To = len(b.Points)
	b.Sections = append(b.Sections, s)
}

// decodePoints reads the samples of a section, of n series; it returns false if they are corrupt,
// and w has the error. A batch spends most of its time here, so the rest of the input is kept in a
// variable.
func (b *SampleBatch) decodePoints(w *wire, n uint64, subMS bool) bool {
	k := w.count(10)
	points := slices.Grow(b.Points, k)
	rest, ts := w.b, int64(0)
	for range k {
		series, m := uvarintOf(rest)
		if m <= 0 || series >= n {
			w.fail("series index out of range")
			return false
		}
		rest = rest[m:]
		delta, m := uvarintOf(rest)
		if m <= 0 {
			w.fail("bad varint")
			return false
		}
		rest = rest[m:]
		ts += int64(delta>>1) ^ -int64(delta&1)
		sub := uint64(0)
		if subMS {
			if sub, m = uvarintOf(rest); m <= 0 || sub >= nsPerMS {
				w.fail("nanoseconds of more than a millisecond")
				return false
			}
			rest = rest[m:]
		}
		if len(rest) < 8 {
			w.fail("fewer than 8 bytes left")
			return false
		}
		v := math.Float64frombits(binary.LittleEndian.Uint64(rest))
		rest = rest[8:]
		points = append(points, Point{TimeMS: ts, Value: v, Series: uint32(series), SubNS: uint32(sub)})
	}
	b.Points, w.b = points, rest
	return w.err == nil
}

// uvarintOf is binary.Uvarint, for numbers that are usually small.
func uvarintOf(b []byte) (uint64, int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	return binary.Uvarint(b)
}

// identify sets the IDs of a batch that has only hashes or a shape, which must be theirs.
func (b *SampleBatch) identify() error {
	if err := b.decodeDefs(); err != nil {
		return err
	}
	b.IDs = slices.Grow(b.IDs, b.n)
	for i := range b.n {
		s, err := b.series(i)
		if err != nil {
			return err
		}
		b.IDs = append(b.IDs, s.ID())
	}
	if b.Shape == (ID{}) {
		return nil
	}
	if shape := ShapeOf(b.IDs); shape != b.Shape {
		return fmt.Errorf("shape %x, its series make it %x: %w", b.Shape, shape, ErrCorrupt)
	}
	return nil
}

// Series decodes the labels of series i. It is slow, and called only for a series that the group
// does not know yet. The strings are copies. It returns an error if the bytes are corrupt, the
// series is not valid, or its ID differs.
func (b *SampleBatch) Series(i int) (Series, error) {
	if len(b.ends) == 0 {
		if err := b.decodeDefs(); err != nil {
			return Series{}, err
		}
	}
	s, err := b.series(i)
	if err != nil {
		return s, err
	}
	if err := s.Validate(); err != nil {
		return s, err
	}
	if id := s.ID(); id != b.IDs[i] {
		return s, fmt.Errorf("series %.200s: ID %x, its labels make it %x: %w", s, b.IDs[i], id, ErrCorrupt)
	}
	return s, nil
}

func (b *SampleBatch) series(i int) (Series, error) {
	from := 0
	if i > 0 {
		from = b.ends[i-1]
	}
	s, err := seriesOf(b.labels, &wire{b: b.defs[from:b.ends[i]]})
	if err != nil {
		return s, fmt.Errorf("series %d: %w", i, err)
	}
	return s, nil
}

// decodeDefs sets labels and ends, or neither.
func (b *SampleBatch) decodeDefs() error {
	labels, err := decodeDict(b.labels[:0], b.dict)
	if err != nil {
		return fmt.Errorf("dictionary: %w", err)
	}
	w := wire{b: b.defs}
	for range b.n {
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
