package sinks

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	maxAnswer = 64 << 10 // bytes of an answer that are read
	maxShown  = 512      // bytes of an answer that errors repeat
)

// Answer is what a receiver answered; its body has been read and closed.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte // at most 64 KiB
}

// NewHTTPClient returns a client for Exchange: one attempt takes at most timeout,
// and a redirect is an answer, since a POST that follows one becomes a GET.
func NewHTTPClient(timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Exchange makes one call. A 2xx is an Answer; everything else is a
// *DeliveryError, without any of the secrets, retryable if there was no answer or
// it was 429 or 5xx.
func Exchange(client *http.Client, req *http.Request, secrets ...string) (*Answer, error) {
	resp, err := client.Do(req)
	if err != nil {
		return nil, networkError(err, secrets)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode >= 200 && resp.StatusCode <= 299 {
		if err != nil {
			return nil, networkError(fmt.Errorf("reading the answer %d: %w", resp.StatusCode, err), secrets)
		}
		return &Answer{resp.StatusCode, resp.Header, body}, nil
	}
	return nil, &DeliveryError{
		Status:     resp.StatusCode,
		Body:       shown(body, secrets),
		Retryable:  resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500,
		RetryAfter: retryAfter(resp.Header.Get("Retry-After"), time.Now()),
	}
}

// SecretError is the error of a notifier whose secret cannot be read now. It may
// be later: files of secrets are replaced while weir runs.
func SecretError(field string, err error) error {
	return &DeliveryError{Retryable: true, Err: fmt.Errorf("%s: %w", field, err)}
}

// networkError takes the URL out of the error, which may hold a token, and keeps
// the cause, so that errors.Is finds an ended context.
func networkError(err error, secrets []string) *DeliveryError {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	if clean := Redact(err.Error(), secrets...); clean != err.Error() {
		err = errors.New(clean)
	}
	return &DeliveryError{Retryable: true, Err: err}
}

// Redact replaces every secret in text, as it is and as it stands in a URL.
func Redact(text string, secrets ...string) string {
	for _, s := range secrets {
		if s == "" {
			continue
		}
		for _, form := range []string{s, url.QueryEscape(s), url.PathEscape(s)} {
			text = strings.ReplaceAll(text, form, "<secret>")
		}
	}
	return text
}

// shown is the start of an answer on one line, without secrets. It is cut last,
// so that no part of a secret is left over.
func shown(body []byte, secrets []string) string {
	text := Redact(strings.ToValidUTF8(string(body), "\uFFFD"), secrets...)
	text = strings.Join(strings.Fields(text), " ")
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
