package embedded

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/cql"
)

// The first byte of a key tells what the key is.
const (
	windowKey = 'w'
	seriesKey = 's'
	labelKey  = 'l'
)

// appendText appends s so that keys sort as their texts do, and no text is the beginning of
// another: a NUL becomes 00 ff, and the text ends with 00 01.
func appendText(dst []byte, s string) []byte {
	for i := range len(s) {
		dst = append(dst, s[i])
		if s[i] == 0 {
			dst = append(dst, 0xff)
		}
	}
	return append(dst, 0, 1)
}

// appendInt appends n so that keys sort as numbers do, negative ones first.
func appendInt(dst []byte, n int64) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(n)^1<<63)
}

func readInt(b []byte) int64 { return int64(binary.BigEndian.Uint64(b) ^ 1<<63) }

func appendTier(dst []byte, t cql.Tier) []byte {
	return appendInt(append(dst, windowKey), t.SizeMS)
}

func appendBucket(dst []byte, t cql.Tier, bucket int32) []byte {
	return appendInt(appendTier(dst, t), int64(bucket))
}

// appendSlice appends the common beginning of all keys of a series in a bucket.
func appendSlice(dst []byte, t cql.Tier, bucket int32, source, metric, labels string) []byte {
	dst = appendBucket(dst, t, bucket)
	return appendText(appendText(appendText(dst, source), metric), labels)
}

// tail is the number of bytes of a window's key after the slice: start, part, ^revision.
const tail = 8 + 8 + 4

func appendTail(dst []byte, startMS, part int64, revision uint32) []byte {
	return binary.BigEndian.AppendUint32(appendInt(appendInt(dst, startMS), part), ^revision)
}

const rowVersion = 1

// appendRow encodes what a window's key does not tell.
func appendRow(dst []byte, w *schemas.Window) []byte {
	dst = binary.AppendVarint(append(dst, rowVersion), int64(w.Count))
	dst = binary.AppendVarint(dst, int64(w.FirstOff))
	dst = binary.AppendVarint(dst, int64(w.LastOff))
	for _, v := range w.Numbers() {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(*v))
	}
	return dst
}

// decodeRow reads a window of a series from the tail of its key and its value.
// The error wraps schemas.ErrVersion or schemas.ErrCorrupt.
func decodeRow(s schemas.Series, tierMS int64, key, value []byte) (schemas.Window, error) {
	w := schemas.Window{Series: s, TierMS: tierMS}
	if len(key) != tail {
		return w, fmt.Errorf("window row: key ends in %d bytes, must be %d: %w", len(key), tail, schemas.ErrCorrupt)
	}
	w.StartMS, w.Part = readInt(key), readInt(key[8:])
	w.Revision = ^binary.BigEndian.Uint32(key[16:])
	if len(value) == 0 || value[0] != rowVersion {
		return w, fmt.Errorf("window row %x: %w", value[:min(len(value), 1)], schemas.ErrVersion)
	}
	rest := value[1:]
	for _, p := range [...]*uint32{&w.Count, &w.FirstOff, &w.LastOff} {
		v, n := binary.Varint(rest)
		if n <= 0 || v != int64(uint32(v)) {
			return w, fmt.Errorf("window row of %d bytes: %w", len(value), schemas.ErrCorrupt)
		}
		*p, rest = uint32(v), rest[n:]
	}
	values := w.Numbers()
	if len(rest) != 8*len(values) {
		return w, fmt.Errorf("window row of %d bytes: %w", len(value), schemas.ErrCorrupt)
	}
	for i, p := range values {
		*p = math.Float64frombits(binary.LittleEndian.Uint64(rest[8*i:]))
	}
	return w, nil
}

// after returns the first key after all keys that start with prefix, whose first byte is not 0xff.
func after(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; ; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
}
