package formats

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/weir-metrics/weir/schemas"
)

// CSV is the format of recordings, found only in files; see the package's comment.
var CSV = &Format{Name: "csv", ContentType: "text/csv", Between: "\n", End: "\n",
	next: (*Decoder).nextRow, looks: looksCSV}

// looksCSV goes by the commas. It is asked about text that looks like no other format, as those
// have commas, too.
func looksCSV(text []byte) bool {
	return bytes.IndexByte(text, ',') >= 0 && !looksLine(text) && !looksJSON(text)
}

// csvState is what the decoder knows about a body of CSV, and the series of all bodies, by their
// text.
type csvState struct {
	begun bool   // a row, or the header, was read
	text  string // the body
	known cache[schemas.Series]
}

func (s *csvState) begin() { s.begun, s.text = false, "" }

// nextRow returns the next row that is neither blank, nor the header, nor a comment above them.
func (d *Decoder) nextRow() *Entry {
	if d.rows.text == "" {
		d.rows.text = string(d.body)
	}
	for d.pos < len(d.body) {
		next := d.pos + firstLine(d.body[d.pos:])
		raw := d.body[d.pos:next]
		line := strings.TrimLeft(strings.TrimRight(d.rows.text[d.pos:next], "\r\n"), marks)
		trimmed := strings.TrimSpace(line)
		if trimmed == "" || !d.rows.begun && (trimmed[0] == '#' || isHeader(line)) {
			d.rows.begun = d.rows.begun || trimmed != "" && trimmed[0] != '#'
			d.advance(next)
			continue
		}
		d.rows.begun = true
		d.start()
		s, err := d.row(line)
		if fault := (*Fault)(nil); errors.As(err, &fault) {
			d.refuse(fault.Reason, fault.Err)
		} else {
			d.entry.Samples = append(d.entry.Samples, s)
		}
		return d.end(bytes.TrimRight(raw, "\r\n"), next)
	}
	return nil
}

// marks is the byte order mark; a file joined from others may have it in the middle.
const marks = "\ufeff"

// row reads a row of CSV. Every error is a *Fault.
func (d *Decoder) row(line string) (schemas.Sample, error) {
	var s schemas.Sample
	rest, value, ok := cutLast(line)
	if !ok {
		return s, &Fault{Reason: Undecodable, Err: fmt.Errorf("%.100q: want series,timestamp_ms,value or timestamp,value", line)}
	}
	if nonFinite(value) {
		return s, &Fault{Reason: NotFinite, Err: fmt.Errorf("value %.40q: must be finite", value)}
	}
	var err error
	if s.Value, err = ParseNumber(value); err != nil {
		return s, &Fault{Reason: ReasonOf(err), Err: err}
	}
	series, stamp, named := cutLast(rest)
	if !named {
		series, stamp = d.opts.Series, rest
	}
	if s.TimeMS, err = rowTime(stamp); err != nil {
		return s, &Fault{Reason: BadTimestamp, Err: err}
	}
	if s.Series, err = d.rowSeries(series); err != nil {
		return s, &Fault{Reason: ReasonOf(err), Err: err}
	}
	return s, nil
}

// isHeader reports whether a line names the columns of CSV: value comes last, and there is no
// number.
func isHeader(line string) bool {
	cells := strings.Split(strings.ToLower(line), ",")
	last := strings.Trim(strings.TrimSpace(cells[len(cells)-1]), `"`)
	return len(cells) > 1 && last == "value"
}

// nonFinite reports whether a value is one of the words that programs print for a number that is
// not finite.
func nonFinite(value string) bool {
	word := strings.ToLower(strings.TrimLeft(value, "+-"))
	return word == "nan" || word == "inf" || word == "infinity"
}

// cutLast cuts text at its last comma.
func cutLast(text string) (before, after string, found bool) {
	i := strings.LastIndexByte(text, ',')
	if i < 0 {
		return text, "", false
	}
	return text[:i], strings.TrimSpace(text[i+1:]), true
}

// rowSeries reads metric{name="value",…}, quoted as in CSV or not.
func (d *Decoder) rowSeries(text string) (schemas.Series, error) {
	if s, ok := d.rows.known.get([]byte(text)); ok {
		return s, nil
	}
	plain := strings.TrimSpace(strings.Clone(text)) // a copy, not part of the body
	if len(plain) > 1 && plain[0] == '"' && plain[len(plain)-1] == '"' {
		plain = strings.TrimLeft(strings.ReplaceAll(plain[1:len(plain)-1], `""`, `"`), marks)
	}
	s, err := schemas.ParseSeries(plain)
	if err != nil {
		return s, err
	}
	d.rows.known.put([]byte(text), s)
	return s, nil
}

// rowTime reads ms since the epoch, RFC 3339, or 2006-01-02 15:04:05 in UTC.
func rowTime(text string) (int64, error) {
	text = strings.Trim(strings.TrimSpace(text), `"`)
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil || text[0] == '+' {
		t, err := time.Parse(time.DateTime, text)
		if err != nil {
			t, err = time.Parse(time.RFC3339, text)
		}
		if err != nil {
			return 0, fmt.Errorf("timestamp %.40q: must be ms, RFC 3339 or %s", text, time.DateTime)
		}
		ms = t.UnixMilli()
	}
	if ms < MinTimeMS || ms > MaxTimeMS {
		return 0, withHint(fmt.Errorf("timestamp %.40q: must be in the years 0 to 9999", text), ms, Millisecond)
	}
	return ms, nil
}
