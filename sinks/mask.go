package sinks

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"slices"
	"strings"
	"unicode/utf16"
)

const (
	masked = "<secret>"
	// minDerived is the minimum length, in bytes, of an encoded form that is masked: a shorter one
	// would hit words that are not secret.
	minDerived = 4
)

// Mask hides the secrets of a receiver in texts that came back from it. A server that echoes a
// request may show them in an encoding of its own, so the mask knows each secret in all forms that
// are usual in answers.
type Mask struct {
	forms    []string // longest first
	replacer *strings.Replacer
}

// NewMask returns the mask of these secrets; empty ones are ignored.
func NewMask(secrets ...string) *Mask {
	seen := map[string]bool{}
	m := &Mask{}
	for _, s := range secrets {
		if s == "" {
			continue
		}
		for i, form := range formsOf(s) {
			if form != "" && !seen[form] && (i == 0 || len(form) >= minDerived) {
				seen[form] = true
				m.forms = append(m.forms, form)
			}
		}
	}
	slices.SortFunc(m.forms, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	var pairs []string
	for _, form := range m.forms {
		pairs = append(pairs, form, masked)
	}
	m.replacer = strings.NewReplacer(pairs...) // one pass: replacements are not searched again
	return m
}

// Text returns the text without the secrets.
func (m *Mask) Text(text string) string { return m.replacer.Replace(text) }

// Cut is Text for a text whose end is missing: the result does not end with the start of a secret
// either.
func (m *Mask) Cut(text string) string {
	text = m.Text(text)
	for _, form := range m.forms {
		for n := min(len(form)-1, len(text)); n > 0; n-- {
			if strings.HasSuffix(text, form[:n]) {
				text = text[:len(text)-n]
				break
			}
		}
	}
	return text
}

// formsOf lists the ways to write a secret, beginning with the secret itself.
func formsOf(s string) []string {
	forms := []string{s, strings.TrimSpace(s)}
	for _, form := range []string{url.QueryEscape(s), url.PathEscape(s)} {
		forms = append(forms, form, lowerEscapes(form))
	}
	once := jsonForms(s)
	forms = append(forms, once...)
	for _, form := range once { // JSON in a text of JSON
		forms = append(forms, jsonForms(form)...)
	}
	forms = append(forms, html.EscapeString(s), hex.EncodeToString([]byte(s)), strings.ToUpper(hex.EncodeToString([]byte(s))))
	for shift := range 3 { // user:secret of basic auth has any of the three
		for _, form := range base64Forms(s, shift) {
			forms = append(forms, form, url.QueryEscape(form))
		}
	}
	return forms
}

// lowerEscapes writes %2F as %2f.
func lowerEscapes(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:], strings.ToLower(string(b[i+1:i+3])))
		}
	}
	return string(b)
}

// jsonForms returns s as it may be written inside a JSON string: as Go writes it, with slashes
// escaped, and in ASCII.
func jsonForms(s string) []string {
	b, err := json.Marshal(s)
	if err != nil { // never, for a string
		return nil
	}
	plain := string(b[1 : len(b)-1])
	literal := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(plain)
	var ascii strings.Builder
	for _, r := range literal {
		if r < 0x80 {
			ascii.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&ascii, `\u%04x`, unit)
		}
	}
	return []string{plain, literal, strings.ReplaceAll(literal, "/", `\/`), ascii.String()}
}

// base64Forms returns what base64 makes of s after shift other bytes, without the characters that
// also depend on those bytes and on what follows.
func base64Forms(s string, shift int) []string {
	var forms []string
	for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		whole := enc.EncodeToString(append(make([]byte, shift), s...))
		first, last := (8*shift+5)/6, 8*(shift+len(s))/6
		if first < last {
			forms = append(forms, whole[first:last])
		}
	}
	return forms
}

// Redact replaces every secret in text, in every form that Mask knows.
func Redact(text string, secrets ...string) string { return NewMask(secrets...).Text(text) }
