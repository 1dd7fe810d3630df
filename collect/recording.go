package collect

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
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
// Which one is told by the file's first lines.
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
}

// peekBytes is how much of a file is looked at to tell its format.
const peekBytes = 4096

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
	r := &Recording{name: "recording", in: bufio.NewReaderSize(in, peekBytes), total: size, opts: opts,
		dec: formats.NewDecoder(), known: make(map[string]schemas.Series)}
	head, err := r.in.Peek(peekBytes)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case formats.Detect("", head) == formats.JSON:
		r.next = r.nextJSON
	case r.looksLikeCSV(head):
		r.next = r.nextCSV
	default:
		r.next = r.nextLines
	}
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
	if r.read == 0 {
		body, err := io.ReadAll(r.in)
		if err != nil {
			return err
		}
		r.read = int64(len(body))
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

// looksLikeCSV says whether the first line is a header or a row of CSV.
func (r *Recording) looksLikeCSV(head []byte) bool {
	first, _, _ := strings.Cut(string(head), "\n")
	first = strings.TrimRight(first, "\r")
	_, err := r.row(first)
	return err == nil || isHeader(first)
}

func (r *Recording) nextCSV() error {
	part, err := r.part()
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(part)) {
		r.line++
		line = strings.TrimRight(line, "\r\n")
		if line == "" || r.line == 1 && isHeader(line) {
			continue
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

// isHeader says whether the first line names the columns.
func isHeader(line string) bool { return strings.HasSuffix(strings.ToLower(line), ",value") }

// row reads a row of CSV. Every error is a *formats.Fault.
func (r *Recording) row(line string) (schemas.Sample, error) {
	var s schemas.Sample
	rest, value, ok := cutLast(line)
	if !ok {
		return s, &formats.Fault{Reason: formats.Undecodable, Err: fmt.Errorf("%.100q: want series,timestamp_ms,value or timestamp,value", line)}
	}
	var err error
	if s.Value, err = strconv.ParseFloat(value, 64); err != nil && !errors.Is(err, strconv.ErrRange) {
		return s, &formats.Fault{Reason: formats.Undecodable, Err: fmt.Errorf("value %.40q: must be a number", value)}
	}
	if math.IsNaN(s.Value) || math.IsInf(s.Value, 0) {
		return s, &formats.Fault{Reason: formats.NotFinite, Err: fmt.Errorf("value %.40q: must be finite", value)}
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
		plain = strings.ReplaceAll(plain[1:len(plain)-1], `""`, `"`)
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
	if err != nil {
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
		return 0, fmt.Errorf("timestamp %.40q: must be in the years 0 to 9999", text)
	}
	return ms, nil
}
