package listener

import (
	"net/http"
	"net/url"
)

// origins decides which pages may make a browser send requests. Programs send neither Origin nor
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
			o.own = own // a proxy there may pass on another Host
		}
	}
	return o
}

// allows reports whether the request comes from a page of ours, or from no page. A foreign page may
// link here, but may not make the browser fetch anything: it cannot read the answer, but answering
// costs.
func (o *origins) allows(r *http.Request) bool {
	if o.writes.Check(r) != nil {
		return false
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return r.Method != http.MethodOptions || r.Header.Get("Origin") == "" // nobody gets CORS headers
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
