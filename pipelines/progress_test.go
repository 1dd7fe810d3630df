package pipelines

import (
	"bytes"
	"strings"
	"testing"
)

// TestProgress: a terminal gets one line that is drawn over and does not wrap, anything
// else a line now and then, and none of the codes that move the cursor.
func TestProgress(t *testing.T) {
	var out bytes.Buffer
	file := newProgress(&out)
	for range 3 {
		file.draw("1 of 2")
	}
	file.clear()
	file.draw("done")
	if got, want := out.String(), "1 of 2\ndone\n"; got != want {
		t.Errorf("a file got %q, want %q", got, want)
	}
	screen := newScreen(t)
	terminal := &progress{out: screen, terminal: NewTerminal(screen)}
	terminal.draw("1 of 2")
	terminal.draw(strings.Repeat("2 of 2 ", 20))
	if got := screen.shows(); len(got) != 1 || !strings.HasPrefix(got[0], "2 of 2 ") {
		t.Errorf("a terminal shows %q", got)
	}
	terminal.clear()
	if got := screen.shows(); len(got) != 1 || got[0] != "" {
		t.Errorf("at the end a terminal shows %q", got)
	}
}
