package conf

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/weir-metrics/weir/schemas/plain"
)

// Fault is one thing that is wrong in a file.
type Fault struct {
	File   string
	Line   int // from 1; 0 if it belongs to no line
	Column int // from 1; 0 if unknown
	// Field is the path of the setting, such as windows.tiers[0].grace.
	Field string
	Value string // as written; "" if there is none, or it must not be shown
	Bound string // what it breaks: "must be at least 0s"
	// Snippet is the source line with a caret under the column, or "".
	Snippet string
}

// maxShown bounds how much of a value a fault quotes, in bytes.
const maxShown = 200

// Error is the fault on one line, and its snippet, if any, on the next:
//
//	weir.yaml:12: windows.tiers[0].grace: "-2s": must be at least 0s
//
// In the names of files and fields, characters on which a terminal would act are escaped.
func (f Fault) Error() string {
	var b strings.Builder
	if f.File != "" {
		b.WriteString(plain.Text(f.File))
		if f.Line > 0 {
			fmt.Fprintf(&b, ":%d", f.Line)
			if f.Snippet != "" && f.Column > 0 {
				fmt.Fprintf(&b, ":%d", f.Column)
			}
		}
		b.WriteString(": ")
	}
	if f.Field != "" {
		b.WriteString(plain.Text(f.Field) + ": ")
	}
	if f.Value != "" {
		fmt.Fprintf(&b, "%q: ", shorten(Mask(f.Value)))
	}
	b.WriteString(Mask(f.Bound))
	if f.Snippet != "" {
		b.WriteString("\n" + Mask(f.Snippet))
	}
	return b.String()
}

// Faults is everything that is wrong in one or more files. It is never returned
// empty.
type Faults []Fault

// Error lists all faults, each on a line of its own.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

func shorten(s string) string {
	if len(s) <= maxShown {
		return s
	}
	return strings.ToValidUTF8(s[:maxShown], "") + "…"
}

// Join returns the faults of both, or nil.
func Join(a, b error) error {
	if a == nil {
		return b
	}
	if b == nil {
		return a
	}
	var first, second Faults
	if errors.As(a, &first) && errors.As(b, &second) {
		return slices.Concat(first, second)
	}
	return errors.Join(a, b)
}

// Unreadable returns the fault of a file that could not be read.
func Unreadable(file string, err error) error {
	return Faults{{File: file, Bound: "must be readable: " + ReadFault(err)}}
}

// ReadFault tells why a file could not be read, without the file's name, which the fault already
// has.
func ReadFault(err error) string {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}
