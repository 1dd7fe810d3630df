package formats

import (
	"bytes"
	"errors"
)

// bom is the byte order mark in UTF-8, and the two of UTF-16.
var bomUTF8, bomBE, bomLE = []byte("\xef\xbb\xbf"), []byte("\xfe\xff"), []byte("\xff\xfe")

// errUTF16 refuses a body in UTF-16.
var errUTF16 = errors.New("the body begins with a UTF-16 byte order mark: it must be UTF-8")

// CheckEncoding returns an error for a body that begins with a UTF-16 byte order mark.
func CheckEncoding(body []byte) error {
	if bytes.HasPrefix(body, bomBE) || bytes.HasPrefix(body, bomLE) {
		return errUTF16
	}
	return nil
}

// trimMarks cuts spaces and byte order marks off the start of an entry: bodies may be joined from
// files that each begin with one.
func trimMarks(b []byte) []byte {
	for {
		switch {
		case len(b) > 0 && b[0] == ' ':
			b = b[1:]
		case bytes.HasPrefix(b, bomUTF8):
			b = b[len(bomUTF8):]
		default:
			return b
		}
	}
}

// skipBOM skips a byte order mark at the body's start, which is not part of a name.
func (d *Decoder) skipBOM() {
	if bytes.HasPrefix(d.body, bomUTF8) {
		d.pos = len(bomUTF8)
	}
	d.refusal = CheckEncoding(d.body)
}
