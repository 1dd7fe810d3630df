package writeback

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"

	"weir/schemas"
)

// Entry is the live value of one key. Logic may change V; it is used by the
// goroutine of its partition only.
type Entry[T any] struct {
	Key string
	V   *T

	offset  int64 // of the last record applied, -1 none
	due     int64 // registered in the partition's heap, 0 not
	dirty   atomic.Bool
	pending []*emission
}

// emission is something that Logic emitted, until the broker has it.
type emission struct {
	topic      string
	key, value []byte
	headers    []kgo.RecordHeader
	acked      atomic.Bool
}

// Emit sends a record with the key of the entry's choice, once or, after a crash,
// more than once. A nil value deletes the key from a compacted topic. The value must
// not change afterwards. Call it from Logic only.
func (e *Entry[T]) Emit(p *Part[T], topic string, key, value []byte) {
	e.emit(p, &emission{topic: topic, key: key, value: value})
}

// Deadletter is Emit for a refused record, or what stands for refused samples. r may
// be used again.
func (e *Entry[T]) Deadletter(p *Part[T], r *kgo.Record) {
	e.emit(p, &emission{topic: r.Topic, key: r.Key, value: bytes.Clone(r.Value), headers: r.Headers})
}

func (e *Entry[T]) emit(p *Part[T], m *emission) {
	e.trim()
	e.pending = append(e.pending, m)
	p.touch(e)
	p.send(m)
}

// trim forgets what was acknowledged.
func (e *Entry[T]) trim() {
	n := 0
	for _, m := range e.pending {
		if !m.acked.Load() {
			e.pending[n] = m
			n++
		}
	}
	clear(e.pending[n:])
	e.pending = e.pending[:n]
}

func (p *Part[T]) send(m *emission) {
	p.eng.prod.produce(&kgo.Record{Topic: m.topic, Key: m.key, Value: m.value, Headers: m.headers}, func(err error) {
		if err == nil {
			m.acked.Store(true)
		}
	})
}

// entryVersion 2 has headers; 1, which is still read, had none.
const entryVersion = 2

// encode appends the stored form: version, last offset, what is not acknowledged
// yet, and Logic's value.
func (e *Entry[T]) encode(p *Part[T], dst []byte) []byte {
	e.trim()
	dst = append(dst, entryVersion)
	dst = binary.AppendVarint(dst, e.offset)
	dst = binary.AppendUvarint(dst, uint64(len(e.pending)))
	for _, m := range e.pending {
		dst = appendBytes(appendBytes(appendBytes(dst, []byte(m.topic)), m.key), m.value)
		dst = binary.AppendUvarint(dst, uint64(len(m.headers)))
		for _, h := range m.headers {
			dst = appendBytes(appendBytes(dst, []byte(h.Key)), h.Value)
		}
	}
	return p.eng.logic.Append(p, dst, e.V)
}

// storedOffset is the offset in a stored form, or -1 if it has none.
func storedOffset(b []byte) int64 {
	if len(b) > 0 {
		if o, n := binary.Varint(b[1:]); n > 0 {
			return o
		}
	}
	return -1
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

func decodeEntry[T any](p *Part[T], key string, b []byte) (*Entry[T], error) {
	fault := func(err error) error {
		return fmt.Errorf("state of %q in %s/%d: %w", key, p.eng.opts.Table, p.ID, err)
	}
	e := &Entry[T]{Key: key}
	if len(b) == 0 || b[0] < 1 || b[0] > entryVersion {
		return nil, fault(schemas.ErrVersion)
	}
	version, r := b[0], entryReader{b: b[1:]}
	e.offset = r.varint()
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		m := &emission{topic: string(r.bytes()), key: r.bytes(), value: r.bytes()}
		if len(m.value) == 0 {
			m.value = nil
		}
		headers := uint64(0)
		if version >= 2 {
			headers = r.uvarint()
		}
		for ; headers > 0 && !r.bad; headers-- {
			m.headers = append(m.headers, kgo.RecordHeader{Key: string(r.bytes()), Value: r.bytes()})
		}
		e.pending = append(e.pending, m)
	}
	if r.bad {
		return nil, fault(schemas.ErrCorrupt)
	}
	v, err := p.eng.logic.Decode(p, key, r.b)
	if err != nil {
		return nil, fault(err)
	}
	e.V = v
	return e, nil
}

// entryReader reads a stored form; after the first fault it returns nothing.
type entryReader struct {
	b   []byte
	bad bool
}

func (r *entryReader) skip(n int) {
	if n <= 0 {
		r.b, r.bad = nil, true
		return
	}
	r.b = r.b[n:]
}

func (r *entryReader) varint() int64 {
	v, n := binary.Varint(r.b)
	r.skip(n)
	return v
}

func (r *entryReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	r.skip(n)
	return v
}

func (r *entryReader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}
