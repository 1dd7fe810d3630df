package sinktest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"
)

// Fault is what a mock does to one request. The zero Fault is none: the request gets the answer
// that it deserves.
type Fault struct {
	Do FaultKind
	// Status, RetryAfter and Location (the headers' texts) and Body are what Refuse answers.
	Status     int
	RetryAfter string
	Location   string
	Body       string
}

// FaultKind is a way to fail.
type FaultKind int

// The ways to fail.
const (
	NoFault    FaultKind = iota
	Refuse               // answer Status without taking the request
	Hang                 // take the request and never answer: a timeout after accept
	Reset                // reset the connection without taking the request
	AcceptLost           // take the request, then reset the connection
	SlowBody             // answer Status, and then an occasional byte of the body, for ever
	HugeBody             // answer Status with a body of 64 MiB
	HugeHeader           // answer Status with headers that do not end
)

// Refusal is the fault of an answer with this status.
func Refusal(status int) Fault { return Fault{Do: Refuse, Status: status} }

// Throttle is the fault of a 429 that asks for a pause of that many seconds.
func Throttle(retryAfter string) Fault {
	return Fault{Do: Refuse, Status: http.StatusTooManyRequests, RetryAfter: retryAfter}
}

// Request is a request as a mock received it, in order of arrival.
type Request struct {
	At         time.Time
	Method     string
	Path       string
	Header     http.Header
	Body       []byte
	Taken      bool     // it took effect
	Status     int      // answered; 0 when the connection broke instead
	Violations []string // of the vendor's API; none of weir's requests has any
}

// mock is the part that all mocks of receivers share: a server on 127.0.0.1, a
// script of faults and a record of requests.
type mock struct {
	// URL is the server's address: http://127.0.0.1:port.
	URL string

	mu       sync.Mutex
	server   *httptest.Server
	faults   []Fault
	requests []*Request
	changed  chan struct{} // closed and replaced when a request has been judged
	closing  chan struct{}
	stopped  bool
}

// answer is what a mock answers.
type answer struct {
	status int
	body   string
}

// rules judge a request: what it violates, what to answer, if anything, and otherwise its effect.
// The mock's lock is held during all calls.
type rules interface {
	check(r *http.Request, body []byte) (violations []string, refusal answer)
	accept(r *http.Request, body []byte) answer
}

func (m *mock) start(tb testing.TB, rs rules) {
	m.changed, m.closing = make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.serve(w, r, rs) }))
	m.URL, m.server = server.URL, server
	tb.Cleanup(m.Stop)
}

// Address is where the server listens: http://127.0.0.1:port.
func (m *mock) Address() string { return m.URL }

// Stop ends the server: its port refuses connections. A second Stop does nothing.
func (m *mock) Stop() {
	m.mu.Lock()
	stopped := m.stopped
	m.stopped = true
	m.mu.Unlock()
	if !stopped {
		close(m.closing) // ends hanging requests, for which Close would wait
		m.server.Close()
	}
}

// Script queues faults: each is for one of the next requests.
func (m *mock) Script(faults ...Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = append(m.faults, faults...)
}

// Mend drops the faults still queued.
func (m *mock) Mend() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = nil
}

// Requests returns the requests so far.
func (m *mock) Requests() []Request {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Request
	for _, r := range m.requests {
		c := *r
		c.Header, c.Violations = maps.Clone(r.Header), slices.Clone(r.Violations)
		all = append(all, c)
	}
	return all
}

// AwaitRequests returns once n requests have come, and ends the test if that takes more than 10 s.
func (m *mock) AwaitRequests(tb testing.TB, n int) {
	tb.Helper()
	deadline := time.After(10 * time.Second)
	for {
		m.mu.Lock()
		got, changed := len(m.requests), m.changed
		m.mu.Unlock()
		if got >= n {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			tb.Fatalf("%d requests after 10 s, want %d", got, n)
		}
	}
}

// Violations returns what the requests so far have violated.
func (m *mock) Violations() []string {
	var all []string
	for _, r := range m.Requests() {
		all = append(all, r.Violations...)
	}
	return all
}

func (m *mock) serve(w http.ResponseWriter, r *http.Request, rs rules) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 16<<20))
	if err != nil {
		return // the client disconnected: there was no request
	}
	m.mu.Lock()
	var fault Fault
	if len(m.faults) > 0 {
		fault, m.faults = m.faults[0], m.faults[1:]
	}
	rec := &Request{At: time.Now(), Method: r.Method, Path: r.URL.Path, Header: r.Header.Clone(), Body: body}
	m.requests = append(m.requests, rec)
	violations, reply := rs.check(r, body)
	rec.Violations = violations
	switch {
	case fault.Do == Refuse:
		reply = answer{fault.Status, fault.Body}
	case fault.Do >= SlowBody:
		reply = answer{fault.Status, ""}
	case fault.Do == Reset:
		reply = answer{}
	case reply.status == 0:
		rec.Taken = true
		reply = rs.accept(r, body)
		if fault.Do == Hang || fault.Do == AcceptLost {
			reply = answer{}
		}
	}
	rec.Status = reply.status
	close(m.changed)
	m.changed = make(chan struct{})
	m.mu.Unlock()

	switch {
	case fault.Do == Hang:
		select {
		case <-r.Context().Done():
		case <-m.closing:
		}
		panic(http.ErrAbortHandler) // closes the connection without an answer
	case reply.status == 0:
		reset(w)
		return
	}
	for name, value := range map[string]string{"Retry-After": fault.RetryAfter, "Location": fault.Location} {
		if value != "" {
			w.Header().Set(name, value)
		}
	}
	if fault.Do >= SlowBody {
		m.flood(w, r, fault)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(reply.status)
	_, _ = io.WriteString(w, reply.body)
}

// flood answers with more, or for longer, than anybody would want to read.
func (m *mock) flood(w http.ResponseWriter, r *http.Request, fault Fault) {
	if fault.Do == HugeHeader {
		conn, out, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer conn.Close()
		for _, err = fmt.Fprintf(out, "HTTP/1.1 %d Flood\r\n", fault.Status); err == nil; {
			_, err = fmt.Fprintf(out, "X-Flood: %01000d\r\n", 0) // until the client has enough
		}
		return
	}
	w.WriteHeader(fault.Status)
	if fault.Do == HugeBody {
		chunk := bytes.Repeat([]byte("flood "), 4096)
		for sent := 0; sent < 64<<20; sent += len(chunk) {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
		return
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-m.closing:
			return
		case <-tick.C:
			_, _ = io.WriteString(w, "x")
			_ = http.NewResponseController(w).Flush()
		}
	}
}

// reset makes the client see "connection reset by peer".
func reset(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
}

// mustJSON encodes maps of strings and numbers, which cannot fail.
func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// violations collects what is wrong with a request.
type violations []string

func (vs *violations) when(wrong bool, format string, args ...any) {
	if wrong {
		*vs = append(*vs, fmt.Sprintf(format, args...))
	}
}
