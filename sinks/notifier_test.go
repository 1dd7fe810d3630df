package sinks

import (
	"context"
	"errors"
	"math"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/weir-metrics/weir/schemas"
)

func TestTruncate(t *testing.T) {
	for _, c := range []struct {
		in    string
		limit int
		want  string
	}{
		{"", 1, ""}, {"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"aé漢b", 3, "aé…"}, {"🔥", 2, "🔥"}, {"🔥🔥", 3, "🔥…"}, {"🔥🔥", 2, "…"}, {"ab", 1, "…"},
	} {
		if got := Truncate(c.in, c.limit); got != c.want {
			t.Errorf("Truncate(%q, %d) = %q, want %q", c.in, c.limit, got, c.want)
		}
	}
}

func FuzzTruncate(f *testing.F) {
	f.Add("a🔥\xff漢", 2)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = 1 + (limit&0x7fffffff)%2000
		got := Truncate(s, limit)
		if n := TextLen(got); n > limit {
			t.Errorf("Truncate(%q, %d) has %d units", s, limit, n)
		}
		if utf8.ValidString(s) && !utf8.ValidString(got) {
			t.Errorf("Truncate(%q, %d) = %q cuts a character", s, limit, got)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 21, 8, 26, 6, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"": 0, "0": 0, "120": 2 * time.Minute, "-5": 0, "1.5": 0, "soon": 0, "99999999999": 0,
		"7200": 2 * time.Hour, "-99999999999999999999": 0, "1 s": 0, "+7": 7 * time.Second, "\x1b[31m": 0, "0x10": 0,
		"Thu, 01 Jan 1970 00:00:00 GMT": 0, "Fri, 31 Dec 9999 23:59:59 GMT": math.MaxInt64, "Sat, 21 Nov 2026 08:27:36": 0,
		"Sat, 21 Nov 2026 08:27:36 GMT": 90 * time.Second, "Sat, 21 Nov 2026 08:00:00 GMT": 0,
	} {
		if got := retryAfter(header, now); got != want {
			t.Errorf("Retry-After %q: %v, want %v", header, got, want)
		}
	}
}

func TestRedact(t *testing.T) {
	const secret = "pa/ss w+rd"
	in := "a pa/ss w+rd b " + url.QueryEscape(secret) + " c " + url.PathEscape(secret)
	if got := Redact(in, "", secret); got != "a <secret> b <secret> c <secret>" {
		t.Errorf("%q", got)
	}
}

func TestNetworkErrorHidesTheURLAndKeepsTheCause(t *testing.T) {
	err := networkError(&url.Error{Op: "Post", URL: "http://x/s3cret", Err: context.DeadlineExceeded}, NewMask("s3cret"), true)
	if !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "s3cret") || !err.Retryable || !err.MaybeTaken {
		t.Errorf("%v, retryable %v", err, err.Retryable)
	}
	err = networkError(errors.New("no route to s3cret\x1b"), NewMask("s3cret"), false)
	if err.Error() != `no route to <secret>\x1b` || err.MaybeTaken {
		t.Errorf("%v", err)
	}
}

func TestDeliveryErrorSaysAll(t *testing.T) {
	cause := errors.New("cause")
	err := &DeliveryError{Status: 429, Body: "slow down", RetryAfter: time.Second, Err: cause}
	if err.Error() != "status 429: cause: slow down: retry after 1s" || !errors.Is(err, cause) {
		t.Errorf("%q", err)
	}
}

func TestReceiver(t *testing.T) {
	r := Receiver{Name: "oncall"}
	labels := map[string]string{"severity": "page", "team": "db"}
	if !r.Matches(nil) || !r.Matches(labels) || r.ID() != "oncall" {
		t.Errorf("%+v: without match, it must take every alert", r)
	}
	r.Target, r.Match = "+14155552671", map[string]string{"severity": "page", "team": "db"}
	failed := map[string]string{"severity": schemas.TemplateFault + "x>", "team": labels["team"]}
	if !r.Matches(failed) {
		t.Error("an alert whose severity is unknown, because its template failed, matches no receiver")
	}
	if !r.Matches(labels) || r.Matches(map[string]string{"severity": "page"}) || r.Matches(map[string]string{"severity": "info", "team": "db"}) {
		t.Errorf("%+v must match only if all labels are equal", r)
	}
	if r.ID() != "oncall/+14155552671" {
		t.Errorf("ID %q", r.ID())
	}
}

func TestSummary(t *testing.T) {
	n := Notification{Alert: &schemas.Alert{
		Rule: "g/r", Group: "web01", Value: 0.5, Annotations: map[string]string{"summary": " two\n lines\t\xff"},
	}}
	if got := n.Summary(); got != "two lines \uFFFD" {
		t.Errorf("%q", got)
	}
	n.Alert.Annotations = nil
	if got := n.Summary(); got != "g/r on web01: value 0.5" {
		t.Errorf("%q", got)
	}
	n.Alert.Group, n.Alert.Labels = "", map[string]string{"alertname": "Down"}
	if got := n.Summary(); got != "Down: value 0.5" {
		t.Errorf("%q", got)
	}
}
