package operations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/pipelines"
	"github.com/weir-metrics/weir/pipelines/pipelinetest"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/sinks/receivers"
	"github.com/weir-metrics/weir/sinks/webhook"
	"github.com/weir-metrics/weir/windows"
)

const checkedRules = `groups:
- name: g
  rules:
  - alert: busy
    expr: cpu.usge > 80 and cpu.usage > 3
    labels: {severity: page}
  - alert: full
    expr: avg(disk.used, "5m") > 1
    labels: {severity: ticket, team: '{{ .Labels.team }}'}
  - alert: http
    expr: http-requests > 5
    labels: {severity: page}
`

// TestCheckWarns: something that can never happen gives a warning with its place, not a fault.
func TestCheckWarns(t *testing.T) {
	asked := 0
	weir := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		metric := r.FormValue("metric")
		if r.URL.Path != "/api/v1/series" || metric == "requests" { // seen, and not among the first
			fmt.Fprint(w, `{"series":[{"metric":"requests"}]}`)
		} else if metric != "" {
			fmt.Fprint(w, `{"series":[]}`)
		} else {
			fmt.Fprint(w, `{"series":[{"metric":"cpu.usage"},{"metric":"disk.used"},{"metric":"cpu.usage"}]}`)
		}
	}))
	defer weir.Close()
	dir := t.TempDir()
	pipelinetest.Write(t, dir, "r.yaml", checkedRules)
	config := func(http, receivers string) string {
		return pipelinetest.Write(t, dir, "weir.yaml", "http: "+http+"\nrules: [r.yaml]\nnotify:\n  receivers:\n"+receivers)
	}
	check := func(c Check) (got []string) {
		t.Helper()
		ws, err := c.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range ws {
			got = append(got, w.Error())
		}
		return got
	}
	want := func(got []string, want ...string) {
		t.Helper()
		for i := range max(len(got), len(want)) {
			if i >= len(got) || i >= len(want) || !strings.Contains(got[i], want[i]) {
				t.Fatalf("warnings\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	}
	const dash = `r.yaml:11:11: groups[0].rules[2].expr: "http-requests > 5": http-requests is a subtraction`
	nobody := nobodyListens(t)
	all := "  - {name: a, console: {}}\n"
	want(check(Check{Files: []string{config(nobody, all)}}), dash)
	want(check(Check{Files: []string{dir + "/r.yaml"}, URL: "http://" + nobody}), dash, `--url: "http://`+nobody+`": cannot be asked, and whether metrics are seen was not looked at: dial tcp `+nobody)
	if asked != 0 {
		t.Errorf("asked %d times", asked)
	}
	unseen := []string{dash, `r.yaml:5:11: groups[0].rules[0].expr: "cpu.usge": is a metric that the running weir has not seen; did you mean cpu.usage?`,
		`r.yaml:11:11: groups[0].rules[2].expr: "http": is a metric that the running weir has not seen`}
	want(check(Check{Files: []string{config(strings.TrimPrefix(weir.URL, "http://"), all)}}), unseen...)
	want(check(Check{Files: []string{config(nobody, all)}, URL: weir.URL}), unseen...)
	want(check(Check{Files: []string{dir + "/r.yaml"}, URL: weir.URL}), unseen...)
	// Receivers and rules that do not find each other.
	want(check(Check{Files: []string{config(nobody, "  - {name: a, match: {severity: page}, console: {}}\n  - {name: b, match: {severity: ticket, team: web}, console: {}}\n")}}), dash)
	want(check(Check{Files: []string{config(nobody, all+"  - name: b\n    match:\n      severity: paeg\n    console: {}\n")}}), dash,
		`weir.yaml:8: notify.receivers[1].match.severity: "paeg": no rule's labels satisfy it: receiver b is told of nothing; did you mean page?`)
	want(check(Check{Files: []string{config(nobody, "  - {name: a, match: {severity: page}, console: {}}\n")}}), dash, `r.yaml:7: groups[0].rules[1].alert: "full": no receiver takes its alerts`)
	want(check(Check{Files: []string{config(nobody, "  - {name: a, match: {region: eu}, console: {}}\n")}}), dash) // the series may have it
	want(check(Check{Files: []string{config(nobody, all+"  - {name: b, match: {alertname: busi}, console: {}}\n")}}), dash, `did you mean busy?`)
	// A range beyond what is kept.
	pipelinetest.Write(t, dir, "long.yaml", "- name: g\n  rules:\n  - alert: a\n    expr: avg(x, \"5m\") > 5\n")
	short := "http: " + nobody + "\nrules: [long.yaml]\nwindows: {tiers: [{size: 10s, grace: 1s, ttl: 1m}]}\nnotify: {receivers: [{name: a, console: {}}]}\n"
	_, err := Check{Files: []string{pipelinetest.Write(t, dir, "short.yaml", short)}}.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), `long.yaml:4:15: [0].rules[0].expr: "avg(x, \"5m\") > 5": a range of 5m reaches back further than windows of 10s are kept, 1m`) {
		t.Fatal(err)
	}
	// Cut, or empty.
	want(check(Check{Files: []string{pipelinetest.Write(t, dir, "empty.yaml", "\n")}}), "empty.yaml: is empty")
	want(check(Check{Files: []string{pipelinetest.Write(t, dir, "cut.yaml", "- name: g\n  rules:\n  - {alert: a, expr: x > 8}")}, URL: "http://" + nobody}), "cut.yaml:3: has no line break at its end", "cannot be asked")
}

// nobodyListens is an address of this machine at which nobody answers.
func nobodyListens(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestCheckAsksWithoutHarm: whatever answers at the address, check ends and finds no fault.
func TestCheckAsksWithoutHarm(t *testing.T) {
	rules := pipelinetest.Write(t, t.TempDir(), "r.yaml", checkedRules)
	for what, answer := range map[string]http.HandlerFunc{
		"401":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) },
		"503":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"rubbish": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"nothing": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"series":[]}`) },
		"too much": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"series":[`+strings.Repeat(" ", answerBytes))
		},
	} {
		server := httptest.NewServer(answer)
		ws, err := Check{Files: []string{rules}, URL: server.URL}.Run(t.Context())
		told := len(ws) == 2 && strings.Contains(ws[1].Error(), "cannot be asked")
		if err != nil || len(ws) == 0 || told != (what != "nothing") || !told && len(ws) != 1 {
			t.Errorf("%s: %v %v", what, ws, err)
		}
		server.Close()
	}
}

// TestShippedRulesCanFire: the shipped files give no warnings, and the rule for a dead machine does not wait for an up that the
// agent never sends.
func TestShippedRulesCanFire(t *testing.T) {
	ws, err := Check{Files: []string{"../../deploy/weir.yaml"}, URL: "http://" + nobodyListens(t)}.Run(t.Context())
	if err != nil || len(ws) != 1 || ws[0].Field != "--url" {
		t.Errorf("%v %v", ws, err)
	}
	_, rules, err := pipelines.Load("../../deploy/weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var st alerts.State
	ev := rules.NewEvaluator()
	up := schemas.Window{Series: schemas.Series{Metric: "up", Labels: schemas.Labels{{Name: "host", Value: "web01"}}}, TierMS: 10_000, StartMS: 1_700_000_000_000}
	up.Add(0, 1)
	if cs := ev.Closed(&st, "web01", up.TierMS, up.EndMS(), []schemas.Window{up}, nil); len(cs) > 0 {
		t.Errorf("of a machine that is well: %+v", cs)
	}
	cs := ev.Advance(&st, "web01", up.EndMS()+80_000, nil)
	if len(cs) != 1 || !cs[0].True || cs[0].Rule != "host/instance_down" || cs[0].Reason != schemas.ReasonNoData {
		t.Errorf("of a machine that is silent: %+v", cs)
	}
}

// TestDeadMachinePages: a machine that falls silent raises an alert at a receiver, and one that comes back ends it.
func TestDeadMachinePages(t *testing.T) {
	var mu sync.Mutex
	var told []string
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var p webhook.Payload
		if err := json.NewDecoder(r.Body).Decode(&p); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		told = append(told, p.Status+" "+p.Alerts[0].Labels["host"])
	}))
	t.Cleanup(hook.Close)
	p := pipelinetest.Process(t)
	second := func(n float64) conf.Duration { return conf.Duration(n * float64(time.Second)) }
	p.Roles = []string{"gateway", "route", "window", "alert", "notify"}
	p.Config.Windows.Tiers = []windows.Tier{{Size: second(1), Grace: second(0.3), TTL: second(3600)}, {Size: second(2), Grace: second(0.4), TTL: second(3600)}}
	p.Config.Notify.Receivers = receivers.List{{Name: "hook", Kinds: receivers.Kinds{Webhook: &webhook.Config{URL: conf.NewSecret(hook.URL), Timeout: second(5)}}}}
	var err error
	if p.Rules, err = alerts.Load(p.Config.RuleConfig(), alerts.File{Name: "r.yaml", Data: []byte("- name: g\n  rules:\n  - {alert: down, expr: up == 0, no_data: 4s, on_no_data: firing}\n")}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	pipelinetest.Await(t, p, pipelinetest.Ready)
	await := func(what string, want ...string) {
		t.Helper()
		kafkatest.Eventually(t, what, func() bool {
			pipelinetest.Post(t, p, "up,host=well value=1")
			mu.Lock()
			defer mu.Unlock()
			time.Sleep(100 * time.Millisecond) // between two posts
			return slices.Equal(told, want)
		})
	}
	pipelinetest.Post(t, p, "up,host=dies value=1")
	await("the machine is missed", "firing dies")
	pipelinetest.Post(t, p, "up,host=dies value=1")
	await("it is back", "firing dies", "resolved dies")
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

const goodRules = "groups:\n- name: g\n  rules:\n  - alert: down\n    expr: up == 0\n    for: 1m\n"

func TestCheckTellsRulesFromConfig(t *testing.T) {
	dir := t.TempDir()
	config, rules := pipelinetest.Write(t, dir, "weir.yaml", "shards: 2\n"), pipelinetest.Write(t, dir, "r.yaml", goodRules)
	list := pipelinetest.Write(t, dir, "list.yaml", "- name: g\n  rules:\n  - alert: down\n    expr: up == 0\n")
	if _, err := (Check{Files: []string{config, rules, list}}).Run(t.Context()); err != nil {
		t.Error(err)
	}
	badConfig, badRules := pipelinetest.Write(t, dir, "a.yaml", "shards: x\n"), pipelinetest.Write(t, dir, "b.yaml", "groups:\n- nam: g\n")
	missing := filepath.Join(dir, "missing.yaml")
	_, err := Check{Files: []string{config, badConfig, badRules, missing}}.Run(t.Context())
	var fs conf.Faults
	if !errors.As(err, &fs) || fs[0].File != badConfig || fs[1].File != badRules || fs[len(fs)-1].File != missing {
		t.Errorf("%v", err)
	}
}

// TestCheckReadsOnlyFiles: a FIFO, a folder, a device and an endless file are reported at once, wherever they are named.
func TestCheckReadsOnlyFiles(t *testing.T) {
	dir := t.TempDir()
	fifo, huge := filepath.Join(dir, "fifo"), pipelinetest.Write(t, dir, "huge", "")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(huge, 1<<40); err != nil {
		t.Fatal(err)
	}
	for what, want := range map[string]string{fifo: "is a FIFO", dir: "is a directory", "/dev/zero": "is a device", huge: "must be at most"} {
		named := pipelinetest.Write(t, dir, "named.yaml", fmt.Sprintf("rules: [%s]\n", what))
		secret := pipelinetest.Write(t, dir, "secret.yaml", fmt.Sprintf("notify:\n  receivers:\n  - name: r\n    pagerduty: {routing_key: {file: %s}}\n", what))
		for _, file := range []string{what, named, secret} {
			done := make(chan error, 1)
			go func() {
				_, err := Check{Files: []string{file}}.Run(t.Context())
				done <- err
			}()
			select {
			case err := <-done:
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("check %s, of %s: %v, want %s", file, what, err, want)
				}
			case <-time.After(time.Minute):
				t.Fatalf("check %s, of %s: hangs", file, what)
			}
		}
	}
}
