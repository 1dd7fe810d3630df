package connect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// tokens provides OAUTHBEARER's token: from its file or variable, read each time, or from
// token_url.
type tokens struct {
	sasl *SASL

	mu     sync.Mutex
	cached string
	until  time.Time
}

const (
	// tokenWithin bounds a request for a token.
	tokenWithin = 10 * time.Second
	// tokenBytes bounds the answer.
	tokenBytes = 1 << 20
	// early is how long before its end a token is no longer used.
	early = 30 * time.Second
)

func (t *tokens) token(ctx context.Context) (string, error) {
	if t.sasl.TokenURL == "" {
		token, err := t.sasl.Token.Reveal()
		if err != nil {
			return "", fmt.Errorf("kafka.sasl.token: %w", err)
		}
		return token, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cached != "" && time.Now().Before(t.until) {
		return t.cached, nil
	}
	token, life, err := t.ask(ctx)
	if err != nil {
		return "", fmt.Errorf("kafka.sasl.token_url: %w", err)
	}
	t.cached, t.until = token, time.Now().Add(life-early)
	return token, nil
}

// ask asks token_url with the client's credentials. Its error contains neither what was sent nor
// the URL.
func (t *tokens) ask(ctx context.Context) (token string, life time.Duration, err error) {
	secret, err := t.sasl.ClientSecret.Reveal()
	if err != nil {
		return "", 0, fmt.Errorf("client_secret: %w", err)
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	if t.sasl.Scope != "" {
		form.Set("scope", t.sasl.Scope)
	}
	ctx, cancel := context.WithTimeout(ctx, tokenWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.sasl.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return "", 0, errors.New("is not a URL")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(t.sasl.ClientID), url.QueryEscape(secret))
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return "", 0, fmt.Errorf("%s: %w", req.URL.Host, err)
	}
	defer resp.Body.Close()
	var answer struct {
		Token   string  `json:"access_token"`
		Seconds float64 `json:"expires_in"`
	}
	body := json.NewDecoder(io.LimitReader(resp.Body, tokenBytes))
	switch err := body.Decode(&answer); {
	case resp.StatusCode != http.StatusOK:
		return "", 0, fmt.Errorf("%s: answered %s", req.URL.Host, resp.Status)
	case err != nil || answer.Token == "":
		return "", 0, fmt.Errorf("%s: answered without an access_token", req.URL.Host)
	}
	return answer.Token, time.Duration(min(answer.Seconds, 86400) * float64(time.Second)), nil
}
