package formats

import (
	"bytes"
	"strconv"
)

// Line is the format of Influx line protocol; see the package's comment.
var Line = &Format{Name: "line", ContentType: "text/plain", Media: []string{"influx", "text/plain"}, Path: "/write",
	AnyPrecision: true, Between: "\n", End: "\n",
	next: (*Decoder).nextLine, looks: looksLine,
	stamp: func(nowNS int64, p Precision) string { return " " + strconv.FormatInt(nowNS/int64(p.Duration()), 10) }}

func looksLine(text []byte) bool {
	return bytes.IndexByte(text, '=') > 0 && bytes.IndexByte(text, ' ') > 0 && bytes.IndexByte(text, '{') < 0
}

// lineState is what the decoder knows about a body of line protocol, and the names and label sets
// of all bodies, the latter by the bytes in which they are written.
type lineState struct {
	rescanned int    // bytes that were read more than once; see nextLine
	syntax    syntax // of the entry in hand
	labels    cache[labelSet]
	names     cache[string]
}

func (s *lineState) begin() { s.rescanned = 0 }

// nextLine returns the next line of line protocol that is neither empty nor a comment.
//
// A quoted string may contain line feeds, so a quote left open in one line extends to the next
// quote in a later line. If the entry up to there does not parse, or the quote is never closed,
// only the first line is refused, and decoding continues with the second. To prevent a malicious
// body from having each line read as often as there are lines, this ends when four times the body
// has been read in vain: from then on every line is an entry.
func (d *Decoder) nextLine() *Entry {
	for d.pos < len(d.body) {
		rest := trimMarks(d.body[d.pos:])
		d.pos = len(d.body) - len(rest)
		if len(rest) == 0 {
			return nil
		}
		first := firstLine(rest)
		length, closed := first, true
		if d.text.rescanned <= 4*len(d.body) {
			length, closed = entryLength(rest, first)
		}
		if !closed {
			d.text.rescanned += length
			length = first
		}
		raw := bytes.TrimSuffix(rest[:length], []byte("\n"))
		if len(raw) == 0 || len(raw) == 1 && raw[0] == '\r' {
			d.advance(d.pos + length)
			continue
		}
		d.start()
		comment, unparsed := d.decodeLine(raw)
		if comment {
			d.entry.Number--
			d.advance(d.pos + length)
			continue
		}
		if unparsed && first < length {
			d.text.rescanned += length
			length = first
			raw = rest[:first-1]
		}
		return d.end(raw, d.pos+length)
	}
	return nil
}

// firstLine returns the length of the first line of b, with its line feed.
func firstLine(b []byte) int {
	if nl := bytes.IndexByte(b, '\n'); nl >= 0 {
		return nl + 1
	}
	return len(b)
}

// entryLength returns the length of the entry at the start of b, including its line feed. The entry
// is longer than the first line if a quoted string field contains line feeds. closed is false if a
// quote is open to the end of b.
func entryLength(b []byte, line int) (length int, closed bool) {
	if bytes.IndexByte(b[:line], '"') < 0 || b[0] == '#' {
		return line, true
	}
	i := indexUnescaped(b[:line], ' ') // in measurement and tags quotes mean nothing
	if i < 0 {
		return line, true
	}
	for ; i < len(b); i++ {
		switch b[i] {
		case '\n':
			return i + 1, true
		case '"':
			if b[i-1] != '=' || b[i-2] == '\\' {
				continue
			}
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
			if i >= len(b) {
				return len(b), false
			}
		}
	}
	return len(b), true
}

// indexUnescaped returns the place of the first c that has no backslash before it, or -1. A
// backslash does not escape another: in \\, the second one escapes a comma after it.
func indexUnescaped(b []byte, c byte) int {
	for i := 0; ; i++ {
		next := bytes.IndexByte(b[i:], c)
		if next < 0 {
			return -1
		}
		if i += next; i == 0 || b[i-1] != '\\' {
			return i
		}
	}
}
