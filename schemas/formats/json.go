package formats

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/weir-metrics/weir/schemas"
)

// JSON is the format of objects of the seed API; see the package's comment.
var JSON = &Format{Name: "json", ContentType: "application/json", Media: []string{"json"}, Path: "/api/v1/samples",
	Whole: true, Open: "[", Between: ",", End: "]",
	next: (*Decoder).nextJSON, looks: looksJSON}

func looksJSON(text []byte) bool { return text[0] == '{' || text[0] == '[' }

// jsonState is what the decoder knows about a body of JSON, and the names and label sets of all
// bodies, the latter by the bytes in which they are written.
type jsonState struct {
	array      arrayState
	labelBytes int // of the labels of the object in hand
	labels     cache[labelSet]
	names      cache[string]
}

func (s *jsonState) begin() { s.array = outside }

// arrayState is where a body of JSON is in its outer array.
type arrayState uint8

const (
	outside   arrayState = iota // outside any array
	opened                      // after the [
	behindOne                   // after an element
)

// nextJSON returns the next object of the body.
func (d *Decoder) nextJSON() *Entry {
	s := scanner{b: d.body, i: d.pos, terse: d.terse()}
	for {
		c := s.peek()
		d.advance(s.i)
		switch {
		case s.i == len(s.b) && d.json.array == outside:
			return nil
		case d.json.array == outside && bytes.HasPrefix(s.b[s.i:], bomUTF8):
			s.i += len(bomUTF8)
			continue
		case d.json.array == outside && c == '[':
			d.json.array = opened
			s.i++
			continue
		case d.json.array != outside && c == ']':
			d.json.array = outside
			s.i++
			continue
		case d.json.array == behindOne:
			s.want(',', "a comma or ]")
			s.peek()
		}
		break
	}
	if s.err != nil || s.i == len(s.b) {
		s.fail("a value")
		d.json.array = outside
		return d.refuseRest(Undecodable, s.err)
	}
	d.advance(s.i)
	d.start()
	d.value(&s)
	if s.err != nil {
		d.entry.Fault = nil // what the value would have meant no longer matters
		d.refuse(Undecodable, s.err)
		next := len(d.body)
		if d.json.array != outside {
			d.json.array = outside // the rest of the array is refused with it
		} else if nl := bytes.IndexByte(d.body[s.i:], '\n'); nl >= 0 {
			next = s.i + nl
		}
		return d.end(d.body[d.pos:next], next)
	}
	if d.json.array != outside {
		d.json.array = behindOne
	}
	return d.end(d.body[d.pos:s.i], s.i)
}

// The fields of a sample, as bits.
const (
	fieldMetric = 1 << iota
	fieldTags
	fieldTime
	fieldValue
	fieldSub
)

var (
	errNoObject = errors.New("a sample must be an object")
	errMissing  = [...]error{errors.New("metricName is missing"), errors.New("timestamp is missing"), errors.New("value is missing")}
)

// value reads one value, which should be an object, into d.entry.
func (d *Decoder) value(s *scanner) {
	if s.peek() != '{' {
		if s.skip(0); s.err == nil {
			d.refuse(WrongType, errNoObject)
		}
		return
	}
	s.i++
	d.json.labelBytes = 0
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
	for i, bit := range [...]uint8{fieldMetric, fieldTime, fieldValue} {
		if seen&bit == 0 {
			d.refuse(MissingField, errMissing[i])
		}
	}
	if err := d.config.checkSeries(len(sample.Series.Metric), d.json.labelBytes); err != nil {
		d.refuse(TooLong, err)
	}
	if d.entry.Fault != nil {
		d.entry.Unknown = 0
	} else {
		d.entry.Samples = append(d.entry.Samples, sample)
	}
}

// member reads one member of an object into sample, and returns the bit of its field, or 0.
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
	case "subNs":
		bit = fieldSub
		if isNumber(c) {
			sample.SubNS = d.subNS(s.number())
		} else {
			d.wrongType(s, "subNs", "a number of ns")
		}
	case "value":
		bit = fieldValue
		if isNumber(c) {
			sample.Value = d.number(s.number())
		} else {
			d.wrongType(s, "value", "a number")
		}
	default:
		d.entry.Unknown++
		if !d.config.IgnoreUnknownFields {
			d.refuseBy(UnknownField, func() error { return unknownField(key) })
		}
		s.skip(0)
	}
	if seen&bit != 0 {
		d.refuseBy(Undecodable, func() error { return fmt.Errorf("%s appears twice", key) })
	}
	return bit
}

// fieldNames are the fields of a sample, and the names that people write for them.
var fieldNames = map[string][]string{
	"metricName": {"metric", "metric_name", "name", "__name__", "measurement"},
	"tags":       {"tag", "labels", "label", "dimensions", "attributes"},
	"timestamp":  {"time", "ts", "timestamp_ms", "timestampms", "t"},
	"value":      {"values", "val", "v"},
	"subNs":      {"sub_ns", "nanos", "ns"},
}

// unknownField names the field, and the one that was perhaps meant.
func unknownField(key []byte) error {
	lower := strings.ToLower(string(key[:min(len(key), 100)]))
	for name, others := range fieldNames {
		if strings.ToLower(name) == lower || slices.Contains(others, lower) {
			return fmt.Errorf("unknown field %.100q: did you mean %q?", key, name)
		}
	}
	return fmt.Errorf("unknown field %.100q: a sample has metricName, tags, timestamp and value", key)
}

// wrongType skips the value of a field that should have been something else.
func (d *Decoder) wrongType(s *scanner, field, want string) {
	start := s.i
	if s.skip(0); s.err == nil {
		d.refuseBy(WrongType, func() error {
			return fmt.Errorf("%s: %.40q: must be %s", field, s.b[start:s.i][:min(40, s.i-start)], want)
		})
	}
}

// name reads a string that is a metric's name.
func (d *Decoder) name(s *scanner) string {
	raw, escaped := s.text()
	if s.err != nil {
		return ""
	}
	name, reason := d.intern(raw, escaped)
	switch {
	case reason == "" && name == "":
		d.refuseBy(EmptyName, func() error { return fmt.Errorf("metric: %w", schemas.ErrEmptyName) })
	case reason == "" && len(name) > d.config.MaxMetric:
		d.refuseBy(TooLong, func() error { return tooLong("metric", raw, len(name), d.config.MaxMetric) })
	case reason != "":
		d.refuseBy(reason, func() error { return fmt.Errorf("metric: %w", badString(raw, reason)) })
	}
	return name
}

// intern returns a string from what text returned, or the reason why not: it is longer than any
// name may be, or not valid UTF-8.
func (d *Decoder) intern(raw []byte, escaped bool) (string, Reason) {
	if name, ok := d.json.names.get(raw); ok {
		return name, ""
	}
	if !utf8.Valid(raw) {
		return "", InvalidUTF8
	}
	text := raw
	if escaped {
		var ok bool
		if d.scratch, ok = unescape(d.scratch[:0], raw); !ok {
			return "", InvalidUTF8
		}
		text = d.scratch
	}
	if len(text) > schemas.MaxNameBytes {
		return "", TooLong
	}
	name := string(text)
	d.json.names.put(raw, name)
	return name, ""
}

// badString is the error of a string that intern refused.
func badString(raw []byte, r Reason) error {
	if r == TooLong {
		return fmt.Errorf("%.40q…: %w: %d bytes, at most %d", raw[:min(len(raw), 40)], schemas.ErrTooLong, len(raw), schemas.MaxNameBytes)
	}
	return fmt.Errorf("%.100q: %w", raw[:min(len(raw), 100)], schemas.ErrInvalidUTF8)
}

// readTags reads an object of strings.
func (d *Decoder) readTags(s *scanner) schemas.Labels {
	raw := flatObject(s.b[s.i:])
	if set, ok := d.json.labels.get(raw); ok {
		s.i += len(raw)
		d.json.labelBytes = set.bytes
		return set.labels
	}
	start := s.i
	set := d.newTags()
	s.members(func(key []byte, escaped bool) {
		name, reason := d.intern(key, escaped)
		if reason != "" {
			set.refuse(reason, func() error { return fmt.Errorf("name of a tag: %w", badString(key, reason)) })
		}
		if s.peek() != '"' {
			s.skip(0)
			set.refuse(WrongType, func() error { return fmt.Errorf("value of tag %.100q: must be a string", key) })
			return
		}
		raw, escaped := s.text()
		value, reason := d.intern(raw, escaped)
		if reason != "" {
			set.refuse(reason, func() error { return fmt.Errorf("value of tag %.100q: %w", key, badString(raw, reason)) })
		}
		set.add(name, value)
	})
	if s.err != nil {
		return nil
	}
	labels, reason, err := set.labels()
	if err != nil {
		d.refuse(reason, err)
		return nil
	}
	d.json.labelBytes = labels.bytes
	d.json.labels.put(s.b[start:s.i], labels)
	return labels.labels
}

// flatObject returns the object at the start of b if it contains no other array or object,
// otherwise some bytes that are no key of the cache. It stops at a line feed in a string, which is
// not JSON, so that no body makes it read to the end again and again.
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
		d.refuseBy(NotFinite, func() error { return fmt.Errorf("value %.40s: must be a finite number", b) })
	}
	return v
}

// timestamp converts what scanner.number read to ms.
func (d *Decoder) timestamp(b []byte) int64 {
	if len(b) == 0 {
		return 0
	}
	ms, ok := whole64(b)
	if !ok {
		// 1.5e12 is a whole number too. Floats hold all whole numbers up to 2^53 ms.
		v, err := strconv.ParseFloat(string(b), 64)
		if err != nil || v != math.Trunc(v) || math.Abs(v) > 1<<53 {
			d.refuseBy(BadTimestamp, func() error { return fmt.Errorf("timestamp %.40s: must be a whole number of ms", b) })
			return 0
		}
		ms = int64(v)
	}
	if ms < MinTimeMS || ms > MaxTimeMS {
		d.refuseBy(BadTimestamp, func() error {
			return withHint(fmt.Errorf("timestamp %d ms: must be in the years 0 to 9999", ms), ms, Millisecond)
		})
	}
	return ms
}

// whole64 reads a whole number; ok is false for anything else, and for numbers that are too large.
// Numbers of up to 18 digits, such as times, need no check for that.
func whole64(b []byte) (n int64, ok bool) {
	if len(b) > 18 {
		n, err := strconv.ParseInt(string(b), 10, 64)
		return n, err == nil
	}
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		b = b[1:]
	}
	if len(b) == 0 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if negative {
		n = -n
	}
	return n, true
}

// subNS converts what scanner.number read to the ns within a ms.
func (d *Decoder) subNS(b []byte) uint32 {
	n, err := strconv.ParseUint(string(b), 10, 32)
	if err != nil || n > 999_999 {
		d.refuseBy(BadTimestamp, func() error { return fmt.Errorf("subNs %.40s: must be 0 to 999999", b) })
	}
	return uint32(n)
}
