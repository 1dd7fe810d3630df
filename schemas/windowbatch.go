package schemas

import (
	"encoding/binary"
	"fmt"
)

// Version 1 had a hash of 8 bytes for each series.
const windowBatchVersion = 2

// WindowBuilder makes the value of a windows record without building Windows first, as the window
// processor does. Call Label and Series for what the frames refer to, Frame before the windows of
// one (tier, start, part), and AppendTo last. The zero value is ready.
type WindowBuilder struct {
	dict, defs, body, cur   []byte
	labels, series, windows int
	frame                   int // windows in the open frame
	head                    [3]int64
}

// Label adds a pair to the dictionary and returns its reference; a metric is a pair with an empty
// name.
func (b *WindowBuilder) Label(l Label) uint32 {
	b.dict = appendDict(b.dict, []Label{l})
	b.labels++
	return uint32(b.labels - 1)
}

// Series adds a series by its number of references, including the metric's; follow it with that
// many calls of Ref. It returns the series' index.
func (b *WindowBuilder) Series(refs int) uint32 {
	b.defs = binary.AppendUvarint(b.defs, uint64(refs))
	b.series++
	return uint32(b.series - 1)
}

// Ref adds a label reference to the series added last.
func (b *WindowBuilder) Ref(r uint32) { b.defs = binary.AppendUvarint(b.defs, uint64(r)) }

// Frame begins the windows of one tier, start and part.
func (b *WindowBuilder) Frame(tierMS, startMS, part int64) {
	b.endFrame()
	b.head = [3]int64{tierMS, startMS / tierMS, part}
}

// Window adds a window of series (an index from Series) to the open frame.
func (b *WindowBuilder) Window(series, revision uint32, a *Aggregate) {
	b.cur = binary.AppendUvarint(b.cur, uint64(series))
	b.cur = a.appendTo(b.cur, revision)
	b.frame++
	b.windows++
}

func (b *WindowBuilder) endFrame() {
	if b.frame > 0 {
		b.body = binary.AppendUvarint(b.body, uint64(b.head[0]))
		b.body = binary.AppendVarint(b.body, b.head[1])
		b.body = binary.AppendVarint(b.body, b.head[2])
		b.body = binary.AppendUvarint(b.body, uint64(b.frame))
		b.body = append(b.body, b.cur...)
	}
	b.cur, b.frame = b.cur[:0], 0
}

// Len is the number of windows added since the last Reset.
func (b *WindowBuilder) Len() int { return b.windows }

// AppendTo closes the last frame and appends the encoded batch to dst.
func (b *WindowBuilder) AppendTo(dst []byte, emitMS, newestMS int64) []byte {
	b.endFrame()
	dst = append(dst, windowBatchVersion)
	dst = binary.AppendVarint(dst, emitMS)
	dst = binary.AppendVarint(dst, newestMS)
	dst = appendSection(dst, b.dict)
	dst = binary.AppendUvarint(dst, uint64(b.series))
	dst = appendSection(dst, b.defs)
	return append(dst, b.body...)
}

// Size is roughly the length of the encoded batch, in bytes, and never less than it.
func (b *WindowBuilder) Size() int {
	return len(b.dict) + len(b.defs) + len(b.body) + len(b.cur) + 128
}

// Reset empties the builder and keeps its memory.
func (b *WindowBuilder) Reset() {
	*b = WindowBuilder{dict: b.dict[:0], defs: b.defs[:0], body: b.body[:0], cur: b.cur[:0]}
}

// AppendWindowBatch appends the encoded b to dst. Group is not part of the value.
func AppendWindowBatch(dst []byte, b *WindowBatch) []byte {
	var wb WindowBuilder
	dict := map[Label]uint32{}
	ref := func(l Label) uint32 {
		r, ok := dict[l]
		if !ok {
			r = wb.Label(l)
			dict[l] = r
		}
		return r
	}
	series := map[ID]uint32{}
	head := [3]int64{-1}
	for i := range b.Windows {
		w := &b.Windows[i]
		id := w.Series.ID()
		idx, ok := series[id]
		if !ok {
			idx = wb.Series(len(w.Series.Labels) + 1)
			series[id] = idx
			wb.Ref(ref(Label{Value: w.Series.Metric}))
			for _, l := range w.Series.Labels {
				wb.Ref(ref(l))
			}
		}
		if h := [3]int64{w.TierMS, w.StartMS, w.Part}; h != head {
			head = h
			wb.Frame(w.TierMS, w.StartMS, w.Part)
		}
		wb.Window(idx, w.Revision, &w.Aggregate)
	}
	return wb.AppendTo(dst, b.EmitMS, b.NewestMS)
}

// maxTierMS is the longest tier that a decoder accepts: 100 days, in ms.
const maxTierMS = 100 * 24 * 3600 * 1000

// DecodeWindowBatch reads the value of a windows record; the caller sets Group
// from the record's key. Series share their strings. It returns an error that
// wraps ErrVersion or ErrCorrupt.
func DecodeWindowBatch(v []byte) (*WindowBatch, error) {
	w := wire{b: v}
	ver := w.byte()
	if w.err == nil && (ver < 1 || ver > windowBatchVersion) {
		return nil, fmt.Errorf("window batch: version %d: %w", ver, ErrVersion)
	}
	b := &WindowBatch{EmitMS: w.varint(), NewestMS: w.varint()}
	dict, err := decodeDict(nil, w.section())
	if err != nil {
		return nil, fmt.Errorf("window batch of %d bytes: dictionary: %w", len(v), err)
	}
	n := w.count(2)
	if ver == 1 {
		w.bytes(uint64(n) * 8)
	}
	defs := wire{b: w.section()}
	if w.err == nil && n > len(defs.b)/2 {
		w.fail("count larger than the definitions")
		n = 0
	}
	series := make([]Series, n)
	for i := range series {
		if series[i], err = seriesOf(dict, &defs); err != nil {
			return nil, fmt.Errorf("window batch of %d bytes: series %d: %w", len(v), i, err)
		}
	}
	for len(w.b) > 0 {
		tier, idx, part := int64(w.uvarint()), w.varint(), w.varint()
		if w.err == nil && (tier <= 0 || tier > maxTierMS || idx > 1<<62/tier || idx < -(1<<62/tier)) {
			w.fail("tier or start out of range")
		}
		for k := w.count(10); k > 0; k-- {
			win, err := w.window(series)
			if err != nil {
				break
			}
			win.TierMS, win.StartMS, win.Part = tier, idx*tier, part
			b.Windows = append(b.Windows, win)
		}
	}
	if w.err != nil {
		return nil, fmt.Errorf("window batch of %d bytes: %w", len(v), w.err)
	}
	return b, nil
}

// window reads one window, without what its frame tells.
func (w *wire) window(series []Series) (Window, error) {
	var win Window
	i := w.uvarint()
	if w.err == nil && i >= uint64(len(series)) {
		w.fail("series index out of range")
	}
	if w.err != nil {
		return win, w.err
	}
	win.Series = series[i]
	win.Aggregate, win.Revision = w.aggregate()
	return win, w.err
}
