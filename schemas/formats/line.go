package formats

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/influxdata/line-protocol/v2/lineprotocol"

	"weir/schemas"
)

// maxErrorBytes bounds the text of a fault: line-protocol's errors quote whole tokens.
const maxErrorBytes = 200

// nextLine returns the next line of line protocol that is neither empty nor a comment.
//
// A quoted string may hold line feeds, so a quote that was left open in one line
// takes the next ones with it up to the next quote. When what it took does not
// parse, or the quote is never closed, only the first line is refused, and reading
// goes on with the second. So that a body made for it cannot have each line read as often as
// there are lines, this ends when four times the body has been read in vain: from
// then on every line is an entry.
func (d *Decoder) nextLine() *Entry {
	for d.pos < len(d.body) {
		rest := bytes.TrimLeft(d.body[d.pos:], " ")
		d.pos = len(d.body) - len(rest)
		if len(rest) == 0 {
			return nil
		}
		first := firstLine(rest)
		length, closed := first, true
		if d.rescanned <= 4*len(d.body) {
			length, closed = entryLength(rest, first)
		}
		if !closed {
			d.rescanned += length
			length = first
		}
		raw := bytes.TrimSuffix(rest[:length], []byte("\n"))
		if len(raw) == 0 || len(raw) == 1 && raw[0] == '\r' {
			d.advance(d.pos + length)
			continue
		}
		d.start()
		found, syntax := d.decodeLine(raw)
		if !found {
			d.entry.Number--
			d.advance(d.pos + length)
			continue
		}
		if syntax && first < length {
			d.rescanned += length
			length = first
			raw = rest[:first-1]
		}
		return d.end(raw, d.pos+length)
	}
	return nil
}

// firstLine returns the length of the first line of b, with its line feed.
func firstLine(b []byte) int {
	if nl := bytes.IndexByte(b, '\n'); nl >= 0 {
		return nl + 1
	}
	return len(b)
}

// entryLength returns the length of the entry at the start of b, with its line
// feed. The entry is longer than the first line when a quoted string field holds
// line feeds. closed is false when a quote is open to the end of b.
func entryLength(b []byte, line int) (length int, closed bool) {
	if bytes.IndexByte(b[:line], '"') < 0 || b[0] == '#' {
		return line, true
	}
	i := indexUnescaped(b[:line], ' ') // in measurement and tags quotes mean nothing
	if i < 0 {
		return line, true
	}
	for ; i < len(b); i++ {
		switch b[i] {
		case '\n':
			return i + 1, true
		case '"':
			if b[i-1] != '=' || b[i-2] == '\\' {
				continue
			}
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
			if i >= len(b) {
				return len(b), false
			}
		}
	}
	return len(b), true
}

// indexUnescaped returns the place of the first c without a backslash before
// it, or -1. A backslash escapes no other: in \\, the second one escapes the comma.
func indexUnescaped(b []byte, c byte) int {
	for i := 0; ; i++ {
		next := bytes.IndexByte(b[i:], c)
		if next < 0 {
			return -1
		}
		if i += next; i == 0 || b[i-1] != '\\' {
			return i
		}
	}
}

// decodeLine reads one line into d.entry. found is false for a comment; syntax
// says that the line was refused because it does not parse.
func (d *Decoder) decodeLine(raw []byte) (found, syntax bool) {
	dec := d.lineDecoder(raw)
	if !dec.Next() {
		return false, false
	}
	err := d.decodeFields(dec, raw)
	if err == nil {
		return true, false
	}
	d.run = nil // it may stand anywhere
	var fault *Fault
	switch {
	case errors.As(err, &fault):
		d.refuse(fault.Reason, fault.Err)
		return true, false
	case errors.Is(err, lineprotocol.ErrValueOutOfRange):
		d.refuse(NotFinite, bounded(err))
		return true, false
	case !utf8.Valid(raw):
		d.refuse(InvalidUTF8, bounded(err))
	default:
		d.refuse(Undecodable, bounded(err))
	}
	return true, true
}

// lineDecoder returns a decoder that stands before the line at d.pos.
//
// A line-protocol decoder cannot be reset, and making one for each line costs as
// much as reading a short line. So lines share d.run, which goes on over the rest of the body, as
// long as it is certain that its idea of where a line ends is ours: no comments,
// no quotes, no faults. Empty lines both skip.
func (d *Decoder) lineDecoder(raw []byte) *lineprotocol.Decoder {
	if raw[0] == '#' || raw[0] == '\r' || bytes.IndexByte(raw, '"') >= 0 {
		d.run = nil
		return lineprotocol.NewDecoderWithBytes(raw)
	}
	if d.run == nil {
		d.run = lineprotocol.NewDecoderWithBytes(d.body[d.pos:])
	}
	return d.run
}

// bounded returns err's text, cut to maxErrorBytes. The line number that
// line-protocol gives is left out: it counts from the entry, and Fault has the body's.
func bounded(err error) error {
	var at *lineprotocol.DecodeError
	if errors.As(err, &at) {
		err = fmt.Errorf("column %d: %w", at.Column, at.Err)
	}
	text := err.Error()
	if len(text) <= maxErrorBytes {
		return err
	}
	return errors.New(strings.ToValidUTF8(text[:maxErrorBytes], "") + "…")
}

// decodeFields reads a line's parts into d.entry. It returns a *Fault for what
// parses and yet is refused, and line-protocol's error for what does not parse.
func (d *Decoder) decodeFields(dec *lineprotocol.Decoder, raw []byte) error {
	measurement, err := dec.Measurement()
	if err != nil {
		return err
	}
	d.scratch = append(append(d.scratch[:0], measurement...), 0)
	labels, err := d.lineTags(dec, raw)
	if err != nil {
		return err
	}
	for {
		key, value, err := dec.NextField()
		if err != nil {
			return err
		}
		if key == nil {
			break
		}
		v, numeric := floatOf(value)
		if !numeric {
			d.entry.Skipped++
			continue
		}
		metric, err := d.metricName(key)
		if err != nil {
			return err
		}
		d.entry.Samples = append(d.entry.Samples, schemas.Sample{
			Series: schemas.Series{Metric: metric, Labels: labels},
			Value:  v,
		})
	}
	ms, err := d.lineTime(dec)
	if err != nil {
		return err
	}
	for i := range d.entry.Samples {
		d.entry.Samples[i].TimeMS = ms
	}
	return nil
}

// metricName returns the metric of a field. d.scratch holds the measurement and
// a zero byte, which no name in line protocol can hold.
func (d *Decoder) metricName(field []byte) (string, error) {
	n := len(d.scratch)
	d.scratch = append(d.scratch, field...)
	name, ok := d.lineNames.get(d.scratch)
	if !ok {
		name = string(d.scratch[:n-1])
		if string(field) != "value" {
			name += "." + string(field)
		}
		if len(name) > schemas.MaxNameBytes {
			return "", tooLong("metric", name)
		}
		d.lineNames.put(d.scratch, name)
	}
	d.scratch = d.scratch[:n]
	return name, nil
}

func tooLong(what, text string) *Fault {
	return &Fault{Reason: TooLong, Err: fmt.Errorf("%s %.40q…: %w: %d bytes, at most %d", what, text, schemas.ErrTooLong, len(text), schemas.MaxNameBytes)}
}

// lineTags reads the tags of a line. Those that it read before it takes from
// the cache, and line-protocol skips them.
func (d *Decoder) lineTags(dec *lineprotocol.Decoder, raw []byte) (schemas.Labels, error) {
	end := indexUnescaped(raw, ' ')
	if end < 0 {
		end = len(raw)
	}
	key := raw[:end]
	if comma := indexUnescaped(key, ','); comma >= 0 {
		key = key[comma:]
	} else {
		key = nil
	}
	if labels, ok := d.lineLabels.get(key); ok {
		return labels, nil
	}
	d.tags = d.tags[:0]
	for {
		name, value, err := dec.NextTag()
		if err != nil {
			return nil, err
		}
		if name == nil {
			break
		}
		if len(name) > schemas.MaxNameBytes {
			return nil, tooLong("tag", string(name))
		}
		if len(value) > schemas.MaxNameBytes {
			return nil, tooLong("value of a tag", string(value))
		}
		d.tags = append(d.tags, schemas.Label{Name: d.lineName(name), Value: d.lineName(value)})
	}
	labels, err := labelsOf(d.tags)
	if err != nil {
		return nil, &Fault{Reason: ReasonOf(err), Err: err}
	}
	d.lineLabels.put(key, labels)
	return labels, nil
}

// lineName returns a tag's name or value, which many label sets share.
func (d *Decoder) lineName(b []byte) string {
	name, ok := d.lineNames.get(b)
	if !ok {
		name = string(b)
		d.lineNames.put(b, name)
	}
	return name
}

// floatOf converts a field; it is false for a string.
func floatOf(v lineprotocol.Value) (float64, bool) {
	switch v.Kind() {
	case lineprotocol.Float:
		return v.FloatV(), true
	case lineprotocol.Int:
		return float64(v.IntV()), true
	case lineprotocol.Uint:
		return float64(v.UintV()), true
	case lineprotocol.Bool:
		if v.BoolV() {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

// lineTime reads the timestamp of a line, or takes now.
func (d *Decoder) lineTime(dec *lineprotocol.Decoder) (int64, error) {
	b, err := dec.TimeBytes()
	if err != nil {
		return 0, &Fault{Reason: BadTimestamp, Err: bounded(err)}
	}
	if b == nil {
		d.entry.Untimed = true
		return d.nowMS, nil
	}
	t, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		return 0, &Fault{Reason: BadTimestamp, Err: fmt.Errorf("timestamp %.40s: must be a whole number of %s in 64 bits", b, d.precision)}
	}
	ms := t
	switch d.precision {
	case Second:
		// Out of MinTimeMS and MaxTimeMS long before it overflows.
		ms = max(min(t, math.MaxInt64/1000), math.MinInt64/1000) * 1000
	case Microsecond:
		ms = floorDiv(t, 1000)
	case Nanosecond:
		ms = floorDiv(t, 1e6)
	}
	if ms < MinTimeMS || ms > MaxTimeMS {
		return 0, &Fault{Reason: BadTimestamp, Err: fmt.Errorf("timestamp %d %s: must be in the years 0 to 9999", t, d.precision)}
	}
	return ms, nil
}

// floorDiv rounds down, also before 1970.
func floorDiv(t, unit int64) int64 {
	q := t / unit
	if t%unit < 0 {
		q--
	}
	return q
}
