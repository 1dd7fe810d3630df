package alerts

import (
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// locate returns the line and column, from 1, of the offset-th rune of a scalar's value in the file
// from which it was read, whatever the scalar's style: quotes, escapes, folded and indented lines
// are skipped.
func locate(lines [][]rune, n *yaml.Node, offset int) (line, column int) {
	p := &cursor{lines: lines, line: n.Line - 1, col: n.Column - 1}
	for p.rune() == '&' || p.rune() == '!' { // an anchor or a tag precedes the value
		for !p.done() && !unicode.IsSpace(p.rune()) {
			p.next()
		}
		for !p.done() && unicode.IsSpace(p.rune()) {
			p.next()
		}
	}
	switch {
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		p.line, p.col = p.line+1, 0
	case n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		p.next()
	}
	value := []rune(n.Value)
	for i := 0; !p.done(); i++ {
		if i >= len(value) {
			break
		}
		for !p.done() && p.rune() != value[i] && (unicode.IsSpace(p.rune()) || !unicode.IsSpace(value[i])) {
			p.next() // indentation, a fold, an escape
		}
		if i == offset || p.done() {
			break
		}
		if unicode.IsSpace(value[i]) && !unicode.IsSpace(p.rune()) {
			continue // a space that stands for a fold, already skipped
		}
		if p.rune() == '\'' && n.Style&yaml.SingleQuotedStyle != 0 {
			p.next() // written twice
		}
		p.next()
	}
	return min(p.line, len(lines)-1) + 1, p.col + 1
}

// cursor walks the runes of a file; a line's end is '\n'.
type cursor struct {
	lines     [][]rune
	line, col int
}

func (p *cursor) done() bool { return p.line >= len(p.lines) }

func (p *cursor) rune() rune {
	if p.done() {
		return 0
	}
	if p.col >= len(p.lines[p.line]) {
		return '\n'
	}
	return p.lines[p.line][p.col]
}

func (p *cursor) next() {
	if p.done() {
		return
	}
	if p.col++; p.col > len(p.lines[p.line]) {
		p.line, p.col = p.line+1, 0
	}
}

// caret returns a line of the file with a caret under the column. Lines longer than a screen are
// cut around it.
func caret(lines [][]rune, line, column int) string {
	if line < 1 || line > len(lines) {
		return ""
	}
	const before, after = 90, 60
	text, at := lines[line-1], min(column-1, len(lines[line-1]))
	from, to := max(0, at-before), min(len(text), at+after)
	shown := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, string(text[from:to]))
	return shown + "\n" + strings.Repeat(" ", at-from) + "^"
}
