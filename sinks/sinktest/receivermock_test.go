package sinktest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

const (
	testKey     = "0123456789abcdef0123456789abcdef"
	testAccount = "AC0123456789abcdef0123456789abcdef"
)

// send makes a request and returns the status and the answer.
func send(t *testing.T, method, url, contentType, body string, change func(*http.Request)) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	change(req)
	resp, err := http.DefaultClient.Do(req)
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

func unchanged(*http.Request) {}

// edit returns the JSON object with a field set to v, or removed if v is nil. The field is a path such as payload.summary.
func edit(t *testing.T, object, path string, v any) string {
	t.Helper()
	var root map[string]any
	if err := json.Unmarshal([]byte(object), &root); err != nil {
		t.Fatal(err)
	}
	m := root
	names := strings.Split(path, ".")
	for _, name := range names[:len(names)-1] {
		m = m[name].(map[string]any)
	}
	m[names[len(names)-1]] = v
	if v == nil {
		delete(m, names[len(names)-1])
	}
	return mustJSON(root)
}

const trigger = `{"routing_key":"` + testKey + `","event_action":"trigger","dedup_key":"k","client":"weir",` +
	`"links":[{"href":"http://x/y","text":"z"}],"payload":{"summary":"s","source":"h","severity":"error","timestamp":"2026-11-21T08:26:06Z"}}`

func TestPagerDutyIsStrict(t *testing.T) {
	p := NewPagerDuty(t, testKey)
	accepts := map[string]string{
		"trigger":                 trigger,
		"summary of 1024":         edit(t, trigger, "payload.summary", strings.Repeat("é", 1024)),
		"dedup_key of 255":        edit(t, trigger, "dedup_key", strings.Repeat("k", 255)),
		"resolve without payload": edit(t, edit(t, trigger, "payload", nil), "event_action", "resolve"),
	}
	for name, body := range accepts {
		if status, answer := send(t, "POST", p.URL+"/v2/enqueue", "application/json", body, unchanged); status != 202 || !strings.Contains(answer, `"status":"success"`) {
			t.Errorf("%s: %d %s, want 202", name, status, answer)
		}
	}
	refuses := map[string]string{
		"no payload":               edit(t, trigger, "payload", nil),
		"no summary":               edit(t, trigger, "payload.summary", nil),
		"blank source":             edit(t, trigger, "payload.source", " "),
		"no severity":              edit(t, trigger, "payload.severity", nil),
		"severity page":            edit(t, trigger, "payload.severity", "page"),
		"summary of 1025":          edit(t, trigger, "payload.summary", strings.Repeat("x", 1025)),
		"time without a zone":      edit(t, trigger, "payload.timestamp", "2026-11-21T08:26:06"),
		"unknown payload field":    edit(t, trigger, "payload.host", "x"),
		"details that are a text":  edit(t, trigger, "payload.custom_details", "x"),
		"resolve without a key":    edit(t, edit(t, trigger, "dedup_key", nil), "event_action", "resolve"),
		"trigger without a key":    edit(t, trigger, "dedup_key", nil),
		"dedup_key of 256":         edit(t, trigger, "dedup_key", strings.Repeat("k", 256)),
		"routing key of 31":        edit(t, trigger, "routing_key", testKey[1:]),
		"another routing key":      edit(t, trigger, "routing_key", strings.Repeat("f", 32)),
		"no action":                edit(t, trigger, "event_action", nil),
		"unknown action":           edit(t, trigger, "event_action", "open"),
		"unknown field":            edit(t, trigger, "routingKey", testKey),
		"link without a host":      edit(t, trigger, "links", []any{map[string]any{"href": "/x"}}),
		"two events":               trigger + trigger,
		"not JSON":                 "event_action=trigger",
		"512 KB and a byte":        edit(t, trigger, "payload.component", strings.Repeat("x", 512<<10)),
		"text that is not UTF-8":   strings.Replace(trigger, `"h"`, "\"\xff\"", 1),
		"summary that is no text":  edit(t, trigger, "payload.summary", 7),
		"routing_key that is null": edit(t, trigger, "routing_key", nil),
	}
	for name, body := range refuses {
		if status, answer := send(t, "POST", p.URL+"/v2/enqueue", "application/json", body, unchanged); status != 400 || !strings.Contains(answer, `"invalid event"`) {
			t.Errorf("%s: %d %s, want 400", name, status, answer)
		}
	}
	others := len(accepts) + len(refuses)
	for status, got := range map[int]func() (int, string){
		404: func() (int, string) {
			return send(t, "POST", p.URL+"/v2/enqueue/", "application/json", trigger, unchanged)
		},
		405: func() (int, string) {
			return send(t, "PUT", p.URL+"/v2/enqueue", "application/json", trigger, unchanged)
		},
		400: func() (int, string) { return send(t, "POST", p.URL+"/v2/enqueue", "text/plain", trigger, unchanged) },
	} {
		if s, answer := got(); s != status {
			t.Errorf("%d %s, want %d", s, answer, status)
		}
		others++
	}
	if got := len(p.Requests()); got != others || len(p.Events()) != len(accepts) || len(p.Violations()) < len(refuses) {
		t.Errorf("%d requests, %d events, %d violations, want %d, %d, %d or more",
			got, len(p.Events()), len(p.Violations()), others, len(accepts), len(refuses))
	}
}

func TestPagerDutyKeepsState(t *testing.T) {
	p := NewPagerDuty(t, testKey)
	resolve := edit(t, trigger, "event_action", "resolve")
	for i, step := range []struct {
		body string
		want PagerDutyAlert
	}{
		{resolve, PagerDutyAlert{Resolves: 1}}, // there is nothing to resolve
		{trigger, PagerDutyAlert{Open: true, Opened: 1, Triggers: 1, Resolves: 1}},
		{trigger, PagerDutyAlert{Open: true, Opened: 1, Triggers: 2, Resolves: 1}},
		{resolve, PagerDutyAlert{Opened: 1, Triggers: 2, Resolves: 2}},
		{trigger, PagerDutyAlert{Open: true, Opened: 2, Triggers: 3, Resolves: 2}}, // a new alert
	} {
		send(t, "POST", p.URL+"/v2/enqueue", "application/json", step.body, unchanged)
		got := p.Alerts()["k"]
		got.Last = PagerDutyEvent{}
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", step.want) {
			t.Errorf("after step %d: %+v, want %+v", i, got, step.want)
		}
	}
}

func message(change func(url.Values)) string {
	form := url.Values{"To": {"+14155552671"}, "From": {"+15005550006"}, "Body": {"Grüße"}}
	change(form)
	return form.Encode()
}

func set(name string, values ...string) func(url.Values) {
	return func(f url.Values) { f[name] = values }
}

func TestTwilioIsStrict(t *testing.T) {
	tw := NewTwilio(t, testAccount, "token")
	messages := tw.URL + "/2010-04-01/Accounts/" + testAccount + "/Messages.json"
	const form = "application/x-www-form-urlencoded"
	signIn := func(r *http.Request) { r.SetBasicAuth(testAccount, "token") }
	for name, body := range map[string]string{
		"message":      message(func(url.Values) {}),
		"body of 1600": message(set("Body", strings.Repeat("é", 1600))),
	} {
		if status, answer := send(t, "POST", messages, form, body, signIn); status != 201 {
			t.Errorf("%s: %d %s, want 201", name, status, answer)
		}
	}
	for name, c := range map[string]struct {
		status, code int
		method, url  string
		contentType  string
		body         string
		change       func(*http.Request)
	}{
		"no From":          {400, 21603, "POST", messages, form, message(set("From")), signIn},
		"From is a name":   {400, 21212, "POST", messages, form, message(set("From", "ACME")), signIn},
		"no To":            {400, 21604, "POST", messages, form, message(set("To", "")), signIn},
		"To without +":     {400, 21211, "POST", messages, form, message(set("To", "14155552671")), signIn},
		"two To":           {400, 20001, "POST", messages, form, message(set("To", "+14155552671", "+14155552672")), signIn},
		"no Body":          {400, 21602, "POST", messages, form, message(set("Body", "")), signIn},
		"Body of 1601":     {400, 21617, "POST", messages, form, message(set("Body", strings.Repeat("é", 1601))), signIn},
		"Body not UTF-8":   {400, 21602, "POST", messages, form, message(set("Body", "\xff")), signIn},
		"other parameters": {400, 20001, "POST", messages, form, message(set("MediaUrl", "http://x")), signIn},
		"not a form":       {400, 20001, "POST", messages, form, "Body=%zz", signIn},
		"JSON":             {415, 20001, "POST", messages, "application/json", "{}", signIn},
		"no sign-in":       {401, 20003, "POST", messages, form, message(func(url.Values) {}), unchanged},
		"wrong token":      {401, 20003, "POST", messages, form, message(func(url.Values) {}), func(r *http.Request) { r.SetBasicAuth(testAccount, "x") }},
		"another account":  {404, 20404, "POST", strings.Replace(messages, "AC0", "AC1", 1), form, message(func(url.Values) {}), signIn},
		"GET":              {405, 20004, "GET", messages, form, "", signIn},
	} {
		status, answer := send(t, c.method, c.url, c.contentType, c.body, c.change)
		var e struct{ Code, Status int }
		if err := json.Unmarshal([]byte(answer), &e); err != nil {
			t.Errorf("%s: answer %q: %v", name, answer, err)
		}
		if status != c.status || e.Status != c.status || e.Code != c.code {
			t.Errorf("%s: %d %s, want %d and code %d", name, status, answer, c.status, c.code)
		}
	}
	if got := len(tw.Messages()); got != 2 {
		t.Errorf("%d messages, want 2", got)
	}
}

// TestTwilioAnswersByItsDescription checks the mock's 201 against the schema in Twilio's API description: it has every field, with
// its type and form, and no others.
func TestTwilioAnswersByItsDescription(t *testing.T) {
	b, err := os.ReadFile("testdata/twilio_message.json")
	if err != nil {
		t.Fatal(err)
	}
	type property struct {
		Type, Format, Pattern string
		Nullable              bool
		Ref                   string `json:"$ref"`
		Enum                  []string
	}
	var description struct {
		Message   struct{ Properties map[string]property }
		Status    property `json:"message_enum_status"`
		Direction property `json:"message_enum_direction"`
	}
	if err := json.Unmarshal(b, &description); err != nil {
		t.Fatal(err)
	}
	tw := NewTwilio(t, testAccount, "token")
	_, answer := send(t, "POST", tw.URL+"/2010-04-01/Accounts/"+testAccount+"/Messages.json", "application/x-www-form-urlencoded",
		message(func(url.Values) {}), func(r *http.Request) { r.SetBasicAuth(testAccount, "token") })
	var got map[string]any
	if err := json.Unmarshal([]byte(answer), &got); err != nil {
		t.Fatal(err)
	}
	if len(description.Message.Properties) != 20 {
		t.Fatalf("%d properties in the description, want 20", len(description.Message.Properties))
	}
	for name, p := range description.Message.Properties {
		v, ok := got[name]
		text, isText := v.(string)
		_, isObject := v.(map[string]any)
		switch {
		case !ok:
			t.Errorf("%s is missing", name)
		case v == nil:
			if !p.Nullable {
				t.Errorf("%s is null", name)
			}
		case p.Ref != "":
			enum := map[string]property{"status": description.Status, "direction": description.Direction}[name].Enum
			if !strings.Contains(" "+strings.Join(enum, " ")+" ", " "+text+" ") {
				t.Errorf("%s is %v, want one of %q", name, v, enum)
			}
		case p.Type == "string" && !isText, p.Type == "object" && !isObject:
			t.Errorf("%s is %v, want %s", name, v, p.Type)
		case p.Pattern != "" && !regexp.MustCompile(p.Pattern).MatchString(text):
			t.Errorf("%s is %q, want %s", name, text, p.Pattern)
		case p.Format == "date-time-rfc-2822":
			if _, err := time.Parse(time.RFC1123, text); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if len(got) != len(description.Message.Properties) {
		t.Errorf("%d fields, want %d", len(got), len(description.Message.Properties))
	}
}

func TestWebhookTakesAlertmanagersPayload(t *testing.T) {
	w := NewWebhook(t, "token")
	recorded, err := os.ReadFile("testdata/alertmanager.json")
	if err != nil {
		t.Fatal(err)
	}
	body := string(bytes.TrimSpace(recorded))
	signIn := func(r *http.Request) { r.Header.Set("Authorization", "Bearer token") }
	if status, answer := send(t, "POST", w.URL+"/hook", "application/json", body, signIn); status != 200 {
		t.Fatalf("the recording of Alertmanager: %d %s, want 200", status, answer)
	}
	replace := func(from, to string) string {
		if !strings.Contains(body, from) {
			t.Fatalf("the recording lacks %s", from)
		}
		return strings.Replace(body, from, to, 1)
	}
	refuses := map[string]string{
		"version 3":           replace(`"version":"4"`, `"version":"3"`),
		"no receiver":         replace(`"receiver":"all"`, `"receiver":""`),
		"no groupKey":         edit(t, body, "groupKey", nil),
		"no truncatedAlerts":  edit(t, body, "truncatedAlerts", nil),
		"null labels":         edit(t, body, "commonLabels", nil),
		"no alerts":           edit(t, body, "alerts", []any{}),
		"status differs":      replace(`"status":"firing","alerts"`, `"status":"resolved","alerts"`),
		"status of an alert":  replace(`[{"status":"firing"`, `[{"status":"pending"`),
		"fires and ended":     replace(`"endsAt":"0001-01-01T00:00:00Z"`, `"endsAt":"2026-11-21T08:27:06Z"`),
		"never started":       replace(`"startsAt":"2026-11-21T08:26:06Z"`, `"startsAt":"0001-01-01T00:00:00Z"`),
		"fingerprint":         replace(`54f6a9ae5cbb11f9`, `54F6`),
		"no generatorURL":     replace(`"generatorURL":"http://x/g",`, ""),
		"unknown field":       edit(t, body, "weir", 1),
		"not JSON":            "x",
		"ended before it was": strings.Replace(replace(`"status":"firing","alerts":[{"status":"firing"`, `"status":"resolved","alerts":[{"status":"resolved"`), `{"status":"firing"`, `{"status":"resolved"`, 1),
	}
	for name, body := range refuses {
		if status, answer := send(t, "POST", w.URL+"/hook", "application/json", body, signIn); status != 400 {
			t.Errorf("%s: %d %s, want 400", name, status, answer)
		}
	}
	if status, _ := send(t, "POST", w.URL+"/hook", "application/json", body, unchanged); status != 400 {
		t.Errorf("without the token: %d, want 400", status)
	}
	if got := len(w.Payloads()); got != 1 {
		t.Errorf("%d payloads, want 1", got)
	}
}
