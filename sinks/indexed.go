package sinks

import (
	"math/bits"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/weir-metrics/weir/schemas"
)

// indexed remembers which series the index has been told about, and when it must be told again.
//
// Its memory is bounded: at most limit series, some 40 bytes each. What is remembered stays until
// it is due; for a series for which there is no room, the index is told again with each of the
// series' windows. At twice the limit that is half of the series, at four times three quarters. A
// cache that drops the oldest would forget each series just before it comes again: with the first
// series beyond the limit, the index would be told about all of them.
type indexed struct {
	mu      sync.Mutex
	renewMS int64
	limit   int
	due     map[schemas.ID]uint32 // by series of a source, the minute when it is due
	sweptMS int64
}

// maxIndexed is how many series a process remembers: 170 MB, if there are that many.
const maxIndexed = 4 << 20

// sweepEvery is the minimum time between two searches for what is due, ms: each goes through
// everything.
const sweepEvery = 60_000

const minuteMS = 60_000

func newIndexed(renew time.Duration) *indexed {
	return &indexed{renewMS: max(renew.Milliseconds(), 1), limit: maxIndexed, due: map[schemas.ID]uint32{}}
}

// sourceKey and seriesKey identify a series of a source by both names, in 128 bits that nobody can
// choose: a series mistaken for another would be missing from lists.
func sourceKey(source string) schemas.ID { return schemas.Series{Metric: source}.ID() }

func seriesKey(source schemas.ID, s schemas.Series) schemas.ID {
	id := s.ID()
	return schemas.ID{Hi: bits.RotateLeft64(source.Hi, 1) ^ id.Hi, Lo: bits.RotateLeft64(source.Lo, 1) ^ id.Lo}
}

// isDue reports whether the index must be told about the series at nowMS.
func (x *indexed) isDue(key schemas.ID, nowMS int64) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	at, ok := x.due[key]
	return !ok || int64(at)*minuteMS <= nowMS
}

// add records that the index was told about the series at nowMS, if there is room. The series is
// due again when between half and all of a renewal period is over, depending on its source: series
// of one source come due together, because a store writes them in one go, and those of a fleet that
// started at once come due one source after the other.
func (x *indexed) add(source string, key schemas.ID, nowMS int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, ok := x.due[key]; !ok && len(x.due) >= x.limit && !x.sweep(nowMS) {
		return
	}
	at := nowMS + x.renewMS/2 + int64(xxhash.Sum64String(source)>>1)%(x.renewMS/2+1)
	x.due[key] = uint32(max(0, at) / minuteMS)
}

// sweep forgets what is due, and reports whether there is room afterwards.
func (x *indexed) sweep(nowMS int64) bool {
	if nowMS-x.sweptMS < sweepEvery && nowMS >= x.sweptMS {
		return false
	}
	x.sweptMS = nowMS
	for key, at := range x.due {
		if int64(at)*minuteMS <= nowMS {
			delete(x.due, key)
		}
	}
	return len(x.due) < x.limit
}
