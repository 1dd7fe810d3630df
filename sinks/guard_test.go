package sinks

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestGuardStopsARequest: a request that must no longer be sent does not arrive, even if that turns out between its first and last
// byte; other requests arrive.
func TestGuardStopsARequest(t *testing.T) {
	var whole atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err == nil {
			whole.Add(1)
		}
	}))
	defer server.Close()
	client := NewHTTPClient(10 * time.Second)
	for _, c := range []struct {
		name string
		good int32 // number of questions that get a good answer
		want int32
	}{{"not at all", 0, 0}, {"only at first", 1, 0}, {"always", 1000, 1}} {
		whole.Store(0)
		var asked atomic.Int32
		ctx := WithGuard(t.Context(), func() bool { return asked.Add(1) <= c.good })
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL, strings.NewReader(strings.Repeat("x", 1<<20)))
		if err != nil {
			t.Fatal(err)
		}
		_, err = Exchange(client, req)
		if (err == nil) != (c.want == 1) || asked.Load() == 0 {
			t.Errorf("%s: %v after %d questions", c.name, err, asked.Load())
		}
		client.CloseIdleConnections()
		if got := whole.Load(); got != c.want {
			t.Errorf("%s: %d requests arrived complete, want %d", c.name, got, c.want)
		}
	}
}
