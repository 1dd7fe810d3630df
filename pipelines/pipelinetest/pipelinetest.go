package pipelinetest

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/pipelines"
)

// Readiness is the answer of /readyz.
type Readiness struct {
	Ready    bool              `json:"ready"`
	NotReady map[string]string `json:"not_ready"` // role: reason
	Warnings map[string]string `json:"warnings"`  // by role
}

// Process returns a weir with the default config, on an address and in a folder of its own. Without brokers it uses the
// embedded one.
func Process(t testing.TB, brokers ...string) *pipelines.Process {
	t.Helper()
	c := pipelines.Default()
	c.HTTP, c.Data, c.Brokers = FreeAddress(t), t.TempDir(), brokers
	return &pipelines.Process{Config: &c, Rules: &alerts.RuleSet{}, Roles: []string{"route", "query"}, Out: io.Discard, Log: slog.New(slog.DiscardHandler)}
}

// FreeAddress returns a host:port of this machine on which nothing listens.
func FreeAddress(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// Ready is the most common condition for Await.
func Ready(r Readiness) bool { return r.Ready }

// Await polls the process's /readyz until the answer fits. It fails the test after 20 s.
func Await(t testing.TB, p *pipelines.Process, fits func(Readiness) bool) {
	t.Helper()
	var last string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-time.After(20 * time.Millisecond) {
		resp, err := http.Get("http://" + p.Config.HTTP + "/readyz")
		if err != nil {
			last = err.Error()
			continue
		}
		var r Readiness
		err = json.NewDecoder(resp.Body).Decode(&r)
		resp.Body.Close()
		if err == nil && fits(r) {
			return
		}
		last = fmt.Sprint(resp.Status, r, err)
	}
	t.Fatalf("/readyz did not give the answer that the test waits for; its last answer: %s", last)
}

// Post writes a line of line protocol to the process's gateway.
func Post(t testing.TB, p *pipelines.Process, line string) {
	t.Helper()
	resp, err := http.Post("http://"+p.Config.HTTP+"/write", "", strings.NewReader(line))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Fatal(resp.Status)
	}
}

// Write writes a file and returns its path.
func Write(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
