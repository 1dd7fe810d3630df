package sinktest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"regexp"
	"testing"
	"time"
)

// Webhook is a mock of a program written for Alertmanager's webhook, payload version 4.
type Webhook struct {
	mock
	token string
}

// WebhookPayload is the body of a request, as Alertmanager sends it.
type WebhookPayload struct {
	Receiver          string            `json:"receiver"`
	Status            string            `json:"status"`
	Alerts            []WebhookAlert    `json:"alerts"`
	GroupLabels       map[string]string `json:"groupLabels"`
	CommonLabels      map[string]string `json:"commonLabels"`
	CommonAnnotations map[string]string `json:"commonAnnotations"`
	ExternalURL       string            `json:"externalURL"`
	Version           string            `json:"version"`
	GroupKey          string            `json:"groupKey"`
	TruncatedAlerts   *uint64           `json:"truncatedAlerts"`
}

// WebhookAlert is one alert of a WebhookPayload.
type WebhookAlert struct {
	Status       string            `json:"status"`
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"`
	GeneratorURL *string           `json:"generatorURL"`
	Fingerprint  string            `json:"fingerprint"`
}

// NewWebhook starts a mock at URL + "/hook" that requires a bearer token, or none if token is "".
// It stops with the test.
func NewWebhook(tb testing.TB, token string) *Webhook {
	w := &Webhook{token: token}
	w.start(tb, w)
	return w
}

// Payloads returns the payloads that were accepted, in order.
func (w *Webhook) Payloads() []WebhookPayload {
	var ps []WebhookPayload
	for _, r := range w.Requests() {
		var p WebhookPayload
		if r.Taken && json.Unmarshal(r.Body, &p) == nil {
			ps = append(ps, p)
		}
	}
	return ps
}

var fingerprintForm = regexp.MustCompile(`^[0-9a-f]{16}([0-9a-f]{16})?$`)

func (w *Webhook) check(r *http.Request, body []byte) ([]string, answer) {
	var vs violations
	vs.when(r.Method != http.MethodPost, "method %s", r.Method)
	vs.when(r.URL.Path != "/hook", "path %s", r.URL.Path)
	vs.when(r.Header.Get("Content-Type") != "application/json", "Content-Type is %q", r.Header.Get("Content-Type"))
	vs.when(w.token != "" && r.Header.Get("Authorization") != "Bearer "+w.token, "Authorization is not the token")
	vs = append(vs, webhookViolations(body)...)
	if len(vs) > 0 {
		return vs, answer{http.StatusBadRequest, mustJSON(map[string]any{"errors": vs})}
	}
	return nil, answer{}
}

func webhookViolations(body []byte) []string {
	var p WebhookPayload
	in := json.NewDecoder(bytes.NewReader(body))
	in.DisallowUnknownFields()
	if err := in.Decode(&p); err != nil {
		return []string{"body: " + err.Error()}
	}
	var vs violations
	vs.when(p.Version != "4", "version is %q", p.Version)
	vs.when(p.Receiver == "", "receiver is empty")
	vs.when(p.GroupKey == "", "groupKey is empty")
	vs.when(p.TruncatedAlerts == nil, "truncatedAlerts is missing")
	vs.when(p.GroupLabels == nil || p.CommonLabels == nil || p.CommonAnnotations == nil, "groupLabels, commonLabels or commonAnnotations is missing or null")
	vs.when(len(p.Alerts) == 0, "alerts is empty")
	status := "resolved"
	for i, a := range p.Alerts {
		if a.Status == "firing" {
			status = "firing"
		}
		vs.when(a.Status != "firing" && a.Status != "resolved", "alerts[%d].status is %q", i, a.Status)
		vs.when(a.Labels == nil || a.Annotations == nil, "alerts[%d]: labels or annotations is missing or null", i)
		vs.when(a.GeneratorURL == nil, "alerts[%d].generatorURL is missing", i)
		vs.when(!fingerprintForm.MatchString(a.Fingerprint), "alerts[%d].fingerprint is %q", i, a.Fingerprint)
		vs.when(a.StartsAt.IsZero(), "alerts[%d].startsAt is zero", i)
		vs.when(a.Status == "firing" && !a.EndsAt.IsZero(), "alerts[%d] fires and ended at %v", i, a.EndsAt)
		vs.when(a.Status == "resolved" && a.EndsAt.Before(a.StartsAt), "alerts[%d] ended at %v, before it started", i, a.EndsAt)
	}
	vs.when(p.Status != status, "status is %q, its alerts say %q", p.Status, status)
	return vs
}

func (w *Webhook) accept(*http.Request, []byte) answer { return answer{http.StatusOK, ""} }
