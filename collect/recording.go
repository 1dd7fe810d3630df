package collect

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"weir/schemas"
	"weir/schemas/formats"
)

// ReadOptions is what a recording does not say itself.
type ReadOptions struct {
	// Series is the series of CSV rows that name none: timestamp,value. Empty: the
	// file's name without its extension.
	Series string
	// Precision is the unit of line protocol's timestamps.
	Precision formats.Precision
	// Name is the file's, for errors and hints.
	Name string
	// Format is what the file is written in; AnyFormat: its first lines tell.
	Format FileFormat
	// NowMS is the time of line protocol without timestamps, ms.
	NowMS int64
}

// Batch is a part of a recording, in the order of the file.
type Batch struct {
	Samples []schemas.Sample // valid until the next call of Next
	Faults  []formats.Fault  // what was refused; lines count from the file's start
	Skipped int              // string fields of line protocol
}

// Recording reads samples from a file:
//
//   - CSV with the columns series,timestamp_ms,value, in that order, below a header
//     or without one. The series is metric{name="value",…}, quoted as in CSV or not.
//   - CSV with the columns timestamp,value, as the Numenta Anomaly Benchmark has:
//     the time is 2006-01-02 15:04:05 in UTC, RFC 3339, or a number of ms.
//   - JSON and line protocol, as package formats reads them. JSON is read into memory whole.
//
// Which one is told by the file's first lines that are neither blank nor comments (see sniff), or by
// ReadOptions.Format. A byte order mark is skipped. Numbers go by formats.ParseNumber.
type Recording struct {
	name   string // for errors
	closer io.Closer
	in     *bufio.Reader
	total  int64
	read   int64
	line   int // lines that Next has returned

	next  func() error
	batch Batch
	dec   *formats.Decoder
	opts  ReadOptions
	known map[string]schemas.Series // by their text in CSV

	format  FileFormat
	begun   bool // a row of CSV, or its header, was read
	failed  bool // a fault was returned
	samples int
	hinted  int    // of them, those whose time looks like another unit
	hint    string // the last one's
}

// partBytes is about how much of a file goes into a batch.
const partBytes = 256 << 10

// maxLineBytes bounds a line of CSV or line protocol.
const maxLineBytes = 16 << 20

// OpenRecording opens the file name. The errors are those of opening and reading it.
func OpenRecording(name string, opts ReadOptions) (*Recording, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("recording: %w", err), f.Close())
	}
	if opts.Series == "" {
		base := filepath.Base(name)
		opts.Series = strings.TrimSuffix(base, filepath.Ext(base))
	}
	r, err := NewRecording(f, info.Size(), opts)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("recording %s: %w", name, err), f.Close())
	}
	r.closer, r.name = f, name
	return r, nil
}

// NewRecording reads from in, such as standard input; size, bytes, is for Progress,
// and 0 if it is not known. Rows without a series need opts.Series.
func NewRecording(in io.Reader, size int64, opts ReadOptions) (*Recording, error) {
	r := &Recording{name: cmp.Or(opts.Name, "recording"), in: bufio.NewReaderSize(in, peekBytes), total: size, opts: opts,
		dec: formats.NewDecoder(), known: make(map[string]schemas.Series)}
	head, err := r.in.Peek(peekBytes)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, bom):
		n, err := r.in.Discard(len(bom))
		if err != nil {
			return nil, err
		}
		r.read += int64(n)
		head = head[n:]
	case bytes.HasPrefix(head, []byte("\xff\xfe")), bytes.HasPrefix(head, []byte("\xfe\xff")):
		return nil, errUTF16
	}
	if r.format = opts.Format; r.format == AnyFormat {
		r.format = r.sniff(head)
	}
	r.next = map[FileFormat]func() error{JSONFormat: r.nextJSON, CSVFormat: r.nextCSV, LineFormat: r.nextLines}[r.format]
	return r, nil
}

// Close closes the file.
func (r *Recording) Close() error {
	if r.closer == nil {
		return nil
	}
	return r.closer.Close()
}

// Progress is how far Next has read, and the size of the file, bytes.
func (r *Recording) Progress() (read, total int64) { return r.read, r.total }

// Next returns the next part of the file. The error is io.EOF at the end, or that
// the file could not be read. Rows that cannot be decoded are in Batch.Faults.
func (r *Recording) Next() (*Batch, error) {
	r.batch = Batch{Samples: r.batch.Samples[:0], Faults: r.batch.Faults[:0]}
	if err := r.next(); err != nil {
		return nil, err
	}
	for i := range r.batch.Samples {
		r.noteUnit(&r.batch.Samples[i])
	}
	if len(r.batch.Faults) > 0 && !r.failed {
		if r.failed = true; r.opts.Format == AnyFormat {
			f := &r.batch.Faults[0]
			f.Err = fmt.Errorf("%w; the file is read as %s, see --format", f.Err, r.format)
		}
	}
	return &r.batch, nil
}

// part reads up to the first line feed after partBytes, or to the end.
func (r *Recording) part() ([]byte, error) {
	var part []byte
	for len(part) < partBytes {
		line, err := r.in.ReadSlice('\n')
		part = append(part, line...)
		r.read += int64(len(line))
		for err == bufio.ErrBufferFull && len(part) < partBytes+maxLineBytes {
			line, err = r.in.ReadSlice('\n')
			part = append(part, line...)
			r.read += int64(len(line))
		}
		if err == io.EOF && len(part) > 0 {
			return part, nil
		}
		if err == bufio.ErrBufferFull {
			return nil, fmt.Errorf("line %d: longer than %d bytes", r.line+bytes.Count(part, []byte("\n"))+1, maxLineBytes)
		}
		if err != nil {
			return nil, err
		}
	}
	return part, nil
}

func (r *Recording) nextLines() error {
	part, err := r.part()
	if err != nil {
		return err
	}
	r.dec.ResetLine(part, r.opts.Precision, r.opts.NowMS)
	r.decode()
	r.line += bytes.Count(part, []byte("\n"))
	return nil
}

func (r *Recording) nextJSON() error {
	if !r.begun {
		r.begun = true
		body, err := io.ReadAll(r.in)
		if err != nil {
			return err
		}
		r.read += int64(len(body))
		r.dec.ResetJSON(body)
		r.decode()
		return nil
	}
	return io.EOF
}

func (r *Recording) decode() {
	for e := r.dec.Next(); e != nil; e = r.dec.Next() {
		r.batch.Samples = append(r.batch.Samples, e.Samples...)
		r.batch.Skipped += e.Skipped
		if e.Fault != nil {
			f := *e.Fault
			f.Line += r.line
			r.batch.Faults = append(r.batch.Faults, f)
		}
	}
}

func (r *Recording) nextCSV() error {
	part, err := r.part()
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(part)) {
		r.line++
		line = trimMarks(strings.TrimRight(line, "\r\n"))
		if trimmed := strings.TrimSpace(line); trimmed == "" || !r.begun && trimmed[0] == '#' {
			continue
		}
		if !r.begun {
			if r.begun = true; isHeader(line) {
				continue
			}
		}
		s, err := r.row(line)
		var f *formats.Fault
		if errors.As(err, &f) {
			f.Line, f.Entry = r.line, r.line
			r.batch.Faults = append(r.batch.Faults, *f)
			continue
		}
		r.batch.Samples = append(r.batch.Samples, s)
	}
	return nil
}

// trimMarks cuts byte order marks off a text's start: files are joined of others.
func trimMarks(text string) string {
	for strings.HasPrefix(text, string(bom)) {
		text = text[len(bom):]
	}
	return text
}

// row reads a row of CSV. Every error is a *formats.Fault.
func (r *Recording) row(line string) (schemas.Sample, error) {
	var s schemas.Sample
	rest, value, ok := cutLast(line)
	if !ok {
		return s, &formats.Fault{Reason: formats.Undecodable, Err: fmt.Errorf("%.100q: want series,timestamp_ms,value or timestamp,value", line)}
	}
	if nonFinite(value) {
		return s, &formats.Fault{Reason: formats.NotFinite, Err: fmt.Errorf("value %.40q: must be finite", value)}
	}
	var err error
	if s.Value, err = formats.ParseNumber(value); err != nil {
		return s, &formats.Fault{Reason: formats.ReasonOf(err), Err: err}
	}
	series, stamp, named := cutLast(rest)
	if !named {
		series, stamp = r.opts.Series, rest
	}
	if s.TimeMS, err = parseTime(stamp); err != nil {
		return s, &formats.Fault{Reason: formats.BadTimestamp, Err: err}
	}
	if s.Series, err = r.series(series); err != nil {
		return s, &formats.Fault{Reason: formats.ReasonOf(err), Err: err}
	}
	return s, nil
}

// nonFinite reports whether a value is one of the words that programs print for what is no finite number.
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

// maxKnown bounds the series of a recording that are kept parsed.
const maxKnown = 1 << 20

func (r *Recording) series(text string) (schemas.Series, error) {
	if s, ok := r.known[text]; ok {
		return s, nil
	}
	plain := strings.TrimSpace(text)
	if len(plain) > 1 && plain[0] == '"' && plain[len(plain)-1] == '"' {
		plain = trimMarks(strings.ReplaceAll(plain[1:len(plain)-1], `""`, `"`))
	}
	s, err := schemas.ParseSeries(plain)
	if err != nil {
		return s, err
	}
	if len(r.known) == maxKnown {
		clear(r.known)
	}
	r.known[strings.Clone(text)] = s
	return s, nil
}

// parseTime reads ms since the epoch, RFC 3339, or 2006-01-02 15:04:05 in UTC.
func parseTime(text string) (int64, error) {
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
	if ms < formats.MinTimeMS || ms > formats.MaxTimeMS {
		err := fmt.Errorf("timestamp %.40q: must be in the years 0 to 9999", text)
		if h := formats.Hint(ms, formats.Millisecond); h != "" {
			err = fmt.Errorf("%w; %s", err, h)
		}
		return 0, err
	}
	return ms, nil
}
