package listener

import (
	"net/http"
	"net/url"
)

// origins decides which pages may have a browser ask. Programs send neither Origin nor
// Sec-Fetch-Site, and pass.
type origins struct {
	writes *http.CrossOriginProtection
	own    string // the origin of external_url, or ""
}

func newOrigins(externalURL string) origins {
	o := origins{writes: http.NewCrossOriginProtection()}
	if u, err := url.Parse(externalURL); err == nil && u.Host != "" {
		own := u.Scheme + "://" + u.Host
		if o.writes.AddTrustedOrigin(own) == nil {
			o.own = own // a proxy there may hand on another Host
		}
	}
	return o
}

// allows reports whether the request is of a page of ours, or of no page. A foreign page
// may lead a person here by a link; it may not have the browser fetch anything, for though
// it cannot read the answer, the question costs.
func (o *origins) allows(r *http.Request) bool {
	if o.writes.Check(r) != nil {
		return false
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return r.Method != http.MethodOptions || r.Header.Get("Origin") == "" // nobody is told that they may
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
		return true
	}
	if origin := r.Header.Get("Origin"); origin != "" && origin == o.own {
		return true
	}
	return r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
}
