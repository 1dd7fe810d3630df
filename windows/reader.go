package windows

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"

	"github.com/weir-metrics/weir/schemas"
)

// reader reads a state; after the first fault every read returns zero.
type reader struct {
	b       []byte
	version byte // of the state
	bad     bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) byte() byte {
	if v := r.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) u64() uint64 {
	if v := r.take(8); v != nil {
		return binary.LittleEndian.Uint64(v)
	}
	return 0
}

// id reads what appendID wrote; in version 2 that was a hash of 64 bits.
func (r *reader) id() schemas.ID {
	if r.version < 3 {
		return schemas.ID{Lo: r.u64()}
	}
	return schemas.ID{Hi: r.u64(), Lo: r.u64()}
}

func appendID(dst []byte, id schemas.ID) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(dst, id.Hi), id.Lo)
}

// sortedIDs returns the IDs in order. They are hashes, so their first bits are evenly spread, and
// one pass by those leaves few IDs to sort in each place; a flood has 100,000.
func sortedIDs(set map[schemas.ID]struct{}) []schemas.ID {
	shift := 64 - bits.Len(uint(len(set))>>1)
	at := make([]int, 1<<(64-shift)+1)
	for k := range set {
		at[k.Hi>>shift+1]++
	}
	for i := 1; i < len(at); i++ {
		at[i] += at[i-1]
	}
	ids := make([]schemas.ID, len(set))
	for k := range set {
		i := k.Hi >> shift
		ids[at[i]] = k
		at[i]++
	}
	from := 0
	for _, to := range at[:len(at)-1] {
		if to-from > 1 {
			slices.SortFunc(ids[from:to], compareIDs)
		}
		from = to
	}
	return ids
}

func compareIDs(a, b schemas.ID) int {
	if a.Hi != b.Hi {
		return cmp.Compare(a.Hi, b.Hi)
	}
	return cmp.Compare(a.Lo, b.Lo)
}

func (r *reader) f64() float64 { return math.Float64frombits(r.u64()) }

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	u := r.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// count reads the number of things that follow, each of at least size bytes.
func (r *reader) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.b)/size) {
		r.bad, r.b = true, nil
		return 0
	}
	return int(n)
}

func (r *reader) text() string { return string(r.take(int(min(r.uvarint(), math.MaxInt32)))) }
