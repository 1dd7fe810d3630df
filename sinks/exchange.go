package sinks

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-metrics/weir/schemas/plain"
)

const (
	maxAnswer = 64 << 10 // the most bytes of an answer that are read
	maxHeader = 64 << 10 // bytes of an answer's headers
	maxShown  = 512      // bytes of an answer that errors quote
	// minToken is the minimum length, in bytes, for a part of an address to be treated as a secret
	// of its own.
	minToken = 12
)

// Answer is what a receiver answered; its body has been read and closed.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte // at most 64 KiB
}

// NewHTTPClient returns a client for Exchange: one attempt, including its answer, takes at most
// timeout. A redirect counts as an answer and is not followed: a POST would become a GET, and a
// token would go to another host.
func NewHTTPClient(timeout time.Duration) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxResponseHeaderBytes = maxHeader
	transport.DisableCompression = true
	transport.MaxIdleConnsPerHost = 8
	return &http.Client{Transport: unfollowed{transport}, Timeout: timeout}
}

// location is the header in which Exchange finds where a redirect leads.
const location = "Weir-Location"

// unfollowed renames the header on which http.Client would act, or fail.
type unfollowed struct{ base *http.Transport }

// RoundTrip implements http.RoundTripper.
func (u unfollowed) RoundTrip(req *http.Request) (*http.Response, error) {
	req = guarded(req)
	resp, err := u.base.RoundTrip(req)
	if err == nil {
		resp.Header.Set(location, resp.Header.Get("Location"))
		resp.Header.Del("Location")
	}
	return resp, err
}

// CloseIdleConnections is what http.Client's method of that name calls.
func (u unfollowed) CloseIdleConnections() { u.base.CloseIdleConnections() }

// Exchange makes one call. A 2xx is an Answer; anything else is a *DeliveryError, by its status:
//
//   - no answer, 408, 425, 429 and 5xx: retryable;
//   - a redirect, 401, 403, 404, 407 and 410: misconfigured, here or at the receiver;
//   - any other: what was sent is refused.
//
// No error contains one of the secrets, or the credentials of the request itself.
func Exchange(client *http.Client, req *http.Request, secrets ...string) (*Answer, error) {
	mask := sync.OnceValue(func() *Mask { return NewMask(append(credentials(req), secrets...)...) })
	var sent atomic.Bool
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }}))
	resp, err := client.Do(req)
	if err != nil {
		return nil, networkError(err, mask(), sent.Load())
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	status := resp.StatusCode
	if status >= 200 && status <= 299 {
		if err != nil {
			return nil, networkError(fmt.Errorf("reading the answer %d: %w", status, err), mask(), true)
		}
		return &Answer{status, resp.Header, body}, nil
	}
	de := &DeliveryError{
		Status:        status,
		Body:          shown(body, mask()),
		Retryable:     status == http.StatusRequestTimeout || status == http.StatusTooEarly || status == http.StatusTooManyRequests || status >= 500,
		Misconfigured: misconfigured(status),
		MaybeTaken:    status >= 500,
		RetryAfter:    retryAfter(resp.Header.Get("Retry-After"), time.Now()),
	}
	if status >= 300 && status <= 399 {
		de.Err = fmt.Errorf("redirects to %s; redirects are not followed: give that address in the config", redirectTarget(resp.Header.Get(location), mask()))
	}
	return nil, de
}

// misconfigured reports whether a status concerns the receiver's address or credentials rather than
// what was sent.
func misconfigured(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusProxyAuthRequired, http.StatusGone:
		return true
	}
	return status >= 300 && status <= 399
}

// credentials lists what is secret in a request itself: its Authorization header, the password in
// its address, and the parts of the address that look like tokens.
func credentials(req *http.Request) []string {
	var secrets []string
	add := func(s string) {
		if len(s) >= minToken {
			secrets = append(secrets, s)
		}
	}
	if _, given, ok := strings.Cut(req.Header.Get("Authorization"), " "); ok {
		secrets = append(secrets, given)
	}
	if _, password, ok := req.BasicAuth(); ok {
		secrets = append(secrets, password)
	}
	if password, ok := req.URL.User.Password(); ok {
		secrets = append(secrets, password, req.URL.User.String())
	}
	for _, values := range req.URL.Query() {
		for _, v := range values {
			add(v)
		}
	}
	return secrets
}

// redirectTarget is where a redirect leads, for errors: without user, query and fragment, which may
// be tokens that weir was not told about.
func redirectTarget(target string, mask *Mask) string {
	if target == "" {
		return "nowhere (no Location)"
	}
	u, err := url.Parse(target)
	if err != nil {
		return "something that is not a URL: " + shown([]byte(target), mask)
	}
	u.User, u.RawQuery, u.Fragment, u.RawFragment = nil, "", "", ""
	return shown([]byte(u.String()), mask)
}

// SecretError is the error of a notifier whose secret cannot be read now. It may become readable
// later: files of secrets are replaced while weir runs.
func SecretError(field string, err error) error {
	return &DeliveryError{Retryable: true, Misconfigured: true, Err: fmt.Errorf("%s: %w", field, err)}
}

// networkError takes the URL, which may contain a token, out of the error and keeps the cause, so
// that errors.Is finds an ended context. sent tells that at least part of the request had left.
func networkError(err error, mask *Mask, sent bool) *DeliveryError {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	if text := err.Error(); shown([]byte(text), mask) != text {
		err = hidden{shown([]byte(text), mask), err}
	}
	return &DeliveryError{Retryable: true, MaybeTaken: sent, Err: err}
}

// hidden is an error with another text; its cause can be tested for, but not seen.
type hidden struct {
	text  string
	cause error
}

func (h hidden) Error() string        { return h.text }
func (h hidden) Is(target error) bool { return errors.Is(h.cause, target) }

// Format keeps %+v and %#v from showing the cause.
func (h hidden) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, h.text) }

// shown returns the start of an answer on one line, without secrets and without anything on which a
// terminal would act. It is cut last, so that no part of a secret remains.
func shown(body []byte, mask *Mask) string {
	text := strings.ToValidUTF8(string(body), "\uFFFD")
	if len(body) >= maxAnswer {
		text = mask.Cut(text)
	}
	text = plain.Text(mask.Text(strings.Join(strings.Fields(mask.Text(text)), " ")))
	if len(text) > maxShown {
		text = strings.ToValidUTF8(text[:maxShown], "") + "…"
	}
	return text
}

// retryAfter reads the header of that name: seconds, or a date. Anything else gives 0, and it is
// never negative.
func retryAfter(header string, now time.Time) time.Duration {
	if s, err := strconv.ParseInt(header, 10, 32); err == nil {
		return max(0, time.Duration(s)*time.Second)
	}
	if t, err := http.ParseTime(header); err == nil {
		return max(0, t.Sub(now))
	}
	return 0
}

// Shown returns what a receiver answered in words, without the secrets, on one line of at most 512
// bytes.
func Shown(text string, secrets ...string) string { return shown([]byte(text), NewMask(secrets...)) }
