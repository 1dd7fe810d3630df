package schemas

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"math"
	"slices"
)

// BatchBuilder makes the value of a samples record. The zero value is ready; one
// builder serves one group at a time.
type BatchBuilder struct {
	dict     map[Label]uint32
	labels   []Label
	series   map[uint64]uint32 // by hash; of two with one hash, the second is at the next number
	ids      []ID
	defs     []byte
	body     []byte // sections, finished
	cur      []byte // samples of the open section
	curN     int
	curTS    int64
	digest   []byte // input of the open section's digest that is not yet in hash
	hash     hash.Hash
	hashed   bool // hash has had input
	origin   Origin
	chunk    uint32
	behind   bool
	sender   uint64
	subMS    bool // some time in the open section has a fraction of a ms
	n        int
	dictSize int
	text     []byte // see AppendTo; used again
}

// Begin opens the section of an origin; samples added until the next Begin belong to it. All
// samples of one (origin, chunk) and group must go into one section.
func (b *BatchBuilder) Begin(o Origin, chunk uint32) {
	b.endSection()
	b.origin, b.chunk, b.behind, b.sender, b.subMS = o, chunk, false, 0, false
}

// Behind marks the open section as one that queued in its origin topic.
func (b *BatchBuilder) Behind() { b.behind = true }

// Sender sets who sent the open section; see SenderOf.
func (b *BatchBuilder) Sender(sender uint64) { b.sender = sender }

// Add adds a sample whose time is a whole ms; hash must be s.Hash().
func (b *BatchBuilder) Add(s *Series, hash uint64, tsMS int64, v float64) {
	b.AddSample(&Sample{Series: *s, TimeMS: tsMS, Value: v}, hash, s.ID())
}

// AddSample adds a sample. hash must be the series' Hash and id its ID; callers keep both, as
// computing an ID is slow. -0 becomes 0: the two are one value.
func (b *BatchBuilder) AddSample(s *Sample, hash uint64, id ID) {
	idx := b.indexOf(&s.Series, hash, id)
	if s.SubNS != 0 && !b.subMS {
		b.widen()
	}
	v := s.Value
	if v == 0 {
		v = 0
	}
	bits := math.Float64bits(v)
	b.cur = binary.AppendUvarint(b.cur, uint64(idx))
	b.cur = binary.AppendVarint(b.cur, s.TimeMS-b.curTS)
	if b.subMS {
		b.cur = binary.AppendUvarint(b.cur, uint64(s.SubNS))
	}
	b.cur = binary.LittleEndian.AppendUint64(b.cur, bits)
	b.curTS = s.TimeMS
	b.curN++
	b.n++
	if len(b.digest) > digestBytes {
		if b.hash == nil {
			b.hash = sha256.New()
		}
		b.hash.Write(b.digest)
		b.hashed, b.digest = true, b.digest[:0]
	}
	b.digest = appendSampleKey(b.digest, id, s.TimeMS, s.SubNS, bits)
}

// digestBytes bounds the input that waits to be hashed.
const digestBytes = 4 << 10

// takeDigest returns the digest of the open section.
func (b *BatchBuilder) takeDigest() ID {
	if !b.hashed {
		return idOf(b.digest)
	}
	var sum [sha256.Size]byte
	b.hash.Write(b.digest)
	id := idIn(b.hash.Sum(sum[:0]))
	b.hash.Reset()
	b.hashed = false
	return id
}

// widen makes room for fractions of a ms in the open section, which had none so far.
func (b *BatchBuilder) widen() {
	narrow := b.cur
	b.cur, b.subMS = make([]byte, 0, len(narrow)+len(narrow)/8), true
	for len(narrow) > 0 {
		_, n := binary.Uvarint(narrow)
		_, m := binary.Varint(narrow[n:])
		n += m
		b.cur = append(append(b.cur, narrow[:n]...), 0)
		b.cur = append(b.cur, narrow[n:n+8]...)
		narrow = narrow[n+8:]
	}
}

// indexOf returns the number of the series in the batch, adding it if need be.
func (b *BatchBuilder) indexOf(s *Series, hash uint64, id ID) uint32 {
	if b.series == nil {
		b.series, b.dict = map[uint64]uint32{}, map[Label]uint32{}
	}
	for ; ; hash++ {
		idx, ok := b.series[hash]
		if ok && b.ids[idx] == id {
			return idx
		}
		if !ok {
			break
		}
	}
	idx := uint32(len(b.ids))
	b.series[hash] = idx
	b.ids = append(b.ids, id)
	b.defs = binary.AppendUvarint(b.defs, uint64(len(s.Labels)+1))
	b.defs = binary.AppendUvarint(b.defs, uint64(b.ref(Label{Value: s.Metric})))
	for _, l := range s.Labels {
		b.defs = binary.AppendUvarint(b.defs, uint64(b.ref(l)))
	}
	return idx
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
		chunk := uint64(b.chunk) << sectionFlags
		if b.behind {
			chunk |= sectionBehind
		}
		if b.sender != 0 {
			chunk |= sectionSender
		}
		if b.subMS {
			chunk |= sectionSubMS
		}
		b.body = binary.AppendUvarint(b.body, chunk)
		digest := b.takeDigest()
		b.body = digest.appendTo(b.body)
		if b.sender != 0 {
			b.body = binary.LittleEndian.AppendUint64(b.body, b.sender)
		}
		b.body = binary.AppendUvarint(b.body, uint64(b.curN))
		b.body = append(b.body, b.cur...)
	}
	b.cur, b.curN, b.curTS, b.digest = b.cur[:0], 0, 0, b.digest[:0]
}

// Len is the number of samples added since the last Reset.
func (b *BatchBuilder) Len() int { return b.n }

// Size is roughly the length of the encoded batch, in bytes, and never less than it.
func (b *BatchBuilder) Size() int {
	return len(b.body) + len(b.cur) + 16*len(b.ids) + len(b.defs) + b.dictSize + 112
}

// AppendTo closes the last section and appends the encoded batch to dst.
func (b *BatchBuilder) AppendTo(dst []byte) []byte { return b.AppendShapedTo(dst, ID{}) }

// AppendShapedTo is AppendTo with shape in the place of the IDs, of which it must be ShapeOf, unless
// it is zero.
func (b *BatchBuilder) AppendShapedTo(dst []byte, shape ID) []byte {
	b.endSection()
	dst = slices.Grow(dst, b.Size())
	version, ids := byte(sampleBatchVersion), b.ids
	if shape != (ID{}) {
		version, ids = shapedBatchVersion, []ID{shape}
	}
	b.text = appendDict(b.text[:0], b.labels)
	dst = appendSection(append(dst, version), b.text)
	dst = binary.AppendUvarint(dst, uint64(len(b.ids)))
	for _, id := range ids {
		dst = id.appendTo(dst)
	}
	dst = appendSection(dst, b.defs)
	return append(dst, b.body...)
}

// IDs returns the IDs of the series added since the last Reset, in order; valid until then.
func (b *BatchBuilder) IDs() []ID { return b.ids }

// Reset empties the builder and keeps its memory.
func (b *BatchBuilder) Reset() {
	clear(b.dict)
	clear(b.series)
	b.labels, b.ids, b.defs, b.body, b.cur, b.digest = b.labels[:0], b.ids[:0], b.defs[:0], b.body[:0], b.cur[:0], b.digest[:0]
	b.curN, b.curTS, b.n, b.dictSize = 0, 0, 0, 0
}
