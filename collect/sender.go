package collect

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/formats"
)

// Sender delivers an agent's samples. It makes one attempt.
type Sender interface {
	// Send returns nil when the samples are stored safely. After an error that is a *RefusedError,
	// there is no use in sending them again; after any other error there is.
	Send(ctx context.Context, samples []schemas.Sample) error
}

// RefusedError tells that some or all of the samples were refused for good.
type RefusedError struct {
	Refused int // samples
	Err     error
}

// Error gives the number and the cause.
func (e *RefusedError) Error() string { return fmt.Sprintf("%d samples refused: %v", e.Refused, e.Err) }

// Unwrap returns the cause.
func (e *RefusedError) Unwrap() error { return e.Err }

// LaterError tells when to try again.
type LaterError struct {
	After time.Duration
	Err   error
}

// Error gives the cause and the time.
func (e *LaterError) Error() string { return fmt.Sprintf("%v (retry after %s)", e.Err, e.After) }

// Unwrap returns the cause.
func (e *LaterError) Unwrap() error { return e.Err }

// Send publishes the samples: a Publisher is the Sender of an agent that runs in the same process
// as the rest.
func (p *Publisher) Send(ctx context.Context, samples []schemas.Sample) error {
	return p.Publish(ctx, samples)
}

// httpTimeout bounds one request to a gateway, which answers 503 well before.
const httpTimeout = 2 * time.Minute

// GatewaySender sends samples to a gateway's POST /api/v1/samples.
type GatewaySender struct {
	url    string
	client *http.Client
	login  Login
}

// NewGatewaySender returns a sender to the gateway whose address is base, such as
// http://127.0.0.1:7070. The error quotes a base that is not an http or https URL.
func NewGatewaySender(base string) (*GatewaySender, error) {
	u, err := url.Parse(base)
	var parse *url.Error
	if errors.As(err, &parse) {
		return nil, fmt.Errorf("gateway: not a URL: %w", parse.Err) // without the text, which may hold a password
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("gateway %q: must be http://host:port or https://host:port", u.Redacted())
	}
	return &GatewaySender{url: u.JoinPath("/api/v1/samples").String(), client: &http.Client{Timeout: httpTimeout, CheckRedirect: stay}}, nil
}

// As makes the sender log in. The error is Login.Client's.
func (g *GatewaySender) As(l Login) (*GatewaySender, error) {
	client, err := l.Client(httpTimeout)
	if err != nil {
		return nil, err
	}
	client.CheckRedirect = stay
	return &GatewaySender{url: g.url, client: client, login: l}, nil
}

// stay follows no redirect.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Send posts the samples in one body or, if that is too long for the gateway (413), in two of half
// the length, and so on. 400, and 413 for a single sample, are a *RefusedError; an answer with a
// Retry-After is a *LaterError. A redirect is an error that names its target: following it would
// turn the POST into a GET, whose answer tells nothing about the samples.
func (g *GatewaySender) Send(ctx context.Context, samples []schemas.Sample) error {
	err := g.post(ctx, samples)
	if n := len(samples); errors.Is(err, errTooLarge) && n > 1 {
		first, second := g.Send(ctx, samples[:n/2]), error(nil)
		var one, other *RefusedError
		if first != nil && !errors.As(first, &one) {
			return first // all of it is sent again: the first part is then recognized as a repeat
		}
		if second = g.Send(ctx, samples[n/2:]); second != nil && !errors.As(second, &other) {
			return second
		}
		switch {
		case one != nil && other != nil:
			return &RefusedError{one.Refused + other.Refused, one.Err}
		case one != nil:
			return one
		}
		return second
	}
	return err
}

// maxAnswerBytes bounds how much of an answer is read: the gateway's longest is shorter.
const maxAnswerBytes = 256 << 10

// post makes one request. The error wraps errTooLarge for 413.
func (g *GatewaySender) post(ctx context.Context, samples []schemas.Sample) error {
	body := []byte{'['}
	for i := range samples {
		if i > 0 {
			body = append(body, ',')
		}
		body = appendJSON(body, &samples[i])
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, g.url, bytes.NewReader(append(body, ']')))
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	r.Header.Set("Content-Type", formats.JSON.ContentType)
	if err := g.login.Sign(r); err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	resp, err := g.client.Do(r)
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNoContent {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	err = errors.Join(fmt.Errorf("gateway: %s: %.200q", resp.Status, text), err)
	switch resp.StatusCode {
	case http.StatusBadRequest:
		var answer refusal
		if json.Unmarshal(text, &answer) != nil {
			answer.Accepted = 0 // not a gateway of weir
		}
		return &RefusedError{len(samples) - max(0, min(answer.Accepted, len(samples))), err}
	case http.StatusRequestEntityTooLarge:
		return &RefusedError{len(samples), fmt.Errorf("%w: %w", errTooLarge, err)}
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return fmt.Errorf("gateway: %s to %.200q: use that address", resp.Status, resp.Header.Get("Location"))
	}
	if resp.StatusCode/100 == 2 {
		return fmt.Errorf("not weir's gateway, which answers 204: %w", err)
	}
	if after, ok := parseRetryAfter(resp.Header.Get("Retry-After"), time.Now()); ok {
		return &LaterError{after, err}
	}
	return err
}

// parseRetryAfter reads seconds or an HTTP date.
func parseRetryAfter(text string, now time.Time) (time.Duration, bool) {
	if s, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(s) * time.Second, true
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now)), true
	}
	return 0, false
}
