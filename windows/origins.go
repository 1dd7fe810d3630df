package windows

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/weir-metrics/weir/schemas"
)

// origins is how far a group has applied each partition of the origin topic that its samples came
// from; the last one heard from stands at the end. It identifies a section that is delivered again
// as a replay, and makes the group wait for its slowest partition in a backlog.
type origins []originMark

// originMark is the last section applied from one partition of an origin topic.
type originMark struct {
	epoch     uint64
	offset    int64
	newest    int64 // event time of the newest sample applied from there, ms; at most the time of arrival
	partition int32
	chunk     uint32
	behind    bool // the section had queued there
}

// maxOrigins bounds the partitions that a group remembers. It forgets the one that has been silent
// the longest: what route hands on again is recent.
const maxOrigins = 256

// maxBehind is how far, in event time, ms, a group is held back for a partition of the origin
// topic. It bounds the number of windows that are open at once.
const maxBehind = 10 * 60_000

// unknownOrigin is the partition of the mark that stands for all partitions that the group has not
// heard from yet.
const unknownOrigin = -1

// replayed reports whether the section was applied before, by its origin; if not, it records the
// origin.
func (o *origins) replayed(s *schemas.Section) bool {
	at := s.Origin
	mark := -1
	newest := int64(none)
	last := len(*o) - 1
	for i := range *o {
		if m := &(*o)[i]; m.partition == at.Partition && m.epoch == at.Epoch {
			if at.Offset < m.offset || at.Offset == m.offset && s.Chunk <= m.chunk {
				return true
			}
			if i == last { // as almost always
				m.offset, m.chunk, m.behind = at.Offset, s.Chunk, s.Behind
				return false
			}
			mark, newest = i, m.newest
			break
		}
	}
	switch {
	case mark >= 0:
		*o = slices.Delete(*o, mark, mark+1)
	case len(*o) == maxOrigins:
		*o = slices.Delete(*o, 0, 1)
	}
	*o = append(*o, originMark{epoch: at.Epoch, partition: at.Partition, offset: at.Offset, chunk: s.Chunk, newest: newest, behind: s.Behind})
	return false
}

// clockLimit returns the event time, ms, beyond which samples do not move the group's clock. A
// producer may spread the samples of a group over partitions of the origin topic, and each of those
// is read at its own pace. That does not matter while all are read as they are written. In a
// backlog they may be minutes apart, so the group waits for the slowest: of all its partitions if
// some of the batch at hand had queued, otherwise of those whose last section had. A partition that
// is more than maxBehind behind is assumed to bring nothing any more.
func (o origins) clockLimit(waited bool) int64 {
	newest := int64(math.MinInt64)
	for i := range o {
		newest = max(newest, o[i].newest)
	}
	until := int64(math.MaxInt64)
	for i := range o {
		m := &o[i]
		switch {
		case m.newest <= newest-maxBehind:
		case waited && m.partition == unknownOrigin:
			until = min(until, newest-maxBehind)
		case waited || m.behind:
			until = min(until, m.newest)
		}
	}
	return until
}

// expectOthers is for a group that begins in a backlog, with a sample at firstMS: it does not know
// which partitions will bring samples, and waits for any that is not more than maxBehind behind.
func (o *origins) expectOthers(firstMS int64) {
	*o = slices.Insert(*o, 0, originMark{partition: unknownOrigin, newest: firstMS})
}

// until is the wall time, ms, up to which a tick moves the group: the tick's own, or, if route is
// behind with partitions of the origin topic that the group gets samples from, the earliest time up
// to which one of them was handed on. A partition whose newest sample is more than maxBehind older
// than the group's newest is assumed to bring nothing any more, like a partition of a deleted
// topic. A group that has had no sample yet may get some from any partition.
func (o origins) until(t *schemas.Tick) int64 {
	if len(t.Behind) == 0 && !t.Unknown {
		return t.NowMS
	}
	newest := int64(math.MinInt64 + maxBehind)
	for i := range o {
		newest = max(newest, o[i].newest)
	}
	until, known := t.NowMS, false
	for i := range o {
		m := &o[i]
		switch {
		case m.newest <= newest-maxBehind, m.partition != unknownOrigin && m.epoch != t.Epoch && !t.Unknown:
		case m.partition == unknownOrigin:
			until = min(until, t.OfAll())
		default:
			until, known = min(until, t.Of(m.partition)), true
		}
	}
	if !known {
		until = min(until, t.OfAll())
	}
	return until
}

func (o origins) appendTo(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(o)))
	for _, m := range o {
		dst = binary.LittleEndian.AppendUint64(dst, m.epoch)
		dst = binary.AppendUvarint(dst, uint64(uint32(m.partition)))
		dst = binary.AppendUvarint(dst, uint64(m.offset))
		chunk := uint64(m.chunk) << 1
		if m.behind {
			chunk |= 1
		}
		dst = binary.AppendUvarint(dst, chunk)
		dst = binary.AppendVarint(dst, m.newest)
	}
	return dst
}

func (o *origins) decode(r *reader) {
	for n := r.count(12); n > 0; n-- {
		m := originMark{epoch: r.u64(), partition: int32(r.uvarint()), offset: int64(r.uvarint())}
		chunk := r.uvarint()
		m.chunk, m.behind, m.newest = uint32(chunk>>1), chunk&1 == 1, r.varint()
		*o = append(*o, m)
	}
}
