package operations

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/weir-metrics/weir/collect"
	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/pipelines"
	"github.com/weir-metrics/weir/pipelines/pipelinetest"
	"github.com/weir-metrics/weir/schemas"
)

// guarded runs a process with a gateway, a user who reads and a token that writes.
func guarded(t *testing.T) *pipelines.Process {
	t.Helper()
	p := pipelinetest.Process(t)
	p.Roles = []string{"gateway", "query", "window"}
	hash, err := bcrypt.GenerateFromPassword([]byte("r3ad"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	p.Config.Web.Users = map[string]conf.Secret{"reader": conf.NewSecret(string(hash))}
	p.Config.Web.Tokens = map[string]conf.Secret{"agents": conf.NewSecret("0123456789abcdef")}
	p.Config.Web.Roles = map[string][]string{"agents": {"write"}}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	pipelinetest.Await(t, p, pipelinetest.Ready)
	return p
}

// TestDoorsOfAProcess: every path except health requires credentials, and weir's own programs can send them.
func TestDoorsOfAProcess(t *testing.T) {
	p := guarded(t)
	base := "http://" + p.Config.HTTP
	for path, want := range map[string]int{"/": 401, "/app.js": 401, "/metrics": 401, "/live": 401, "/api/v1/status": 401, "/api/v1/top": 401,
		"/metrics/x": 401, "/nothing": 401, "/debug/pprof/": 401, "/healthz": 200, "/readyz": 200, "/-/healthy": 200, "/-/ready": 200} {
		resp, err := http.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("GET %s: %s, want %d", path, resp.Status, want)
		}
	}
	for _, path := range []string{"/write", "/api/v1/samples", "/-/reload", "/anything"} {
		resp, err := http.Post(base+path, "text/plain", strings.NewReader("cpu v=1"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("POST %s: %s", path, resp.Status)
		}
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	samples := []schemas.Sample{{Series: schemas.Series{Metric: "m"}, TimeMS: 1_700_000_000_000, Value: 1}}
	for name, c := range map[string]struct {
		login Login
		ok    bool
	}{
		"token": {Login{Token: conf.SecretFile(file)}, true}, "reader": {Login{Username: "reader", Password: conf.NewSecret("r3ad")}, false}, "nobody": {Login{}, false},
	} {
		send, end, err := Destination{Gateway: base, Login: c.login}.open()
		if err != nil {
			t.Fatal(err)
		}
		err = send.Send(t.Context(), samples)
		end()
		var refused *collect.RefusedError
		if (err == nil) != c.ok {
			t.Errorf("%s sends: %v", name, err)
		} else if err != nil && strings.Contains(err.Error(), "r3ad") || refused != nil {
			t.Errorf("%s is told %v", name, err)
		}
	}
	var out bytes.Buffer
	top := Top{URLs: []string{base}, By: "rate", Rows: 5, Login: Login{Username: "reader", Password: conf.NewSecret("r3ad")}}
	if err := top.Run(t.Context(), &out); err != nil || !strings.Contains(out.String(), "SOURCE") {
		t.Errorf("top: %v %s", err, &out)
	}
	top.Login = Login{}
	if err := top.Run(t.Context(), &out); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("top of nobody: %v", err)
	}
}

func TestLoginNamesItsFile(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for _, l := range []Login{{CAFile: missing}, {CertFile: missing, KeyFile: missing}} {
		if _, _, err := (Destination{Gateway: "http://127.0.0.1:1", Login: l}).open(); err == nil || !strings.Contains(err.Error(), missing) {
			t.Error(err)
		}
	}
	r, err := http.NewRequest("GET", "http://127.0.0.1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := (Login{Token: conf.SecretFile(missing)}).Sign(r); err == nil || !strings.Contains(err.Error(), missing) {
		t.Error(err)
	}
}
