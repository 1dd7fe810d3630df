package collect

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/formats"
)

// Batch is a part of a recording, in the order of the file.
type Batch struct {
	Samples []schemas.Sample // valid until the next call of Next
	Faults  []formats.Fault  // what was refused; lines are counted from the file's start
	Skipped int              // string fields of line protocol
}

// Recording reads samples from a file in a format of package formats. A file whose entries may span
// many lines, which is JSON, is read into memory whole.
//
// The options name the format, or the first lines that are neither blank nor comments reveal it
// (formats.Decoder.Sniff).
type Recording struct {
	name   string // for errors
	closer io.Closer
	in     *bufio.Reader
	total  int64
	read   int64
	line   int // lines that Next has returned

	batch Batch
	dec   *formats.Decoder
	opts  formats.Options

	sniffed bool // the format was not given
	begun   bool // a part was read
	failed  bool // a fault was returned
	samples int
	hinted  int    // of those, the samples whose time looks like another unit
	hint    string // the last one's
}

// partBytes is roughly how much of a file goes into a batch.
const partBytes = 256 << 10

// maxLineBytes bounds a line of CSV or line protocol.
const maxLineBytes = 16 << 20

// OpenRecording opens the file name. Its errors are those of opening and reading the file. CSV rows
// without a series have that of opts, or, if that is empty, the file's name without its extension.
func OpenRecording(name string, opts formats.Options) (*Recording, error) {
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
	r, err := NewRecording(name, f, info.Size(), opts)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("recording %s: %w", name, err), f.Close())
	}
	r.closer = f
	return r, nil
}

// NewRecording reads from in, such as standard input; name is for errors and hints; size, bytes, is
// for Progress, and 0 if unknown. Without opts.Format, the first lines reveal the format; CSV rows
// without a series need opts.Series. The errors are those of reading, and that the text is in
// UTF-16.
func NewRecording(name string, in io.Reader, size int64, opts formats.Options) (*Recording, error) {
	r := &Recording{name: name, in: bufio.NewReaderSize(in, formats.SniffBytes), total: size, opts: opts, dec: formats.NewDecoder()}
	head, err := r.in.Peek(formats.SniffBytes)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if err := formats.CheckEncoding(head); err != nil {
		return nil, err
	}
	if r.sniffed = opts.Format == nil; r.sniffed {
		r.opts.Format = r.dec.Sniff(head, opts)
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

// Next returns the next part of the file. The error is io.EOF at the end, or tells why the file
// could not be read. Rows that cannot be decoded are in Batch.Faults.
func (r *Recording) Next() (*Batch, error) {
	r.batch = Batch{Samples: r.batch.Samples[:0], Faults: r.batch.Faults[:0]}
	if err := r.next(); err != nil {
		return nil, err
	}
	for i := range r.batch.Samples {
		r.noteUnit(&r.batch.Samples[i])
	}
	if len(r.batch.Faults) > 0 && !r.failed {
		if r.failed = true; r.sniffed {
			f := &r.batch.Faults[0]
			f.Err = fmt.Errorf("%w; the file is read as %s, see --format", f.Err, r.opts.Format)
		}
	}
	return &r.batch, nil
}

// part reads up to the first line feed after partBytes, or to the end. The error is io.EOF when nothing is left.
func (r *Recording) part() ([]byte, error) {
	if r.opts.Format.Whole {
		part, err := io.ReadAll(r.in)
		if r.read += int64(len(part)); err == nil && len(part) == 0 {
			err = io.EOF
		}
		return part, err
	}
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

// next reads and decodes the next part.
func (r *Recording) next() error {
	part, err := r.part()
	if err != nil {
		return err
	}
	if r.begun {
		r.dec.Resume(part)
	} else {
		r.begun = true
		r.dec.Reset(part, r.opts)
	}
	for e := r.dec.Next(); e != nil; e = r.dec.Next() {
		r.batch.Samples = append(r.batch.Samples, e.Samples...)
		r.batch.Skipped += e.Skipped
		if e.Fault != nil {
			r.batch.Faults = append(r.batch.Faults, *e.Fault)
		}
	}
	r.line += bytes.Count(part, []byte("\n"))
	return nil
}

// noteUnit counts a sample, and checks whether its time would be one of this century in another
// unit.
func (r *Recording) noteUnit(s *schemas.Sample) {
	n, unit := s.TimeMS, formats.Millisecond
	if r.opts.Format.AnyPrecision {
		switch unit = r.opts.Precision; unit {
		case formats.Second:
			n /= 1000
		case formats.Microsecond:
			n = n*1000 + int64(s.SubNS)/1000
		case formats.Nanosecond:
			if n > 1e12 || n < -1e12 {
				n = 0 // already of this century, or overflows
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

// Hint tells that the times look like another unit than the one in which they were read, such as
// "1,000 of 1,000 times: it looks like seconds", or returns "". It covers what Next has returned.
func (r *Recording) Hint() string {
	if r.hinted == 0 || r.hinted < r.samples/2 {
		return ""
	}
	unit := "ms"
	if r.opts.Format.AnyPrecision {
		unit = r.opts.Precision.String() + ", see --precision"
	}
	return fmt.Sprintf("%s: %d of %d times, read as %s: %s", r.name, r.hinted, r.samples, unit, r.hint)
}
