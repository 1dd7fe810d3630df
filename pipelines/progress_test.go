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
	out.Reset()
	terminal := &progress{out: &out, terminal: true}
	terminal.draw("1 of 2")
	terminal.draw("2 of 2")
	terminal.clear()
	if got := out.String(); strings.Contains(got, "\n") || strings.Count(got, "\r\x1b[K") != 3 || !strings.Contains(got, "\x1b[?7l2 of 2\x1b[?7h") {
		t.Errorf("a terminal got %q", got)
	}
}
