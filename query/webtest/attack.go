package webtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

// Attack is one hostile request to a listener that asks for no credentials, with the answers that
// refuse it.
type Attack struct {
	Name string // what it tries, after its family: "host: evil.example of /live"
	// Raw is sent as it is, with {host} replaced by the listener's address.
	Raw string
	// Trickle sends a byte every 100 ms after Raw, until the listener hangs up.
	Trickle bool
	// Want are the right statuses; Closed: the listener hangs up without an answer.
	Want []int
}

// Closed stands for a connection that ends without an answer.
const Closed = 0

// Outcome is what came of an attack.
type Outcome struct {
	Status int // or Closed
	Header http.Header
	Body   string // the first 64 KiB
	Took   time.Duration
}

// answerWithin bounds an attack. A listener that is kept waiting longer has not defended itself.
const answerWithin = 30 * time.Second

// Send attacks the listener at addr, host:port, over a connection of its own. It returns an error
// if the attack could not be made, or if the listener neither answers nor hangs up, or does not
// answer in HTTP. A wrong answer is not an error: see Check.
func (a Attack) Send(ctx context.Context, addr string) (Outcome, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return Outcome{}, fmt.Errorf("%s: %w", a.Name, err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(began.Add(answerWithin)) // it is open
	// A write may fail because the listener has refused already: its answer counts.
	_, _ = io.WriteString(conn, strings.ReplaceAll(a.Raw, "{host}", addr))
	if a.Trickle {
		ended := make(chan struct{})
		defer close(ended)
		go trickle(conn, ended)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	out := Outcome{Took: time.Since(began)}
	switch {
	case err == nil:
	case errors.Is(err, os.ErrDeadlineExceeded):
		return out, fmt.Errorf("%s: neither answered nor cut off within %s", a.Name, answerWithin)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), isReset(err):
		return out, nil
	default:
		return out, fmt.Errorf("%s: %w", a.Name, err)
	}
	// The body is not closed: that would read a stream to its end. The connection is.
	out.Status, out.Header = resp.StatusCode, resp.Header
	if resp.Header.Get("Content-Type") != "text/event-stream" {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // the status counts
		out.Body = string(body)
	}
	out.Took = time.Since(began)
	return out, nil
}

func isReset(err error) bool {
	var op *net.OpError
	return errors.As(err, &op)
}

func trickle(conn net.Conn, ended <-chan struct{}) {
	every := time.NewTicker(100 * time.Millisecond)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			if _, err := io.WriteString(conn, "a"); err != nil {
				return
			}
		case <-ended:
			return
		}
	}
}

// Check returns what is wrong with the outcome: an unwanted status, or an answer that lacks the
// protective headers, repeats markup as HTML, or reveals weir's internals.
func (a Attack) Check(out Outcome) error {
	switch {
	case !slices.Contains(a.Want, out.Status):
		return fmt.Errorf("%s: %d, want one of %d: %.200q", a.Name, out.Status, a.Want, out.Body)
	case out.Status == Closed || out.Header.Get("Content-Security-Policy") == "" && out.Status >= 400:
		return nil // net/http's own refusal, before any handler
	case out.Header.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(out.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'"):
		return fmt.Errorf("%s: %d without the usual headers: %v", a.Name, out.Status, out.Header)
	case out.Header.Get("Access-Control-Allow-Origin") != "":
		return fmt.Errorf("%s: another origin is let in", a.Name)
	case strings.Contains(out.Body, "goroutine ") || strings.Contains(out.Body, ".go:"):
		return fmt.Errorf("%s: reveals weir's internals: %.300q", a.Name, out.Body)
	case strings.Contains(out.Header.Get("Content-Type"), "html") && strings.Contains(out.Body, "<script>alert"):
		return fmt.Errorf("%s: repeats markup: %.300q", a.Name, out.Body)
	}
	return nil
}
