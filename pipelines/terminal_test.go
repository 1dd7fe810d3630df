package pipelines

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// screen is a terminal, as far as Terminal uses one: 80 columns, and the lines that one
// has seen on it, the last of which is the one that the cursor is in.
type screen struct {
	t     *testing.T
	mu    sync.Mutex
	lines []string
	at    int // column
	wrap  bool
}

func newScreen(t *testing.T) *screen { return &screen{t: t, lines: []string{""}, wrap: true} }

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for rest := string(b); rest != ""; {
		last := &s.lines[len(s.lines)-1]
		code := ""
		for _, c := range []string{"\x1b[K", wrapOff, wrapOn} {
			if strings.HasPrefix(rest, c) {
				code = c
			}
		}
		switch {
		case code == "\x1b[K":
			*last = (*last)[:s.at]
		case code != "":
			s.wrap = code == wrapOn
		case rest[0] == '\r':
			s.at = 0
		case rest[0] == '\n':
			s.lines, s.at = append(s.lines, ""), 0
		case rest[0] < ' ':
			s.t.Errorf("%q is not for this terminal", rest)
		case s.at == 80 && s.wrap:
			s.lines, s.at = append(s.lines, rest[:1]), 1
		case s.at == 80:
		default:
			*last = (*last)[:s.at] + rest[:1] + (*last)[min(len(*last), s.at+1):]
			s.at++
		}
		rest = rest[max(1, len(code)):]
	}
	return len(b), nil
}

func (s *screen) shows() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lines)
}

// TestTerminalKeepsTheLineBelow: what is logged and what is printed scrolls above the
// line, whole, and the line stays one however long it is.
func TestTerminalKeepsTheLineBelow(t *testing.T) {
	s := newScreen(t)
	term := NewTerminal(s)
	log, out := term.Over(s), term.Over(s)
	expect := func(want ...string) {
		t.Helper()
		if got := s.shows(); !slices.Equal(got, want) {
			t.Fatalf("the screen shows %q, want %q", got, want)
		}
	}
	fmt.Fprintln(log, "before")
	expect("before", "")
	term.Draw("10 %")
	fmt.Fprintln(log, "level=INFO msg=one")
	expect("before", "level=INFO msg=one", "10 %")
	long := strings.Repeat("x", 100)
	term.Draw(long)
	fmt.Fprintln(out, "*** FIRING")
	expect("before", "level=INFO msg=one", "*** FIRING", long[:80])
	term.Draw("9 %")
	expect("before", "level=INFO msg=one", "*** FIRING", "9 %")
	term.Draw("")
	fmt.Fprintln(log, "after")
	expect("before", "level=INFO msg=one", "*** FIRING", "after", "")
}

// TestTerminalInManyHands: slog and the bar at the same time tear no line.
func TestTerminalInManyHands(t *testing.T) {
	s := newScreen(t)
	term := NewTerminal(s)
	log := slog.New(slog.NewTextHandler(term.Over(s), nil))
	const each = 200
	var all sync.WaitGroup
	for w := range 3 {
		all.Go(func() {
			for i := range each {
				log.Info("said", "by", w, "i", i)
				term.Draw(fmt.Sprint("bar ", i))
			}
		})
	}
	all.Wait()
	term.Draw("")
	lines := s.shows()
	if len(lines) != 3*each+1 {
		t.Errorf("%d lines, want %d", len(lines), 3*each+1)
	}
	for _, l := range lines[:len(lines)-1] {
		if !strings.HasPrefix(l, "time=") || strings.Contains(l, "bar") || strings.Count(l, "msg=said") != 1 {
			t.Fatalf("torn: %q", l)
		}
	}
}

func TestIsTerminal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if IsTerminal(w) {
		t.Error("a pipe is a terminal")
	}
	pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pty.Close()
	t.Setenv("TERM", "xterm")
	if !IsTerminal(pty) {
		t.Error("a pseudo-terminal is none")
	}
	t.Setenv("TERM", "dumb")
	if IsTerminal(pty) {
		t.Error("a dumb terminal cannot erase a line")
	}
}
