package listener

import (
	"net/http"
	"testing"
)

// TestUserIsKnown: handlers learn whose credentials let a request in, whatever the request claims.
func TestUserIsKnown(t *testing.T) {
	user := ""
	next := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { user = User(r) })
	guarded, _ := open(t, guardedConfig(t), next)
	free, _ := open(t, Default(), next)
	for _, c := range []struct {
		l    *Listener
		edit func(*http.Request)
		want string
	}{
		{guarded, func(r *http.Request) { r.SetBasicAuth("admin", "b0th") }, "admin"},
		{free, func(r *http.Request) { r.SetBasicAuth("admin", "b0th") }, ""},
		{free, nil, ""},
	} {
		user = "not asked"
		if through(c.l, "POST", "/write", c.edit); user != c.want {
			t.Errorf("user %q, want %q", user, c.want)
		}
	}
}
