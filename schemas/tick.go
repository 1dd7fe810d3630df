package schemas

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Tick is a record without a key in an input topic, samples or conditions: what its
// writer, the owner of the partition, knew of time when it wrote. Whatever is done by the
// clock is done when a tick is read, and by what stands in it, so that a replay does the
// same.
type Tick struct {
	// NowMS is the wall clock, ms; NoTime for a tick by which nothing is due.
	NowMS int64
	// Epoch is that of the metrics topic that Behind is about (Origin.Epoch).
	Epoch uint64
	// Behind are the partitions of metrics that route does not hand on as they are written,
	// ascending.
	Behind []Behind
	// Unknown says that the writer knew nothing of route: every partition counts as one of
	// which nothing was handed on.
	Unknown bool
}

// Behind is a partition of metrics that route is behind with: what is due by HandedMS, wall time, ms, is not due too
// early, as what had come into the partition by a tier's least grace before was in samples when the tick was
// written. What came later may not have been.
type Behind struct {
	Partition int32
	HandedMS  int64
}

// NoTime is the NowMS of a tick by which nothing is due.
const NoTime = math.MinInt64

// latestMS is the end of the year 9999: a later time is none.
const latestMS = 253_402_300_799_999

// Version 1 is the wall clock alone, in 8 bytes. It is still what is written when there
// is no more to say.
const tickVersion = 2

const tickUnknown = 1 // a flag

// AppendTo encodes the tick after dst.
func (t *Tick) AppendTo(dst []byte) []byte {
	if len(t.Behind) == 0 && !t.Unknown {
		return binary.BigEndian.AppendUint64(append(dst, 1), uint64(t.NowMS))
	}
	flags := byte(0)
	if t.Unknown {
		flags = tickUnknown
	}
	dst = append(dst, tickVersion, flags)
	dst = binary.BigEndian.AppendUint64(dst, uint64(t.NowMS))
	dst = binary.LittleEndian.AppendUint64(dst, t.Epoch)
	dst = binary.AppendUvarint(dst, uint64(len(t.Behind)))
	for _, b := range t.Behind {
		dst = binary.AppendUvarint(dst, uint64(uint32(b.Partition)))
		dst = binary.AppendVarint(dst, b.HandedMS)
	}
	return dst
}

// DecodeTick reads what AppendTo wrote. It returns an error that wraps ErrVersion or
// ErrCorrupt, the latter also of a time that is none.
func DecodeTick(b []byte) (Tick, error) {
	w := wire{b: b}
	version, flags := w.byte(), byte(0)
	if w.err == nil && version != 1 && version != tickVersion {
		return Tick{}, fmt.Errorf("tick: version %d: %w", version, ErrVersion)
	}
	if version == tickVersion {
		flags = w.byte()
	}
	var t Tick
	if now := w.bytes(8); w.err == nil {
		t.NowMS = int64(binary.BigEndian.Uint64(now))
	}
	if t.NowMS > latestMS {
		w.fail(fmt.Sprintf("time %d", t.NowMS))
	}
	if version == tickVersion {
		t.Unknown = flags&tickUnknown != 0
		t.Epoch = w.u64()
		for n := w.count(2); n > 0; n-- {
			t.Behind = append(t.Behind, Behind{int32(w.uvarint32()), w.varint()})
		}
	}
	if w.err == nil && len(w.b) > 0 {
		w.fail(fmt.Sprintf("%d bytes too many", len(w.b)))
	}
	if w.err != nil {
		return Tick{}, fmt.Errorf("tick of %d bytes: %w", len(b), w.err)
	}
	return t, nil
}

// Of is the wall time, ms, up to which what came into the partition of metrics was handed
// on: NowMS of one that route is not behind with.
func (t *Tick) Of(partition int32) int64 {
	if t.Unknown {
		return NoTime
	}
	for _, b := range t.Behind {
		if b.Partition == partition {
			return min(b.HandedMS, t.NowMS)
		}
	}
	return t.NowMS
}

// OfAll is the earliest of Of for all partitions.
func (t *Tick) OfAll() int64 {
	if t.Unknown {
		return NoTime
	}
	at := t.NowMS
	for _, b := range t.Behind {
		at = min(at, b.HandedMS)
	}
	return at
}
