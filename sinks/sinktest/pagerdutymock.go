package sinktest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// PagerDuty is a mock of the Events API v2. It refuses what PagerDuty refuses, and also requests
// that weir should never make although PagerDuty, or a mock made from its description, accepts
// them: a trigger without a payload, or a resolve without a dedup_key. It keeps the resulting
// alerts.
type PagerDuty struct {
	mock
	routingKey string
	alerts     map[string]*PagerDutyAlert
}

// PagerDutyAlert is what became of one dedup_key.
type PagerDutyAlert struct {
	Open     bool
	Opened   int // how often it was opened, by a trigger while it was not open
	Triggers int // accepted, including those that changed nothing
	Resolves int // accepted, including those that changed nothing
	// Last is the newest event accepted.
	Last PagerDutyEvent
}

// PagerDutyEvent is the body of a request.
type PagerDutyEvent struct {
	RoutingKey string            `json:"routing_key"`
	Action     string            `json:"event_action"`
	DedupKey   string            `json:"dedup_key"`
	Client     string            `json:"client"`
	ClientURL  string            `json:"client_url"`
	Links      []PagerDutyLink   `json:"links"`
	Images     []json.RawMessage `json:"images"`
	Payload    *PagerDutyPayload `json:"payload"`
}

// PagerDutyLink is a link of an event.
type PagerDutyLink struct {
	Href string `json:"href"`
	Text string `json:"text"`
}

// PagerDutyPayload is the payload of an event.
type PagerDutyPayload struct {
	Summary   string         `json:"summary"`
	Source    string         `json:"source"`
	Severity  string         `json:"severity"`
	Timestamp string         `json:"timestamp"`
	Component string         `json:"component"`
	Group     string         `json:"group"`
	Class     string         `json:"class"`
	Details   map[string]any `json:"custom_details"`
}

// NewPagerDuty starts a mock that knows one routing key. It stops with the test.
func NewPagerDuty(tb testing.TB, routingKey string) *PagerDuty {
	p := &PagerDuty{routingKey: routingKey, alerts: map[string]*PagerDutyAlert{}}
	p.start(tb, p)
	return p
}

// Alerts returns the alerts by dedup_key.
func (p *PagerDuty) Alerts() map[string]PagerDutyAlert {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := map[string]PagerDutyAlert{}
	for key, a := range p.alerts {
		all[key] = *a
	}
	return all
}

func (p *PagerDuty) check(r *http.Request, body []byte) ([]string, answer) {
	if r.URL.Path != "/v2/enqueue" {
		return []string{"path " + r.URL.Path}, answer{http.StatusNotFound, `{"status":"not found"}`}
	}
	if r.Method != http.MethodPost {
		return []string{"method " + r.Method}, answer{http.StatusMethodNotAllowed, `{"status":"method not allowed"}`}
	}
	vs := p.judge(r.Header, body)
	if len(vs) == 0 {
		return nil, answer{}
	}
	// Real answers of PagerDuty name the faulty fields in errors.
	return vs, answer{http.StatusBadRequest, mustJSON(map[string]any{
		"status": "invalid event", "message": "Event object is invalid", "errors": vs,
	})}
}

func (p *PagerDuty) judge(h http.Header, body []byte) []string {
	var vs violations
	vs.when(h.Get("Content-Type") != "application/json", "Content-Type is %q", h.Get("Content-Type"))
	vs.when(len(body) > 512<<10, "event of %d bytes, at most %d", len(body), 512<<10)
	vs.when(!utf8.Valid(body), "body is not UTF-8")
	var e PagerDutyEvent
	in := json.NewDecoder(bytes.NewReader(body))
	in.DisallowUnknownFields()
	if err := in.Decode(&e); err != nil {
		return append(vs, "body: "+err.Error())
	}
	vs.when(in.More(), "text after the event")
	vs.when(len(e.RoutingKey) != 32, "'routing_key' has %d characters", len(e.RoutingKey))
	vs.when(e.RoutingKey != p.routingKey, "'routing_key' is not known")
	vs.when(len(e.DedupKey) > 255, "'dedup_key' has %d characters", len(e.DedupKey))
	for _, l := range e.Links {
		u, err := url.Parse(l.Href)
		vs.when(err != nil || u.Host == "", "link %q is no URL", l.Href)
	}
	switch e.Action {
	case "trigger":
		vs.when(e.Payload == nil, "'payload' is missing or blank")
		vs.when(e.DedupKey == "", "'dedup_key' is missing: a retry would open a second alert")
	case "acknowledge", "resolve":
		vs.when(e.DedupKey == "", "'dedup_key' is missing or blank")
	default:
		vs.when(true, "'event_action' is %q", e.Action)
	}
	if e.Payload != nil {
		vs = append(vs, payloadViolations(e.Payload)...)
	}
	return vs
}

func payloadViolations(pl *PagerDutyPayload) []string {
	var vs violations
	vs.when(strings.TrimSpace(pl.Summary) == "", "'payload.summary' is missing or blank")
	vs.when(utf8.RuneCountInString(pl.Summary) > 1024, "'payload.summary' has %d characters", utf8.RuneCountInString(pl.Summary))
	vs.when(strings.TrimSpace(pl.Source) == "", "'payload.source' is missing or blank")
	switch pl.Severity {
	case "critical", "error", "warning", "info":
	default:
		vs.when(true, "'payload.severity' is %q", pl.Severity)
	}
	if pl.Timestamp != "" {
		_, err := time.Parse(time.RFC3339Nano, pl.Timestamp)
		vs.when(err != nil, "'payload.timestamp' is %q", pl.Timestamp)
	}
	return vs
}

func (p *PagerDuty) accept(_ *http.Request, body []byte) answer {
	var e PagerDutyEvent
	if err := json.Unmarshal(body, &e); err != nil {
		panic(err) // check decoded it
	}
	a := p.alerts[e.DedupKey]
	if a == nil {
		a = &PagerDutyAlert{}
		p.alerts[e.DedupKey] = a
	}
	a.Last = e
	a.Last.RoutingKey = ""
	switch e.Action {
	case "trigger":
		a.Triggers++
		if !a.Open {
			a.Open = true
			a.Opened++
		}
	case "resolve":
		a.Resolves++
		a.Open = false
	}
	return answer{http.StatusAccepted, mustJSON(map[string]any{
		"status": "success", "message": "Event processed", "dedup_key": e.DedupKey,
	})}
}

// Events returns the events that took effect, in order, without routing keys.
func (p *PagerDuty) Events() []PagerDutyEvent {
	var es []PagerDutyEvent
	for _, r := range p.Requests() {
		var e PagerDutyEvent
		if !r.Taken || json.Unmarshal(r.Body, &e) != nil {
			continue
		}
		e.RoutingKey = ""
		es = append(es, e)
	}
	return es
}
