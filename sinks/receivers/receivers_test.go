package receivers_test

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/sinks"
	"github.com/weir-metrics/weir/sinks/console"
	"github.com/weir-metrics/weir/sinks/pagerduty"
	"github.com/weir-metrics/weir/sinks/receivers"
	"github.com/weir-metrics/weir/sinks/sinktest"
	"github.com/weir-metrics/weir/sinks/twilio"
	"github.com/weir-metrics/weir/sinks/webhook"
)

const good = `receivers:
- name: screen
  console: {}
- name: team-web
  match: {severity: page, team: web}
  pagerduty: {routing_key: 0123456789abcdef0123456789abcdef}
- name: phones
  twilio:
    account_sid: AC0123456789abcdef0123456789abcdef
    auth_token: fedcba9876543210fedcba9876543210
    from: "+15005550006"
    to: ["+14155552671", "+14155552672"]
- name: chat
  webhook: {url: "http://127.0.0.1:1/hook"}
`

type file struct {
	Receivers receivers.List `yaml:"receivers"`
}

func read(t *testing.T, text string) (receivers.List, error) {
	t.Helper()
	f := file{receivers.Default()}
	d := conf.Parse("f.yaml", []byte(text), &f)
	f.Receivers.Validate("receivers", d)
	return f.Receivers, d.Err()
}

func TestBuild(t *testing.T) {
	l, err := read(t, good)
	if err != nil {
		t.Fatal(err)
	}
	rs := l.Build(io.Discard)
	var ids []string
	for _, r := range rs {
		ids = append(ids, r.ID())
	}
	if want := []string{"screen", "team-web", "phones/+14155552671", "phones/+14155552672", "chat"}; !slices.Equal(ids, want) {
		t.Fatalf("receivers %q, want %q", ids, want)
	}
	_, isConsole := rs[0].Notifier.(*console.Notifier)
	_, isPagerDuty := rs[1].Notifier.(*pagerduty.Notifier)
	_, isTwilio := rs[3].Notifier.(*twilio.Notifier)
	_, isWebhook := rs[4].Notifier.(*webhook.Notifier)
	if !isConsole || !isPagerDuty || !isTwilio || !isWebhook {
		t.Errorf("notifiers %T %T %T %T", rs[0].Notifier, rs[1].Notifier, rs[3].Notifier, rs[4].Notifier)
	}
	if rs[1].Match["team"] != "web" || len(rs[0].Match) != 0 {
		t.Errorf("match of team-web %v, of screen %v", rs[1].Match, rs[0].Match)
	}
}

func TestDefaultIsTheConsole(t *testing.T) {
	l, err := read(t, "# nothing\n")
	if err != nil {
		t.Fatal(err)
	}
	if rs := l.Build(io.Discard); len(rs) != 1 || rs[0].ID() != "console" {
		t.Errorf("receivers %+v", rs)
	}
}

func TestFaults(t *testing.T) {
	_, err := read(t, `receivers:
- name: a/b
  console: {}
- name: twice
  console: {}
- name: twice
  console: {}
- name: none
- name: both
  console: {}
  webhook: {url: "http://127.0.0.1:1/hook"}
- name: key
  pagerduty: {routing_key: short}
- name: empty
  console:
`)
	want := strings.Join([]string{
		`f.yaml:2: receivers[0].name: "a/b": must have 1 to 64 letters, digits, _ . or -`,
		`f.yaml:6: receivers[2].name: "twice": must be unique: the delivery ledger identifies receivers by it`,
		`f.yaml:8: receivers[3]: must have exactly one of console, webhook, pagerduty, twilio: an empty one is {}`,
		`f.yaml:9: receivers[4]: "console, webhook": must have exactly one of console, webhook, pagerduty, twilio: an empty one is {}`,
		`f.yaml:13: receivers[5].pagerduty.routing_key: "<secret>": must have 32 characters, has 5`,
		`f.yaml:14: receivers[6]: must have exactly one of console, webhook, pagerduty, twilio: an empty one is {}`,
	}, "\n")
	if err == nil || err.Error() != want {
		t.Errorf("faults\n%v\nwant\n%s", err, want)
	}
}

// TestNoDataIsToldByEveryReceiver: no receiver presents an alert that ended because its series fell silent as a recovery, or a
// recovery as silence.
func TestNoDataIsToldByEveryReceiver(t *testing.T) {
	text := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	texts := map[string]func(*sinks.Notification) string{
		"console":   console.Text,
		"twilio":    twilio.Text,
		"pagerduty": func(n *sinks.Notification) string { return text(pagerduty.Event(n)) },
		"webhook":   func(n *sinks.Notification) string { return text(webhook.NewPayload(n)) },
	}
	l, err := read(t, good)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range l.Build(io.Discard) {
		kind, _, _ := strings.Cut(strings.TrimPrefix(fmt.Sprintf("%T", r.Notifier), "*"), ".")
		if texts[kind] == nil {
			t.Fatalf("receiver %s is not tested", kind)
		}
	}
	const fired, since, ended = 1_795_249_566_123, 1_795_249_626_000, 1_795_249_926_000
	for kind, textOf := range texts {
		for _, summary := range []string{"cpu 97%", ""} {
			a := sinktest.FiringAlert("54f6a9ae5cbb11f9", fired)
			a.Annotations["summary"] = summary
			n := sinktest.NotificationOf(a)
			if got := textOf(n); strings.Contains(got, "no data") {
				t.Errorf("%s, firing: %s", kind, got)
			}
			a.LastTrueMS, a.State, a.ResolvedMS, a.Reason = since, schemas.Resolved, ended, "false"
			n.To, n.AtMS = schemas.Resolved, ended
			if got := textOf(n); strings.Contains(got, "no data") {
				t.Errorf("%s, well again: %s", kind, got)
			}
			a.Reason = schemas.ReasonNoData
			got := textOf(n)
			if !strings.Contains(got, "no data since 2026-11-21 08:27:06 UTC") || strings.Contains(got, "until") {
				t.Errorf("%s, silent: %s", kind, got)
			}
			if len(a.Annotations) != 2 || a.Annotations["summary"] != summary {
				t.Errorf("%s changed the alert: %v", kind, a.Annotations)
			}
			// What fires again is not silent.
			n.To, a.State, a.Reason = schemas.Firing, schemas.Firing, ""
			if got := textOf(n); strings.Contains(got, "no data") {
				t.Errorf("%s, firing again: %s", kind, got)
			}
		}
	}
}
