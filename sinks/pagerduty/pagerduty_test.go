package pagerduty_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/sinks"
	"github.com/weir-metrics/weir/sinks/pagerduty"
	"github.com/weir-metrics/weir/sinks/sinktest"
)

const key = "0123456789abcdef0123456789abcdef"

func open(t *testing.T, timeout time.Duration) (*sinktest.PagerDuty, *pagerduty.Notifier) {
	mock := sinktest.NewPagerDuty(t, key)
	return mock, pagerduty.New(pagerduty.Config{
		RoutingKey: conf.NewSecret(key), URL: mock.URL, Timeout: conf.Duration(timeout),
	})
}

func TestConformance(t *testing.T) {
	sinktest.RunHTTPNotifier(t, func(t *testing.T, timeout time.Duration) sinktest.HTTPNotifierUnderTest {
		mock, n := open(t, timeout)
		texts := func() (all []string) {
			for _, e := range mock.Events() {
				all = append(all, e.Payload.Summary)
			}
			return all
		}
		return sinktest.HTTPNotifierUnderTest{
			NotifierUnderTest: sinktest.NotifierUnderTest{Notifier: n, Texts: texts, Secrets: []string{key}},
			Mock:              mock,
		}
	})
}

func TestTriggerAndResolveAreOneAlert(t *testing.T) {
	mock, n := open(t, 30*time.Second)
	const fired = 1_795_249_566_123
	alert := sinktest.FiringAlert("54f6a9ae5cbb11f9", fired)
	resolved := sinktest.ResolvedAlert(alert, fired+60_000)
	tell := func(a *sinks.Notification) {
		t.Helper()
		if result, err := n.Notify(t.Context(), a); err != nil || !strings.HasPrefix(result, "202 accepted") {
			t.Fatalf("%q, %v", result, err)
		}
	}
	tell(sinktest.NotificationOf(alert))
	tell(sinktest.NotificationOf(alert)) // a retry
	want := sinktest.PagerDutyEvent{
		Action: "trigger", DedupKey: "weir/54f6a9ae5cbb11f9", Client: "weir", ClientURL: "http://127.0.0.1:7070",
		Links: []sinktest.PagerDutyLink{
			{Href: "http://127.0.0.1:7070/#alert-54f6a9ae5cbb11f9", Text: "The alert in weir"},
			{Href: "https://example.org/cpu?a=1&b=<2>", Text: "Runbook"},
		},
		Payload: &sinktest.PagerDutyPayload{
			Summary: "cpu 97% — Grüße", Source: "web01", Severity: "critical", Timestamp: "2026-11-21T08:26:06.123Z",
			Group: "hosts/HighCPU", Class: "HighCPU",
			Details: map[string]any{
				"labels":      map[string]any{"alertname": "HighCPU", "host": "web01", "severity": "critical"},
				"annotations": map[string]any{"summary": "cpu 97% — Grüße", "runbook_url": "https://example.org/cpu?a=1&b=<2>"},
				"rule":        "hosts/HighCPU", "value": 97.25,
			},
		},
	}
	if got := mock.Events()[0]; !reflect.DeepEqual(got, want) {
		t.Errorf("event\n%+v %+v, want\n%+v %+v", got, got.Payload, want, want.Payload)
	}
	if a := mock.Alerts()[alert.DedupKey()]; !a.Open || a.Opened != 1 || a.Triggers != 2 {
		t.Errorf("after two triggers: %+v, want open, opened once", a)
	}
	tell(sinktest.NotificationOf(resolved))
	if a := mock.Alerts()[alert.DedupKey()]; a.Open || a.Opened != 1 || a.Resolves != 1 {
		t.Errorf("after the resolve: %+v, want closed, opened once", a)
	}
	if len(mock.Alerts()) != 1 {
		t.Errorf("alerts %v, want one", mock.Alerts())
	}
}

// TestHugeLabelsAreLeftOut: labels for which an event has no room are left out, with a note.
func TestHugeLabelsAreLeftOut(t *testing.T) {
	mock, n := open(t, 30*time.Second)
	a := sinktest.FiringAlert("54f6a9ae5cbb11f9", 1_795_249_566_123)
	a.Labels["big"] = strings.Repeat("\x01", 200<<10) // six bytes each in JSON
	if _, err := n.Notify(t.Context(), sinktest.NotificationOf(a)); err != nil {
		t.Fatal(err)
	}
	details := mock.Events()[0].Payload.Details
	if details["truncated"] == nil || details["labels"] != nil || details["rule"] != "hosts/HighCPU" || len(mock.Violations()) > 0 {
		t.Errorf("details %v, violations %q: want the rule and a note without the labels", details, mock.Violations())
	}
}

func TestNot202IsNoSuccess(t *testing.T) {
	mock, n := open(t, 30*time.Second)
	for _, status := range []int{200, 201, 204} {
		mock.Script(sinktest.Fault{Do: sinktest.Refuse, Status: status, Body: `{"status":"success"}`})
		_, err := n.Notify(t.Context(), sinktest.NotificationOf(sinktest.FiringAlert("54f6a9ae5cbb11f9", 1)))
		if err == nil {
			t.Errorf("status %d was taken for success", status)
		}
	}
}

func TestSeverity(t *testing.T) {
	for label, want := range map[string]string{
		"critical": "critical", "page": "critical", "CRITICAL": "critical", "error": "error", "high": "error", "": "error",
		"no idea": "error", "warning": "warning", "warn": "warning", "info": "info", "none": "info",
	} {
		if got := pagerduty.Severity(label); got != want {
			t.Errorf("Severity(%q) = %q, want %q", label, got, want)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct{ yaml, want string }{
		{"routing_key: " + key, ""},
		{"routing_key: " + key[1:] + "\nurl: ftp://x\ntimeout: -1s", "f.yaml:2: pd.routing_key: \"<secret>\": must have 32 characters, has 31\n" +
			"f.yaml:3: pd.url: \"ftp://x\": must be an http or https URL\nf.yaml:4: pd.timeout: \"-1s\": must be more than 0s"},
		{"routing_key: " + key + "x", "f.yaml:2: pd.routing_key: \"<secret>\": must have 32 characters, has 33"},
		{"url: https://x", "f.yaml:2: pd.routing_key: must be readable: secret: not given"},
	} {
		in := struct {
			PD pagerduty.Config `yaml:"pd"`
		}{}
		d := conf.Parse("f.yaml", []byte("pd:\n  "+strings.ReplaceAll(c.yaml, "\n", "\n  ")), &in)
		in.PD.Validate("pd", d)
		got := ""
		if err := d.Err(); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.yaml, got, c.want)
		}
	}
}
