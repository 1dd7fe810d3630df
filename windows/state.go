package windows

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
	"unique"

	"weir/schemas"
)

// Version 3 has no hashes of series, IDs where 2 had 64-bit hashes of sections and of samples
// (those are not taken over), sections that were refused in part, samples with times within a
// ms, and who sent them.
const stateVersion = 3

// ErrState is wrapped by DecodeGroup when a state does not decode, and
// ErrTiers when it was kept for other tiers than the config's.
var (
	ErrState = errors.New("group state is corrupt")
	ErrTiers = errors.New("group state was kept for other tiers")
)

// AppendTo encodes the group after dst: all that DecodeGroup needs to go on as if
// nothing had happened.
func (g *Group) AppendTo(co *Core, dst []byte) []byte {
	dst = append(dst, stateVersion, byte(len(co.sizes)))
	for _, s := range co.sizes {
		dst = binary.AppendUvarint(dst, uint64(s))
	}
	flags := byte(0)
	if g.started {
		flags |= 1
	}
	if g.learned {
		flags |= 2
	}
	if g.healed.part != 0 {
		flags |= 4
	}
	dst = append(dst, flags)
	dst = binary.AppendVarint(dst, g.newest)
	dst = binary.AppendVarint(dst, g.clock-g.newest)
	dst = binary.AppendVarint(dst, g.newest-g.onTime) // may wrap, and back
	dst = binary.AppendVarint(dst, g.floor)
	if h := &g.healed; h.part != 0 {
		dst = binary.AppendVarint(dst, h.part)
		dst = binary.AppendVarint(dst, h.clock)
		dst = binary.AppendVarint(dst, h.newestMS)
	}
	estimated := byte(0)
	if g.estimated {
		estimated = 1
	}
	dst = append(dst, g.delayAt, g.recentN, estimated)
	for _, d := range g.delays {
		dst = binary.AppendVarint(dst, d)
	}
	for _, d := range g.recent {
		dst = appendID(dst, d)
	}
	dst = binary.AppendUvarint(dst, uint64(len(g.partial)))
	for i := range g.partial {
		dst = g.partial[i].appendTo(dst)
	}
	dst = binary.AppendUvarint(dst, uint64(len(g.origins)))
	for _, m := range g.origins {
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
	dst = binary.AppendUvarint(dst, uint64(len(g.dict)))
	for _, h := range g.dict {
		l := h.Value()
		dst = binary.AppendUvarint(dst, uint64(len(l.Name)))
		dst = append(dst, l.Name...)
		dst = binary.AppendUvarint(dst, uint64(len(l.Value)))
		dst = append(dst, l.Value...)
	}
	dst = binary.AppendUvarint(dst, uint64(len(g.ids)))
	for i := range g.ids {
		refs := g.seriesRefs(i)
		dst = binary.AppendUvarint(dst, uint64(len(refs)))
		for _, r := range refs {
			dst = binary.AppendUvarint(dst, uint64(r))
		}
	}
	for t, fs := range g.tiers {
		dst = binary.AppendUvarint(dst, uint64(len(fs)))
		for _, f := range fs {
			dst = f.appendTo(dst, t, co.sizes[t])
		}
	}
	return dst
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
		for _, k := range slices.SortedFunc(maps.Keys(f.over), compareIDs) {
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

// maxFrames bounds the frames of a tier in a state: with a grace of at most the tier's
// size a group has five, more while it is held back, and those ahead of the clock.
const maxFrames = maxHold/1000 + int(maxAhead/time.Second) + 64

// DecodeGroup reads what AppendTo wrote. It returns an error that wraps ErrState
// or ErrTiers, or names an unknown version (schemas.ErrVersion).
func DecodeGroup(co *Core, state []byte) (*Group, error) {
	r := &reader{b: state}
	if r.version = r.byte(); r.version < 2 || r.version > stateVersion {
		return nil, fmt.Errorf("group state of %d bytes: version %d: %w", len(state), r.version, schemas.ErrVersion)
	}
	sizes := make([]int64, r.byte())
	for i := range sizes {
		sizes[i] = int64(r.uvarint())
	}
	if !r.bad && !slices.Equal(sizes, co.sizes) {
		return nil, fmt.Errorf("%w: %v ms, the config has %v ms", ErrTiers, sizes, co.sizes)
	}
	g := NewGroup(co)
	flags := r.byte()
	g.started, g.learned = flags&1 == 1, flags&3 != 0
	g.newest = r.varint()
	g.clock = g.newest + r.varint()
	if r.version >= 3 {
		g.learned = flags&2 == 2
		g.onTime = g.newest - r.varint()
	} else if g.started {
		g.onTime = g.newest
	}
	g.floor = r.varint()
	if r.version >= 3 && flags&4 == 4 {
		g.healed = healed{r.varint(), r.varint(), r.varint()}
	}
	g.delayAt, g.recentN, g.estimated = r.byte()%delaysKept, r.byte()%recentDigests, r.byte() == 1
	for i := range g.delays {
		g.delays[i] = r.varint()
	}
	for i := range g.recent {
		if g.recent[i] = r.id(); r.version < 3 {
			g.recent[i] = schemas.ID{}
		}
	}
	if r.version >= 3 {
		g.decodePartial(r)
	}
	for n := r.count(12); n > 0; n-- {
		m := originMark{epoch: r.u64(), partition: int32(r.uvarint()), offset: int64(r.uvarint())}
		chunk := r.uvarint()
		m.chunk, m.behind, m.newest = uint32(chunk>>1), chunk&1 == 1, r.varint()
		g.origins = append(g.origins, m)
	}
	over := false // some label has the value of overflow series
	for n := r.count(2); n > 0; n-- {
		l := schemas.Label{Name: r.text(), Value: r.text()}
		over = over || l.Value == Overflow
		g.dict = append(g.dict, unique.Make(l))
		g.dictBytes += pairBytes(l)
	}
	if err := g.decodeSeries(co, r); err != nil {
		return nil, err
	}
	if over {
		g.markOverflow(co)
	}
	for t := range g.tiers {
		n := r.count(3)
		if n > maxFrames {
			return nil, fmt.Errorf("%d frames in tier %d: %w", n, t, ErrState)
		}
		for ; n > 0; n-- {
			f := g.decodeFrame(co, r, t)
			if r.bad || len(g.tiers[t]) > 0 && g.tiers[t][len(g.tiers[t])-1].start >= f.start {
				r.bad = true
				break
			}
			g.tiers[t] = append(g.tiers[t], f)
			at := f.start + co.sizes[t] + co.graces[t]
			if f.closed {
				at += co.sizes[t]
			}
			g.nextClose = min(g.nextClose, at)
		}
	}
	if r.bad || len(r.b) > 0 {
		return nil, fmt.Errorf("group state of %d bytes: %w", len(state), ErrState)
	}
	co.total += len(g.ids)
	if g.started {
		co.groups++
	}
	return g, nil
}

func (g *Group) decodeSeries(co *Core, r *reader) error {
	n := r.count(2)
	if n > maxSeriesCap {
		return fmt.Errorf("%d series: %w", n, ErrState)
	}
	g.ids, g.ends, g.marks = make([]schemas.ID, 0, n), make([]uint32, 0, n), make([]mark, 0, n)
	for i := range n {
		if r.version < 3 {
			r.u64()
		}
		k := r.count(1)
		if k == 0 {
			return fmt.Errorf("series without a metric: %w", ErrState)
		}
		metric := -1
		for ; k > 0; k-- {
			ref := r.uvarint()
			if ref >= uint64(len(g.dict)) {
				return fmt.Errorf("label %d of %d: %w", ref, len(g.dict), ErrState)
			}
			if metric < 0 {
				metric = int(ref)
			}
			g.refs = append(g.refs, uint16(ref))
		}
		g.ends = append(g.ends, uint32(len(g.refs)))
		g.marks = append(g.marks, co.wanted(g.dict[metric].Value().Value))
		s := g.seriesAt(i)
		g.ids = append(g.ids, s.ID())
		g.textBytes += textBytes(s)
	}
	g.refs = slices.Clip(g.refs)
	g.reindex()
	return nil
}

// decodeFrame reads a frame; the caller checks r.bad.
func (g *Group) decodeFrame(co *Core, r *reader, t int) *frame {
	idx := r.varint()
	if idx > math.MaxInt64/co.sizes[t]/2 || idx < math.MinInt64/co.sizes[t]/2 {
		r.bad = true
		return nil
	}
	f := &frame{start: idx * co.sizes[t], width: uint32(len(g.ids))}
	if r.version >= 3 {
		if f.width = uint32(min(r.uvarint(), maxSeriesCap)); int(f.width) > len(g.ids) {
			r.bad = true
			return nil
		}
	}
	f.closed = r.byte() == 1
	if !f.closed {
		f.decodeBody(co, r, t, len(g.ids))
		f.rest(co, t)
		return f
	}
	body := r.take(int(min(r.uvarint(), math.MaxInt32)))
	in := &reader{b: body, version: r.version}
	f.decodeBody(co, in, t, len(g.ids))
	if in.bad || len(in.b) > 0 {
		r.bad = true
		return f
	}
	f.freeze(co, t)
	return f
}

// decodeBody reads what appendBody wrote, for a group of n series.
func (f *frame) decodeBody(co *Core, r *reader, t, n int) {
	f.aggs, f.rows, f.flat = nil, nil, t > 0
	f.samples, f.next, f.large, f.rare = 0, 0, 0, nil
	f.readAggs(co, r, n)
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
	f.decodeRows(co, r, n)
}
