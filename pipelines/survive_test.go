package pipelines

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// toldAlert is what the API tells of an alert.
type toldAlert struct {
	State    string    `json:"state"`
	ActiveAt time.Time `json:"activeAt"`
	FiredAt  time.Time `json:"firedAt"`
	Reason   string    `json:"reason"`
	Labels   struct {
		Name string `json:"alertname"`
	} `json:"labels"`
	History []struct {
		To string `json:"to"`
	} `json:"history"`
}

// TestForSurvives: `for` runs on while other rules are reloaded, and while the process restarts: the alert
// fires as long after it became pending as the rule says, and was nothing but pending and firing. One whose
// rule is removed in the middle does not fire, and says why.
func TestForSurvives(t *testing.T) {
	dir := t.TempDir()
	rule := func(name, expr string) string {
		return fmt.Sprintf("  - {alert: %s, expr: 'load.v > %s', for: 6s, no_data: 1m}\n", name, expr)
	}
	write(t, dir, "weir.yaml", "windows: {tiers: [{size: 1s, grace: 100ms, ttl: 1h}]}\nrules: [a.yaml]\nrules_reload_interval: 0s\n")
	rules := write(t, dir, "a.yaml", "groups:\n- name: a\n  rules:\n"+rule("waits", "80")+rule("goes", "80"))
	p := process(t)
	address, data := p.Config.HTTP, p.Config.Data
	start := func() (stop func()) {
		t.Helper()
		config, set, err := Load(filepath.Join(dir, "weir.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		config.HTTP, config.Data = address, data
		p = &Process{Config: config, Rules: set, File: filepath.Join(dir, "weir.yaml"), Out: p.Out, Log: p.Log,
			Roles: []string{"route", "window", "alert", "query", "gateway"}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		await(t, p, func(r readiness) bool { return r.Ready })
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	list := func() []toldAlert {
		t.Helper()
		resp, err := http.Get("http://" + address + "/api/v1/alerts")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var body struct{ Data struct{ Alerts []toldAlert } }
		if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
			t.Fatal(err)
		}
		return body.Data.Alerts
	}
	// until sends samples until the alert is in a state.
	until := func(name, state string) (a toldAlert) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-time.After(100 * time.Millisecond) {
			post(t, p, fmt.Sprintf("load,host=a v=90 %d", time.Now().UnixNano()))
			for _, a = range list() {
				if a.Labels.Name == name && a.State == state {
					return a
				}
			}
		}
		t.Fatalf("%s was never %s", name, state)
		return a
	}

	stop := start()
	pending := until("waits", "pending")
	until("goes", "pending")
	if err := os.WriteFile(rules, []byte("groups:\n- name: a\n  rules:\n"+rule("comes", "70")+rule("waits", "80")), 0o644); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post("http://"+address+"/-/reload", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	comes := until("comes", "pending")
	stop()
	stop = start()
	defer func() { stop() }()
	if again := until("waits", "pending"); !again.ActiveAt.Equal(pending.ActiveAt) {
		t.Errorf("pending since %v, and since %v after a reload and a restart", pending.ActiveAt, again.ActiveAt)
	}
	fired := until("waits", "firing")
	if took := fired.FiredAt.Sub(fired.ActiveAt); !fired.ActiveAt.Equal(pending.ActiveAt) || took < 6*time.Second || len(fired.History) != 2 {
		t.Errorf("fired %v after it became pending at %v, want 6 s after %v: %+v", took, fired.ActiveAt, pending.ActiveAt, fired)
	}
	if fired := until("comes", "firing"); !fired.ActiveAt.Equal(comes.ActiveAt) {
		t.Errorf("a new rule became pending at %v, and fired as since %v", comes.ActiveAt, fired.ActiveAt)
	}
	for _, a := range list() {
		if a.Labels.Name == "goes" {
			t.Errorf("of a rule that is gone: %+v", a)
		}
	}
}
