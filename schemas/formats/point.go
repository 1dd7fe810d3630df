package formats

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/weir-metrics/weir/schemas"
)

// lineReader reads one entry of line protocol. It accepts what InfluxDB's own decoder accepts
// (FuzzLine compares the two), except for numbers that only Go knows, such as 0x1p4. It costs only
// the reading: bad lines are no more expensive than good ones.
type lineReader struct {
	b     []byte // the entry, without its line feed
	i     int
	fault *syntax // where want and fail put it
}

// classes of bytes, one bit each: the bytes that end a token.
const (
	endsMeasurement = 1 << iota
	endsKey
	endsField
	nonPrintable
)

var classes = func() (c [256]uint8) {
	for i := range 256 {
		if i < ' ' || i == 0x7f {
			c[i] |= nonPrintable | endsMeasurement | endsKey
		}
	}
	c[','] |= endsMeasurement | endsKey | endsField
	c[' '] |= endsMeasurement | endsKey | endsField
	c['='] |= endsKey
	c['\r'] |= endsField
	c['\n'] |= endsField
	return c
}()

// token reads up to a byte of the class end that has no backslash before it. escaped reports
// whether there are escapes to remove, which unescapeLine does.
func (r *lineReader) token(end uint8) (raw []byte, escaped bool) {
	start := r.i
	for ; r.i < len(r.b); r.i++ {
		c := r.b[r.i]
		if c == '\\' && r.i+1 < len(r.b) && escapable(r.b[r.i+1], end) {
			escaped = true
			r.i++
			continue
		}
		if classes[c]&end != 0 {
			break
		}
	}
	return r.b[start:r.i], escaped
}

// escapable reports whether a backslash takes away the meaning of c in a token that ends with the
// class end.
func escapable(c byte, end uint8) bool {
	return c == ' ' || c == ',' || c == '=' && end == endsKey
}

// unescapeLine appends what token returned to dst, without the backslashes that escape.
func unescapeLine(dst, raw []byte, end uint8) []byte {
	for i := 0; i < len(raw); i++ {
		if raw[i] == '\\' && i+1 < len(raw) && escapable(raw[i+1], end) {
			i++
		}
		dst = append(dst, raw[i])
	}
	return dst
}

// at returns the next byte, or 0 at the end.
func (r *lineReader) at() byte {
	if r.i < len(r.b) {
		return r.b[r.i]
	}
	return 0
}

func (r *lineReader) ended() bool { return r.i >= len(r.b) }

func (r *lineReader) spaces() {
	for r.i < len(r.b) && r.b[r.i] == ' ' {
		r.i++
	}
}

// lineEnd reads the end of the entry, which a carriage return may precede.
func (r *lineReader) lineEnd() bool {
	if r.ended() || r.at() == '\r' && r.i == len(r.b)-1 {
		r.i = len(r.b)
		return true
	}
	return false
}

// syntax describes what does not parse. Its errors are built only as long as somebody reads them.
type syntax struct {
	reason Reason
	at     int // byte of the entry
	want   string
}

func (s *syntax) err(raw []byte) error {
	return fmt.Errorf("column %d: want %s, found %s", s.at+1, s.want, found(raw[min(s.at, len(raw)):]))
}

// found quotes the start of the rest.
func found(rest []byte) string {
	if len(rest) == 0 {
		return "the end of the line"
	}
	return strconv.QuoteToASCII(string(rest[:min(len(rest), 16)]))
}

// decodeLine reads one entry into d.entry. isComment tells that there is none; unparsed that it was
// refused because it does not parse.
func (d *Decoder) decodeLine(raw []byte) (isComment, unparsed bool) {
	if raw[0] == '#' {
		if bad := badComment(raw); bad >= 0 {
			d.refuseBy(Undecodable, func() error { return fmt.Errorf("column %d: a control character in a comment", bad+1) })
			return false, true
		}
		return true, false
	}
	fault := d.decodeFields(lineReader{b: raw, fault: &d.text.syntax})
	if fault == nil {
		return false, false
	}
	if fault.want == "" { // it parses, but was refused
		return false, false
	}
	if fault.reason == Undecodable && !utf8.Valid(raw) {
		fault.reason = InvalidUTF8
	}
	d.refuseBy(fault.reason, func() error { return fault.err(raw) })
	return false, fault.reason == Undecodable || fault.reason == InvalidUTF8
}

// badComment returns the place of a control character in a comment, or -1.
func badComment(raw []byte) int {
	for i, c := range raw {
		if classes[c]&nonPrintable != 0 && c != '\t' && (c != '\r' || i < len(raw)-1) {
			return i
		}
	}
	return -1
}

// refused is what decodeFields returns for an entry that parses but was refused.
var refused = &syntax{}

// want is a syntax fault at the reader's place.
func (r *lineReader) want(what string) *syntax { return r.fail(Undecodable, r.i, what) }

// fail is a fault at the byte at.
func (r *lineReader) fail(reason Reason, at int, want string) *syntax {
	*r.fault = syntax{reason, at, want}
	return r.fault
}

// decodeFields reads an entry's parts into d.entry. It returns nil, refused, or what does not
// parse.
func (d *Decoder) decodeFields(r lineReader) *syntax {
	measurement, escaped := r.token(endsMeasurement)
	if len(measurement) == 0 {
		return r.want("a measurement")
	}
	if !utf8.Valid(measurement) {
		return r.fail(InvalidUTF8, 0, "UTF-8 in the measurement")
	}
	if escaped {
		d.scratch = unescapeLine(d.scratch[:0], measurement, endsMeasurement)
	} else {
		d.scratch = append(d.scratch[:0], measurement...)
	}
	d.scratch = append(d.scratch, 0)
	labels, fault := d.lineTags(&r)
	if fault != nil {
		return fault
	}
	if r.spaces(); r.ended() {
		return r.want("a field")
	}
	for more := true; more; {
		key, escaped := r.token(endsKey)
		switch {
		case len(key) == 0:
			return r.want("a field")
		case !utf8.Valid(key):
			return r.fail(InvalidUTF8, r.i-len(key), "UTF-8 in a field")
		case r.at() != '=':
			return r.want("= after a field")
		}
		r.i++
		v, numeric, fault := r.value()
		if fault != nil {
			return fault
		}
		if numeric {
			metric, err := d.metricName(key, escaped)
			if err == nil {
				err = d.config.checkSeries(len(metric), labels.bytes)
			}
			if err != nil {
				d.refuse(TooLong, err)
				return refused
			}
			d.entry.Samples = append(d.entry.Samples, schemas.Sample{Series: schemas.Series{Metric: metric, Labels: labels.labels}, Value: v})
		} else {
			d.entry.Skipped++
		}
		if more = r.at() == ','; more {
			r.i++
		}
	}
	if c := r.at(); !r.ended() && c != ' ' && c != '\r' {
		return r.want("a comma, a space or the end after a value")
	}
	ms, sub, ok := d.lineTime(&r)
	if !ok {
		return refused
	}
	for i := range d.entry.Samples {
		d.entry.Samples[i].TimeMS, d.entry.Samples[i].SubNS = ms, sub
	}
	return nil
}

// value reads a field's value; numeric is false for a string.
func (r *lineReader) value() (v float64, numeric bool, fault *syntax) {
	start := r.i
	switch c := r.at(); {
	case c == '"':
		for r.i++; r.i < len(r.b) && r.b[r.i] != '"'; r.i++ {
			if r.b[r.i] == '\\' {
				r.i++
			}
		}
		if r.i >= len(r.b) {
			return 0, false, r.fail(Undecodable, start, "a closing quote")
		}
		if !utf8.Valid(r.b[start:r.i]) {
			return 0, false, r.fail(InvalidUTF8, start, "UTF-8 in a string")
		}
		r.i++
		return 0, false, nil
	case c == '-' || c == '.' || '0' <= c && c <= '9' || c == 't' || c == 'T' || c == 'f' || c == 'F':
	default:
		return 0, false, r.fail(Undecodable, start, "a number, a string in quotes, true or false")
	}
	for r.i < len(r.b) && classes[r.b[r.i]]&endsField == 0 {
		r.i++
	}
	v, reason := numberOrBool(r.b[start:r.i])
	if reason != "" {
		what := "a decimal number, true or false"
		if reason == NotFinite {
			what = "a number that fits 64 bits"
		}
		return 0, false, r.fail(reason, start, what)
	}
	return v, true, nil
}

// numberOrBool reads a number or a boolean. Booleans are 1 and 0.
func numberOrBool(b []byte) (float64, Reason) {
	switch string(b) {
	case "t", "T", "true", "True", "TRUE":
		return 1, ""
	case "f", "F", "false", "False", "FALSE":
		return 0, ""
	}
	var v float64
	var err error
	switch last := b[len(b)-1]; {
	case last == 'i' && whole(b[:len(b)-1], true):
		var n int64
		n, err = strconv.ParseInt(string(b[:len(b)-1]), 10, 64)
		v = float64(n)
	case last == 'u' && whole(b[:len(b)-1], false):
		var n uint64
		n, err = strconv.ParseUint(string(b[:len(b)-1]), 10, 64)
		v = float64(n)
	case decimal(b):
		v, err = strconv.ParseFloat(string(b), 64)
	default:
		return 0, Undecodable
	}
	if err != nil || math.IsInf(v, 0) {
		return 0, NotFinite
	}
	return v, ""
}

// whole reports whether b is a whole number, which may be negative if signed.
func whole(b []byte, signed bool) bool {
	if signed && len(b) > 0 && b[0] == '-' {
		b = b[1:]
	}
	return len(b) > 0 && digits(b, 0) == len(b)
}

// metricName returns the metric of a field. d.scratch holds the measurement and a zero byte, which
// no name in line protocol can contain.
func (d *Decoder) metricName(field []byte, escaped bool) (string, error) {
	n := len(d.scratch)
	if escaped {
		d.scratch = unescapeLine(d.scratch, field, endsKey)
	} else {
		d.scratch = append(d.scratch, field...)
	}
	defer func() { d.scratch = d.scratch[:n] }()
	name, ok := d.text.names.get(d.scratch)
	if ok {
		return name, nil
	}
	length := n - 1
	if string(d.scratch[n:]) != "value" {
		length += 1 + len(d.scratch) - n
	}
	if length > d.config.MaxMetric {
		if d.terse() {
			return "", schemas.ErrTooLong
		}
		return "", tooLong("metric", d.scratch[:n-1], length, d.config.MaxMetric)
	}
	name = string(d.scratch[:n-1])
	if length >= n {
		name += "." + string(d.scratch[n:])
	}
	d.text.names.put(d.scratch, name)
	return name, nil
}

// lineTags reads the tags of an entry. Tags that it has read before come from the cache.
func (d *Decoder) lineTags(r *lineReader) (labelSet, *syntax) {
	if r.at() != ',' {
		if c := r.at(); !r.ended() && c != ' ' {
			return labelSet{}, r.want("a comma or a space after the measurement")
		}
		return labelSet{}, nil
	}
	start := r.i
	end := len(r.b)
	if space := indexUnescaped(r.b[start:], ' '); space >= 0 {
		end = start + space
	}
	if labels, ok := d.text.labels.get(r.b[start:end]); ok {
		r.i = end
		return labels, nil
	}
	set := d.newTags()
	for r.at() == ',' {
		r.i++
		name, escapedName := r.token(endsKey)
		if len(name) == 0 {
			return labelSet{}, r.want("a tag after the comma")
		}
		if r.at() != '=' {
			return labelSet{}, r.want("= after a tag")
		}
		r.i++
		value, escapedValue := r.token(endsKey)
		if len(value) == 0 {
			return labelSet{}, r.want("a value for the tag")
		}
		if !utf8.Valid(name) || !utf8.Valid(value) {
			return labelSet{}, r.fail(InvalidUTF8, r.i-len(value), "UTF-8 in a tag")
		}
		set.add(d.lineName(name, escapedName), d.lineName(value, escapedValue))
	}
	if c := r.at(); !r.ended() && c != ' ' {
		return labelSet{}, r.want("a comma or a space after a tag")
	}
	labels, reason, err := set.labels()
	if err != nil {
		d.refuse(reason, err)
		return labelSet{}, refused
	}
	d.text.labels.put(r.b[start:r.i], labels)
	return labels, nil
}

// lineName returns a tag's name or value, which many label sets share.
func (d *Decoder) lineName(raw []byte, escaped bool) string {
	name, ok := d.text.names.get(raw)
	if ok {
		return name
	}
	if len(raw) > 2*schemas.MaxNameBytes { // it will be refused for its length
		return string(raw[:schemas.MaxNameBytes+1])
	}
	if escaped {
		name = string(unescapeLine(nil, raw, endsKey))
	} else {
		name = string(raw)
	}
	d.text.names.put(raw, name)
	return name
}

// lineTime reads the timestamp and the end of an entry, or takes now. ok is false if the timestamp
// was refused.
func (d *Decoder) lineTime(r *lineReader) (ms int64, sub uint32, ok bool) {
	bad := func(why func() error) (int64, uint32, bool) {
		d.refuseBy(BadTimestamp, why)
		return 0, 0, false
	}
	r.spaces()
	start := r.i
	for r.i < len(r.b) && ('0' <= r.b[r.i] && r.b[r.i] <= '9' || r.b[r.i] == '-') {
		r.i++
	}
	stamp := r.b[start:r.i]
	r.spaces()
	if !r.lineEnd() {
		return bad(func() error {
			return fmt.Errorf("column %d: want a timestamp in %s and the end of the line, found %s", start+1, d.opts.Precision, found(r.b[start:]))
		})
	}
	if len(stamp) == 0 {
		d.entry.Untimed = true
		return d.opts.NowMS, 0, true
	}
	t, err := strconv.ParseInt(string(stamp), 10, 64)
	if err != nil {
		return bad(func() error {
			return fmt.Errorf("timestamp %.40s: must be a whole number of %s in 64 bits", stamp, d.opts.Precision)
		})
	}
	switch d.opts.Precision {
	case Second:
		// Outside MinTimeMS and MaxTimeMS long before it overflows.
		ms = max(min(t, math.MaxInt64/1000), math.MinInt64/1000) * 1000
	case Millisecond:
		ms = t
	case Microsecond:
		ms = floorDiv(t, 1000)
		sub = uint32(t-ms*1000) * 1000
	case Nanosecond:
		ms, sub = schemas.SplitNS(t)
	}
	if ms < MinTimeMS || ms > MaxTimeMS {
		return bad(func() error {
			return withHint(fmt.Errorf("timestamp %d %s: must be in the years 0 to 9999", t, d.opts.Precision), t, d.opts.Precision)
		})
	}
	return ms, sub, true
}

// withHint adds to an error what else the number n might be.
func withHint(err error, n int64, unit Precision) error {
	if h := Hint(n, unit); h != "" {
		return fmt.Errorf("%w; %s", err, h)
	}
	return err
}

// floorDiv rounds down, also before 1970.
func floorDiv(t, unit int64) int64 {
	q := t / unit
	if t%unit < 0 {
		q--
	}
	return q
}

func tooLong(what string, text []byte, length, most int) error {
	return fmt.Errorf("%s %.40q…: %w: %d bytes, at most %d", what, text, schemas.ErrTooLong, length, most)
}

// errTerse stands for the texts of a body's faults after the first maxTold.
var errTerse = errors.New("as in entries before it")
