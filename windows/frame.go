package windows

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/weir-metrics/weir/schemas"
)

// frame holds the windows of one tier and start for all series of a group: aggs[i] is the aggregate
// of series i, empty while its count is 0. It may be shorter than the group's list of series. A
// closed frame is frozen, that is encoded in blob, which is smaller, until a late sample comes. So
// is an open frame of the third tier or above while nothing is merged into it.
type frame struct {
	start   int64
	dirty   int // how many aggs were revised since the close
	aggs    []agg
	blob    []byte
	closed  bool
	flat    bool   // in the smallest tier: there are no rows, and none will be made
	samples uint32 // in the smallest tier: how many samples were counted
	width   uint32 // how many of the group's series it may have samples of: at least len(aggs)
	large   uint32 // in the smallest tier: how many samples take 16 bytes to know, in fine and over
	next    uint32 // in the smallest tier: a sample at or after this, ms from start, is newer than all

	// Frames of the smallest tier remember their samples, to tell repeats: some in rows, the
	// others, if their series has more than one in aggs, by 8 bytes each in keys. seen is made when
	// repeats are asked for often.
	rows []row
	keys []uint64
	seen map[uint64]struct{}
	over map[schemas.ID]struct{} // the samples of overflow series; see addCollapsed
	rare *rare                   // what few frames have
}

// rare is what few frames of the smallest tier have.
type rare struct {
	fine    map[fineSample]struct{} // samples whose time has a fraction of a ms; see addFine
	senders []senderCount           // see room
}

// nothingRare is only read, never changed.
var nothingRare rare

// rarely returns the frame's rare part for reading.
func (f *frame) rarely() *rare {
	if f.rare == nil {
		return &nothingRare
	}
	return f.rare
}

// own returns the frame's rare part for changing.
func (f *frame) own() *rare {
	if f.rare == nil {
		f.rare = new(rare)
	}
	return f.rare
}

// at returns the aggregate of series i, growing the frame for a group of n series.
func (f *frame) at(sh *Shard, i, n int) *agg {
	f.width = max(f.width, uint32(n))
	if i >= len(f.aggs) {
		if len(f.aggs) == 0 {
			f.aggs = sh.newAggs(n)
			return &f.aggs[i]
		}
		if i >= cap(f.aggs) {
			grown := make([]agg, len(f.aggs), max(n, cap(f.aggs)*5/4))
			copy(grown, f.aggs)
			f.aggs = grown
		}
		f.aggs = f.aggs[:min(n, cap(f.aggs))]
	}
	return &f.aggs[i]
}

// rest freezes an open frame of a tier that is rarely merged into.
func (f *frame) rest(sh *Shard, t int) {
	if t > 1 {
		f.freeze(sh, t)
	}
}

// freeze encodes a frame of tier t and gives back its memory.
func (f *frame) freeze(sh *Shard, t int) {
	if f.blob != nil || f.dirty > 0 {
		return
	}
	sh.pool.blob = f.appendBody(sh.pool.blob[:0], t)
	f.blob = append(make([]byte, 0, len(sh.pool.blob)), sh.pool.blob...)
	sh.freeAggs(f.aggs)
	f.freeRows(sh)
	sh.freeOver(f.over)
	f.aggs, f.keys, f.seen, f.over, f.rare = nil, nil, nil, nil, nil
}

// thaw undoes freeze, for a group of n series, but leaves no rows. The blob was made by the frame
// itself or checked by DecodeGroup.
func (f *frame) thaw(sh *Shard, t, n int) {
	if f.blob == nil {
		return
	}
	f.decodeBody(sh, &reader{b: f.blob, version: stateVersion}, t, n)
	f.blob = nil
	f.flatten(sh, n)
}

func (f *frame) appendTo(dst []byte, t int, size int64) []byte {
	dst = binary.AppendVarint(dst, f.start/size)
	body := f.blob
	if body == nil {
		body = f.appendBody(nil, t)
	}
	dst = binary.AppendUvarint(dst, uint64(f.width))
	if !f.closed {
		return append(append(dst, 0), body...)
	}
	dst = append(dst, 1)
	return append(binary.AppendUvarint(dst, uint64(len(body))), body...)
}

func (f *frame) appendBody(dst []byte, t int) []byte {
	dst = appendAggs(dst, f.aggs)
	if t > 0 {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(len(f.keys)))
	for _, k := range f.keys {
		dst = binary.LittleEndian.AppendUint64(dst, k)
	}
	dst = binary.AppendUvarint(dst, uint64(len(f.over)))
	if len(f.over) > 0 {
		dst = slices.Grow(dst, 16*len(f.over))
		for _, k := range sortedIDs(f.over) {
			dst = appendID(dst, k)
		}
	}
	dst = f.appendFine(dst)
	dst = binary.AppendUvarint(dst, uint64(len(f.rarely().senders)))
	for _, s := range f.rarely().senders {
		dst = binary.LittleEndian.AppendUint64(dst, s.sender)
		dst = binary.AppendUvarint(dst, uint64(s.samples))
	}
	return f.appendRows(dst)
}

// decodeFrame reads a frame of tier t, of a group of n series; the caller checks r.bad.
func decodeFrame(sh *Shard, r *reader, t, n int) *frame {
	idx := r.varint()
	if idx > math.MaxInt64/sh.sizes[t]/2 || idx < math.MinInt64/sh.sizes[t]/2 {
		r.bad = true
		return nil
	}
	f := &frame{start: idx * sh.sizes[t], width: uint32(n)}
	if r.version >= 3 {
		if f.width = uint32(min(r.uvarint(), maxSeriesCap)); int(f.width) > n {
			r.bad = true
			return nil
		}
	}
	f.closed = r.byte() == 1
	if !f.closed {
		f.decodeBody(sh, r, t, n)
		f.rest(sh, t)
		return f
	}
	body := r.take(int(min(r.uvarint(), math.MaxInt32)))
	in := &reader{b: body, version: r.version}
	f.decodeBody(sh, in, t, n)
	if in.bad || len(in.b) > 0 {
		r.bad = true
		return f
	}
	f.freeze(sh, t)
	return f
}

// decodeBody reads what appendBody wrote, for a group of n series.
func (f *frame) decodeBody(sh *Shard, r *reader, t, n int) {
	f.aggs, f.rows, f.flat = nil, nil, t > 0
	f.samples, f.next, f.large, f.rare = 0, 0, 0, nil
	f.readAggs(sh, r, n)
	if t > 0 || r.bad {
		return
	}
	f.keys = make([]uint64, r.count(8))
	for j := range f.keys {
		f.keys[j] = r.u64()
		if int(f.keys[j]>>48) >= len(f.aggs) {
			r.bad = true
		}
	}
	if n := r.count(8); n > 0 {
		f.over = make(map[schemas.ID]struct{}, n)
		for range n {
			f.over[r.id()] = struct{}{}
		}
		if r.version < 3 {
			f.over = nil
		}
	}
	if r.version >= 3 {
		f.decodeFine(r)
		f.decodeSenders(r)
	}
	f.large = uint32(len(f.rarely().fine) + len(f.over))
	f.decodeRows(sh, r, n)
}
