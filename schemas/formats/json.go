package formats

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"weir/schemas"
)

// arrayState is where a body of JSON stands in regard to its outer array.
type arrayState uint8

const (
	outside   arrayState = iota // of any array
	opened                      // behind the [
	behindOne                   // behind an element
)

// nextJSON returns the next object of the body.
func (d *Decoder) nextJSON() *Entry {
	s := scanner{b: d.body, i: d.pos}
	for {
		c := s.peek()
		d.advance(s.i)
		switch {
		case s.i == len(s.b) && d.array == outside:
			return nil
		case d.array == outside && c == '[':
			d.array = opened
			s.i++
			continue
		case d.array != outside && c == ']':
			d.array = outside
			s.i++
			continue
		case d.array == behindOne:
			s.want(',', "a comma or ]")
			s.peek()
		}
		break
	}
	if s.err != nil || s.i == len(s.b) {
		s.fail("a value")
		d.array = outside
		return d.refuseRest(Undecodable, s.err)
	}
	d.advance(s.i)
	d.start()
	d.value(&s)
	if s.err != nil {
		d.entry.Fault = nil // what the value would have meant does not matter now
		d.refuse(Undecodable, s.err)
		next := len(d.body)
		if d.array != outside {
			d.array = outside // and the rest goes with it
		} else if nl := bytes.IndexByte(d.body[s.i:], '\n'); nl >= 0 {
			next = s.i + nl
		}
		return d.end(d.body[d.pos:next], next)
	}
	if d.array != outside {
		d.array = behindOne
	}
	return d.end(d.body[d.pos:s.i], s.i)
}

// The fields of a sample, as bits.
const (
	fieldMetric = 1 << iota
	fieldTags
	fieldTime
	fieldValue
)

// value reads one value, which ought to be an object, into d.entry.
func (d *Decoder) value(s *scanner) {
	if s.peek() != '{' {
		if s.skip(0); s.err == nil {
			d.refuse(WrongType, errors.New("a sample must be an object"))
		}
		return
	}
	s.i++
	var sample schemas.Sample
	var seen uint8
	if s.peek() == '}' {
		s.i++
	} else {
		for {
			seen |= d.member(s, seen, &sample)
			if s.peek() != ',' {
				break
			}
			s.i++
		}
		s.want('}', "a comma or }")
	}
	if s.err != nil {
		return
	}
	for _, f := range [...]struct {
		bit  uint8
		name string
	}{{fieldMetric, "metricName"}, {fieldTime, "timestamp"}, {fieldValue, "value"}} {
		if seen&f.bit == 0 {
			d.refuse(MissingField, errors.New(f.name+" is missing"))
		}
	}
	if d.entry.Fault == nil {
		d.entry.Samples = append(d.entry.Samples, sample)
	}
}

// member reads one member of an object into sample, and returns the bit of the
// field that it was, or 0.
func (d *Decoder) member(s *scanner, seen uint8, sample *schemas.Sample) uint8 {
	key, escaped := s.text()
	s.want(':', "a colon")
	c := s.peek()
	if s.err != nil {
		return 0
	}
	if escaped {
		d.scratch, _ = unescape(d.scratch[:0], key)
		key = d.scratch
	}
	var bit uint8
	switch string(key) {
	case "metricName":
		bit = fieldMetric
		if c == '"' {
			sample.Series.Metric = d.name(s)
		} else {
			d.wrongType(s, "metricName", "a string")
		}
	case "tags":
		bit = fieldTags
		switch c {
		case '{':
			sample.Series.Labels = d.readTags(s)
		case 'n':
			s.word("null")
		default:
			d.wrongType(s, "tags", "an object of strings")
		}
	case "timestamp":
		bit = fieldTime
		if isNumber(c) {
			sample.TimeMS = d.timestamp(s.number())
		} else {
			d.wrongType(s, "timestamp", "a number of ms")
		}
	case "value":
		bit = fieldValue
		if isNumber(c) {
			sample.Value = d.number(s.number())
		} else {
			d.wrongType(s, "value", "a number")
		}
	default:
		s.skip(0)
	}
	if seen&bit != 0 {
		d.refuse(Undecodable, fmt.Errorf("%s stands twice", key))
	}
	return bit
}

// wrongType skips the value of a field that should have been something else.
func (d *Decoder) wrongType(s *scanner, field, want string) {
	start := s.i
	if s.skip(0); s.err == nil {
		d.refuse(WrongType, fmt.Errorf("%s: %.40q: must be %s", field, s.b[start:s.i], want))
	}
}

// name reads a string that is a metric's name.
func (d *Decoder) name(s *scanner) string {
	raw, escaped := s.text()
	if s.err != nil {
		return ""
	}
	name, err := d.intern(raw, escaped)
	if err == nil && name == "" {
		err = fmt.Errorf("metric: %w", schemas.ErrEmptyName)
	}
	if err != nil {
		d.refuse(ReasonOf(err), err)
	}
	return name
}

// intern returns the text of a string that text returned. It fails when that is
// too long or no valid UTF-8.
func (d *Decoder) intern(raw []byte, escaped bool) (string, error) {
	if name, ok := d.jsonNames.get(raw); ok {
		return name, nil
	}
	if !utf8.Valid(raw) {
		return "", fmt.Errorf("%.100q: %w", raw, schemas.ErrInvalidUTF8)
	}
	text := raw
	if escaped {
		var ok bool
		if d.scratch, ok = unescape(d.scratch[:0], raw); !ok {
			return "", fmt.Errorf("%.100q: a lone surrogate: %w", raw, schemas.ErrInvalidUTF8)
		}
		text = d.scratch
	}
	if len(text) > schemas.MaxNameBytes {
		return "", fmt.Errorf("%.40q…: %w: %d bytes, at most %d", text, schemas.ErrTooLong, len(text), schemas.MaxNameBytes)
	}
	name := string(text)
	d.jsonNames.put(raw, name)
	return name, nil
}

// readTags reads an object of strings.
func (d *Decoder) readTags(s *scanner) schemas.Labels {
	raw := flatObject(s.b[s.i:])
	if labels, ok := d.jsonLabels.get(raw); ok {
		s.i += len(raw)
		return labels
	}
	start := s.i
	var fault error
	reason := WrongType
	note := func(r Reason, err error) {
		if fault == nil {
			reason, fault = r, err
		}
	}
	d.tags = d.tags[:0]
	s.members(func(key []byte, escaped bool) {
		name, err := d.intern(key, escaped)
		if err != nil {
			note(ReasonOf(err), fmt.Errorf("name of a tag: %w", err))
		}
		if c := s.peek(); c != '"' {
			s.skip(0)
			note(WrongType, fmt.Errorf("value of tag %.100q: must be a string", key))
			return
		}
		raw, escaped := s.text()
		value, err := d.intern(raw, escaped)
		if err != nil {
			note(ReasonOf(err), fmt.Errorf("value of tag %.100q: %w", key, err))
		}
		d.tags = append(d.tags, schemas.Label{Name: name, Value: value})
	})
	if s.err != nil {
		return nil
	}
	labels, err := labelsOf(d.tags)
	if err != nil {
		note(ReasonOf(err), err)
	}
	if fault != nil {
		d.refuse(reason, fault)
		return nil
	}
	d.jsonLabels.put(s.b[start:s.i], labels)
	return labels
}

// labelsOf returns tags as labels of their own memory: sorted, and without those
// that have an empty value. It sorts tags in place.
func labelsOf(tags schemas.Labels) (schemas.Labels, error) {
	tags.Sort()
	filled := 0
	for i, t := range tags {
		if t.Name == "" {
			return nil, fmt.Errorf("name of a tag: %w", schemas.ErrEmptyName)
		}
		if i > 0 && tags[i-1].Name == t.Name {
			return nil, fmt.Errorf("tag %.100q: %w", t.Name, schemas.ErrDuplicateLabel)
		}
		if t.Value != "" {
			filled++
		}
	}
	if filled == 0 {
		return nil, nil
	}
	labels := make(schemas.Labels, 0, filled)
	for _, t := range tags {
		if t.Value != "" {
			labels = append(labels, t)
		}
	}
	return labels, nil
}

// flatObject returns the object at the start of b if it holds no other array or
// object, else some bytes that are no key of the cache. It stops at a line feed
// in a string, which is no JSON, so that no body has it read on to the end again and again.
func flatObject(b []byte) []byte {
	quoted := false
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '"':
			quoted = !quoted
		case '\\':
			i++
		case '}':
			if !quoted {
				return b[:i+1]
			}
		case '{', '[':
			if !quoted {
				return b[:i]
			}
		case '\n':
			if quoted {
				return b[:i]
			}
		}
	}
	return b[:1]
}

// number converts what scanner.number read.
func (d *Decoder) number(b []byte) float64 {
	if len(b) == 0 {
		return 0
	}
	v, err := strconv.ParseFloat(string(b), 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		d.refuse(NotFinite, fmt.Errorf("value %.40s: must be a finite number", b))
	}
	return v
}

// timestamp converts what scanner.number read to ms.
func (d *Decoder) timestamp(b []byte) int64 {
	if len(b) == 0 {
		return 0
	}
	ms, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		// 1.5e12 is a whole number too. Floats hold all whole numbers up to 2^53 ms.
		v, err := strconv.ParseFloat(string(b), 64)
		if err != nil || v != math.Trunc(v) || math.Abs(v) > 1<<53 {
			d.refuse(BadTimestamp, fmt.Errorf("timestamp %.40s: must be a whole number of ms", b))
			return 0
		}
		ms = int64(v)
	}
	d.checkTime(ms)
	return ms
}

func (d *Decoder) checkTime(ms int64) {
	if ms < MinTimeMS || ms > MaxTimeMS {
		d.refuse(BadTimestamp, fmt.Errorf("timestamp %d ms: must be in [%d, %d]", ms, int64(MinTimeMS), int64(MaxTimeMS)))
	}
}
