package twilio_test

import (
	"strings"
	"testing"
	"time"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/sinks"
	"github.com/weir-metrics/weir/sinks/sinktest"
	"github.com/weir-metrics/weir/sinks/twilio"
)

const (
	account = "AC0123456789abcdef0123456789abcdef"
	token   = "fedcba9876543210fedcba9876543210"
	from    = "+15005550006"
	to      = "+14155552671"
)

func open(t *testing.T, timeout time.Duration) (*sinktest.Twilio, *twilio.Notifier) {
	mock := sinktest.NewTwilio(t, account, token)
	return mock, twilio.New(twilio.Config{
		AccountSID: account, AuthToken: conf.NewSecret(token), From: from, URL: mock.URL, Timeout: conf.Duration(timeout),
	}, to)
}

func TestConformance(t *testing.T) {
	sinktest.RunHTTPNotifier(t, func(t *testing.T, timeout time.Duration) sinktest.HTTPNotifierUnderTest {
		mock, n := open(t, timeout)
		texts := func() (all []string) {
			for _, m := range mock.Messages() {
				all = append(all, m.Body)
			}
			return all
		}
		return sinktest.HTTPNotifierUnderTest{
			NotifierUnderTest: sinktest.NotifierUnderTest{Notifier: n, Texts: texts, Secrets: []string{token}},
			Mock:              mock,
		}
	})
}

func TestMessage(t *testing.T) {
	mock, n := open(t, 30*time.Second)
	firing := sinktest.FiringAlert("54f6a9ae5cbb11f9", 1_795_249_566_123)
	for _, a := range []*sinks.Notification{
		sinktest.NotificationOf(firing), sinktest.NotificationOf(sinktest.ResolvedAlert(firing, 1_795_249_626_000)),
	} {
		if result, err := n.Notify(t.Context(), a); err != nil || !strings.HasPrefix(result, "201 created SM") {
			t.Fatalf("%q, %v", result, err)
		}
	}
	want := []string{
		"FIRING HighCPU: cpu 97% — Grüße\nvalue 97.25 at 2026-11-21 08:26:06 UTC\nhttp://127.0.0.1:7070/#alert-54f6a9ae5cbb11f9",
		"RESOLVED HighCPU: cpu 97% — Grüße\nvalue was 97.25 until 2026-11-21 08:27:06 UTC\nhttp://127.0.0.1:7070/#alert-54f6a9ae5cbb11f9",
	}
	got := mock.Messages()
	if len(got) != len(want) {
		t.Fatalf("%d messages, want %d", len(got), len(want))
	}
	for i, m := range got {
		if m.Body != want[i] || m.From != from || m.To != to {
			t.Errorf("message %d: %+v, want %q", i, m, want[i])
		}
	}
}

func TestLongTextKeepsTheLink(t *testing.T) {
	n := sinktest.NotificationOf(sinktest.FiringAlert("54f6a9ae5cbb11f9", 1_795_249_566_123))
	for _, unit := range []string{"x", "🔥"} {
		n.Alert.Annotations["summary"] = strings.Repeat(unit, 3000)
		text := twilio.Text(n)
		if l := sinks.TextLen(text); l < 1599 || l > 1600 {
			t.Errorf("%d units of %q, want 1600, or 1599", l, unit)
		}
		if !strings.HasSuffix(text, "…\nvalue 97.25 at 2026-11-21 08:26:06 UTC\nhttp://127.0.0.1:7070/#alert-54f6a9ae5cbb11f9") {
			t.Errorf("%q does not end with the link", text[len(text)-150:])
		}
	}
}

func TestNoMessageIsNoSuccess(t *testing.T) {
	for status, body := range map[int]string{200: `{"sid":"SM1"}`, 201: `{}`, 202: "<html>welcome to our proxy</html>"} {
		mock, n := open(t, 30*time.Second)
		mock.Script(sinktest.Fault{Do: sinktest.Refuse, Status: status, Body: body})
		if result, err := n.Notify(t.Context(), sinktest.NotificationOf(sinktest.FiringAlert("54f6a9ae5cbb11f9", 1))); err == nil {
			t.Errorf("%d %s was taken for success: %q", status, body, result)
		}
	}
}

func TestValidate(t *testing.T) {
	good := "account_sid: " + account + "\nauth_token: " + token + "\nfrom: \"" + from + "\"\n"
	const number = "must be a number in E.164: + and 7 to 15 digits, the first not 0"
	for _, c := range []struct{ yaml, want string }{
		{good + "to: [\"" + to + "\"]", ""},
		{good + "to: [\"+1234567\", \"+123456789012345\"]", ""},
		{good + "to: [\"+123456\",\n\"+1234567890123456\",\n14155552671,\n\"+014155552671\"]", "f.yaml:5: t.to[0]: \"+123456\": " + number +
			"\nf.yaml:6: t.to[1]: \"+1234567890123456\": " + number + "\nf.yaml:7: t.to[2]: \"14155552671\": " + number + "\nf.yaml:8: t.to[3]: \"+014155552671\": " + number},
		{good + "to: [\"" + to + "\",\n\"" + to + "\"]", "f.yaml:6: t.to[1]: \"" + to + "\": must not be in the list twice"},
		{good, "f.yaml:2: t.to: must have at least one number"},
		{"account_sid: AC1\nfrom: ACME\nto: [\"" + to + "\"]\nurl: x\ntimeout: -1s", "f.yaml:2: t.account_sid: \"AC1\": must be AC and 32 hex digits\n" +
			"f.yaml:2: t.auth_token: must be readable: secret: not given\nf.yaml:3: t.from: \"ACME\": " + number +
			"\nf.yaml:5: t.url: \"x\": must be an http or https URL\nf.yaml:6: t.timeout: \"-1s\": must be more than 0s"},
	} {
		in := struct {
			T twilio.Config `yaml:"t"`
		}{}
		text := "t:\n  " + strings.ReplaceAll(c.yaml, "\n", "\n  ")
		d := conf.Parse("f.yaml", []byte(text), &in)
		in.T.Validate("t", d)
		got := ""
		if err := d.Err(); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", text, got, c.want)
		}
	}
}
