package terminal

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/weir-metrics/weir/schemas/plain"
)

// Progress shows how far a command is: on a terminal one line that is drawn again and
// again, elsewhere, as in a file or a pipe, a line of its own now and then.
type Progress struct {
	out      io.Writer
	terminal *Terminal // or nil
	at       time.Time // of the last line, when there is none
}

// sayEvery is the time between two lines in a file.
const sayEvery = 10 * time.Second

// NewProgress shows on out, as on a terminal if it is one.
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

// Clear removes the line, so that something else can be printed in its place; the next
// text is shown at once.
func (p *Progress) Clear() {
	if p.terminal != nil {
		p.terminal.Draw("")
	}
	p.at = time.Time{}
}

// End removes the line and prints the text in its place, to stay.
func (p *Progress) End(text string) {
	p.Clear()
	fmt.Fprintln(p.out, plain.Text(text))
}
