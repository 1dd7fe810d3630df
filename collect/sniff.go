package collect

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"weir/schemas"
	"weir/schemas/formats"
)

// FileFormat is what a recording is written in.
type FileFormat string

// The formats of recordings.
const (
	AnyFormat  FileFormat = ""     // told by the first lines
	CSVFormat  FileFormat = "csv"  // see Recording
	LineFormat FileFormat = "line" // line protocol
	JSONFormat FileFormat = "json" // see package formats
)

// ParseFileFormat reads csv, line or json; "" is AnyFormat. The error quotes anything else.
func ParseFileFormat(text string) (FileFormat, error) {
	switch f := FileFormat(text); f {
	case AnyFormat, CSVFormat, LineFormat, JSONFormat:
		return f, nil
	}
	return "", fmt.Errorf("format %.20q: must be csv, line or json", text)
}

const (
	// peekBytes is how much of a file is looked at to tell its format, and sniffLines how
	// many lines of it that are neither blank nor comments.
	peekBytes, sniffLines = 64 << 10, 100
)

var (
	bom      = []byte("\xef\xbb\xbf")
	errUTF16 = errors.New("the file begins with a byte order mark of UTF-16: it must be UTF-8")
)

// sniff tells the format of a file that begins with head: what most of its first lines can be
// read as. If none can be read, their look decides.
func (r *Recording) sniff(head []byte) FileFormat {
	if len(head) == peekBytes { // its last line may be cut
		head = head[:bytes.LastIndexByte(head, '\n')+1]
	}
	votes := map[FileFormat]int{}
	looks := AnyFormat
	seen := 0
	for line := range bytes.Lines(head) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if seen++; seen > sniffLines {
			break
		}
		_, err := r.row(string(line))
		switch {
		case err == nil, isHeader(string(line)):
			votes[CSVFormat]++
		case line[0] == '{' || line[0] == '[':
			votes[JSONFormat]++
		case r.isLine(line):
			votes[LineFormat]++
		}
		if looks == AnyFormat {
			looks = look(line)
		}
	}
	best := looks
	for _, f := range []FileFormat{JSONFormat, LineFormat, CSVFormat} {
		if votes[f] > votes[best] {
			best = f
		}
	}
	if votes[JSONFormat] > 0 && looks == JSONFormat && votes[CSVFormat] == 0 {
		return JSONFormat // whose first object may go over many lines
	}
	if best == AnyFormat {
		return LineFormat
	}
	return best
}

// look guesses the format of a line that cannot be read.
func look(line []byte) FileFormat {
	switch {
	case line[0] == '{' || line[0] == '[':
		return JSONFormat
	case bytes.IndexByte(line, '=') > 0 && bytes.IndexByte(line, ' ') > 0 && bytes.IndexByte(line, '{') < 0:
		return LineFormat
	case bytes.IndexByte(line, ',') >= 0:
		return CSVFormat
	}
	return LineFormat
}

// isLine reports whether the line is line protocol.
func (r *Recording) isLine(line []byte) bool {
	r.dec.ResetLine(line, r.opts.Precision, r.opts.NowMS)
	e := r.dec.Next()
	return e != nil && e.Fault == nil
}

// isHeader reports whether a line names the columns of CSV: value last, and no number.
func isHeader(line string) bool {
	cells := strings.Split(strings.ToLower(line), ",")
	last := strings.Trim(strings.TrimSpace(cells[len(cells)-1]), `"`)
	return len(cells) > 1 && last == "value"
}

// noteUnit counts a sample, and whether its time would be one of this century in another unit.
func (r *Recording) noteUnit(s *schemas.Sample) {
	n, unit := s.TimeMS, formats.Millisecond
	if r.format == LineFormat {
		switch unit = r.opts.Precision; unit {
		case formats.Second:
			n /= 1000
		case formats.Microsecond:
			n = n*1000 + int64(s.SubNS)/1000
		case formats.Nanosecond:
			if n > 1e12 || n < -1e12 {
				n = 0 // of this century as it is, or overflows
			} else {
				n = n*1e6 + int64(s.SubNS)
			}
		}
	}
	r.samples++
	if h := formats.Hint(n, unit); h != "" {
		r.hinted++
		r.hint = h
	}
}

// Hint says that the times look like another unit than they were read in, as
// "1,000 of 1,000 times: it looks like seconds", or "". It speaks of what Next has returned.
func (r *Recording) Hint() string {
	if r.hinted == 0 || r.hinted < r.samples/2 {
		return ""
	}
	unit := "ms"
	if r.format == LineFormat {
		unit = r.opts.Precision.String() + ", see --precision"
	}
	return fmt.Sprintf("%s: %d of %d times, read as %s: %s", r.name, r.hinted, r.samples, unit, r.hint)
}
