package terminal

import (
	"bytes"
	"strings"
	"testing"

	"github.com/weir-metrics/weir/pipelines/terminal/terminaltest"
)

// TestProgress: a terminal gets one line that is drawn over and does not wrap, anything
// else a line now and then, and none of the codes that move the cursor.
func TestProgress(t *testing.T) {
	var out bytes.Buffer
	file := NewProgress(&out)
	for range 3 {
		file.Draw("1 of 2")
	}
	file.Clear()
	file.Draw("done")
	if got, want := out.String(), "1 of 2\ndone\n"; got != want {
		t.Errorf("a file got %q, want %q", got, want)
	}
	screen := terminaltest.New(t)
	terminal := &Progress{out: screen, terminal: New(screen)}
	terminal.Draw("1 of 2")
	terminal.Draw(strings.Repeat("2 of 2 ", 20))
	if got := screen.Shows(); len(got) != 1 || !strings.HasPrefix(got[0], "2 of 2 ") {
		t.Errorf("a terminal shows %q", got)
	}
	terminal.Clear()
	if got := screen.Shows(); len(got) != 1 || got[0] != "" {
		t.Errorf("at the end a terminal shows %q", got)
	}
}
