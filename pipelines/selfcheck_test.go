package pipelines

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-metrics/weir/processors/notify"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
)

// TestCanariesComeThrough runs all of weir with canaries in 2s periods: they come through on every shard and page nobody, and
// heartbeats are sent. Without notify, canaries are late, and no heartbeats are sent.
func TestCanariesComeThrough(t *testing.T) {
	var beats atomic.Int64
	outside := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && r.URL.Path == "/beat" {
			beats.Add(1)
		}
	}))
	defer outside.Close()
	var told atomic.Int64
	hook := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { told.Add(1) }))
	defer hook.Close()
	file := filepath.Join(t.TempDir(), "weir.yaml")
	text := fmt.Sprintf(`windows:
  tiers:
  - {size: 1s, grace: 100ms, ttl: 1h}
canary: {every: 2s, within: 5s, heartbeat: {url: %s/beat, every: 10s}}
notify: {receivers: [{name: hook, webhook: {url: %s}}]}
`, outside.URL, hook.URL)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	config, set, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if !set.Has(schemas.CanaryRule) {
		t.Fatalf("rules without the built-in one: %v", set.Names())
	}
	p := process(t)
	config.HTTP, config.Data = p.Config.HTTP, p.Config.Data
	p.Config, p.Rules, p.File = config, set, file
	p.Roles = []string{"route", "window", "alert", "notify", "query", "canary"}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()

	metrics := func() (body string) {
		t.Helper()
		kafkatest.Until(t, time.Minute, func() error {
			status, b, err := fetched(p, "/metrics")
			if body = b; err == nil && status != http.StatusOK {
				err = fmt.Errorf("%d %s", status, b)
			}
			return err
		})
		return body
	}
	kafkatest.Until(t, time.Minute, func() error {
		if m := metrics(); beats.Load() == 0 || !strings.Contains(m, "\nweir_canary_shards 8\n") || !strings.Contains(m, "\nweir_canary_late_shards 0\n") ||
			strings.Contains(m, `weir_canary_seconds_count{since="sample"} 0`) {
			return errors.New("no heartbeat, or no canary yet")
		}
		return nil
	})
	if n := told.Load(); n != 0 {
		t.Errorf("a receiver was called %d times", n)
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}

	// The same without notify.
	p = process(t)
	p.Config, p.Rules, p.File = config, set, file
	p.Roles = []string{"route", "window", "alert", "query", "canary"}
	ctx, stop = context.WithCancel(t.Context())
	defer stop()
	before := beats.Load()
	go func() { done <- p.Run(ctx) }()
	await(t, p, func(r readiness) bool {
		return r.Ready && strings.Contains(r.Warnings["canary"], "canaries of 8 of 8 shards are late")
	})
	if n := beats.Load(); n != before {
		t.Errorf("%d heartbeats without notify (consumer group %s)", n-before, notify.ConsumerGroup)
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// fetched is what the process answers to GET.
func fetched(p *Process, path string) (status int, body string, err error) {
	resp, err := http.Get("http://" + p.Config.HTTP + path)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}
