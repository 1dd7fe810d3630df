package sinks

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
)

func TestMask(t *testing.T) {
	const secret = "pä/ss\"w+rd<1>"
	inJSON := func(s string) string {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[1 : len(b)-1])
	}
	for name, in := range map[string]string{
		"raw": secret, "query": url.QueryEscape(secret), "path": url.PathEscape(secret), "lower hex": strings.ToLower(url.QueryEscape(secret)),
		"JSON": inJSON(secret), "JSON twice": inJSON(inJSON(secret)), "ASCII": `p\u00e4/ss\"w+rd<1>`, "slashes": `pä\/ss\"w+rd<1>`,
	} {
		if got := NewMask(secret).Text("a " + in + " b"); got != "a <secret> b" {
			t.Errorf("%s: %q becomes %q", name, in, got)
		}
	}
	for _, user := range []string{"", "u", "us", "use"} { // each alignment of base64
		in := base64.StdEncoding.EncodeToString([]byte(user + ":" + secret))
		got := NewMask(secret).Text(in)
		if !strings.Contains(got, "<secret>") || len(got) > len("<secret>")+12 {
			t.Errorf("basic auth of %q: %q becomes %q", user, in, got)
		}
	}
	if got := NewMask("a", "e", "").Text("easy"); got != "<secret><secret>sy" {
		t.Errorf("%q: the text that replaces a secret was searched for the next secret", got)
	}
}

// TestMaskCut: an answer that is read only up to its bound may end within a secret.
func TestMaskCut(t *testing.T) {
	secret := strings.Repeat("0123456789", 10)
	body := strings.Repeat(secret, 1+maxAnswer/len(secret))[:maxAnswer]
	if got := shown([]byte(body), NewMask(secret)); strings.Contains(got, "012") {
		t.Errorf("shown: %.100q…%q", got, got[max(0, len(got)-100):])
	}
}

func FuzzMask(f *testing.F) {
	f.Add("s3cret", "a s3cret b")
	f.Add("\xff\x00", "\"\\u003c")
	f.Fuzz(func(t *testing.T, secret, text string) {
		if len(secret) < 4 || strings.Contains(masked, secret) || len(secret) > 1000 || len(text) > 10_000 {
			return
		}
		if got := NewMask(secret).Text(text); strings.Contains(strings.ReplaceAll(got, masked, "\x00\x01\x02"), secret) {
			t.Errorf("%q holds %q", got, secret)
		}
		shown([]byte(text), NewMask(secret))
	})
}
