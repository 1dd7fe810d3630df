package schemas

import (
	"encoding/binary"
	"fmt"
)

// Parked names a value that could not be written: its key, and when a value of that key was last
// lost before, LostMS, wall time, ms, 0 for never.
type Parked struct {
	Key    string
	LostMS int64
}

// parkingMark is the first byte of a record made by AppendParking. No tick begins with it.
const parkingMark = 'P'

// IsParking reports whether a record without a key lists values to be parked.
func IsParking(b []byte) bool { return len(b) > 0 && b[0] == parkingMark }

// AppendParking appends to dst a record without a key for an input topic: the values to be given up
// when it is read (processors/writeback/lost.go).
func AppendParking(dst []byte, ps []Parked) []byte {
	dst = binary.AppendUvarint(append(dst, parkingMark, 1), uint64(len(ps)))
	for _, p := range ps {
		dst = append(binary.AppendUvarint(dst, uint64(len(p.Key))), p.Key...)
		dst = binary.AppendVarint(dst, p.LostMS)
	}
	return dst
}

// DecodeParking reads what AppendParking wrote. It returns an error that wraps ErrVersion or
// ErrCorrupt.
func DecodeParking(b []byte) ([]Parked, error) {
	w := wire{b: b}
	if mark, version := w.byte(), w.byte(); w.err == nil && (mark != parkingMark || version != 1) {
		return nil, fmt.Errorf("parking: version %q %d: %w", mark, version, ErrVersion)
	}
	var ps []Parked
	for n := w.count(2); n > 0; n-- {
		key := w.section()
		ps = append(ps, Parked{string(key), w.varint()})
	}
	if w.err == nil && len(w.b) > 0 {
		w.fail(fmt.Sprintf("%d bytes left over", len(w.b)))
	}
	if w.err != nil {
		return nil, fmt.Errorf("parking of %d bytes: %w", len(b), w.err)
	}
	return ps, nil
}
