package pipelines

import (
	"fmt"
	"io"
	"os"
	"time"
)

// progress says how far a command is: on a terminal one line that is drawn again and
// again, in place; elsewhere, as in a file or a pipe, a line of its own now and then.
type progress struct {
	out      io.Writer
	terminal bool
	at       time.Time // of the last line, when there is no terminal
}

// sayEvery is the time between two lines in a file.
const sayEvery = 10 * time.Second

func newProgress(out io.Writer) *progress {
	p := &progress{out: out}
	if f, ok := out.(*os.File); ok {
		info, err := f.Stat()
		p.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

// draw shows the text, which a narrow terminal cuts off instead of going on in a second
// line, which could not be drawn over.
func (p *progress) draw(text string) {
	switch {
	case p.terminal:
		fmt.Fprintf(p.out, "\r\x1b[K\x1b[?7l%s\x1b[?7h", text)
	case time.Since(p.at) >= sayEvery:
		p.at = time.Now()
		fmt.Fprintln(p.out, text)
	}
}

// clear removes the line, so that something else can be printed in its place.
func (p *progress) clear() {
	if p.terminal {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
	p.at = time.Time{}
}
