package plain

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// Text returns s with all but graphic characters and spaces escaped.
func Text(s string) string {
	if isPlain(s) {
		return s
	}
	return string(appendText(make([]byte, 0, len(s)+16), s, false))
}

func isPlain(s string) bool {
	for i, r := range s {
		if !shows(r) || r == utf8.RuneError && !strings.HasPrefix(s[i:], string(utf8.RuneError)) {
			return false
		}
	}
	return true
}

// shows reports whether a terminal shows r and does nothing else with it.
func shows(r rune) bool { return unicode.IsGraphic(r) }

// appendText appends s, escaped, to b. With lines, line feeds and tabs are left alone.
func appendText(b []byte, s string, lines bool) []byte {
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			b = fmt.Appendf(b, `\x%02x`, s[0])
		case shows(r), lines && (r == '\n' || r == '\t'):
			b = append(b, s[:n]...)
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r < ' ':
			b = fmt.Appendf(b, `\x%02x`, r)
		case r <= 0xffff: // the form that is also JSON's, whose encoder leaves these alone
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			b = fmt.Appendf(b, `\U%08x`, r)
		}
		s = s[n:]
	}
	return b
}

// Writer returns a writer that writes to w what it is given, escaped except for line feeds and
// tabs. A character whose last bytes are still to come is held back until they do. The writer is
// safe for concurrent use if each write holds whole characters.
func Writer(w io.Writer) io.Writer { return &writer{to: w} }

type writer struct {
	mu   sync.Mutex
	to   io.Writer
	held []byte // the beginning of a character
}

// Write implements io.Writer. It returns len(p) once all of p is written, however long that was
// with its escapes.
func (w *writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := append(w.held, p...)
	whole := len(text) - begun(text)
	out := appendText(make([]byte, 0, len(text)), string(text[:whole]), true)
	w.held = append([]byte(nil), text[whole:]...)
	if _, err := w.to.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// begun returns how many bytes at the end of b begin a character without completing it.
func begun(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if end := b[len(b)-n:]; utf8.RuneStart(end[0]) {
			if utf8.FullRune(end) {
				return 0
			}
			return n
		}
	}
	return 0
}
