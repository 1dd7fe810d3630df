package alerts

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/weir-metrics/weir/schemas"
)

// The encoded state has version 2, or a later one if it has what only that can say. Integers are varints (u) or
// zigzag varints (z); text is u length+1 and bytes, or 0 for "the same as at that place of the
// previous set", since the series of a group share most of their labels.
//
//	6  due:z  lost:z  sets:u  set…
//	set:     labels:u (name:text value:text)…  series:u series…  outcomes:u outcome…
//	series:  metric:text tier:u columns:byte span:u windows:u window…
//	window:  head:byte [revision:u] [steps:z] value…   value: 8 bytes, little-endian
//	outcome: rule:text hash:8 bytes flags:u [level:byte before:byte] end:z revision:u
//
// A window's end is that of the previous one (0 for the first) plus steps tiers.
//
// Version 5 has no levels. Version 4 has a byte for the flags, and none for shadows. Version 3 is like 4, but its lost is not
// 0 and nothing is missing. Version 2 is the same without lost and its flags. Version 1 is like 2, except that everything was
// said under the old fingerprints.
const (
	levelVersion     = 6
	shadowVersion    = 5
	missingVersion   = 4 // as 3, whose lost may be 0
	lostStateVersion = 3
	stateVersion     = 2
	oldStateVersion  = 1
)

// A window's head.
const (
	headRevised  = 1 << iota // a revision follows; otherwise it is 0
	headSteps                // steps follow; otherwise it is 1
	headOneValue             // one value stands for all columns but the count, which is 1
	headKnown    = 1<<iota - 1
)

// An outcome's flags.
const (
	flagTrue = 1 << iota
	flagHeld
	flagOther
	flagOld     // from version 2 on
	flagSettled // from version 3 on
	flagNothing // from version 3 on, too: nothing is said
	flagMissing // from version 4 on
	flagShadow  // from version 5 on
	flagLevel   // from version 6 on: level and wasLevel follow
	flagKnown   = 1<<iota - 1
)

// maxTierMS and maxEndMS bound what a decoder accepts: sums of them do not overflow.
const (
	maxTierMS = 1 << 40
	maxEndMS  = 1 << 52
)

// Append appends the encoded state to dst.
func (st *State) Append(dst []byte) []byte {
	version := st.version()
	dst = binary.AppendVarint(append(dst, version), st.due)
	if version >= lostStateVersion {
		dst = binary.AppendVarint(dst, st.lostMS)
	}
	n := 0
	for _, s := range st.sets {
		if s.worthKeeping() {
			n++
		}
	}
	dst = binary.AppendUvarint(dst, uint64(n))
	before := &labelSet{}
	for _, s := range st.sets {
		if s.worthKeeping() {
			dst = s.append(dst, before, version)
			before = s
		}
	}
	return dst
}

// version is the smallest that can say what the state is: an older weir reads what it can.
func (st *State) version() byte {
	switch {
	case st.any(func(o *outcome) bool { return o.level|o.wasLevel != 0 }):
		return levelVersion
	case st.any(func(o *outcome) bool { return o.shadow }):
		return shadowVersion
	case st.any(func(o *outcome) bool { return o.missing }):
		return missingVersion
	case st.lostMS != 0:
		return lostStateVersion
	}
	return stateVersion
}

// worthKeeping is false for a set that no rule selects: it will be found again.
func (s *labelSet) worthKeeping() bool {
	for i := range s.series {
		if len(s.series[i].ring.at) > 0 {
			return true
		}
	}
	return len(s.saved) > 0
}

func appendText(dst []byte, text, before string) []byte {
	if text == before {
		return append(dst, 0)
	}
	dst = binary.AppendUvarint(dst, uint64(len(text))+1)
	return append(dst, text...)
}

func (s *labelSet) append(dst []byte, before *labelSet, version byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s.labels)))
	for i, l := range s.labels {
		var b schemas.Label
		if i < len(before.labels) {
			b = before.labels[i]
		}
		dst = appendText(appendText(dst, l.Name, b.Name), l.Value, b.Value)
	}
	dst = binary.AppendUvarint(dst, uint64(len(s.series)))
	for i := range s.series {
		x, b := &s.series[i], ""
		if i < len(before.series) {
			b = before.series[i].metric
		}
		dst = binary.AppendUvarint(appendText(dst, x.metric, b), uint64(x.tierMS))
		dst = x.ring.append(dst, x.tierMS)
	}
	said := len(s.saved)
	for i := range s.bound {
		if s.bound[i].last.kept() {
			said++
		}
	}
	dst = binary.AppendUvarint(dst, uint64(said))
	for i := range s.saved {
		dst = s.saved[i].append(dst, version)
	}
	for i := range s.bound {
		if b := &s.bound[i]; b.last.kept() {
			v := saved{b.rule.name, b.rule.hash, b.last}
			dst = v.append(dst, version)
		}
	}
	return dst
}

func (r *ring) append(dst []byte, tierMS int64) []byte {
	r.trim()
	dst = append(dst, byte(r.cols))
	dst = binary.AppendUvarint(dst, uint64(r.span))
	dst = binary.AppendUvarint(dst, uint64(len(r.at)))
	width, end := r.cols.len(), int64(0)
	for i, at := range r.at {
		vals := r.vals[i*width : (i+1)*width]
		steps := (at.endMS - end) / tierMS
		one := r.oneValue(vals)
		var head byte
		if at.revision != 0 {
			head |= headRevised
		}
		if steps != 1 {
			head |= headSteps
		}
		if one >= 0 {
			head |= headOneValue
		}
		dst = append(dst, head)
		if at.revision != 0 {
			dst = binary.AppendUvarint(dst, uint64(at.revision))
		}
		if steps != 1 {
			dst = binary.AppendVarint(dst, steps)
		}
		if one >= 0 {
			vals = vals[one : one+1]
		}
		for _, v := range vals {
			dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(v))
		}
		end = at.endMS
	}
	return dst
}

// oneValue returns the place of the value that stands for the others, as when a window has one
// sample, or -1. NaN payloads and -0 are kept.
func (r *ring) oneValue(vals []float64) int {
	count, one := r.cols.index(colCount), -1
	if len(vals) < 2 || count >= 0 && vals[count] != 1 {
		return -1
	}
	for i, v := range vals {
		switch {
		case i == count:
		case one < 0:
			one = i
		case math.Float64bits(v) != math.Float64bits(vals[one]):
			return -1
		}
	}
	return one
}

func (v *saved) append(dst []byte, version byte) []byte {
	dst = appendText(dst, v.rule, "")
	dst = binary.LittleEndian.AppendUint64(dst, v.hash)
	dst = v.last.appendFlags(dst, version)
	dst = binary.AppendVarint(dst, v.last.endMS)
	return binary.AppendUvarint(dst, uint64(v.last.revision))
}

// flags lists the flags of an outcome, in the order of their bits.
func (o *outcome) flags() [9]bool {
	return [...]bool{o.truth == yes, o.wasTrue, o.other, o.old, o.settled, o.truth == unknown, o.missing, o.shadow, o.level|o.wasLevel != 0}
}

func (o *outcome) appendFlags(dst []byte, version byte) []byte {
	flags := uint64(0)
	for bit, set := range o.flags() {
		if set {
			flags |= 1 << bit
		}
	}
	if version < shadowVersion {
		return append(dst, byte(flags))
	}
	dst = binary.AppendUvarint(dst, flags)
	if flags&flagLevel != 0 {
		dst = append(dst, o.level, o.wasLevel)
	}
	return dst
}

// DecodeState reads what Append wrote. It returns schemas.ErrVersion or
// schemas.ErrCorrupt, wrapped.
func DecodeState(b []byte) (*State, error) {
	if len(b) == 0 {
		return nil, fmt.Errorf("alert state: empty: %w", schemas.ErrCorrupt)
	}
	if b[0] < oldStateVersion || b[0] > levelVersion {
		return nil, fmt.Errorf("alert state: version %d: %w", b[0], schemas.ErrVersion)
	}
	d := &stateReader{rest: b[1:], version: b[0]}
	st := &State{due: d.bounded("due", -maxEndMS, maxEndMS)}
	switch {
	case d.version >= missingVersion:
		st.lostMS = d.bounded("lost", 0, maxEndMS)
	case d.version >= lostStateVersion:
		st.lostMS = d.bounded("lost", 1, maxEndMS)
	}
	before := &labelSet{}
	for n := d.count("label sets", 3); n > 0 && d.err == nil; n-- {
		s := d.set(before)
		if d.err == nil && st.lookup(s.hash, s.labels) != nil {
			d.fail("label set %v appears twice", s.labels)
		}
		st.add(s)
		before = s
	}
	if d.err == nil && len(d.rest) > 0 {
		d.fail("%d bytes left over", len(d.rest))
	}
	if d.err != nil {
		return nil, d.err
	}
	return st, nil
}

// stateReader reads on until the first fault, which it keeps.
type stateReader struct {
	rest    []byte
	version byte
	err     error
}

func (d *stateReader) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("alert state: %s: %w", fmt.Sprintf(format, args...), schemas.ErrCorrupt)
	}
	d.rest = nil
}

func (d *stateReader) uvarint(what string) uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.fail("%s: not a number", what)
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// bounded reads a zigzag varint.
func (d *stateReader) bounded(what string, least, most int64) int64 {
	v, n := binary.Varint(d.rest)
	if n <= 0 || v < least || v > most {
		d.fail("%s: %d is not %d to %d", what, v, least, most)
		return least
	}
	d.rest = d.rest[n:]
	return v
}

// count reads the number of things that follow, each of at least size bytes.
func (d *stateReader) count(what string, size int) int {
	v := d.uvarint(what)
	if v > uint64(len(d.rest)/size) {
		d.fail("%d %s in %d bytes", v, what, len(d.rest))
		return 0
	}
	return int(v)
}

func (d *stateReader) bytes(what string, n int) []byte {
	if n > len(d.rest) {
		d.fail("%s: %d bytes of %d", what, len(d.rest), n)
		return make([]byte, min(n, 8))
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *stateReader) text(what, before string) string {
	n := d.uvarint(what)
	if n == 0 {
		return before
	}
	if n-1 > uint64(len(d.rest)) {
		d.fail("%s: %d bytes of %d", what, len(d.rest), n-1)
		return ""
	}
	return string(d.bytes(what, int(n-1)))
}

func (d *stateReader) set(before *labelSet) *labelSet {
	s := &labelSet{keepMS: defaultNoDataMS(0)}
	s.labels = make(schemas.Labels, d.count("labels", 2))
	for i := range s.labels {
		var b schemas.Label
		if i < len(before.labels) {
			b = before.labels[i]
		}
		s.labels[i] = schemas.Label{Name: d.text("label name", b.Name), Value: d.text("label value", b.Value)}
		if i > 0 && s.labels[i-1].Name >= s.labels[i].Name {
			d.fail("labels out of order at %q", s.labels[i].Name)
		}
	}
	s.hash = schemas.Series{Labels: s.labels}.Hash()
	s.series = make([]series, 0, d.count("series", 5))
	for range cap(s.series) {
		b := ""
		if i := len(s.series); i < len(before.series) {
			b = before.series[i].metric
		}
		x := series{metric: d.text("metric", b)}
		x.tierMS = int64(min(d.uvarint("tier"), maxTierMS+1))
		if x.tierMS < 1 || x.tierMS > maxTierMS || s.seriesOf(x.metric, x.tierMS) != nil {
			d.fail("tier %d of %.100q", x.tierMS, x.metric)
			return s
		}
		d.ring(&x.ring, x.tierMS)
		s.series = append(s.series, x)
	}
	s.saved = make([]saved, d.count("outcomes", 12))
	for i := range s.saved {
		s.saved[i] = d.outcome()
	}
	return s
}

func (d *stateReader) ring(r *ring, tierMS int64) {
	if r.cols = columns(d.bytes("columns", 1)[0]); r.cols > allColumns {
		d.fail("columns %08b", r.cols)
		return
	}
	r.span = int64(min(d.uvarint("span"), maxEndMS))
	width, end := r.cols.len(), int64(0)
	n := d.count("windows", 9)
	if n > 0 && width == 0 {
		d.fail("%d windows without columns", n)
		return
	}
	r.at = make([]slot, n)
	r.vals = make([]float64, 0, n*width)
	for i := range r.at {
		head := d.bytes("window", 1)[0]
		if head > headKnown || head&headOneValue != 0 && width < 2 {
			d.fail("window's head %08b", head)
		}
		at, steps := &r.at[i], int64(1)
		if head&headRevised != 0 {
			at.revision = uint32(min(d.uvarint("revision"), math.MaxUint32))
		}
		if head&headSteps != 0 {
			steps = d.bounded("steps", -maxEndMS/tierMS, maxEndMS/tierMS)
		}
		if end += steps * tierMS; i > 0 && steps < 1 || end > maxEndMS {
			d.fail("windows out of order")
		}
		if d.err != nil {
			return
		}
		at.endMS = end
		d.values(r, head&headOneValue != 0)
	}
}

func (d *stateReader) values(r *ring, one bool) {
	width := r.cols.len()
	if !one {
		for range width {
			r.vals = append(r.vals, d.float())
		}
		return
	}
	v, count := d.float(), r.cols.index(colCount)
	for i := range width {
		if i == count {
			r.vals = append(r.vals, 1)
		} else {
			r.vals = append(r.vals, v)
		}
	}
}

func (d *stateReader) float() float64 {
	return math.Float64frombits(binary.LittleEndian.Uint64(d.bytes("value", 8)))
}

func (d *stateReader) outcome() saved {
	v := saved{rule: d.text("rule", "")}
	v.hash = binary.LittleEndian.Uint64(d.bytes("hash", 8))
	flags, old := d.flags(), d.version == oldStateVersion
	v.last = outcome{truth: truthOf(flags&flagTrue != 0), wasTrue: flags&flagHeld != 0, other: flags&flagOther != 0,
		old: old || flags&flagOld != 0, settled: flags&flagSettled != 0, missing: flags&flagMissing != 0, shadow: flags&flagShadow != 0}
	if flags&flagNothing != 0 {
		v.last.truth = unknown
	}
	if flags&flagLevel != 0 {
		levels := d.bytes("levels", 2)
		v.last.level, v.last.wasLevel = levels[0], levels[1]
		if levels[0]|levels[1] == 0 || levels[0] > maxLevels || levels[1] > maxLevels || levels[0] > 0 && v.last.truth != yes {
			d.fail("levels %d and %d", levels[0], levels[1])
		}
	}
	v.last.endMS = d.bounded("outcome's end", -maxEndMS, maxEndMS)
	v.last.revision = uint32(min(d.uvarint("outcome's revision"), math.MaxUint32))
	return v
}

// flags reads the flags of an outcome, and refuses those that its version, or other flags, do not
// allow.
func (d *stateReader) flags() uint64 {
	var flags uint64
	if d.version >= shadowVersion {
		flags = d.uvarint("flags")
	} else {
		flags = uint64(d.bytes("flags", 1)[0])
	}
	refused := flags &^ flagKnown
	for _, f := range []struct {
		since byte
		flags uint64
	}{{stateVersion, flagOld}, {lostStateVersion, flagSettled | flagNothing}, {missingVersion, flagMissing}, {shadowVersion, flagShadow}, {levelVersion, flagLevel}} {
		if d.version < f.since {
			refused |= flags & f.flags
		}
	}
	if refused != 0 || flags&flagNothing != 0 && (flags&flagTrue != 0 || flags&flagSettled == 0) ||
		flags&(flagMissing|flagShadow) != 0 && flags&flagTrue == 0 {
		d.fail("outcome's flags %08b", flags)
	}
	return flags
}
