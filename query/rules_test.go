package query

import (
	"encoding/json"
	"math"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	prom "github.com/prometheus/client_golang/api"
	promapi "github.com/prometheus/client_golang/api/prometheus/v1"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/schemas"
)

// fakeRules has the rules of two files, with some of their use.
type fakeRules struct {
	set   *alerts.RuleSet
	uses  []alerts.RuleUse
	owned int
}

func (f *fakeRules) RuleUse() (*alerts.RuleSet, []alerts.RuleUse) { return f.set, f.uses }
func (f *fakeRules) Shards() (owned, all int)                     { return f.owned, 8 }

const ruleFileA = `groups:
- name: hosts
  rules:
  - alert: high_cpu
    expr: avg(cpu, "5m") > 80
    for: 5m
    keep_firing_for: 1m
    labels: {severity: page}
    annotations: {summary: '{{ .Value }} %'}
  - {alert: down, expr: up == 0, for: 3 of 5 windows, recover: up == 1, where: labels.host == "a", shadow: true}
- name: disks
  rules:
  - {alert: full, expr: disk > 90, tier: 1m}
`

const ruleFileB = `- name: hosts
  rules:
  - {alert: busy, expr: load > 8}
`

func newFakeRules(t *testing.T) *fakeRules {
	t.Helper()
	set, err := alerts.Load(alerts.LoadConfig{TiersMS: []int64{10_000, 60_000}}, alerts.File{Name: "a.yaml", Data: []byte(ruleFileA)}, alerts.File{Name: "b.yaml", Data: []byte(ruleFileB)})
	if err != nil {
		t.Fatal(err)
	}
	return &fakeRules{set: set, owned: 8, uses: []alerts.RuleUse{
		{Evaluations: 1000, EndMS: nowMS - 10_000, Value: 91, TimedNS: 4000, Timed: 4, Sets: 3, Bytes: 900, Shards: 2},
		{Evaluations: 10, EndMS: nowMS - 20_000, Value: math.NaN(), TimedNS: 9000, Timed: 1, Sets: 1, Bytes: 100, Shards: 1},
		{WhereErrors: 2, LastError: "it failed"},
		{Evaluations: 5_000_000, EndMS: nowMS, Value: 1, TimedNS: 1000, Timed: 1},
	}}
}

// fakeAlerts has alerts, or is not ready yet.
type fakeAlerts struct {
	list    []*schemas.Alert
	waiting string
}

func (f *fakeAlerts) Alerts(int64) []*schemas.Alert { return f.list }
func (f *fakeAlerts) Waiting() string               { return f.waiting }

func alertOf(rule string, state schemas.AlertState, value float64, host string) *schemas.Alert {
	return &schemas.Alert{Fingerprint: rule + host, Rule: "hosts/" + rule, State: state, ActiveMS: nowMS - 60_000, LastMS: nowMS, Value: value, TierMS: 10_000,
		Labels: map[string]string{"alertname": rule, "host": host}}
}

func someAlerts() *fakeAlerts {
	pending := alertOf("high_cpu", schemas.Pending, 91, "a")
	firing := alertOf("high_cpu", schemas.Firing, 95, "b")
	resolved := alertOf("busy", schemas.Resolved, 1, "a")
	down := alertOf("down", schemas.Pending, 0, "a")
	return &fakeAlerts{list: []*schemas.Alert{firing, pending, resolved, down}}
}

// rulesServer serves the rules; source is nil if the role query does not run.
func rulesServer(t *testing.T, cfg Config, watch RuleWatcher, source *fakeAlerts) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(Rules(cfg, watch, func() AlertSource {
		if source == nil {
			return nil
		}
		return source
	}, func() time.Time { return time.UnixMilli(nowMS) }))
	t.Cleanup(s.Close)
	return s
}

// TestRulesForPrometheusClients: Prometheus's own client reads the answer.
func TestRulesForPrometheusClients(t *testing.T) {
	s := rulesServer(t, Default(), newFakeRules(t), someAlerts())
	client, err := prom.NewClient(prom.Config{Address: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	got, err := promapi.NewAPI(client).Rules(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Groups) != 3 {
		t.Fatalf("%d groups: %+v", len(got.Groups), got)
	}
	for i, want := range []struct {
		name, file string
		interval   float64
		rules      int
	}{{"hosts", "a.yaml", 10, 2}, {"disks", "a.yaml", 60, 1}, {"hosts", "b.yaml", 10, 1}} {
		if g := got.Groups[i]; g.Name != want.name || g.File != want.file || g.Interval != want.interval || len(g.Rules) != want.rules {
			t.Errorf("group %d: %+v, want %+v", i, g, want)
		}
	}
	rule := got.Groups[0].Rules[0].(promapi.AlertingRule)
	if len(rule.Alerts) != 2 || rule.Alerts[0].State != "firing" || rule.Alerts[0].Value != "9.5e+01" || rule.Alerts[0].Labels["host"] != "b" {
		t.Errorf("alerts %+v", rule.Alerts)
	}
	rule.Alerts = nil
	want := promapi.AlertingRule{Name: "high_cpu", Query: `avg(cpu, "5m") > 80`, Duration: 300, Labels: rule.Labels, Annotations: rule.Annotations,
		Health: promapi.RuleHealthGood, EvaluationTime: 1e-6, LastEvaluation: time.UnixMilli(nowMS - 10_000).UTC(), State: "firing"}
	if !reflect.DeepEqual(rule, want) || rule.Labels["severity"] != "page" || rule.Annotations["summary"] != "{{ .Value }} %" {
		t.Errorf("rule %+v\nwant %+v", rule, want)
	}
	states := []string{}
	for _, g := range got.Groups {
		for _, r := range g.Rules {
			r := r.(promapi.AlertingRule)
			states = append(states, r.Name+" "+r.State+" "+string(r.Health)+" "+r.LastError)
		}
	}
	if want := []string{"high_cpu firing ok ", "down pending ok ", "full inactive err it failed", "busy inactive ok "}; !reflect.DeepEqual(states, want) {
		t.Errorf("states %q, want %q", states, want)
	}
}

func getRules(t *testing.T, s *httptest.Server, query string) (code int, body rulesBody, text string) {
	t.Helper()
	resp, err := http.Get(s.URL + "/api/v1/rules" + query)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var raw json.RawMessage
	if err := json.NewDecoder(resp.Body).Decode(&raw); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body, string(raw)
}

// namesOf returns the rules of an answer, in order.
func namesOf(body rulesBody) string {
	var names []string
	for _, g := range body.Data.Groups {
		for _, r := range g.Rules {
			names = append(names, g.File[:1]+"/"+g.Name+"/"+r.Name)
		}
	}
	return strings.Join(names, " ")
}

// TestRulesAreSelected: each parameter of Prometheus, and each of weir's own, selects rules.
func TestRulesAreSelected(t *testing.T) {
	s := rulesServer(t, Default(), newFakeRules(t), someAlerts())
	all := "a/hosts/high_cpu a/hosts/down a/disks/full b/hosts/busy"
	for _, c := range []struct {
		query, want string
		total       int
	}{
		{"", all, 4}, {"?type=alert", all, 4}, {"?type=record", "", 0},
		{"?rule_name[]=down&rule_name[]=busy", "a/hosts/down b/hosts/busy", 2}, {"?rule_name[]=none", "", 0},
		{"?rule_group[]=hosts", "a/hosts/high_cpu a/hosts/down b/hosts/busy", 3}, {"?rule_group[]=hosts&file[]=b.yaml", "b/hosts/busy", 1},
		{"?file[]=a.yaml", "a/hosts/high_cpu a/hosts/down a/disks/full", 3},
		{"?by=cost&limit=1", "b/hosts/busy", 4}, {"?by=cost&limit=2", "a/hosts/high_cpu b/hosts/busy", 4}, {"?limit=2", "a/hosts/high_cpu a/hosts/down", 4},
	} {
		code, body, text := getRules(t, s, c.query)
		if got := namesOf(body); code != http.StatusOK || got != c.want || body.Data.Total != c.total || body.Data.Groups == nil || body.Warnings != nil {
			t.Errorf("%s: %d %q of %d, want %q of %d: %s", c.query, code, got, body.Data.Total, c.want, c.total, text)
		}
	}
	_, body, _ := getRules(t, s, "?exclude_alerts=true")
	if r := body.Data.Groups[0].Rules[0]; len(r.Alerts) != 0 || r.State != schemas.Firing {
		t.Errorf("without alerts: %+v", r)
	}
	for query, parameter := range map[string]string{
		"?type=alerting": "type", "?limit=0": "limit", "?by=name": "by", "?group_next_token=x": "group_next_token", "?group_next_token=x&group_limit=1": "group_next_token",
		"?exclude_alerts=1": "exclude_alerts", "?rule_name=x": "rule_name", "?type=alert&type=record": "type",
	} {
		if code, _, text := getRules(t, s, query); code != http.StatusBadRequest || !strings.Contains(text, `"parameter":"`+parameter+`"`) {
			t.Errorf("%s: %d %s", query, code, text)
		}
	}
	var pages []string
	for next := ""; len(pages) < 5; {
		query := "?group_limit=1"
		if next != "" {
			query += "&group_next_token=" + next
		}
		_, body, _ := getRules(t, s, query)
		pages = append(pages, namesOf(body))
		if next = body.Data.GroupNextToken; next == "" {
			break
		}
	}
	if want := []string{"a/hosts/high_cpu a/hosts/down", "a/disks/full", "b/hosts/busy"}; !reflect.DeepEqual(pages, want) {
		t.Errorf("pages %q, want %q", pages, want)
	}
}

// TestRulesTellCosts: the answer has the costs of rules, which Prometheus's does not have.
func TestRulesTellCosts(t *testing.T) {
	watch := newFakeRules(t)
	watch.owned = 3
	s := rulesServer(t, Default(), watch, nil)
	_, body, text := getRules(t, s, "")
	down := *body.Data.Groups[0].Rules[1]
	want := ruleBody{
		State: schemas.Inactive, Name: "down", Query: "up == 0", Labels: map[string]string{}, Annotations: map[string]string{}, Alerts: []json.RawMessage{}, Health: "ok",
		EvaluationTime: 9e-6, LastEvaluation: time.UnixMilli(nowMS - 20_000).UTC(), Type: "alerting", Shadow: true,
		Line: 10, For: "3 of 5 windows", Recover: "up == 1", Where: `labels.host == "a"`, Tier: "10s", Shards: 1, Series: 1, StateBytes: 100, Evaluations: 10, CPUSeconds: 9e-5, LastValue: "NaN",
	}
	if !reflect.DeepEqual(down, want) {
		t.Errorf("rule %+v\nwant %+v", down, want)
	}
	if r := body.Data.Groups[1].Rules[0]; r.LastValue != "" || !r.LastEvaluation.IsZero() {
		t.Errorf("a rule that was never evaluated: %+v", r)
	}
	if body.Data.Owned != 3 || body.Data.Shards != 8 || len(body.Warnings) != 2 || !strings.Contains(body.Warnings[0], "the role query does not run") || !strings.Contains(body.Warnings[1], "3 of 8 shards") {
		t.Errorf("what is not known: %s", text)
	}
	source := someAlerts()
	source.waiting = "reading the alerts"
	if _, body, text := getRules(t, rulesServer(t, Default(), newFakeRules(t), source), ""); len(body.Warnings) != 1 || !strings.Contains(body.Warnings[0], "reading the alerts") || body.Data.Groups[0].Rules[0].State != schemas.Inactive {
		t.Errorf("before the alerts are read: %s", text)
	}
}

// TestRulesAreBounded: an answer is cut at max_answer_bytes, with a warning.
func TestRulesAreBounded(t *testing.T) {
	cfg := Default()
	cfg.MaxAnswerBytes = 64 << 10
	source := someAlerts()
	for i := range 1000 {
		source.list = append(source.list, alertOf("high_cpu", schemas.Firing, 95, "h"+strconv.Itoa(i)))
	}
	s := rulesServer(t, cfg, newFakeRules(t), source)
	_, body, text := getRules(t, s, "")
	if len(text) > cfg.MaxAnswerBytes+1024 || len(body.Warnings) != 1 || !strings.Contains(body.Warnings[0], "cut at 65536 bytes") {
		t.Errorf("%d bytes, warnings %q", len(text), body.Warnings)
	}
	if _, body, _ := getRules(t, s, "?exclude_alerts=true"); len(body.Warnings) != 0 || body.Data.Total != 4 {
		t.Errorf("without alerts: %+v", body)
	}
}
