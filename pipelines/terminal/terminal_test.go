package terminal

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/weir-metrics/weir/pipelines/terminal/terminaltest"
)

// TestTerminalKeepsTheLineBelow: what is logged and what is printed scrolls above the
// line, whole, and the line stays one however long it is.
func TestTerminalKeepsTheLineBelow(t *testing.T) {
	s := terminaltest.New(t)
	term := New(s)
	log, out := term.Over(s), term.Over(s)
	expect := func(want ...string) {
		t.Helper()
		if got := s.Shows(); !slices.Equal(got, want) {
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
	s := terminaltest.New(t)
	term := New(s)
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
	lines := s.Shows()
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
