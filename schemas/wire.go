package schemas

import (
	"encoding/binary"
	"fmt"
	"math"
)

// wire reads little-endian and varint fields off a byte slice. The first read
// past the end sets err and every later one returns zero, so that a decoder
// checks once per section.
type wire struct {
	b   []byte
	err error
}

func (w *wire) fail(what string) {
	if w.err == nil {
		w.err = fmt.Errorf("%s: %w", what, ErrCorrupt)
	}
	w.b = nil
}

func (w *wire) uvarint() uint64 {
	if len(w.b) > 0 && w.b[0] < 0x80 {
		v := w.b[0]
		w.b = w.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(w.b)
	if n <= 0 {
		w.fail("bad varint")
		return 0
	}
	w.b = w.b[n:]
	return v
}

// uvarint32 reads a uvarint of at most 32 bits; a larger one is an error instead of being cut.
func (w *wire) uvarint32() uint32 {
	v := w.uvarint()
	if v > math.MaxUint32 {
		w.fail("varint of more than 32 bits")
		return 0
	}
	return uint32(v)
}

func (w *wire) varint() int64 {
	u := w.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

func (w *wire) u64() uint64 {
	if len(w.b) < 8 {
		w.fail("fewer than 8 bytes left")
		return 0
	}
	v := binary.LittleEndian.Uint64(w.b)
	w.b = w.b[8:]
	return v
}

func (w *wire) id() ID {
	if len(w.b) < 16 {
		w.fail("fewer than 16 bytes left")
		return ID{}
	}
	v := ID{binary.LittleEndian.Uint64(w.b), binary.LittleEndian.Uint64(w.b[8:])}
	w.b = w.b[16:]
	return v
}

func (w *wire) f64() float64 { return math.Float64frombits(w.u64()) }

func (w *wire) byte() byte {
	if len(w.b) == 0 {
		w.fail("no byte left")
		return 0
	}
	v := w.b[0]
	w.b = w.b[1:]
	return v
}

// bytes takes n bytes, aliasing the input.
func (w *wire) bytes(n uint64) []byte {
	if n > uint64(len(w.b)) {
		w.fail("section longer than the rest")
		return nil
	}
	v := w.b[:n]
	w.b = w.b[n:]
	return v
}

// section takes a length and that many bytes.
func (w *wire) section() []byte { return w.bytes(w.uvarint()) }

// count reads a number of things that take at least size bytes each, so that a
// decoder never allocates for more than the input can hold.
func (w *wire) count(size int) int {
	n := w.uvarint()
	if n > uint64(len(w.b)/size) {
		w.fail("count larger than the rest")
		return 0
	}
	return int(n)
}

func appendSection(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

func appendF64(dst []byte, f float64) []byte {
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(f))
}

// Labels travel as a dictionary of pairs and references into it; a metric is the pair whose name is
// empty. Both kinds of batch use it.

func appendDict(dst []byte, dict []Label) []byte {
	for _, l := range dict {
		dst = binary.AppendUvarint(dst, uint64(len(l.Name)))
		dst = append(dst, l.Name...)
		dst = binary.AppendUvarint(dst, uint64(len(l.Value)))
		dst = append(dst, l.Value...)
	}
	return dst
}

// decodeDict reads pairs to the end of b, and appends them to dict. The strings are copies.
func decodeDict(dict []Label, b []byte) ([]Label, error) {
	text := string(b)
	w := wire{b: b}
	take := func() string {
		n := w.uvarint()
		at := len(text) - len(w.b)
		w.bytes(n)
		if w.err != nil {
			return ""
		}
		return text[at : at+int(n)]
	}
	for len(w.b) > 0 {
		dict = append(dict, Label{take(), take()})
	}
	return dict, w.err
}

// seriesOf builds a series from references into dict: the metric, then labels.
func seriesOf(dict []Label, w *wire) (Series, error) {
	n := w.count(1)
	var s Series
	if n > 1 {
		s.Labels = make(Labels, 0, n-1)
	}
	for i := 0; i < n; i++ {
		ref := w.uvarint()
		if w.err != nil {
			break
		}
		if ref >= uint64(len(dict)) {
			return s, fmt.Errorf("label reference %d of %d: %w", ref, len(dict), ErrCorrupt)
		}
		if l := dict[ref]; i == 0 {
			s.Metric = l.Value
		} else {
			s.Labels = append(s.Labels, l)
		}
	}
	return s, w.err
}
