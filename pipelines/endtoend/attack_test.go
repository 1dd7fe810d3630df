package endtoend

import (
	"context"
	"io"
	"net/http"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/pipelines/pipelinetest"
	"github.com/weir-metrics/weir/query/webtest"
)

// TestAttacks sends webtest's attacks to a process with every role that serves HTTP: each attack is
// refused as it should be, no handler panics, and weir still answers everybody else.
func TestAttacks(t *testing.T) {
	p := pipelinetest.Process(t)
	p.Roles = []string{"gateway", "query", "window"}
	p.Config.Web.HeaderTimeout, p.Config.Web.BodyTimeout = conf.Duration(4*time.Second), conf.Duration(4*time.Second)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	pipelinetest.Await(t, p, pipelinetest.Ready)
	attacks := webtest.Attacks()
	statuses := map[int]int{}
	names := map[string]bool{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	for _, a := range attacks {
		if names[a.Name] {
			t.Errorf("two attacks have the name %s", a.Name)
		}
		names[a.Name] = true
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			out, err := a.Send(ctx, p.Config.HTTP)
			if err == nil {
				err = a.Check(out)
			}
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			statuses[out.Status]++
		})
	}
	wg.Wait()
	t.Logf("%d attacks, by status: %v", len(attacks), statuses)
	if len(attacks) < 300 {
		t.Errorf("%d attacks, want at least 300: is a family missing?", len(attacks))
	}
	resp, err := http.Get("http://" + p.Config.HTTP + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || !regexp.MustCompile(`(?m)^weir_web_panics_total 0$`).Match(text) {
		t.Errorf("a handler panicked, or weir no longer answers: %v", err)
	}
	pipelinetest.Await(t, p, pipelinetest.Ready)
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
