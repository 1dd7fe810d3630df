package sinks

import (
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"weir/schemas"
)

// indexed remembers which series the index was told of and when that is due again.
// Its memory is bounded: two generations of at most maxIndexed series, about 40 MB
// each; a series that falls out is only told of again.
type indexed struct {
	mu       sync.Mutex
	renewMS  int64
	limit    int              // of a generation
	now, old map[uint64]int64 // key to when it is due, ms
}

const maxIndexed = 1 << 20

func newIndexed(renew time.Duration) *indexed {
	return &indexed{renewMS: max(renew.Milliseconds(), 1), limit: maxIndexed, now: map[uint64]int64{}}
}

// indexKey identifies a series of a source. Two of 10 million share one with a
// chance of 3 in a million; the later would be missing from lists for a day.
func indexKey(source string, s schemas.Series) uint64 {
	return xxhash.Sum64String(source) ^ s.Hash()*0x9e3779b97f4a7c15
}

// due says whether the series has to be told of at nowMS.
func (x *indexed) due(key uint64, nowMS int64) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	at, ok := x.now[key]
	if !ok {
		at = x.old[key]
	}
	return at <= nowMS
}

// add notes that the series was told of at nowMS. It is due again when a renewal
// is half to wholly over, which depends on its source: those of one source
// together, because a store writes them in one go, and those of a fleet that
// started at once one source after the other.
func (x *indexed) add(source string, key uint64, nowMS int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.now) >= x.limit {
		x.now, x.old = map[uint64]int64{}, x.now
	}
	x.now[key] = nowMS + x.renewMS/2 + int64(xxhash.Sum64String(source)>>1)%(x.renewMS/2+1)
}
