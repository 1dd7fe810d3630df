package conf

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// revealed holds what Secrets have revealed, so that Mask finds it in any text: libraries quote
// what they are given.
var revealed struct {
	mu    sync.RWMutex
	forms []string // longest first
}

const (
	// leastMasked is the minimum length, bytes, of a secret that is masked: masking "a" would leave
	// nothing to read.
	leastMasked = 4
	// maxRevealed bounds how many forms are kept; the oldest come from configs long gone.
	maxRevealed = 4096
)

// remember makes Mask look for the secret from now on, also in the forms that it takes in URLs,
// quotes and headers.
func remember(secret string) {
	if len(secret) < leastMasked {
		return
	}
	quoted := fmt.Sprintf("%q", secret)
	forms := []string{secret, url.QueryEscape(secret), url.PathEscape(secret), url.UserPassword("", secret).String()[1:], quoted[1 : len(quoted)-1],
		base64.StdEncoding.EncodeToString([]byte(secret)), strings.ReplaceAll(secret, "\n", " ")}
	revealed.mu.RLock()
	known := !slices.ContainsFunc(forms, func(f string) bool { return !slices.Contains(revealed.forms, f) })
	revealed.mu.RUnlock()
	if known {
		return
	}
	revealed.mu.Lock()
	defer revealed.mu.Unlock()
	for _, f := range forms {
		if len(revealed.forms) < maxRevealed && !slices.Contains(revealed.forms, f) {
			revealed.forms = append(revealed.forms, f)
		}
	}
	slices.SortStableFunc(revealed.forms, func(a, b string) int { return len(b) - len(a) })
}

var (
	// userInfo is the part of a URL before the @.
	userInfo = regexp.MustCompile(`(://)[^/?#\s"'@]*(?:@[^/?#\s"'@]*)*@`)
	// parameter is a query parameter whose name suggests a secret.
	parameter = regexp.MustCompile(`(?i)([?&;][^=&\s]*(?:token|secret|password|passwd|api_?key|auth|signature|routing_?key)[^=&\s]*=)[^&\s"'#]+`)
	// bearer is the credentials of a header.
	bearer = regexp.MustCompile(`(?i)\b(bearer|basic)\s+[A-Za-z0-9+/._~=-]{8,}`)
)

// Mask returns text with <secret> in place of every revealed secret, of users and passwords in
// URLs, of query parameters named like secrets, and of the credentials in headers. Everything that
// is shown to people goes through it: logs, errors, /readyz.
func Mask(text string) string {
	revealed.mu.RLock()
	for _, form := range revealed.forms {
		if strings.Contains(text, form) {
			text = strings.ReplaceAll(text, form, masked)
		}
	}
	revealed.mu.RUnlock()
	if strings.Contains(text, "@") {
		text = userInfo.ReplaceAllString(text, "${1}"+masked+"@")
	}
	if strings.ContainsAny(text, "?&;") {
		text = parameter.ReplaceAllString(text, "${1}"+masked)
	}
	return bearer.ReplaceAllString(text, "${1} "+masked)
}
