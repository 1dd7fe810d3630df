package formats

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"strings"
	"time"

	"weir/schemas"
)

// The event times that are accepted, ms: the years 0 to 9999, so that neither
// arithmetic on them nor RFC 3339 breaks. Whether a time is plausible is for those
// to judge who know the clock.
const (
	MinTimeMS = -62167219200000
	MaxTimeMS = 253402300799999
)

// Format is what a body is written in.
type Format uint8

// The known formats.
const (
	Line Format = iota // Influx line protocol
	JSON               // objects of the seed API
)

// String is the format's name: "line" or "json".
func (f Format) String() string {
	if f == JSON {
		return "json"
	}
	return "line"
}

// Precision is the unit of line protocol's timestamps.
type Precision uint8

// The precisions of line protocol; the default is Nanosecond.
const (
	Nanosecond Precision = iota
	Microsecond
	Millisecond
	Second
)

// precisions holds the name and length of each Precision.
var precisions = [...]struct {
	name string
	unit time.Duration
}{{"ns", time.Nanosecond}, {"us", time.Microsecond}, {"ms", time.Millisecond}, {"s", time.Second}}

// ParsePrecision reads ns or n, us, u or µs, ms, and s; "" is Nanosecond. It
// returns an error that quotes anything else.
func ParsePrecision(text string) (Precision, error) {
	switch text {
	case "", "n":
		return Nanosecond, nil
	case "u", "µ", "μ", "µs", "μs": // the micro sign and the Greek letter
		return Microsecond, nil
	}
	for p, d := range precisions {
		if text == d.name {
			return Precision(p), nil
		}
	}
	return 0, fmt.Errorf("precision %.20q: must be one of ns, us, ms, s", text)
}

// String is ns, us, ms or s: what ParsePrecision reads.
func (p Precision) String() string { return precisions[p].name }

// Duration is the length of one unit.
func (p Precision) Duration() time.Duration { return precisions[p].unit }

// ContentTypeJSON is the content-type header of records and requests in JSON.
const ContentTypeJSON = "application/json"

// ContentTypeLine is the content-type header of line protocol with precision p:
// text/plain; precision=ms.
func ContentTypeLine(p Precision) string { return "text/plain; precision=" + p.String() }

// Detect tells the format of a body: by the content type when that names one
// (json or influx or text/plain in the media type), else by the first byte that
// is neither white space nor a byte order mark, which in JSON is { or [.
func Detect(contentType string, body []byte) Format {
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.ToLower(media)
	switch {
	case strings.Contains(media, "json"):
		return JSON
	case strings.Contains(media, "influx"), strings.Contains(media, "text/plain"):
		return Line
	}
	body = bytes.TrimLeft(body, " \t\r\n\ufeff")
	if len(body) > 0 && (body[0] == '{' || body[0] == '[') {
		return JSON
	}
	return Line
}

// PrecisionOf reads the precision parameter of a content type; a content type
// without one means Nanosecond. The error quotes a precision, or a content type with one, that does
// not parse.
func PrecisionOf(contentType string) (Precision, error) {
	if !strings.Contains(strings.ToLower(contentType), "precision") {
		return Nanosecond, nil
	}
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return 0, fmt.Errorf("content type %.100q: %w", contentType, err)
	}
	return ParsePrecision(params["precision"])
}

// Reason says why an entry was refused. The set is closed: reasons are metric
// labels and deadletter headers.
type Reason string

// The reasons.
const (
	Undecodable    Reason = "undecodable"     // does not parse
	WrongType      Reason = "wrong_type"      // a field of JSON has another type, or an entry is no object
	MissingField   Reason = "missing_field"   // a required field of JSON is not there
	UnknownField   Reason = "unknown_field"   // a field of JSON that weir does not know, as tag for tags
	NotFinite      Reason = "not_finite"      // NaN, Inf, or a number too large for a float64
	BadTimestamp   Reason = "bad_timestamp"   // no whole number, or outside MinTimeMS and MaxTimeMS
	EmptyName      Reason = "empty_name"      // of the metric or of a label
	DuplicateLabel Reason = "duplicate_label" // a tag that stands twice
	InvalidUTF8    Reason = "invalid_utf8"    // in a name or a value
	TooLong        Reason = "too_long"        // a name, a value or a series over its bound in Config
)

// Reasons are all reasons, so that counters can start at zero.
var Reasons = []Reason{Undecodable, WrongType, MissingField, UnknownField, NotFinite, BadTimestamp, EmptyName, DuplicateLabel, InvalidUTF8, TooLong}

// Fault says why an entry was refused. It is an error.
type Fault struct {
	Line   int // line of the body on which the entry starts, from 1
	Entry  int // number of the entry in the body, from 1
	Reason Reason
	Err    error // what exactly; its text is bounded and quotes the culprit
}

// Error gives the place, the reason and the cause.
func (f *Fault) Error() string { return fmt.Sprintf("line %d: %s: %v", f.Line, f.Reason, f.Err) }

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.Err }

// ReasonOf names the reason of a fault that Series.Validate or ParseNumber found.
func ReasonOf(err error) Reason {
	switch {
	case errors.Is(err, schemas.ErrEmptyName):
		return EmptyName
	case errors.Is(err, schemas.ErrDuplicateLabel):
		return DuplicateLabel
	case errors.Is(err, schemas.ErrInvalidUTF8):
		return InvalidUTF8
	case errors.Is(err, schemas.ErrTooLong):
		return TooLong
	case errors.Is(err, errRange):
		return NotFinite
	}
	return Undecodable
}

// Entry is one line of line protocol or one object of JSON. It and what it
// points to, but for the strings and labels of its samples, are valid until the
// next call of Next.
type Entry struct {
	Raw     []byte // the entry as it came, without separators; part of the body
	Line    int    // line of the body on which it starts, from 1
	Number  int    // number of the entry in the body, from 1
	Fault   *Fault // nil when it was decoded; else there are no samples
	Samples []schemas.Sample
	Skipped int  // string fields, which are no samples
	Unknown int  // fields of JSON that were ignored, see Config.IgnoreUnknownFields
	Untimed bool // line protocol without a timestamp: the samples have the caller's now
}

// Decoder decodes bodies, one after the other. It keeps the names and label sets
// that it saw, up to a bound, so that the samples of a series share their strings;
// these never point into a body. It is not safe for concurrent use.
type Decoder struct {
	format    Format
	precision Precision
	nowMS     int64
	refusal   error // of the whole body

	body  []byte
	pos   int // of the next byte to read
	line  int // line at pos, from 1
	array arrayState

	entry Entry
	fault Fault

	// Label sets by the bytes that they are written in, and names likewise.
	jsonLabels, lineLabels cache[labelSet]
	jsonNames, lineNames   cache[string]

	options    Config
	labelBytes int // of the labels of the object in hand
	told       int // faults of the body whose text was built
	rescanned  int // bytes of line protocol that were read more than once; see nextLine
	scratch    []byte
	syntax     syntax // of the entry in hand
	tags       tags
}

// maxTold is how many faults of a body say exactly what is wrong. Those after them have
// their reasons alone: nobody reads a million texts, and to build them takes much longer
// than to decode a million samples.
const maxTold = 100

// NewDecoder returns a decoder with the default Config; Reset, ResetJSON or ResetLine gives
// it a body.
func NewDecoder() *Decoder { return NewDecoderOf(Default()) }

// NewDecoderOf returns a decoder that refuses what c, which is valid, does not let pass.
func NewDecoderOf(c Config) *Decoder { return &Decoder{options: c} }

// Reset starts on a body whose format Detect tells, and whose precision the
// content type's parameter of that name. nowMS, ms, is the time of lines without a
// timestamp. A content type with an unknown precision refuses the body as one
// entry.
func (d *Decoder) Reset(contentType string, body []byte, nowMS int64) {
	if Detect(contentType, body) == JSON {
		d.ResetJSON(body)
		return
	}
	p, err := PrecisionOf(contentType)
	if d.ResetLine(body, p, nowMS); err != nil {
		d.refusal = err
	}
}

// ResetJSON starts on a body of JSON.
func (d *Decoder) ResetJSON(body []byte) { d.reset(JSON, body) }

// ResetLine starts on a body of line protocol with timestamps in p; nowMS, ms, is
// the time of lines that have none.
func (d *Decoder) ResetLine(body []byte, p Precision, nowMS int64) {
	d.reset(Line, body)
	d.precision, d.nowMS = p, nowMS
}

// Format is the format of the body.
func (d *Decoder) Format() Format { return d.format }

// Precision is the unit of the body's timestamps, if it is line protocol.
func (d *Decoder) Precision() Precision { return d.precision }

// Next returns the next entry, or nil at the end of the body.
func (d *Decoder) Next() *Entry {
	switch {
	case d.refusal != nil && d.pos < len(d.body):
		return d.refuseRest(Undecodable, d.refusal)
	case d.refusal != nil:
		return nil
	case d.format == JSON:
		return d.nextJSON()
	}
	return d.nextLine()
}

func (d *Decoder) reset(f Format, body []byte) {
	d.format, d.body, d.refusal = f, body, nil
	d.pos, d.line, d.array, d.rescanned, d.told = 0, 1, outside, 0, 0
	d.entry.Number = 0
	d.skipBOM()
}

// start begins the next entry at d.pos.
func (d *Decoder) start() {
	d.entry = Entry{Line: d.line, Number: d.entry.Number + 1, Samples: d.entry.Samples[:0]}
}

// end moves to the position next, and returns the entry with raw as its bytes.
func (d *Decoder) end(raw []byte, next int) *Entry {
	d.entry.Raw = raw
	d.advance(next)
	return &d.entry
}

// advance moves to the position next.
func (d *Decoder) advance(next int) {
	d.line += bytes.Count(d.body[d.pos:next], []byte{'\n'})
	d.pos = next
}

// refuse marks the entry as refused. The first fault of an entry stays.
func (d *Decoder) refuse(r Reason, err error) {
	if d.entry.Fault == nil {
		d.fault = Fault{Line: d.entry.Line, Entry: d.entry.Number, Reason: r, Err: err}
		d.entry.Fault = &d.fault
		d.told++
		d.entry.Samples, d.entry.Skipped = d.entry.Samples[:0], 0
	}
}

// refuseBy is refuse with an error that is built only while somebody reads it.
func (d *Decoder) refuseBy(r Reason, why func() error) {
	if d.entry.Fault != nil {
		return
	}
	if d.terse() {
		d.refuse(r, errTerse)
		return
	}
	d.refuse(r, why())
}

// terse reports whether enough faults of the body have said what is wrong.
func (d *Decoder) terse() bool { return d.told >= maxTold }

// refuseRest refuses the rest of the body as one entry.
func (d *Decoder) refuseRest(r Reason, err error) *Entry {
	d.start()
	d.refuse(r, err)
	return d.end(d.body[d.pos:], len(d.body))
}
