package webhook_test

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/sinks"
	"github.com/weir-metrics/weir/sinks/sinktest"
	"github.com/weir-metrics/weir/sinks/webhook"
)

const token = "t0k3n+with/odd=chars"

func TestConformance(t *testing.T) {
	sinktest.RunHTTPNotifier(t, func(t *testing.T, timeout time.Duration) sinktest.HTTPNotifierUnderTest {
		mock := sinktest.NewWebhook(t, token)
		n := webhook.New(webhook.Config{
			URL: conf.NewSecret(mock.URL + "/hook"), BearerToken: conf.NewSecret(token), Timeout: conf.Duration(timeout),
		})
		texts := func() (all []string) {
			for _, p := range mock.Payloads() {
				text := p.Alerts[0].Annotations["summary"]
				if text == "" { // a receiver of payloads writes its own text
					text = "hosts/HighCPU web01 97.25"
				}
				all = append(all, text)
			}
			return all
		}
		return sinktest.HTTPNotifierUnderTest{
			NotifierUnderTest: sinktest.NotifierUnderTest{Notifier: n, Texts: texts, Secrets: []string{token, mock.URL + "/hook", "/hook"}},
			Mock:              mock,
		}
	})
}

// TestLikeAlertmanager makes a payload of the recorded alert and compares the bytes with the recording,
// testdata/alertmanager.json. There the group is cut to its first alert, because weir sends each alert as a group of its own.
func TestLikeAlertmanager(t *testing.T) {
	recorded, err := os.ReadFile("testdata/alertmanager.json")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 21, 8, 26, 6, 0, time.UTC).UnixMilli()
	p := webhook.NewPayload(&sinks.Notification{
		Alert: &schemas.Alert{
			Fingerprint: "54f6a9ae5cbb11f9",
			Labels:      map[string]string{"alertname": "HighCPU", "host": "host_0", "severity": "critical"},
			Annotations: map[string]string{"summary": "cpu 97% — Grüße"},
		},
		Receiver: "all", To: schemas.Firing, AtMS: at, ExternalURL: "http://vm:19096",
	})
	p.Alerts[0].GeneratorURL = "http://x/g"
	got, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	if want := bytes.TrimSpace(recorded); !bytes.Equal(got, want) {
		t.Errorf("payload\n%s\nAlertmanager's\n%s", got, want)
	}
}

func TestResolvedTimes(t *testing.T) {
	firing := sinktest.FiringAlert("54f6a9ae5cbb11f9", 1_000_000)
	p := webhook.NewPayload(sinktest.NotificationOf(sinktest.ResolvedAlert(firing, 1_060_000)))
	a := p.Alerts[0]
	if p.Status != "resolved" || a.Status != "resolved" || a.StartsAt.UnixMilli() != 1_000_000 || a.EndsAt.UnixMilli() != 1_060_000 {
		t.Errorf("%s %+v, want resolved, from 1000000 to 1060000", p.Status, a)
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct{ yaml, want string }{
		{"url: http://127.0.0.1:1/x\nbearer_token: a", ""},
		{"url: /hook\nbearer_token: {env: WEIR_TEST_UNSET}\ntimeout: -1s", "f.yaml:2: w.url: \"<secret>\": must be an http or https URL\n" +
			"f.yaml:3: w.bearer_token: must be readable: secret: environment variable WEIR_TEST_UNSET is not set\nf.yaml:4: w.timeout: \"-1s\": must be more than 0s"},
		{"timeout: 1s", "f.yaml:2: w.url: must be readable: secret: not given"},
	} {
		in := struct {
			W webhook.Config `yaml:"w"`
		}{}
		d := conf.Parse("f.yaml", []byte("w:\n  "+strings.ReplaceAll(c.yaml, "\n", "\n  ")), &in)
		in.W.Validate("w", d)
		got := ""
		if err := d.Err(); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.yaml, got, c.want)
		}
	}
}
