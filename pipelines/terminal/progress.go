package terminal

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/weir-metrics/weir/schemas/plain"
)

// Progress shows the progress of a command: on a terminal, one line that is redrawn; elsewhere, as in
// a file or a pipe, a line of its own now and then.
type Progress struct {
	out      io.Writer
	terminal *Terminal // or nil
	at       time.Time // of the last line, if there is no terminal
}

// sayEvery is the least time between two lines in a file.
const sayEvery = 10 * time.Second

// NewProgress returns a Progress on out, which may be a terminal.
func NewProgress(out io.Writer) *Progress {
	p := &Progress{out: out}
	if f, ok := out.(*os.File); ok && IsTerminal(f) {
		p.terminal = New(f)
	}
	return p
}

// Draw shows the text.
func (p *Progress) Draw(text string) {
	switch {
	case p.terminal != nil:
		p.terminal.Draw(text)
	case time.Since(p.at) >= sayEvery:
		p.at = time.Now()
		fmt.Fprintln(p.out, plain.Text(text))
	}
}

// Clear removes the line, so that something else can be printed in its place. The next text is shown
// at once.
func (p *Progress) Clear() {
	if p.terminal != nil {
		p.terminal.Draw("")
	}
	p.at = time.Time{}
}

// End replaces the line by the text, which stays.
func (p *Progress) End(text string) {
	p.Clear()
	fmt.Fprintln(p.out, plain.Text(text))
}
