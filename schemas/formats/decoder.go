package formats

import (
	"bytes"

	"github.com/weir-metrics/weir/schemas"
)

// The event times that are accepted, ms: the years 0 to 9999, so that neither arithmetic on them
// nor RFC 3339 breaks. Whether a time is plausible is left to those who know the clock.
const (
	MinTimeMS = -62167219200000
	MaxTimeMS = 253402300799999
)

// Options are what a body does not tell itself.
type Options struct {
	// Format is what the body is written in.
	Format *Format
	// Precision is the unit of its times, if the Format leaves that open.
	Precision Precision
	// NowMS, ms, is the time of samples that have none.
	NowMS int64
	// Series is the series of CSV rows that name none.
	Series string
}

// ContentType is the content-type header of a body with these options, such as text/plain; precision=ms.
func (o Options) ContentType() string {
	if o.Format.AnyPrecision {
		return o.Format.ContentType + "; precision=" + o.Precision.String()
	}
	return o.Format.ContentType
}

// Entry is one line of line protocol or one object of JSON. An Entry and what it points to, except
// for the strings and labels of its samples, are valid until the next call of Next.
type Entry struct {
	Raw     []byte // the entry as received, without separators; part of the body
	Line    int    // line of the body on which it starts, from 1
	Number  int    // number of the entry in the body, from 1
	Fault   *Fault // nil when it was decoded; else there are no samples
	Samples []schemas.Sample
	Skipped int  // string fields, which are not samples
	Unknown int  // fields of JSON that were ignored, see Config.IgnoreUnknownFields
	Untimed bool // line protocol without a timestamp: the samples have the caller's now
}

// Decoder decodes bodies, one after the other. It keeps the names and label sets that it has seen,
// up to a bound, so that the samples of a series share their strings; these never point into a
// body. It is not safe for concurrent use.
type Decoder struct {
	opts Options

	refusal error // of the whole body

	body []byte
	pos  int // of the next byte to read
	line int // line at pos, from 1

	entry Entry
	fault Fault

	config  Config
	told    int // faults of the body for which a text was built
	scratch []byte
	tags    tags

	text lineState

	json jsonState

	rows csvState
}

// maxTold is how many faults of a body tell exactly what is wrong. Later ones have only their
// reasons: nobody reads a million texts, and building them takes much longer than decoding a
// million samples.
const maxTold = 100

// NewDecoder returns a decoder with the default Config; Reset or ResetBy gives it a body.
func NewDecoder() *Decoder { return NewDecoderOf(Default()) }

// NewDecoderOf returns a decoder that refuses what c does not allow; c must be valid.
func NewDecoderOf(c Config) *Decoder { return &Decoder{config: c} }

// Reset starts on a body.
func (d *Decoder) Reset(body []byte, o Options) {
	d.opts, d.body, d.refusal = o, body, nil
	d.pos, d.line, d.told = 0, 1, 0
	d.json.begin()
	d.text.begin()
	d.rows.begin()
	d.entry.Number = 0
	d.skipBOM()
}

// ResetBy starts on a body whose format Detect finds, and whose precision is the content type's
// parameter of that name. nowMS, ms, is the time of samples without a timestamp. If the content
// type has an unknown precision, the body is refused as one entry.
func (d *Decoder) ResetBy(contentType string, body []byte, nowMS int64) {
	o := Options{Format: Detect(contentType, body), NowMS: nowMS}
	var err error
	if o.Format.AnyPrecision {
		o.Precision, err = PrecisionOf(contentType)
	}
	if d.Reset(body, o); err != nil {
		d.refusal = err
	}
}

// Resume continues with the next part of a body whose format is not Whole. The parts before it must
// have been read to their ends, and end with a line feed.
func (d *Decoder) Resume(part []byte) {
	d.body, d.pos = part, 0
	d.text.begin()
	d.rows.text = ""
}

// Options returns the options of the body.
func (d *Decoder) Options() Options { return d.opts }

// Next returns the next entry, or nil at the end of the body.
func (d *Decoder) Next() *Entry {
	switch {
	case d.refusal != nil && d.pos < len(d.body):
		return d.refuseRest(Undecodable, d.refusal)
	case d.refusal != nil, d.opts.Format == nil:
		return nil
	}
	return d.opts.Format.next(d)
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

// refuse marks the entry as refused. The first fault of an entry is kept.
func (d *Decoder) refuse(r Reason, err error) {
	if d.entry.Fault == nil {
		d.fault = Fault{Line: d.entry.Line, Entry: d.entry.Number, Reason: r, Err: err}
		d.entry.Fault = &d.fault
		d.told++
		d.entry.Samples, d.entry.Skipped = d.entry.Samples[:0], 0
	}
}

// refuseBy is refuse with an error that is built only as long as somebody reads it.
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

// terse reports whether enough faults of the body have told what is wrong.
func (d *Decoder) terse() bool { return d.told >= maxTold }

// refuseRest refuses the rest of the body as one entry.
func (d *Decoder) refuseRest(r Reason, err error) *Entry {
	d.start()
	d.refuse(r, err)
	return d.end(d.body[d.pos:], len(d.body))
}
