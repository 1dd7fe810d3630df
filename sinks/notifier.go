package sinks

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/weir-metrics/weir/schemas"
)

// Notifier is one receiver of alerts: a PagerDuty service, a phone, a webhook, the console. It
// makes one attempt and never retries: its caller does, depending on the error.
type Notifier interface {
	// Notify tells the receiver and returns what it answered, such as "202
	// accepted". Every error it returns is a *DeliveryError. It may be called
	// concurrently, and returns soon after ctx ends.
	Notify(ctx context.Context, n *Notification) (result string, err error)
}

// Notification is one transition of one alert, for one receiver.
type Notification struct {
	Alert    *schemas.Alert
	Receiver string             // its name in the config
	To       schemas.AlertState // Firing or Resolved; the state in Alert may be newer
	AtMS     int64              // end of the window that decided the transition, ms
	// ExternalURL is where weir's own pages are, without a trailing slash, or "".
	ExternalURL string
}

// Target is a notifier of a receiver, and its name: see Receiver.Target.
type Target struct {
	Name     string
	Notifier Notifier
}

// Receiver is a notifier and what it is told: an entry of the config's receivers, built.
type Receiver struct {
	Name string // from the config, without a slash
	// Target distinguishes the parts of a receiver to which alerts are delivered separately, such
	// as the numbers of a phone list; "" if there is only one.
	Target string
	// Match holds the labels that an alert must have; empty matches every alert.
	Match    map[string]string
	Notifier Notifier
}

// ID names the receiver in the delivery ledger.
func (r *Receiver) ID() string {
	if r.Target == "" {
		return r.Name
	}
	return r.Name + "/" + r.Target
}

// Matches reports whether alerts with these labels go to the receiver. A label whose template
// failed matches everything: one page too many is better than one too few.
func (r *Receiver) Matches(labels map[string]string) bool {
	for name, want := range r.Match {
		if got := labels[name]; got != want && !strings.HasPrefix(got, schemas.TemplateFault) {
			return false
		}
	}
	return true
}

// DeliveryError tells why an attempt to notify failed. It contains no secret.
type DeliveryError struct {
	Status    int    // HTTP status, 0 when there was no answer
	Body      string // start of the answer, trimmed
	Retryable bool   // 429, 5xx, or no answer: the same call may succeed later
	// Misconfigured: the receiver's address or credentials are refused. The same call may succeed
	// once somebody has fixed the config, or the receiver.
	Misconfigured bool
	// MaybeTaken: the receiver may have taken the notification despite the error. If it is false,
	// the receiver certainly has not.
	MaybeTaken bool
	RetryAfter time.Duration // what the receiver asked for, 0 when it did not
	Err        error         // what went wrong apart from the status, or nil
}

// Later reports whether the receiver asked for the same call at a later time: by a 429, or a 503
// that says when.
func (e *DeliveryError) Later() bool {
	return e.Status == http.StatusTooManyRequests || e.Status == http.StatusServiceUnavailable && e.RetryAfter > 0
}

// Error gives the status, the cause, and the start of the answer.
func (e *DeliveryError) Error() string {
	var parts []string
	if e.Status != 0 {
		parts = append(parts, fmt.Sprintf("status %d", e.Status))
	}
	if e.Err != nil {
		parts = append(parts, e.Err.Error())
	}
	if e.Body != "" {
		parts = append(parts, e.Body)
	}
	if e.RetryAfter > 0 {
		parts = append(parts, fmt.Sprintf("retry after %v", e.RetryAfter))
	}
	return strings.Join(parts, ": ")
}

// Unwrap returns Err.
func (e *DeliveryError) Unwrap() error { return e.Err }

// Firing reports whether the transition raised the alert; else it resolved it.
func (n *Notification) Firing() bool { return n.To == schemas.Firing }

// Name is the alert's label alertname, or the rule.
func (n *Notification) Name() string {
	if name := n.Alert.Labels["alertname"]; name != "" {
		return name
	}
	return n.Alert.Rule
}

// State is the transition for people: FIRING, RESOLVED, or "RESOLVED (no data)" if the alert ended
// because its series fell silent rather than because all is well.
func (n *Notification) State() string {
	if n.noDataSinceMS() != 0 {
		return "RESOLVED (no data)"
	}
	return strings.ToUpper(string(n.To))
}

// ValueText tells what the value is or was, that is, the value of the last true condition:
//
//	value 97.25
//	value was 97.25
//	no data since 2026-11-21 08:22:06 UTC, when the value was 97.25
func (n *Notification) ValueText() string {
	switch since := n.NoDataText(); {
	case since != "":
		return fmt.Sprintf("%s, when the value was %v", since, n.Alert.Value)
	case n.Firing():
		return fmt.Sprintf("value %v", n.Alert.Value)
	}
	return fmt.Sprintf("value was %v", n.Alert.Value)
}

// NoDataText is "no data since 2026-11-21 08:22:06 UTC" for an alert that ended because its series
// fell silent, and "" for any other.
func (n *Notification) NoDataText() string {
	since := n.noDataSinceMS()
	if since == 0 {
		return ""
	}
	return "no data since " + time.UnixMilli(since).UTC().Format("2006-01-02 15:04:05 UTC")
}

// noDataSinceMS is the alert's, if the notification tells its end.
func (n *Notification) noDataSinceMS() int64 {
	if n.Firing() {
		return 0
	}
	return n.Alert.NoDataSinceMS()
}

// Headline is Summary, preceded, if there is no data, by since when: for receivers that show only
// one line.
func (n *Notification) Headline() string {
	if since := n.NoDataText(); since != "" {
		return since + ": " + n.Summary()
	}
	return n.Summary()
}

// Summary is one line for a human: the annotation summary, or the alert's name, where it was seen,
// and the value.
func (n *Notification) Summary() string {
	if s := strings.Join(strings.Fields(n.Alert.Annotations["summary"]), " "); s != "" {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	s := n.Name()
	if n.Alert.Group != "" {
		s += " on " + n.Alert.Group
	}
	return strings.ToValidUTF8(fmt.Sprintf("%s: value %v", s, n.Alert.Value), "\uFFFD")
}

// AlertURL is the alert's address on weir's pages, or "" without an ExternalURL.
func (n *Notification) AlertURL() string {
	if n.ExternalURL == "" {
		return ""
	}
	return n.ExternalURL + "/#alert-" + n.Alert.Fingerprint
}

// LabelText writes the labels sorted, as Prometheus does, but with a space after each comma, as
// Alertmanager does: {alertname="HighCPU", host="web01"}.
func LabelText(labels map[string]string) string {
	names := make([]string, 0, len(labels))
	for name := range labels {
		names = append(names, name)
	}
	slices.Sort(names)
	var b strings.Builder
	b.WriteByte('{')
	for i, name := range names {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s=%q", name, labels[name])
	}
	b.WriteByte('}')
	return b.String()
}

// TextLen is the length of s in UTF-16 code units: what receivers call
// characters, or more.
func TextLen(s string) int {
	n := 0
	for _, r := range s {
		n += max(1, utf16.RuneLen(r))
	}
	return n
}

// Truncate cuts s to at most limit (at least 1) UTF-16 code units, the last of
// them an ellipsis if anything was cut. It never cuts inside a character.
func Truncate(s string, limit int) string {
	if TextLen(s) <= limit {
		return s
	}
	n := 0
	for i, r := range s {
		if n += max(1, utf16.RuneLen(r)); n > limit-1 {
			return s[:i] + "…"
		}
	}
	return s
}
