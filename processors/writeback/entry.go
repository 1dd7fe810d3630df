package writeback

import (
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
	acked      atomic.Bool
}

// Emit sends a record with the key of the entry's choice, once or, after a crash,
// more than once. A nil value deletes the key from a compacted topic. The value must
// not change afterwards. Call it from Logic only.
func (e *Entry[T]) Emit(p *Part[T], topic string, key, value []byte) {
	m := &emission{topic: topic, key: key, value: value}
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
	p.eng.prod.produce(&kgo.Record{Topic: m.topic, Key: m.key, Value: m.value}, func(err error) {
		if err == nil {
			m.acked.Store(true)
		}
	})
}

const entryVersion = 1

// encode appends the stored form: version, last offset, what is not acknowledged
// yet, and Logic's value.
func (e *Entry[T]) encode(p *Part[T], dst []byte) []byte {
	e.trim()
	dst = append(dst, entryVersion)
	dst = binary.AppendVarint(dst, e.offset)
	dst = binary.AppendUvarint(dst, uint64(len(e.pending)))
	for _, m := range e.pending {
		for _, b := range [3][]byte{[]byte(m.topic), m.key, m.value} {
			dst = binary.AppendUvarint(dst, uint64(len(b)))
			dst = append(dst, b...)
		}
	}
	return p.eng.logic.Append(p, dst, e.V)
}

func decodeEntry[T any](p *Part[T], key string, b []byte) (*Entry[T], error) {
	e := &Entry[T]{Key: key}
	if len(b) == 0 || b[0] != entryVersion {
		return nil, fmt.Errorf("state of %q in %s/%d: %w", key, p.eng.opts.Table, p.ID, schemas.ErrVersion)
	}
	b = b[1:]
	off, n := binary.Varint(b)
	if n <= 0 {
		return nil, fmt.Errorf("state of %q in %s/%d: %w", key, p.eng.opts.Table, p.ID, schemas.ErrCorrupt)
	}
	e.offset, b = off, b[n:]
	k, n := binary.Uvarint(b)
	if n <= 0 {
		return nil, fmt.Errorf("state of %q in %s/%d: %w", key, p.eng.opts.Table, p.ID, schemas.ErrCorrupt)
	}
	b = b[n:]
	for ; k > 0; k-- {
		var f [3][]byte
		for i := range f {
			l, n := binary.Uvarint(b)
			if n <= 0 || l > uint64(len(b)-n) {
				return nil, fmt.Errorf("state of %q in %s/%d: %w", key, p.eng.opts.Table, p.ID, schemas.ErrCorrupt)
			}
			f[i], b = b[n:n+int(l)], b[n+int(l):]
		}
		if len(f[2]) == 0 {
			f[2] = nil
		}
		e.pending = append(e.pending, &emission{topic: string(f[0]), key: f[1], value: f[2]})
	}
	v, err := p.eng.logic.Decode(p, key, b)
	if err != nil {
		return nil, fmt.Errorf("state of %q in %s/%d: %w", key, p.eng.opts.Table, p.ID, err)
	}
	e.V = v
	return e, nil
}
