package frames

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

const (
	// smallFrame is the length up to which a request costs too little to count.
	smallFrame = 64 << 10 // bytes
	// writeChunk is how much of an answer has a deadline of its own.
	writeChunk = 256 << 10 // bytes
)

// conn is a connection as the broker sees it: it reads complete requests that were checked. One
// goroutine reads and one writes.
type conn struct {
	net.Conn
	gate     *Gate
	accepted time.Time

	frame []byte // that the broker has not read yet
	err   error  // why there is nothing more to read

	// Guarded by gate.mu.
	held     int64     // bytes
	unserved int64     // of them, those of the last whole request
	holds    time.Time // since when it has held something
	since    time.Time // of the last complete request, or of the connection
	requests int
}

// Read implements net.Conn. It returns io.EOF once a request has been refused.
func (c *conn) Read(p []byte) (int, error) {
	if len(c.frame) == 0 {
		if c.err == nil {
			c.frame, c.err = c.next()
		}
		if c.err != nil {
			_ = c.Close() // its error helps nobody
			return 0, io.EOF
		}
	}
	n := copy(p, c.frame)
	if c.frame = c.frame[n:]; len(c.frame) == 0 {
		c.frame = nil
	}
	return n, nil
}

// next returns the next request with its length, checked, or an error if there is none.
func (c *conn) next() ([]byte, error) {
	frame, err := c.read()
	if err == nil {
		err = c.gate.check(frame[sizeBytes:])
	}
	if err != nil {
		c.refuse(err)
		return nil, err
	}
	c.gate.mu.Lock()
	c.since = time.Now()
	c.requests++
	c.served() // the one before: the broker reads a request when it has begun to serve the last
	if len(frame) > smallFrame {
		c.unserved = min(c.held, int64(len(frame)))
	}
	c.gate.mu.Unlock()
	return frame, nil
}

const sizeBytes = 4

// read reads one frame. It allocates as bytes arrive.
func (c *conn) read() ([]byte, error) {
	first := time.Time{}
	if c.requests == 0 {
		first = c.accepted.Add(c.gate.cfg.FirstWithin)
	}
	head := make([]byte, headBytes)
	if err := c.full(head[:1], first); err != nil {
		return nil, err
	}
	deadline := time.Now().Add(c.gate.cfg.FrameWithin)
	if err := c.full(head[1:], deadline); err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint32(head))
	key := int16(binary.BigEndian.Uint16(head[sizeBytes:]))
	most, ok := maxFrame(key)
	switch {
	case !ok:
		return nil, &refusal{"key", fmt.Errorf("API key %d", key)}
	case size < headBytes-sizeBytes || size > most:
		return nil, &refusal{"length", fmt.Errorf("a request with API key %d of %d bytes", key, uint32(size))}
	}
	whole := deadline.Add(time.Duration(size>>20) * time.Second)
	frame, total := head, sizeBytes+size
	for len(frame) < total {
		n := min(total-len(frame), max(len(frame), smallFrame), 1<<20)
		if total > smallFrame && !c.gate.hold(c, int64(n)) {
			return nil, errClosed
		}
		at := len(frame)
		frame = append(frame, make([]byte, n)...)
		soon := time.Now().Add(c.gate.cfg.FrameWithin)
		if soon.After(whole) {
			soon = whole
		}
		if err := c.full(frame[at:], soon); err != nil {
			return nil, err
		}
	}
	return frame, nil
}

// headBytes are the length, the API key and the version, which determine how long a request may be.
const headBytes = sizeBytes + 4

var errClosed = errors.New("closed")

func (c *conn) full(p []byte, deadline time.Time) error {
	if err := c.SetReadDeadline(deadline); err != nil {
		return errClosed
	}
	n, err := io.ReadFull(c.Conn, p)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &refusal{"slow", fmt.Errorf("%d bytes of %d", n, len(p))}
	case err != nil:
		return errClosed // a client that leaves in the middle of a request harms nobody
	}
	return nil
}

// refuse counts why the connection is closed, unless the client closed it.
func (c *conn) refuse(err error) {
	var r *refusal
	if !errors.As(err, &r) {
		return
	}
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	if _, open := c.gate.conns[c]; open {
		c.gate.count(r.reason, c, r.err)
	}
}

// Write implements net.Conn. An answer means that the request before it was served, whose bytes are
// given back.
func (c *conn) Write(p []byte) (int, error) {
	c.gate.mu.Lock()
	c.served()
	c.gate.mu.Unlock()
	if len(p) > smallFrame {
		if !c.gate.hold(c, int64(len(p))) {
			return 0, errClosed
		}
		defer c.gate.hold(c, -int64(len(p)))
	}
	for done := 0; done < len(p); {
		if err := c.SetWriteDeadline(time.Now().Add(c.gate.cfg.WriteWithin)); err != nil {
			return done, err
		}
		n, err := c.Conn.Write(p[done:min(len(p), done+writeChunk)])
		done += n
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				c.refuse(&refusal{"unread", fmt.Errorf("%d bytes of an answer of %d were taken", done, len(p))})
			}
			return done, err
		}
	}
	return len(p), nil
}

// served gives back the bytes of the last complete request. It is called with gate.mu held.
func (c *conn) served() {
	c.held -= c.unserved
	c.gate.held -= c.unserved
	c.unserved = 0
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.gate.mu.Lock()
	c.gate.forget(c)
	c.gate.mu.Unlock()
	return c.Conn.Close()
}
