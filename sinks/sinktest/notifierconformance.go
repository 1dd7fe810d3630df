package sinktest

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/sinks"
)

// NotifierUnderTest is one fresh notifier, with what it tells.
type NotifierUnderTest struct {
	Notifier sinks.Notifier
	// Texts returns the texts for humans that reached the receiver, in order.
	Texts func() []string
	// Secrets must appear in no error and no result.
	Secrets []string
}

// HTTPNotifierUnderTest is a notifier that talks to one of the mocks of this
// package.
type HTTPNotifierUnderTest struct {
	NotifierUnderTest
	Mock ReceiverMock
}

// ReceiverMock is what the mocks of receivers have in common.
type ReceiverMock interface {
	Script(...Fault)
	Requests() []Request
	Violations() []string
	AwaitRequests(tb testing.TB, n int)
	Address() string
	Stop()
}

// FiringAlert is an alert that began to fire at atMS (ms).
func FiringAlert(fingerprint string, atMS int64) *schemas.Alert {
	return &schemas.Alert{
		Fingerprint: fingerprint, Rule: "hosts/HighCPU", Group: "web01",
		Labels:      map[string]string{"alertname": "HighCPU", "host": "web01", "severity": "critical"},
		Annotations: map[string]string{"summary": "cpu 97% — Grüße", "runbook_url": "https://example.org/cpu?a=1&b=<2>"},
		State:       schemas.Firing, ActiveMS: atMS - 300_000, FiredMS: atMS, LastMS: atMS, LastTrueMS: atMS, Value: 97.25,
		TierMS: 10_000, Last: schemas.Transition{From: schemas.Pending, To: schemas.Firing, AtMS: atMS, Reason: "true for 5m"},
	}
}

// ResolvedAlert is the alert after it was resolved at atMS (ms).
func ResolvedAlert(firing *schemas.Alert, atMS int64) *schemas.Alert {
	a := *firing
	a.State, a.ResolvedMS, a.LastMS = schemas.Resolved, atMS, atMS
	a.History = append(slices.Clone(a.History), a.Last)
	a.Last = schemas.Transition{From: schemas.Firing, To: schemas.Resolved, AtMS: atMS, Reason: "false"}
	return &a
}

// NotificationOf is the alert's newest transition as a notification.
func NotificationOf(a *schemas.Alert) *sinks.Notification {
	return &sinks.Notification{
		Alert: a, Receiver: "oncall", To: a.Last.To, AtMS: a.Last.AtMS, ExternalURL: "http://127.0.0.1:7070",
	}
}

const (
	someFingerprint = "54f6a9ae5cbb11f9"
	someMS          = 1_795_249_566_000 // 2026-11-21T08:26:06Z
)

func firing() *sinks.Notification { return NotificationOf(FiringAlert(someFingerprint, someMS)) }

// RunNotifier is the conformance suite of sinks.Notifier. open makes a fresh one.
func RunNotifier(t *testing.T, open func(*testing.T) NotifierUnderTest) {
	t.Run("trigger and resolve", func(t *testing.T) {
		u := open(t)
		n := firing()
		mustNotify(t, u, n)
		mustNotify(t, u, NotificationOf(ResolvedAlert(n.Alert, someMS+60_000)))
		texts := u.Texts()
		if len(texts) != 2 {
			t.Fatalf("the receiver got %q, want two texts", texts)
		}
		for i, text := range texts {
			if !strings.Contains(text, "cpu 97% — Grüße") {
				t.Errorf("text %d: %q lacks the summary", i, text)
			}
		}
	})
	t.Run("no annotations, no labels", func(t *testing.T) {
		u := open(t)
		n := firing()
		n.Alert.Annotations, n.Alert.Labels, n.ExternalURL = nil, nil, ""
		mustNotify(t, u, n)
		if text := u.Texts()[0]; !strings.Contains(text, "hosts/HighCPU") || !strings.Contains(text, "web01") || !strings.Contains(text, "97.25") {
			t.Errorf("%q does not name the rule, the group and the value", text)
		}
	})
	t.Run("long texts of any characters", func(t *testing.T) {
		u := open(t)
		for _, unit := range []string{"x", "é", "漢", "🔥", "\n\x00<&\">\x1b", "\xff"} {
			n := firing()
			n.Alert.Group = strings.Repeat(unit, 4096)
			n.Alert.Annotations = map[string]string{"summary": "start " + strings.Repeat(unit, 20_000)}
			n.Alert.Labels = map[string]string{"alertname": strings.Repeat(unit, 4096/len(unit))}
			for i := range 8 {
				n.Alert.Labels[fmt.Sprintf("label%03d", i)] = strings.Repeat(unit, 4096/len(unit))
			}
			mustNotify(t, u, n)
		}
	})
	t.Run("does not change the alert", func(t *testing.T) {
		u := open(t)
		n := firing()
		labels, annotations := maps.Clone(n.Alert.Labels), maps.Clone(n.Alert.Annotations)
		mustNotify(t, u, n)
		if !maps.Equal(labels, n.Alert.Labels) || !maps.Equal(annotations, n.Alert.Annotations) {
			t.Errorf("labels %v, annotations %v, were %v, %v", n.Alert.Labels, n.Alert.Annotations, labels, annotations)
		}
	})
	t.Run("ctx ended before", func(t *testing.T) {
		u := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := u.Notifier.Notify(ctx, firing())
		if de := deliveryError(t, u, err); !errors.Is(de, context.Canceled) || !de.Retryable {
			t.Errorf("error %v, retryable %v: want a retryable one that wraps context.Canceled", de, de.Retryable)
		}
		if texts := u.Texts(); len(texts) != 0 {
			t.Errorf("told %q after the end of ctx", texts)
		}
	})
	t.Run("concurrent", func(t *testing.T) {
		u := open(t)
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				a := FiringAlert(fmt.Sprintf("%016x", i), someMS)
				if _, err := u.Notifier.Notify(t.Context(), NotificationOf(a)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := len(u.Texts()); n != 16 {
			t.Errorf("%d texts, want 16", n)
		}
	})
}

// RunHTTPNotifier is RunNotifier plus what makes an error retryable. openWith makes a fresh
// notifier that gives up a call after timeout.
func RunHTTPNotifier(t *testing.T, openWith func(t *testing.T, timeout time.Duration) HTTPNotifierUnderTest) {
	open := func(t *testing.T) HTTPNotifierUnderTest { return openWith(t, 30*time.Second) }
	RunNotifier(t, func(t *testing.T) NotifierUnderTest {
		u := open(t)
		t.Cleanup(func() {
			if vs := u.Mock.Violations(); len(vs) > 0 {
				t.Errorf("requests violate the API: %.2000q", vs)
			}
		})
		return u.NotifierUnderTest
	})
	for status, retryable := range map[int]bool{
		301: false, 302: false, 303: false, 307: false, 308: false,
		400: false, 401: false, 403: false, 404: false, 407: false, 410: false, 413: false, 422: false,
		408: true, 425: true, 429: true, 500: true, 502: true, 503: true, 504: true,
	} {
		t.Run(fmt.Sprint("status ", status), func(t *testing.T) { runStatus(t, open(t), status, retryable) })
	}
	for name, header := range map[string]string{"seconds": "7", "date": time.Now().Add(time.Minute).UTC().Format(http.TimeFormat)} {
		t.Run("Retry-After in "+name, func(t *testing.T) {
			u := open(t)
			u.Mock.Script(Throttle(header))
			de := failOnce(t, u)
			if de.RetryAfter < 5*time.Second || de.RetryAfter > time.Minute || !de.Retryable {
				t.Errorf("Retry-After %q: got %v, retryable %v", header, de.RetryAfter, de.Retryable)
			}
			mustNotify(t, u.NotifierUnderTest, firing())
		})
	}
	t.Run("redirect", func(t *testing.T) { runRedirect(t, open) })
	t.Run("echo of the credentials", func(t *testing.T) { runEcho(t, open(t)) })
	t.Run("floods", func(t *testing.T) { runFloods(t, openWith) })
	t.Run("connection refused", func(t *testing.T) {
		u := open(t)
		u.Mock.Stop()
		if de := failOnce(t, u); !de.Retryable || de.MaybeTaken || de.Misconfigured {
			t.Errorf("%+v: want retryable, and surely not taken", de)
		}
	})
	t.Run("connection reset", func(t *testing.T) {
		u := open(t)
		u.Mock.Script(Fault{Do: Reset})
		if de := failOnce(t, u); !de.Retryable || de.Status != 0 {
			t.Errorf("status %d, retryable %v, want 0, true", de.Status, de.Retryable)
		}
		mustNotify(t, u.NotifierUnderTest, firing())
	})
	t.Run("time-out after accept", func(t *testing.T) {
		u := openWith(t, 300*time.Millisecond)
		u.Mock.Script(Fault{Do: Hang})
		if de := failOnce(t, u); !de.Retryable || de.Status != 0 {
			t.Errorf("status %d, retryable %v, want 0, true", de.Status, de.Retryable)
		}
		if de := lastError(t, u); !de.MaybeTaken {
			t.Error("MaybeTaken is false")
		}
		if !u.Mock.Requests()[0].Taken {
			t.Error("the mock did not take the request")
		}
	})
	t.Run("ctx ended during the call", func(t *testing.T) {
		u := open(t)
		u.Mock.Script(Fault{Do: Hang})
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error)
		go func() {
			_, err := u.Notifier.Notify(ctx, firing())
			failed <- err
		}()
		u.Mock.AwaitRequests(t, 1)
		cancel()
		err := <-failed
		if de := deliveryError(t, u.NotifierUnderTest, err); !errors.Is(de, context.Canceled) {
			t.Errorf("error %v does not wrap context.Canceled", de)
		}
	})
}

// lastError makes another call that hangs and returns its error.
func lastError(t *testing.T, u HTTPNotifierUnderTest) *sinks.DeliveryError {
	t.Helper()
	u.Mock.Script(Fault{Do: Hang})
	return failOnce(t, u)
}

// runRedirect checks that the target is named, and that nothing but the configured address is
// called.
func runRedirect(t *testing.T, open func(*testing.T) HTTPNotifierUnderTest) {
	other := open(t)
	for _, status := range []int{301, 302, 303, 307, 308} {
		u := open(t)
		for location, want := range map[string]string{
			other.Mock.Address() + "/moved":             other.Mock.Address() + "/moved",
			"https://user:pw@example.org/a?token=t0p#f": "https://example.org/a;",
			"/elsewhere": "redirects to /elsewhere",
			"":           "no Location",
			"https://example.org/" + strings.Join(u.Secrets, "/"): "https://example.org/",
			"http://[::1/x": "not a URL",
		} {
			u.Mock.Script(Fault{Do: Refuse, Status: status, Location: location})
			de := failOnce(t, u)
			if text := de.Error(); !strings.Contains(text, want) || strings.Contains(text, "t0p") || strings.Contains(text, "pw@") || !de.Misconfigured || de.MaybeTaken {
				t.Errorf("%d to %q: %q, misconfigured %v", status, location, text, de.Misconfigured)
			}
		}
	}
	if n := len(other.Mock.Requests()); n != 0 {
		t.Errorf("%d requests at the target of the redirect, want none", n)
	}
}

// runEcho makes the receiver repeat what it was sent, including headers, in the encodings that
// servers use.
func runEcho(t *testing.T, u HTTPNotifierUnderTest) {
	mustNotify(t, u.NotifierUnderTest, firing())
	sent := u.Mock.Requests()[0]
	echo := fmt.Sprintf("%s %s %v %s", sent.Method, sent.Path, sent.Header, sent.Body)
	if _, password, ok := (&http.Request{Header: sent.Header}).BasicAuth(); ok {
		u.Secrets = append(u.Secrets, password, strings.TrimPrefix(sent.Header.Get("Authorization"), "Basic "))
	}
	inJSON, err := json.Marshal(echo)
	if err != nil {
		t.Fatal(err)
	}
	twice, err := json.Marshal(string(inJSON))
	if err != nil {
		t.Fatal(err)
	}
	secrets := strings.Join(u.Secrets, " ")
	for _, body := range []string{
		secrets, echo, string(inJSON), string(twice), url.QueryEscape(secrets), url.PathEscape(secrets), html.EscapeString(secrets),
		base64.StdEncoding.EncodeToString([]byte("u:" + secrets)), hex.EncodeToString([]byte(secrets)),
		strings.Repeat("x", 500) + secrets, // cut where errors are
		strings.Repeat(secrets, 1+(64<<10)/len(secrets+" ")),
	} {
		for _, status := range []int{400, 404, 429, 502} {
			u.Mock.Script(Fault{Do: Refuse, Status: status, Body: body})
			de := failOnce(t, u)
			for _, s := range u.Secrets {
				for _, form := range []string{url.QueryEscape(s), url.PathEscape(s), html.EscapeString(s), hex.EncodeToString([]byte(s))} {
					if strings.Contains(de.Error(), form) {
						t.Errorf("%d: %q holds the secret as %q", status, de, form)
					}
				}
			}
		}
	}
	u.Mock.Script(Refusal(500))
	u.Mock.Script(Fault{Do: Refuse, Status: 500, Body: "\x1b[31mred\x07\u009b"})
	failOnce(t, u)
	if de := failOnce(t, u); strings.ContainsAny(de.Error(), "\x1b\x07\u009b") {
		t.Errorf("%q holds control characters", de)
	}
}

// runFloods checks that what a receiver answers is bounded in bytes and in time.
func runFloods(t *testing.T, openWith func(*testing.T, time.Duration) HTTPNotifierUnderTest) {
	const timeout = time.Second
	for _, f := range []Fault{
		{Do: SlowBody, Status: 502}, {Do: SlowBody, Status: 404}, {Do: HugeBody, Status: 502}, {Do: HugeHeader, Status: 502}, {Do: HugeHeader, Status: 202},
		{Do: Refuse, Status: 502, Body: "<html>\x00\xff not JSON"},
	} {
		u := openWith(t, timeout)
		u.Mock.Script(f)
		began := time.Now()
		de := failOnce(t, u)
		if took := time.Since(began); took > 10*timeout {
			t.Errorf("%+v: took %v, the time-out is %v", f, took, timeout)
		}
		if f.Status == 502 && !de.Retryable || len(de.Error()) > 2000 {
			t.Errorf("%+v: retryable %v, an error of %d bytes", f, de.Retryable, len(de.Error()))
		}
		mustNotify(t, u.NotifierUnderTest, firing())
	}
}

func runStatus(t *testing.T, u HTTPNotifierUnderTest, status int, retryable bool) {
	body := "why: " + strings.Join(u.Secrets, " and ") + " are no good\n" + strings.Repeat("long ", 1000)
	u.Mock.Script(Fault{Do: Refuse, Status: status, Body: body})
	de := failOnce(t, u)
	if de.Status != status || de.Retryable != retryable || de.RetryAfter != 0 {
		t.Errorf("status %d, retryable %v, retry after %v, want %d, %v, 0s", de.Status, de.Retryable, de.RetryAfter, status, retryable)
	}
	wrongAddress := slices.Contains([]int{401, 403, 404, 407, 410}, status) || status < 400
	if de.Misconfigured != wrongAddress || de.MaybeTaken != (status >= 500) || de.Later() != (status == 429) {
		t.Errorf("status %d: misconfigured %v, maybe taken %v, later %v", status, de.Misconfigured, de.MaybeTaken, de.Later())
	}
	if !strings.HasPrefix(de.Body, "why: ") || strings.Contains(de.Body, "\n") || len(de.Body) > 1000 {
		t.Errorf("body %q is not the start of the answer on one line", de.Body)
	}
	if n := len(u.Mock.Requests()); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

func failOnce(t *testing.T, u HTTPNotifierUnderTest) *sinks.DeliveryError {
	t.Helper()
	result, err := u.Notifier.Notify(t.Context(), firing())
	if err == nil {
		t.Fatalf("no error, result %q", result)
	}
	return deliveryError(t, u.NotifierUnderTest, err)
}

func deliveryError(t *testing.T, u NotifierUnderTest, err error) *sinks.DeliveryError {
	t.Helper()
	var de *sinks.DeliveryError
	if !errors.As(err, &de) {
		t.Fatalf("error %T %v is no *sinks.DeliveryError", err, err)
	}
	for _, text := range []string{err.Error(), fmt.Sprintf("%+v", *de), fmt.Sprintf("%#v", de)} {
		checkSecrets(t, u, text)
	}
	return de
}

func mustNotify(t *testing.T, u NotifierUnderTest, n *sinks.Notification) {
	t.Helper()
	result, err := u.Notifier.Notify(t.Context(), n)
	if err != nil || result == "" {
		t.Fatalf("result %q, error %v", result, err)
	}
	checkSecrets(t, u, result)
}

func checkSecrets(t *testing.T, u NotifierUnderTest, text string) {
	t.Helper()
	for _, s := range u.Secrets {
		if strings.Contains(text, s) {
			t.Errorf("%q holds the secret %q", text, s)
		}
	}
}
