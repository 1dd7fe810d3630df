package listener

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxNameBytes bounds a user's name and a token, bytes.
const maxNameBytes = 512

var (
	errNone  = errors.New("no credentials: this address takes basic auth or a bearer token (web.basic_auth_users, web.bearer_tokens)")
	errWrong = errors.New("wrong credentials")
)

// busyError tells that no password can be compared now.
type busyError struct{ reason string }

func (e *busyError) Error() string { return e.reason }

// someone is an authenticated client.
type someone struct {
	name  string
	roles []string
}

func (s *someone) may(role string) bool { return slices.Contains(s.roles, role) }

// rereadEvery is how old secrets from files and variables may be.
const rereadEvery = 10 * time.Second

// credentials knows the users and tokens. Secrets are read again from time to time, as they may change
// while weir runs; one that cannot be read stays as it was.
type credentials struct {
	cfg       Config
	log       *slog.Logger
	passwords *passwords

	mu     sync.Mutex
	read   time.Time
	hashes map[string]string   // by user
	nobody string              // what passwords of unknown names are compared with
	tokens map[string][32]byte // SHA-256, by name
}

func newCredentials(cfg Config, log *slog.Logger) (*credentials, error) {
	c := &credentials{cfg: cfg, log: log, passwords: newPasswords(), hashes: map[string]string{}, tokens: map[string][32]byte{}}
	if errs := c.reread(time.Now()); errs != nil {
		return nil, errs
	}
	return c, nil
}

// reread reads all secrets; the error names those that cannot be read.
func (c *credentials) reread(now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read = now
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(c.cfg.Users)) {
		text, err := c.cfg.Users[name].Reveal()
		if err == nil {
			err = checkHash(text)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("web.basic_auth_users.%s: %w", name, err))
			continue
		}
		c.hashes[name] = text
	}
	c.nobody = strangers(c.hashes)
	for _, name := range slices.Sorted(maps.Keys(c.cfg.Tokens)) {
		text, err := c.cfg.Tokens[name].Reveal()
		if err == nil {
			err = checkToken(text)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("web.bearer_tokens.%s: %w", name, err))
			continue
		}
		c.tokens[name] = sha256.Sum256([]byte(text))
	}
	return errors.Join(errs...)
}

// refresh rereads the secrets when they are old.
func (c *credentials) refresh(now time.Time) {
	c.mu.Lock()
	old := now.Sub(c.read) >= rereadEvery
	c.mu.Unlock()
	if old {
		if err := c.reread(now); err != nil {
			c.log.Warn("secrets not read again, keeping the old ones", "err", err)
		}
	}
}

// identify returns who the client is, or errNone, errWrong or a *busyError. Wrong passwords are
// counted by client.
func (c *credentials) identify(r *http.Request, client string) (*someone, error) {
	given := r.Header["Authorization"]
	if len(given) == 0 {
		return nil, errNone
	}
	if len(given) > 1 {
		return nil, errWrong // a proxy may have checked another than we would
	}
	c.refresh(time.Now())
	scheme, rest, _ := strings.Cut(given[0], " ")
	rest = strings.TrimLeft(rest, " ")
	switch {
	case strings.EqualFold(scheme, "bearer"):
		return c.byToken(rest)
	case strings.EqualFold(scheme, "basic"):
		return c.byPassword(r, rest, client)
	}
	return nil, errWrong
}

// byToken compares with every token, so that the time tells neither which one matches nor how much of
// it.
func (c *credentials) byToken(token string) (*someone, error) {
	if len(token) > maxNameBytes {
		return nil, errWrong
	}
	sum := sha256.Sum256([]byte(token))
	c.mu.Lock()
	defer c.mu.Unlock()
	found := ""
	for name, want := range c.tokens {
		if subtle.ConstantTimeCompare(sum[:], want[:]) == 1 {
			found = name
		}
	}
	if found == "" {
		return nil, errWrong
	}
	return c.someone(found), nil
}

func (c *credentials) byPassword(r *http.Request, encoded, client string) (*someone, error) {
	if len(encoded) > 4*maxNameBytes {
		return nil, errWrong
	}
	text, err := base64.StdEncoding.DecodeString(encoded)
	user, password, found := strings.Cut(string(text), ":")
	if err != nil || !found || len(password) > maxPasswordBytes {
		return nil, errWrong
	}
	c.mu.Lock()
	hash, known := c.hashes[user]
	if !known {
		hash = c.nobody
	}
	c.mu.Unlock()
	right, err := c.passwords.compare(r.Context(), client, user, password, hash)
	switch {
	case err != nil:
		return nil, err
	case !right || !known:
		return nil, errWrong
	}
	return c.someone(user), nil
}

// nobodys is the end of the hash of a password that nobody has.
const nobodys = "fEQdHYGBPNJKxYyz4gSGKe5NyWWxUqCzYgzzxWVmQYz9nTjwXCcOe"

// strangers is the hash with which passwords of unknown names are compared: it costs as much as the
// most expensive user's, so that the time does not tell who exists.
func strangers(hashes map[string]string) string {
	dearest := ""
	for _, hash := range hashes {
		dearest = max(dearest, hash[:len(hash)-len(nobodys)]) // its version and cost
	}
	return dearest + nobodys
}

func (c *credentials) someone(name string) *someone {
	if roles := c.cfg.Roles[name]; len(roles) > 0 {
		return &someone{name, roles}
	}
	return &someone{name, []string{Read}}
}
