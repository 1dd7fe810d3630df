package writeback

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
)

// Entry is the live value of one key. Logic may change V. Only the goroutine of its partition uses
// an Entry.
type Entry[T, L any] struct {
	Key string
	V   *T

	offset  int64 // of the last record applied; -1: none
	due     int64 // as registered in the partition's heap; 0: not registered
	dirty   atomic.Bool
	pending []*emission
	letters *atomic.Int32 // unacknowledged letters; nil: none yet. The value must not be written before they are acknowledged

	writers []writer // those that have a record of the key in the changelog
	lostMS  int64    // see lost.go; 0: nothing of the value was lost
	was     *gone    // what the table has for the key until the value is written; nil: nothing, or a value

	refused  atomic.Pointer[refusal] // of the value written last; nil: it was accepted, or there is no answer yet
	parkedAt int64                   // one past the offset at which the value was parked; 0: it was not
	fresh    bool                    // it was parked, and has not been written since
	mute     bool                    // nothing more is written
}

// emission is something that Logic emitted, until the broker has acknowledged it.
type emission struct {
	topic      string
	key, value []byte
	headers    []kgo.RecordHeader
	acked      atomic.Bool
}

func (m *emission) size() int { return len(m.key) + len(m.value) }

// Emit sends a record with a key of the caller's choice once or, after a crash, more than once. A
// nil value deletes the key from a compacted topic. The value must not change afterwards. A record
// that the broker will never accept is counted, raises an alarm, and is replaced by a dead letter.
// Call Emit only from Logic.
func (e *Entry[T, L]) Emit(p *Partition[T, L], topic string, key, value []byte) {
	e.trim()
	m := &emission{topic: topic, key: key, value: value}
	e.pending = append(e.pending, m)
	p.touch(e)
	p.send(m)
}

// trim forgets what has been acknowledged.
func (e *Entry[T, L]) trim() {
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

// maxPending bounds how much unacknowledged output a stored form has, bytes: beyond it, the value
// waits for the broker.
const maxPending = 1 << 20

// writable reports whether the value may be written now: its letters are acknowledged, and not too
// much is pending; nothing at all, if it takes the place of one that was too large.
func (e *Entry[T, L]) writable() bool {
	if e.lettersOut() {
		return false
	}
	if e.trim(); e.fresh && len(e.pending) > 0 {
		return false
	}
	n := 0
	for _, m := range e.pending {
		n += m.size()
	}
	return n <= maxPending
}

func (p *Partition[T, L]) send(m *emission) {
	r := &kgo.Record{Topic: m.topic, Key: m.key, Value: m.value, Headers: m.headers}
	p.eng.prod.produce(r, func(err error) {
		switch {
		case err == nil:
			m.acked.Store(true)
			p.acknowledged()
		case errors.Is(err, ErrRefused):
			p.eng.prod.later(func() { p.dropEmission(m, r, err) })
		}
	})
}

// The stored form of an entry begins with its version. Version 3 has lostMS, version 2 headers of
// what is pending; older ones are still read. goneVersion is not an entry (gone.go). lostVersion,
// in the local store, marks what did not decode.
const (
	lostVersion  = 0
	entryVersion = 3
)

func knownVersion(b []byte) bool { return len(b) > 0 && b[0] >= 1 && b[0] <= entryVersion || isGone(b) }

// errStoredVersion tells what is wrong with the stored form b.
func errStoredVersion(b []byte) error {
	if len(b) > 0 && b[0] > goneVersion {
		return fmt.Errorf("version %d, this weir reads up to %d: %w", b[0], goneVersion, schemas.ErrVersion)
	}
	return fmt.Errorf("%d bytes: %w", len(b), schemas.ErrCorrupt)
}

// encode appends the stored form: version, last offset, what is not yet acknowledged, and Logic's
// value.
func (e *Entry[T, L]) encode(p *Partition[T, L], dst []byte) []byte {
	e.trim()
	dst = append(dst, entryVersion)
	dst = binary.AppendVarint(dst, e.offset)
	dst = binary.AppendVarint(dst, e.lostMS)
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

// storedOffset returns the offset in a stored form, or -1 if it has none.
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

// decodeEntry reads what encode appended; it may keep b. It returns whatever b contains.
func decodeEntry[T, L any](p *Partition[T, L], key string, b []byte) (e *Entry[T, L], err error) {
	defer func() { // even a decoder that panics on unforeseen input costs only one key
		if fault := recover(); fault != nil {
			err = fmt.Errorf("panic: %v: %w", fault, schemas.ErrCorrupt)
		}
		if err != nil {
			e, err = nil, fmt.Errorf("state of %q in %s/%d: %w", key, p.eng.opts.Table, p.ID, err)
		}
	}()
	if !knownVersion(b) || isGone(b) {
		return nil, errStoredVersion(b)
	}
	e = &Entry[T, L]{Key: key}
	version, r := b[0], entryReader{b: b[1:]}
	e.offset = r.varint()
	if version >= 3 {
		e.lostMS = r.varint()
	}
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
		if !p.eng.writes(m.topic) {
			return nil, fmt.Errorf("pending record of topic %q: %w", m.topic, schemas.ErrCorrupt)
		}
		e.pending = append(e.pending, m)
	}
	if r.bad || e.offset < -1 {
		return nil, schemas.ErrCorrupt
	}
	if e.V, err = p.eng.logic.Decode(p, key, r.b); err != nil {
		return nil, err
	}
	if e.lostMS != 0 {
		p.eng.logic.Lost(p, e.V, e.lostMS)
	}
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
