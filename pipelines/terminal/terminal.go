package terminal

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/weir-metrics/weir/schemas/plain"
)

// Terminal is a terminal with scrolling text and, below it, one line that shows progress. What is
// written through Over never mixes with that line. A Terminal is safe for concurrent use.
type Terminal struct {
	mu   sync.Mutex
	out  io.Writer
	line string // that is drawn, or ""
}

// New returns a Terminal that draws on out.
func New(out io.Writer) *Terminal { return &Terminal{out: out} }

// IsTerminal reports whether f is a terminal that can erase a line.
func IsTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}

// A line that is too long would wrap, and only its last part could be erased, so the terminal is told
// to cut it off.
const (
	eraseLine = "\r\x1b[K"
	wrapOff   = "\x1b[?7l"
	wrapOn    = "\x1b[?7h"
)

// Draw replaces the line; "" removes it. What a terminal would act on is escaped.
func (t *Terminal) Draw(line string) {
	line = plain.Text(line)
	t.mu.Lock()
	defer t.mu.Unlock()
	if line == t.line {
		return
	}
	t.line = line
	fmt.Fprint(t.out, eraseLine+t.drawn())
}

func (t *Terminal) drawn() string {
	if t.line == "" {
		return ""
	}
	return wrapOff + t.line + wrapOn
}

// Over returns a writer of whole lines to f, a file that is shown on this terminal.
func (t *Terminal) Over(f io.Writer) io.Writer { return &scrolling{t, f} }

// scrolling is the text above the line.
type scrolling struct {
	t *Terminal
	f io.Writer
}

// Write implements io.Writer.
func (s *scrolling) Write(b []byte) (int, error) {
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	if s.t.line == "" {
		return s.f.Write(b)
	}
	fmt.Fprint(s.t.out, eraseLine)
	n, err := s.f.Write(b)
	fmt.Fprint(s.t.out, s.t.drawn())
	return n, err
}

// Bar draws a fraction, 0 to 1.
func Bar(done float64) string {
	const width = 20
	n := int(max(0, min(1, done)) * width)
	return "[" + strings.Repeat("#", n) + strings.Repeat(".", width-n) + "]"
}
