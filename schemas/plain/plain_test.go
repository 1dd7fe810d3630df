package plain

import (
	"bytes"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"":                    "",
		"web-01 käse 温度 🙂":    "web-01 käse 温度 🙂",
		"a\x1b[2Jb":           `a\x1b[2Jb`,
		"a\rb\nc\td\x07":      `a\rb\nc\td\x07`,
		"\x7f":                `\u007f`,
		"\u009b31m":           `\u009b31m`,
		"\x9b31m":             `\x9b31m`, // C1 as one byte: invalid UTF-8
		"\xff\xfe":            `\xff\xfe`,
		"user\u202egpj.exe":   `user\u202egpj.exe`,
		"\u2066a\u2069\u200f": `\u2066a\u2069\u200f`,
		"a\u200bb\ufeff":      `a\u200bb\ufeff`,
		"a\u2028b\u2029":      `a\u2028b\u2029`,
		"\U000e0041":          `\U000e0041`, // a tag
		"\ufffd":              "\ufffd",
		"\x00":                `\x00`,
		"\u061c":              `\u061c`,
		`C:\x1b`:              `C:\x1b`,
	} {
		if got := Text(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func TestWriterLetsLinesPass(t *testing.T) {
	var out bytes.Buffer
	in := "a\tb\n\x1b]0;title\x07\u202e\xc3\x28\n"
	n, err := Writer(&out).Write([]byte(in))
	if want := "a\tb\n" + `\x1b]0;title\x07\u202e\xc3(` + "\n"; n != len(in) || err != nil || out.String() != want {
		t.Errorf("%d, %v: %q, want %q", n, err, out.String(), want)
	}
}

// TestWriterJoinsCharacters: however the bytes are cut, the output is the same.
func TestWriterJoinsCharacters(t *testing.T) {
	const in = "käse 温度 🙂\u202e \xf0\x9f x\n"
	const want = "käse 温度 🙂" + `\u202e \xf0\x9f x` + "\n"
	for size := 1; size <= len(in); size++ {
		var out bytes.Buffer
		w := Writer(&out)
		for rest := in; rest != ""; rest = rest[min(size, len(rest)):] {
			if _, err := w.Write([]byte(rest[:min(size, len(rest))])); err != nil {
				t.Fatal(err)
			}
		}
		if out.String() != want {
			t.Errorf("%d bytes at once: %q", size, out.String())
		}
	}
}

func FuzzTextIsPlain(f *testing.F) {
	f.Add("a\x1b[0m\u202e\xff\n")
	f.Fuzz(func(t *testing.T, s string) {
		got := Text(s)
		if !utf8.ValidString(got) || Text(got) != got {
			t.Fatalf("%q: %q", s, got)
		}
		for _, r := range got {
			if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
				t.Fatalf("%q: %q has %q", s, got, r)
			}
		}
	})
}
