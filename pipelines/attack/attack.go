package attack

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// Target is what is attacked.
type Target struct {
	HTTP   string // host:port of a running weir
	Broker string // host:port of its broker
	Binary string // the program, for attacks by files and flags
	Dir    string // an empty folder for those files
}

// Attack is one of the suite.
type Attack struct {
	Kind, Name string
	// Do attacks. It returns in a few words how weir refused, or an error if weir did not.
	Do func(ctx context.Context, t Target) (how string, err error)
}

// All is the whole suite, in the order in which it is run.
func All() (all []Attack) {
	for _, list := range [][]Attack{bodies(), requests(), frames(), records(), configs(), rules(), flags()} {
		all = append(all, list...)
	}
	return all
}

// patience bounds one request of an attack.
const patience = 20 * time.Second

var client = &http.Client{
	Timeout:       patience,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// send makes a request; its body may be nil.
func send(ctx context.Context, t Target, method, path string, header map[string]string, body io.Reader) (status int, answer string, err error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+t.HTTP+path, body)
	if err != nil {
		return 0, "", fmt.Errorf("the attack itself is wrong: %w", err)
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, string(b), err
}

// refused is the outcome of an answer that must be a client error.
func refused(status int, answer string, err error) (string, error) {
	switch {
	case err != nil:
		return "", err
	case status < 400 || status >= 500:
		return "", fmt.Errorf("%d %s", status, short(answer))
	}
	return fmt.Sprintf("%d %s", status, short(answer)), nil
}

// short is the start of a text, on one line.
func short(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	if len(s) > 110 {
		s = strings.ToValidUTF8(s[:110], "") + "…"
	}
	return s
}

// converse sends bytes to an address and returns what comes back until the other side closes the
// connection or is silent for a while.
func converse(ctx context.Context, address string, parts ...string) (string, error) {
	conn, err := (&net.Dialer{Timeout: patience}).DialContext(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	for _, p := range parts {
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			return "", err
		}
		if _, err := io.WriteString(conn, p); err != nil {
			return "cut off while it sends", nil
		}
	}
	if err := conn.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(conn, 64<<10))
	if ne, ok := err.(net.Error); ok && ne.Timeout() && len(b) == 0 {
		return "", nil // no answer yet: whoever waits for more is not cut off at once
	}
	if len(b) == 0 {
		return "connection closed", nil
	}
	return string(b), nil
}
