package query

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	// pieceBytes is how much of an answer is written at a time, each piece within Config.WriteTimeout.
	pieceBytes = 64 << 10
	// stuckAfter is how long a client that takes nothing may occupy room that others want.
	stuckAfter = time.Second
)

// answers bounds the bytes of the answers that are being sent. If they are too many, those whose
// clients take nothing are cut off.
type answers struct {
	most      int
	wait      time.Duration // for room
	within    time.Duration // for a piece to be taken
	onCut     func()
	mu        sync.Mutex
	held      int
	open      map[*sending]struct{}
	something chan struct{} // closed when room is given back
}

// sending is one answer being sent.
type sending struct {
	to    *http.ResponseController
	size  int
	moved time.Time // when the client took the previous piece; guarded by answers.mu, as is cut
	cut   bool
}

func newAnswers(cfg *Config, onCut func()) *answers {
	return &answers{most: cfg.MaxHeldBytes, wait: cfg.QueueTimeout.Std(), within: cfg.WriteTimeout.Std(), onCut: onCut,
		open: map[*sending]struct{}{}, something: make(chan struct{})}
}

// admit waits for room for an answer of size bytes. It returns the context's error, or
// errBusy, wrapped.
func (a *answers) admit(ctx context.Context, to *http.ResponseController, size int) (*sending, error) {
	s := &sending{to: to, size: size}
	timeout := time.NewTimer(a.wait)
	defer timeout.Stop()
	again := time.NewTicker(stuckAfter / 4)
	defer again.Stop()
	for {
		something := a.try(s)
		if something == nil {
			return s, nil
		}
		select {
		case <-something:
		case <-again.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-timeout.C:
			return nil, fmt.Errorf("%w: answers of %d bytes are being sent (query.max_held_bytes)", errBusy, a.most)
		}
	}
}

// try takes room, and returns nil. Otherwise it cuts off answers that are stuck, and returns a
// channel that tells when room is given back. An answer larger than all the room is sent alone.
func (a *answers) try(s *sending) <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if a.held == 0 || a.held+s.size <= a.most {
		a.held += s.size
		s.moved = now
		a.open[s] = struct{}{}
		return nil
	}
	for o := range a.open {
		if !o.cut && now.Sub(o.moved) > stuckAfter {
			o.cut = true
			_ = o.to.SetWriteDeadline(now) // cannot fail: it was set before
			a.onCut()
		}
	}
	return a.something
}

func (a *answers) done(s *sending) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.open, s)
	a.held -= s.size
	close(a.something)
	a.something = make(chan struct{})
}

// proceed gives the next piece its time, unless the answer has been cut off.
func (a *answers) proceed(s *sending) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.cut {
		return false
	}
	s.moved = time.Now()
	_ = s.to.SetWriteDeadline(s.moved.Add(a.within)) // a test's recorder has no deadline
	return true
}

// send writes the answer piece by piece and gives its room back. A write error means that the
// client's connection is gone: nobody is left to tell, and the server closes it.
func (a *answers) send(w http.ResponseWriter, s *sending, code int, body []byte) {
	defer a.done(s)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	for len(body) > 0 && a.proceed(s) {
		n := min(pieceBytes, len(body))
		if _, err := w.Write(body[:n]); err != nil {
			return
		}
		body = body[n:]
	}
}
