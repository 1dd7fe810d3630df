package schemas

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Tick is a record without a key in an input topic, samples or conditions: what its writer, the
// owner of the partition, knew about time when it wrote. Everything that depends on the clock is
// done when a tick is read, by the time in the tick, so that a replay does the same.
type Tick struct {
	// NowMS is the wall clock, ms; NoTime for a tick by which nothing is due.
	NowMS int64
	// Epoch is that of the metrics topic that Behind is about (Origin.Epoch).
	Epoch uint64
	// Behind are the partitions of metrics with which route is behind, ascending.
	Behind []Behind
	// Unknown tells that the writer knew nothing about route: every partition counts as one from
	// which nothing was handed on.
	Unknown bool
}

// Behind is a partition of metrics with which route is behind. What is due by HandedMS, wall time,
// ms, is not due too early: everything that had come into the partition by a tier's least grace
// before that was in samples when the tick was written. What came later may not have been.
type Behind struct {
	Partition int32
	HandedMS  int64
}

// NoTime is the NowMS of a tick by which nothing is due.
const NoTime = math.MinInt64

// latestMS is the end of the year 9999: a later time is invalid.
const latestMS = 253_402_300_799_999

// Version 1 is the wall clock alone, in 8 bytes. It is still written when there is nothing more to
// say.
const tickVersion = 2

const tickUnknown = 1 // a flag

// AppendTo appends the encoded tick to dst.
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

// DecodeTick reads what AppendTo wrote. It returns an error that wraps ErrVersion or ErrCorrupt; a
// time out of range counts as corrupt.
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
		w.fail(fmt.Sprintf("%d bytes left over", len(w.b)))
	}
	if w.err != nil {
		return Tick{}, fmt.Errorf("tick of %d bytes: %w", len(b), w.err)
	}
	return t, nil
}

// Of is the wall time, ms, up to which what came into the partition of metrics was handed on: NowMS
// for a partition with which route is not behind.
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
