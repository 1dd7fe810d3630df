package query

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weir-metrics/weir/schemas"
)

// alertBody is an alert in JSON: the fields of Prometheus's /api/v1/alerts, then
// weir's own.
type alertBody struct {
	Labels      map[string]string  `json:"labels"`
	Annotations map[string]string  `json:"annotations"`
	State       schemas.AlertState `json:"state"`
	ActiveAt    time.Time          `json:"activeAt"`
	Value       string             `json:"value"` // as Prometheus writes it: "9.1e+01"

	Fingerprint string           `json:"fingerprint"`
	Rule        string           `json:"rule"`
	Group       string           `json:"group"`
	FiredAt     *time.Time       `json:"firedAt,omitempty"`
	ResolvedAt  *time.Time       `json:"resolvedAt,omitempty"`
	Reason      string           `json:"reason,omitempty"`      // why its condition is false: "no data", …
	NoDataSince *time.Time       `json:"noDataSince,omitempty"` // end of the last window before its series fell silent
	LastAt      time.Time        `json:"lastAt"`                // end of the last window that was checked
	Shadow      bool             `json:"shadow,omitempty"`      // its rule is a shadow: nobody is told
	ForMS       int64            `json:"for"`
	Tier        string           `json:"tier,omitempty"`
	History     []transitionBody `json:"history"` // the last 16 transitions, oldest first
}

type transitionBody struct {
	From   schemas.AlertState `json:"from"`
	To     schemas.AlertState `json:"to"`
	At     time.Time          `json:"at"`
	Reason string             `json:"reason"`
	Shadow bool               `json:"shadow,omitempty"`
	// Severity is the alert's from then on, if its rule has levels.
	Severity string `json:"severity,omitempty"`
}

func newAlertBody(a *schemas.Alert) alertBody {
	b := alertBody{
		Labels: nonNil(a.Labels), Annotations: nonNil(a.Annotations), State: a.State,
		ActiveAt: utc(a.ActiveMS), Value: strconv.FormatFloat(a.Value, 'e', -1, 64),
		Fingerprint: a.Fingerprint, Rule: a.Rule, Group: a.Group, Reason: a.Reason, LastAt: utc(a.LastMS), ForMS: a.ForMS, Shadow: a.Shadow,
		History: make([]transitionBody, len(a.History)),
	}
	if a.TierMS > 0 {
		b.Tier = schemas.TierName(a.TierMS)
	}
	if a.FiredMS > 0 {
		t := utc(a.FiredMS)
		b.FiredAt = &t
	}
	if a.ResolvedMS > 0 {
		t := utc(a.ResolvedMS)
		b.ResolvedAt = &t
	}
	if ms := a.NoDataSinceMS(); ms > 0 {
		t := utc(ms)
		b.NoDataSince = &t
	}
	for i, h := range a.History {
		b.History[i] = transitionBody{h.From, h.To, utc(h.AtMS), h.Reason, h.Shadow, h.Severity}
	}
	return b
}

func nonNil(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// utc keeps times in the range that time.Time can write as JSON: an alert's times come from a
// topic.
func utc(ms int64) time.Time { return time.UnixMilli(min(max(ms, 0), maxTimeMS)).UTC() }

type alertsBody struct {
	Status string     `json:"status"`
	Data   alertsData `json:"data"`
}

type alertsData struct {
	Alerts []json.RawMessage `json:"alerts"` // each an alertBody
	Total  int               `json:"total"`  // more than len(alerts) if the limit, or the size of an answer, cut the list
}

// urgency orders the list: first what someone must act on first.
var urgency = map[schemas.AlertState]int{schemas.Firing: 0, schemas.Pending: 1, schemas.Resolved: 2}

func (a *api) alerts(r *http.Request) (any, error) {
	p := parseParams(r.URL.RawQuery, "limit")
	limit := p.limit("limit", defaultLimit, maxLimit)
	if p.fault != nil {
		return nil, p.fault
	}
	list := a.Live.Alerts(a.now().UnixMilli())
	slices.SortFunc(list, func(x, y *schemas.Alert) int {
		if d := urgency[x.State] - urgency[y.State]; d != 0 {
			return d
		}
		if d := y.Last.AtMS - x.Last.AtMS; d != 0 {
			return int(max(-1, min(1, d)))
		}
		return strings.Compare(x.Fingerprint, y.Fingerprint)
	})
	body := alertsBody{Status: "success", Data: alertsData{Alerts: []json.RawMessage{}, Total: len(list)}}
	room := a.Config.MaxAnswerBytes
	for _, alert := range list[:min(limit, len(list))] {
		text := encode(newAlertBody(alert))
		if room -= len(text); room < 0 {
			break
		}
		body.Data.Alerts = append(body.Data.Alerts, text)
	}
	return body, nil
}
