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
	maxAnswer = 64 << 10 // bytes of an answer that are read
	maxHeader = 64 << 10 // bytes of an answer's headers
	maxShown  = 512      // bytes of an answer that errors repeat
	// minToken is the least length, in bytes, of a part of an address that is taken
	// for a secret of its own.
	minToken = 12
)

// Answer is what a receiver answered; its body has been read and closed.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte // at most 64 KiB
}

// NewHTTPClient returns a client for Exchange: one attempt, with its answer, takes at
// most timeout. A redirect is an answer and not followed: a POST would become a GET,
// and a token go to another host.
func NewHTTPClient(timeout time.Duration) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxResponseHeaderBytes = maxHeader
	transport.DisableCompression = true
	transport.MaxIdleConnsPerHost = 8
	return &http.Client{Transport: unfollowed{transport}, Timeout: timeout}
}

// location is the header in which Exchange finds where a redirect leads.
const location = "Weir-Location"

// unfollowed renames the header that http.Client would act on, or fail at.
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

// Exchange makes one call. A 2xx is an Answer; everything else is a
// *DeliveryError, by its status:
//
//   - no answer, 408, 425, 429 and 5xx: retryable;
//   - a redirect, 401, 403, 404, 407 and 410: misconfigured, by us or at the receiver;
//   - every other: what was sent is refused.
//
// No error holds one of the secrets, nor the credentials of the request itself.
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

// misconfigured reports whether a status speaks of the receiver's address or
// credentials, and not of what was sent.
func misconfigured(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusProxyAuthRequired, http.StatusGone:
		return true
	}
	return status >= 300 && status <= 399
}

// credentials lists what of a request is secret in itself: what its Authorization
// says, the password in its address, and the parts of the address that look like tokens.
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

// redirectTarget is where a redirect leads, for errors: without user, query and
// fragment, which may be tokens that nobody told weir of.
func redirectTarget(target string, mask *Mask) string {
	if target == "" {
		return "nowhere (no Location)"
	}
	u, err := url.Parse(target)
	if err != nil {
		return "what is no URL: " + shown([]byte(target), mask)
	}
	u.User, u.RawQuery, u.Fragment, u.RawFragment = nil, "", "", ""
	return shown([]byte(u.String()), mask)
}

// SecretError is the error of a notifier whose secret cannot be read now. It may
// be later: files of secrets are replaced while weir runs.
func SecretError(field string, err error) error {
	return &DeliveryError{Retryable: true, Misconfigured: true, Err: fmt.Errorf("%s: %w", field, err)}
}

// networkError takes the URL out of the error, which may hold a token, and keeps
// the cause, so that errors.Is finds an ended context. sent: the request, or a part
// of it, had left.
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

// hidden is an error with another text; its cause can be asked for, not seen.
type hidden struct {
	text  string
	cause error
}

func (h hidden) Error() string        { return h.text }
func (h hidden) Is(target error) bool { return errors.Is(h.cause, target) }

// Format keeps %+v and %#v from showing the cause.
func (h hidden) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, h.text) }

// shown is the start of an answer on one line, without secrets and without what a
// terminal would act on. It is cut last, so that no part of a secret is left over.
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

// retryAfter reads the header of that name: seconds, or a date. It is 0 for
// anything else, and never negative.
func retryAfter(header string, now time.Time) time.Duration {
	if s, err := strconv.ParseInt(header, 10, 32); err == nil {
		return max(0, time.Duration(s)*time.Second)
	}
	if t, err := http.ParseTime(header); err == nil {
		return max(0, t.Sub(now))
	}
	return 0
}

// Shown is what a receiver answered in words, without the secrets, on one line of at
// most 512 bytes.
func Shown(text string, secrets ...string) string { return shown([]byte(text), NewMask(secrets...)) }
