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

// TestSecretIsNeverShown prints a secret in every way that a program might.
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

// TestFaultsKeepSecrets: what stands where a secret or a group of settings belongs
// is not repeated.
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
