package listener

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"runtime"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

const (
	// maxPasswordBytes is how much of a password bcrypt compares; the rest would not count.
	maxPasswordBytes = 72
	// maxKept bounds the remembered passwords, the right and the wrong ones each.
	maxKept = 4096
	// maxWaiting bounds the requests that wait for a comparison, and waitWithin each.
	maxWaiting = 64
	waitWithin = 3 * time.Second
	// burst is how many wrong passwords of a client are compared at first; after that, one in each regain.
	burst  = 10
	regain = 3 * time.Second
)

// passwords compares passwords with bcrypt hashes. What has been compared is remembered by a keyed
// hash, so that a user costs one comparison rather than one for each request. New passwords are compared on
// half of the CPUs at most, and those of a client that was wrong too often are not compared for a
// while: a flood does not slow down the rest of weir, and known users are still let in.
type passwords struct {
	key   [32]byte
	slots chan struct{}
	now   func() time.Time

	mu           sync.Mutex
	right, wrong map[[32]byte]struct{}
	waiting      int
	wrongs       map[string]*wrongs // by client
}

// wrongs is how many wrong passwords of a client counted at the time of the last one.
type wrongs struct {
	n  float64
	at time.Time
}

func newPasswords() *passwords {
	p := &passwords{
		slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)), now: time.Now,
		right: map[[32]byte]struct{}{}, wrong: map[[32]byte]struct{}{}, wrongs: map[string]*wrongs{},
	}
	_, _ = rand.Read(p.key[:]) // it never fails
	return p
}

// compare reports whether the password is that of the hash. It returns a *busyError if it cannot be
// compared now, or the context's error.
func (p *passwords) compare(ctx context.Context, client, user, password, hash string) (bool, error) {
	mac := hmac.New(sha256.New, p.key[:])
	for _, part := range []string{user, "\x00", hash, "\x00", password} {
		_, _ = mac.Write([]byte(part)) // a hash takes all
	}
	id := [32]byte(mac.Sum(nil))
	if right, known := p.known(id); known {
		return right, nil
	}
	if err := p.queue(client); err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, waitWithin)
	defer cancel()
	select {
	case p.slots <- struct{}{}:
		p.left()
		defer func() { <-p.slots }()
	case <-ctx.Done():
		p.left()
		return false, &busyError{"too many passwords wait to be compared"}
	}
	if right, known := p.known(id); known { // another request of the same user came first
		return right, nil
	}
	if err := p.mayTry(client); err != nil {
		return false, err
	}
	right := bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil
	p.learn(id, client, right)
	return right, nil
}

func (p *passwords) known(id [32]byte) (right, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.right[id]; ok {
		return true, true
	}
	_, ok := p.wrong[id]
	return false, ok
}

// queue takes a place in the queue, or returns why there is none.
func (p *passwords) queue(client string) error {
	if err := p.mayTry(client); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting >= maxWaiting {
		return &busyError{"too many passwords wait to be compared"}
	}
	p.waiting++
	return nil
}

func (p *passwords) left() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting--
}

func (p *passwords) mayTry(client string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.wrongs[client]; w != nil && p.counting(w) > burst-1 {
		return &busyError{"too many wrong passwords from this address"}
	}
	return nil
}

// counting is how many of a client's wrong passwords still count. It is called with mu held.
func (p *passwords) counting(w *wrongs) float64 {
	return max(0, w.n-float64(p.now().Sub(w.at))/float64(regain))
}

func (p *passwords) learn(id [32]byte, client string, right bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	keep := p.wrong
	if right {
		keep = p.right
	}
	if len(keep) >= maxKept {
		clear(keep)
	}
	keep[id] = struct{}{}
	if right {
		return
	}
	if len(p.wrongs) >= maxKept {
		clear(p.wrongs)
	}
	w := p.wrongs[client]
	if w == nil {
		w = &wrongs{}
		p.wrongs[client] = w
	}
	w.n, w.at = p.counting(w)+1, p.now()
}
