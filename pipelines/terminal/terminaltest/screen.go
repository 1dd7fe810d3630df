package terminaltest

import (
	"slices"
	"strings"
	"sync"
	"testing"
)

// What makes a terminal cut off lines that are too long, and stop doing so.
const (
	wrapOff = "\x1b[?7l"
	wrapOn  = "\x1b[?7h"
)

// Screen is a terminal, as far as terminal.Terminal uses one: 80 columns, and the lines shown so far,
// of which the last one has the cursor.
type Screen struct {
	t     testing.TB
	mu    sync.Mutex
	lines []string
	at    int // column
	wrap  bool
}

// New returns an empty Screen.
func New(t testing.TB) *Screen { return &Screen{t: t, lines: []string{""}, wrap: true} }

// Write implements io.Writer.
func (s *Screen) Write(b []byte) (int, error) {
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

// Shows returns the lines shown so far.
func (s *Screen) Shows() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lines)
}
