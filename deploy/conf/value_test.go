package conf

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

func TestDurations(t *testing.T) {
	for _, c := range []struct {
		text string
		want time.Duration
		back string
	}{
		{"10s", 10 * time.Second, "10s"}, {"5m", 5 * time.Minute, "5m"}, {"7d", 7 * 24 * time.Hour, "7d"},
		{"1w", 7 * 24 * time.Hour, "7d"}, {"1h30m", 90 * time.Minute, "1h30m"}, {"90s", 90 * time.Second, "1m30s"},
		{"250ms", 250 * time.Millisecond, "250ms"}, {"-2s", -2 * time.Second, "-2s"}, {"0", 0, "0s"}, {"-0", 0, "0s"},
		{"365d", 365 * 24 * time.Hour, "365d"}, {"3us5ns", 3005, "3us5ns"},
		{"9223372036854775807ns", math.MaxInt64, "106751d23h47m16s854ms775us807ns"},
	} {
		got, err := ParseDuration(c.text)
		if err != nil || got.Std() != c.want || got.String() != c.back {
			t.Errorf("%q: %v, %s, %v; want %v, %s", c.text, got.Std(), got, err, c.want, c.back)
		}
		if again, err := ParseDuration(got.String()); err != nil || again != got {
			t.Errorf("%q: written as %s, read back as %v, %v", c.text, got, again, err)
		}
	}
	if Duration(math.MinInt64).String() != "-106751d23h47m16s854ms775us808ns" {
		t.Error(Duration(math.MinInt64))
	}
	if Duration(1_999_999).MS() != 1 {
		t.Error(Duration(1_999_999).MS())
	}
}

func TestBadDurations(t *testing.T) {
	for _, text := range []string{"", "-", "10", "s", "10 s", "1.5h", "10S", "+5s", "--5s", "5s-", "10y",
		"9223372036854775808ns", "99999999999w", "9223372036s854775808ns1s"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q: read as %v", text, got)
		}
	}
}

// TestSecretIsNeverShown prints a secret in every way in which a program might.
func TestSecretIsNeverShown(t *testing.T) {
	const text = "hunter2hunter2"
	type holder struct {
		Name  string
		Token Secret
		Ptr   *Secret
	}
	s := NewSecret(text)
	h := holder{"x", s, &s}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		fmt.Fprintf(&out, verb+"\n", s)
		fmt.Fprintf(&out, verb+"\n", h)
		fmt.Fprintf(&out, verb+"\n", []Secret{s})
	}
	for _, marshal := range []func(any) ([]byte, error){json.Marshal, yaml.Marshal} {
		b, err := marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("text", "token", s, "all", h)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "token", s, "all", h)
	if strings.Contains(out.String(), "hunter2") || strings.Contains(out.String(), fmt.Sprintf("%x", text)) {
		t.Errorf("the secret shows:\n%s", out.String())
	}
	if got := strings.Count(out.String(), masked); got < 20 {
		t.Errorf("%d times %s in\n%s", got, masked, out.String())
	}
}

func TestSecretSources(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "key"), []byte("from file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("WEIR_TEST_KEY", "from env")
	var c struct {
		Text, File, Env, Missing, Unset, None Secret
	}
	d := Parse(filepath.Join(dir, "weir.yaml"), []byte(
		"text: literal\nfile: {file: key}\nenv: {env: WEIR_TEST_KEY}\nmissing: {file: nothere}\nunset: {env: WEIR_TEST_UNSET}\n"), &c)
	if err := d.Err(); err != nil {
		t.Fatal(err)
	}
	for _, w := range []struct {
		s          Secret
		want, fail string
	}{
		{c.Text, "literal", ""}, {c.File, "from file", ""}, {c.Env, "from env", ""},
		{c.Missing, "", "nothere"}, {c.Unset, "", "WEIR_TEST_UNSET"}, {c.None, "", "not given"},
	} {
		got, err := w.s.Reveal()
		if got != w.want || (err == nil) != (w.fail == "") || err != nil && !strings.Contains(err.Error(), w.fail) {
			t.Errorf("got %q, %v; want %q, %q", got, err, w.want, w.fail)
		}
	}
	if !c.None.IsZero() || c.Text.IsZero() {
		t.Error("IsZero")
	}
}

// TestFaultsKeepSecrets: a fault does not repeat the value in the place of a secret or a group of settings.
func TestFaultsKeepSecrets(t *testing.T) {
	for _, text := range []string{
		"token: [hunter2]", "token: {key: hunter2}", "token: {file: a, env: hunter2}", "hook: hunter2",
		"tokn: hunter2", "hook: {key: hunter2}", "hook: [hunter2]", "names: hunter2",
	} {
		var s settings
		err := Parse("f", []byte(text), &s).Err()
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestSecretsAreTrimmedAlike: a text, a YAML block, a file and a variable are trimmed in the same way.
func TestSecretsAreTrimmedAlike(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "key"), []byte(" \ttoken \r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "open"), []byte("token"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "marked"), []byte("\xef\xbb\xbftoken\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "huge"), make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("WEIR_TEST_KEY", " token\n")
	for text, want := range map[string]string{
		"token: token": "", "token: |\n  token\n": "", "token: \" token\\n\"": "", "token: {file: key}": "", "token: {env: WEIR_TEST_KEY}": "",
		"token: \"\"": "empty", "token: \"  \"": "empty", "token: |\n\n": "empty", "token: {file: fifo}": "FIFO", "token: {file: /dev/zero}": "device",
		"token: {file: huge}": "long", "token: {file: .}": "directory", "token: {file: open}": "", "token: {file: marked}": "", "token: *token": "anchor",
	} {
		var c struct{ Token Secret }
		d := Parse(filepath.Join(dir, "weir.yaml"), []byte(text), &c)
		err := d.Err()
		got := ""
		if err == nil {
			got, err = c.Token.Reveal()
		}
		if want == "" && (err != nil || got != "token") || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
		if warns := len(d.Warnings()) > 0; warns != strings.Contains(text, "open") {
			t.Errorf("%q: warnings %v", text, d.Warnings())
		}
	}
}

// TestMask: Mask removes secrets that were revealed, in any form, and text that looks like a secret.
func TestMask(t *testing.T) {
	const secret = "s3cr/t+ \"x"
	if _, err := NewSecret(secret).Reveal(); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"login as weir with " + secret:            "login as weir with <secret>",
		fmt.Sprintf("%q", secret):                 `"<secret>"`,
		"http://u:p@h/x":                          "http://<secret>@h/x",
		"amqp://u:p@q@h/x":                        "amqp://<secret>@h/x",
		"http://h/x?a=1&api_key=k&b=2":            "http://h/x?a=1&api_key=<secret>&b=2",
		"Authorization: Bearer abcdefgh.ijk":      "Authorization: Bearer <secret>",
		"http://h/x?a=1 and mail@example.org":     "http://h/x?a=1 and mail@example.org",
		"the bearer of bad news":                  "the bearer of bad news",
		"url: s3cr%2Ft%2B+%22x and s3cr%2Ft+%20x": "url: <secret> and s3cr%2Ft+%20x",
	} {
		if got := Mask(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// TestNumbersAreDecimal: other forms that YAML takes for numbers, such as 010 for 8, are faults.
func TestNumbersAreDecimal(t *testing.T) {
	for text, ok := range map[string]bool{
		"8": true, "0": true, "-8": true, "+8": true, "010": false, "0o10": false, "0x8": false, "1_0": false, "0b11": false, "-0x8": false, "00": false, "1e1": false,
	} {
		var c struct{ N int }
		if err := Parse("f", []byte("n: "+text), &c).Err(); (err == nil) != ok {
			t.Errorf("n: %s is %d: %v", text, c.N, err)
		}
		var u struct{ N uint8 }
		if err := Parse("f", []byte("n: "+text), &u).Err(); (err == nil) != (ok && text[0] != '-') {
			t.Errorf("unsigned n: %s is %d: %v", text, u.N, err)
		}
	}
	for text, ok := range map[string]bool{
		"8": true, "1.5": true, "-.5": true, "5.": true, "1e3": true, "1.5e-3": true, "1_000.5": false, "0x10": false, "0x1p4": false, ".inf": false, ".nan": false, "1_0": false, "010": false,
	} {
		var c struct{ F float64 }
		if err := Parse("f", []byte("f: "+text), &c).Err(); (err == nil) != ok {
			t.Errorf("f: %s is %v: %v", text, c.F, err)
		}
	}
}
