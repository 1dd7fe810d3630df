package formats

import (
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds how deep arrays and objects may be nested in a field that is skipped, so that a
// body of brackets does not exhaust the stack.
const (
	maxDepth = 100
	tooDeep  = "at most 100 nested values"
)

// scanner reads JSON. Its methods start at b[i], which is the start of a token, and leave i after
// it. After a syntax error, err is set, and the methods return at once with zero values.
type scanner struct {
	b     []byte
	i     int
	err   error
	terse bool // errors have no texts of their own
}

func (s *scanner) fail(want string) {
	if s.err != nil {
		return
	}
	if s.terse {
		s.err = errTerse
		return
	}
	if s.i >= len(s.b) {
		s.err = fmt.Errorf("want %s, found the end", want)
		return
	}
	s.err = fmt.Errorf("want %s, found %q", want, s.b[s.i:min(s.i+16, len(s.b))])
}

// peek skips white space and returns the byte at i, or 0 at the end or after an error.
func (s *scanner) peek() byte {
	if s.err != nil {
		return 0
	}
	for ; s.i < len(s.b); s.i++ {
		switch s.b[s.i] {
		case ' ', '\t', '\r', '\n':
		default:
			return s.b[s.i]
		}
	}
	return 0
}

// want reads the byte c, after white space.
func (s *scanner) want(c byte, name string) {
	if s.peek() != c || s.err != nil {
		s.fail(name)
		return
	}
	s.i++
}

// text reads a string and returns what is between its quotes, and whether it has escapes; see
// unescape. It checks the syntax, but not the UTF-8.
func (s *scanner) text() (raw []byte, escaped bool) {
	s.want('"', "a string")
	if s.err != nil {
		return nil, false
	}
	start := s.i
	for ; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return s.b[start : s.i-1], escaped
		case c < ' ':
			s.fail("no control character in a string")
			return nil, false
		case c == '\\':
			escaped = true
			s.i++
			if !s.escape() {
				return nil, false
			}
		}
	}
	s.fail("a closing quote")
	return nil, false
}

// escape checks the escape whose letter is at i, and leaves i on its last byte.
func (s *scanner) escape() bool {
	if s.i >= len(s.b) {
		s.fail("an escape")
		return false
	}
	switch s.b[s.i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		if s.i+4 < len(s.b) {
			if _, ok := hex4(s.b[s.i+1 : s.i+5]); ok {
				s.i += 4
				return true
			}
		}
	}
	s.fail("an escape")
	return false
}

func hex4(b []byte) (rune, bool) {
	var r rune
	for _, c := range b {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// unescape appends to dst the text of raw, which text returned. It returns false if an escaped
// surrogate is alone, which is not Unicode text.
func unescape(dst, raw []byte) ([]byte, bool) {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			dst = append(dst, raw[i])
			continue
		}
		i++
		switch c := raw[i]; c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, _ := hex4(raw[i+1 : i+5])
			i += 4
			if utf16.IsSurrogate(r) {
				if i+6 >= len(raw) || raw[i+1] != '\\' || raw[i+2] != 'u' {
					return dst, false
				}
				low, _ := hex4(raw[i+3 : i+7])
				if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
					return dst, false
				}
				i += 6
			}
			dst = utf8.AppendRune(dst, r)
		default:
			dst = append(dst, c)
		}
	}
	return dst, true
}

// number reads a number. The tokens NaN, Infinity and -Infinity count as numbers.
func (s *scanner) number() []byte {
	c := s.peek()
	if s.err != nil {
		return nil
	}
	start := s.i
	if c == 'N' {
		return s.word("NaN")
	}
	if c == '-' {
		s.i++
	}
	if s.at('I') {
		s.word("Infinity")
		return s.b[start:s.i]
	}
	if s.at('0') {
		s.i++
	} else {
		s.digits()
	}
	if s.at('.') {
		s.i++
		s.digits()
	}
	if s.at('e') || s.at('E') {
		s.i++
		if s.at('+') || s.at('-') {
			s.i++
		}
		s.digits()
	}
	return s.b[start:s.i]
}

func (s *scanner) at(c byte) bool { return s.i < len(s.b) && s.b[s.i] == c }

// digits reads one or more digits.
func (s *scanner) digits() {
	start := s.i
	for s.i < len(s.b) && '0' <= s.b[s.i] && s.b[s.i] <= '9' {
		s.i++
	}
	if s.i == start {
		s.fail("a digit")
	}
}

// word reads the given word.
func (s *scanner) word(w string) []byte {
	if len(s.b)-s.i < len(w) || string(s.b[s.i:s.i+len(w)]) != w {
		s.fail(w)
		return nil
	}
	s.i += len(w)
	return s.b[s.i-len(w) : s.i]
}

// isNumber reports whether a token that starts with c is a number.
func isNumber(c byte) bool {
	return '0' <= c && c <= '9' || c == '-' || c == 'N' || c == 'I'
}

// skip reads any value.
func (s *scanner) skip(depth int) {
	if depth > maxDepth {
		s.fail(tooDeep)
		return
	}
	switch c := s.peek(); {
	case c == '"':
		s.text()
	case c == '{':
		s.members(func([]byte, bool) { s.skip(depth + 1) })
	case c == '[':
		s.i++
		if s.peek() == ']' {
			s.i++
			return
		}
		for s.err == nil {
			s.skip(depth + 1)
			if s.peek() != ',' {
				break
			}
			s.i++
		}
		s.want(']', "a comma or ]")
	case c == 't':
		s.word("true")
	case c == 'f':
		s.word("false")
	case c == 'n':
		s.word("null")
	case isNumber(c):
		s.number()
	default:
		s.fail("a value")
	}
}

// members reads an object, and calls value with each key, as text returned it;
// value must read the member's value.
func (s *scanner) members(value func(key []byte, escaped bool)) {
	s.want('{', "an object")
	if s.peek() == '}' {
		s.i++
		return
	}
	for s.err == nil {
		s.peek()
		key, escaped := s.text()
		s.want(':', "a colon")
		if s.err != nil {
			return
		}
		value(key, escaped)
		if s.peek() != ',' {
			break
		}
		s.i++
	}
	s.want('}', "a comma or }")
}
