package pipelines

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/weir-metrics/weir/schemas/plain"
)

// progress says how far a command is: on a terminal one line that is drawn again and
// again, elsewhere, as in a file or a pipe, a line of its own now and then.
type progress struct {
	out      io.Writer
	terminal *Terminal // or nil
	at       time.Time // of the last line, when there is none
}

// sayEvery is the time between two lines in a file.
const sayEvery = 10 * time.Second

func newProgress(out io.Writer) *progress {
	p := &progress{out: out}
	if f, ok := out.(*os.File); ok && IsTerminal(f) {
		p.terminal = NewTerminal(f)
	}
	return p
}

// draw shows the text.
func (p *progress) draw(text string) {
	switch {
	case p.terminal != nil:
		p.terminal.Draw(text)
	case time.Since(p.at) >= sayEvery:
		p.at = time.Now()
		fmt.Fprintln(p.out, plain.Text(text))
	}
}

// clear removes the line, so that something else can be printed in its place; the next
// text is shown at once.
func (p *progress) clear() {
	if p.terminal != nil {
		p.terminal.Draw("")
	}
	p.at = time.Time{}
}
