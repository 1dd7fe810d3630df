package pipelines

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// reloadConfig has windows of a second; the rules are in two files.
const reloadConfig = `windows:
  tiers:
  - {size: 1s, grace: 100ms, ttl: 1h}
rules: [a.yaml, b.yaml]
rules_reload_interval: 0s
`

// TestReload: POST /-/reload and a signal load the rules again. If there are faults, all of them are reported and nothing changes.
// Alerts of rules that stay keep firing; those of removed rules resolve.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("weir.yaml", reloadConfig)
	write("a.yaml", "groups:\n- name: a\n  rules:\n  - {alert: stays, expr: 'load.v > 80'}\n")
	write("b.yaml", "groups:\n- name: b\n  rules:\n  - {alert: goes, expr: 'load.v > 80'}\n")
	file := filepath.Join(dir, "weir.yaml")
	config, set, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	signals := make(chan os.Signal, 1)
	p := process(t)
	config.HTTP, config.Data = p.Config.HTTP, p.Config.Data
	p.Config, p.Rules, p.File, p.Reload = config, set, file, signals
	p.Roles = []string{"route", "window", "alert", "query", "gateway"}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	await(t, p, func(r readiness) bool { return r.Ready })

	get := func(path string) string {
		t.Helper()
		resp, err := http.Get("http://" + p.Config.HTTP + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	// states waits, while samples come, until the alerts have the wanted states, by name.
	firedAt := regexp.MustCompile(`"alertname":"stays".*?"firedAt":"([^"]+)"`)
	states := func(want map[string]string) (stays string) {
		t.Helper()
		body := ""
	next:
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-time.After(100 * time.Millisecond) {
			post(t, p, fmt.Sprintf("load,host=a v=90 %d", time.Now().UnixNano()))
			body = get("/api/v1/alerts")
			for name, state := range want {
				if ok, _ := regexp.MatchString(`"alertname":"`+name+`"[^{}]*\},"annotations":\{\},"state":"`+state+`"`, body); !ok {
					continue next
				}
			}
			if m := firedAt.FindStringSubmatch(body); m != nil {
				return m[1]
			}
		}
		t.Fatalf("never %v: %s", want, body)
		return ""
	}
	reload := func() (code int, body string) {
		t.Helper()
		resp, err := http.Post("http://"+p.Config.HTTP+"/-/reload", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	metrics := func(want ...string) {
		t.Helper()
		body := get("/metrics")
		for _, w := range want {
			if !regexp.MustCompile("(?m)^" + w + "$").MatchString(body) {
				t.Errorf("no %s among the metrics", w)
			}
		}
	}
	first := states(map[string]string{"stays": "firing", "goes": "firing"})
	metrics(`weir_rules_loaded\{hash="`+set.Hash()+`"\} 2`, `weir_rules_reloads_total\{result="ok"\} 0`)

	if body := get("/api/v1/rules?rule_name[]=stays"); !regexp.MustCompile(`"state":"firing","name":"stays","query":"load.v \\u003e 80",.*"alerts":\[\{"labels":\{"alertname":"stays",`).MatchString(body) {
		t.Errorf("of the rules: %s", body)
	}

	write("a.yaml", "groups:\n- name: a\n  rules:\n  - {alert: stays, expr: 'load.v >'}\n")
	write("b.yaml", "groups:\n- name: b\n  rules:\n  - {alert: goes, expr: 'load.v > 80', for: long}\n")
	code, body := reload()
	for _, want := range []string{"the rules stay as they were", "a.yaml:4", "b.yaml:4", `"long"`} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in %s", want, body)
		}
	}
	if code != http.StatusInternalServerError {
		t.Errorf("of wrong rules: %d", code)
	}
	metrics(`weir_rules_loaded\{hash="`+set.Hash()+`"\} 2`, `weir_rules_reloads_total\{result="failed"\} 1`, `weir_rules_last_reload_successful 0`)
	await(t, p, func(r readiness) bool { return r.Ready && strings.Contains(r.Warnings["rules"], "a.yaml:4: ") })

	write("weir.yaml", strings.ReplaceAll(reloadConfig, "b.yaml", "c.yaml"))
	write("a.yaml", "groups:\n- name: a\n  rules:\n  - {alert: begins, expr: 'load.v > 70'}\n  - {alert: stays, expr: 'load.v > 80'}\n")
	if code, body := reload(); code != http.StatusInternalServerError || !strings.Contains(body, "c.yaml") {
		t.Errorf("of a file that is missing: %d %s", code, body)
	}
	write("c.yaml", "groups:\n- name: c\n  rules:\n  - {alert: other, expr: 'load.v > 500'}\n")
	signals <- syscall.SIGHUP
	if again := states(map[string]string{"stays": "firing", "begins": "firing", "goes": "resolved"}); again != first {
		t.Errorf("an alert that stays fired at %s, and at %s after the reload", first, again)
	}
	if body := get("/api/v1/alerts"); !strings.Contains(body, `"reason":"rule removed"`) {
		t.Errorf("why it resolved is not told: %s", body)
	}
	metrics(`weir_rules_loaded\{hash="[0-9a-f]{16}"\} 3`, `weir_rules_reloads_total\{result="ok"\} 1`, `weir_rules_reloads_total\{result="failed"\} 2`, `weir_rules_last_reload_successful 1`)
	await(t, p, func(r readiness) bool { return r.Ready && r.Warnings["rules"] == "" })
	if code, body := reload(); code != http.StatusOK || !strings.HasPrefix(body, "rules: 3, hash ") {
		t.Errorf("of what is loaded already: %d %s", code, body)
	}
	// What a deploy leaves half written changes nothing, and nothing resolves.
	whole := map[string]string{}
	for _, name := range []string{"weir.yaml", "a.yaml", "c.yaml"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		whole[name] = string(b)
	}
	a := whole["a.yaml"]
	for i, c := range []struct{ name, text, want string }{
		{"a.yaml", "", "a.yaml: groups: no groups"}, {"a.yaml", "# none\n", "no groups"}, {"a.yaml", "groups:\n", "no groups"},
		{"a.yaml", a[:strings.Index(a, "  - {alert: stays")], "looks cut: it ends after"}, {"a.yaml", a[:strings.Index(a, " > 80")] + " > 8", "a.yaml"},
		{"a.yaml", strings.TrimSuffix(strings.Replace(a, "70", "60", 1), "\n"), "no line break at its end"},
		{"weir.yaml", "", "names no files, and did before"}, {"weir.yaml", "windows:\n", "names no files"}, {"weir.yaml", whole["weir.yaml"][:strings.Index(whole["weir.yaml"], "rules:")] + "rules:\n", "names no files"},
		{"weir.yaml", strings.Replace(whole["weir.yaml"], "[a.yaml, c.yaml]", "[a.yaml]", 1)[:len(whole["weir.yaml"])-9], "weir.yaml: looks cut"},
	} {
		write(c.name, c.text)
		if code, body := reload(); code != http.StatusInternalServerError || !strings.Contains(body, c.want) {
			t.Errorf("%d: of a cut file: %d %s, want %s", i, code, body, c.want)
		}
		write(c.name, whole[c.name])
	}
	metrics(`weir_rules_reloads_total\{result="failed"\} 12`)
	if again := states(map[string]string{"stays": "firing", "begins": "firing"}); again != first {
		t.Errorf("an alert that stays fired at %s, and at %s after cut files", first, again)
	}
	// If it is meant, it is done.
	write("a.yaml", a[:strings.Index(a, "  - {alert: stays")])
	resp, err := http.Post("http://"+p.Config.HTTP+"/-/reload?cut=accept", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	write("c.yaml", "groups: []\n")
	if code, body := reload(); resp.StatusCode != http.StatusOK || code != http.StatusOK || !strings.HasPrefix(body, "rules: 1, hash ") {
		t.Errorf("what is meant: %s, then %d %s", resp.Status, code, body)
	}
	states(map[string]string{"stays": "resolved", "begins": "firing"})
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestReloadWhereNoRulesAre: a process without the window role, or without a config file, refuses a reload with that reason.
func TestReloadWhereNoRulesAre(t *testing.T) {
	for roles, want := range map[string]string{"query": "the role window does not run in this process", "window": errNoFile.Error()} {
		p := process(t)
		p.Roles = []string{roles}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		await(t, p, func(r readiness) bool { return r.Ready })
		resp, err := http.Post("http://"+p.Config.HTTP+"/-/reload", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK || !strings.Contains(string(b), want) {
			t.Errorf("role %s: %s %s", roles, resp.Status, b)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestReloadOnChange: a running process polls its files.
func TestReloadOnChange(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.yaml", "groups: []\n")
	p := process(t)
	file := write(t, dir, "weir.yaml", "rules: [a.yaml]\nrules_reload_interval: 1s\n")
	config, set, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	config.HTTP, config.Data = p.Config.HTTP, p.Config.Data
	p.Config, p.Rules, p.File, p.Roles = config, set, file, []string{"window"}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	await(t, p, func(r readiness) bool { return r.Ready })
	write(t, dir, "a.yaml", "groups: [\n")
	await(t, p, func(r readiness) bool { return r.Ready && strings.Contains(r.Warnings["rules"], "a.yaml:") })
	write(t, dir, "a.yaml", "groups: [{name: g, rules: [{alert: a, expr: 'up > 1'}]}]\n")
	await(t, p, func(r readiness) bool { return r.Ready && r.Warnings["rules"] == "" })
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := p.rules.current.Names(); len(got) != 1 || got[0] != "g/a" {
		t.Errorf("rules %q", got)
	}
}
