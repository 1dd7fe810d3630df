package pagerduty

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	gopagerduty "github.com/PagerDuty/go-pagerduty"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas/plain"
	"github.com/weir-metrics/weir/sinks"
)

// The limits of the Events API v2.
const (
	routingKeyLen = 32        // characters
	maxSummary    = 1024      // characters
	maxSource     = 255       // characters; of source, component, group and class alike
	maxEvent      = 512 << 10 // bytes
)

// Config is a receiver's settings.
type Config struct {
	// RoutingKey is the integration key of a service or ruleset: 32 characters.
	RoutingKey conf.Secret `yaml:"routing_key"`
	// URL is the API without /v2/enqueue. Default https://events.pagerduty.com.
	URL string `yaml:"url"`
	// Timeout bounds one call. Default 10s.
	Timeout conf.Duration `yaml:"timeout"`
}

// Default is PagerDuty's own address and a timeout of 10 s; it has no key.
func Default() Config {
	return Config{URL: "https://events.pagerduty.com", Timeout: conf.Duration(10 * time.Second)}
}

// Fill sets whatever was left out to Default, as entries of a list start empty.
func (c *Config) Fill() {
	if c.URL == "" {
		c.URL = Default().URL
	}
	if c.Timeout == 0 {
		c.Timeout = Default().Timeout
	}
}

// Validate fills c and records what is wrong with it.
func (c *Config) Validate(at string, d *conf.Doc) {
	c.Fill()
	if key, err := c.RoutingKey.Reveal(); err != nil {
		d.Fail(at+".routing_key", nil, "must be readable: "+err.Error())
	} else if len(key) != routingKeyLen {
		d.Fail(at+".routing_key", c.RoutingKey, fmt.Sprintf("must have %d characters, has %d", routingKeyLen, len(key)))
	}
	d.HTTPURL(at+".url", c.URL, c.URL)
	if c.Timeout < 0 {
		d.Fail(at+".timeout", c.Timeout, "must be more than 0s")
	}
}

// Build implements receivers.Kind.
func (c *Config) Build(_ io.Writer) []sinks.Target { return []sinks.Target{{Notifier: New(*c)}} }

// Notifier is one PagerDuty service. Use New.
type Notifier struct {
	cfg  Config
	http *http.Client
}

// New returns the notifier of a valid config.
func New(cfg Config) *Notifier {
	cfg.Fill()
	return &Notifier{cfg: cfg, http: sinks.NewHTTPClient(cfg.Timeout.Std())}
}

// Notify implements sinks.Notifier.
func (p *Notifier) Notify(ctx context.Context, n *sinks.Notification) (string, error) {
	key, err := p.cfg.RoutingKey.Reveal()
	if err != nil {
		return "", sinks.SecretError("routing_key", err)
	}
	event := Event(n)
	event.RoutingKey = key
	// A client of its own, since the record of its last call belongs to this call only.
	last := &recorder{http: p.http, secret: key}
	client := gopagerduty.NewClient("", gopagerduty.WithV2EventsAPIEndpoint(strings.TrimSuffix(p.cfg.URL, "/")))
	client.HTTPClient = last
	resp, err := client.ManageEventWithContext(ctx, event)
	switch {
	case last.err != nil:
		return "", last.err
	case err != nil:
		return "", strangeAnswer(last.status, sinks.Redact(err.Error(), key))
	case last.status != http.StatusAccepted:
		return "", strangeAnswer(last.status, "not 202: this is not the Events API")
	}
	return sinks.Shown("202 accepted "+resp.Message, key), nil
}

// strangeAnswer is the error for an answer that PagerDuty does not give: it comes from a proxy, or
// the address is wrong. Trying again does no harm, since the service knows the dedup_key.
func strangeAnswer(status int, why string) error {
	return &sinks.DeliveryError{Status: status, Misconfigured: true, MaybeTaken: status == http.StatusAccepted, Err: errors.New(plain.Text(why))}
}

// Event returns the notification as PagerDuty gets it, without the routing key.
func Event(n *sinks.Notification) *gopagerduty.V2Event {
	e := &gopagerduty.V2Event{
		Action:    "resolve",
		DedupKey:  n.Alert.DedupKey(),
		Client:    "weir",
		ClientURL: n.ExternalURL,
		Payload:   payload(n),
	}
	if n.Firing() {
		e.Action = "trigger"
		e.Links = links(n)
	}
	if b, err := json.Marshal(e); err != nil || len(b) > maxEvent-2*routingKeyLen {
		e.Payload.Details = map[string]any{
			"rule": n.Alert.Rule, "value": n.Alert.Value,
			"truncated": "the labels and annotations do not fit into an event",
		}
	}
	return e
}

func payload(n *sinks.Notification) *gopagerduty.V2Payload {
	a := n.Alert
	source := a.Group
	if source == "" {
		source = a.Rule
	}
	details := map[string]any{
		"labels":      a.Labels,
		"annotations": a.Annotations,
		"rule":        a.Rule,
		"value":       a.Value,
	}
	if since := n.NoDataText(); since != "" {
		details["reason"] = since
	}
	return &gopagerduty.V2Payload{
		Summary:   sinks.Truncate(n.Headline(), maxSummary),
		Source:    sinks.Truncate(source, maxSource),
		Severity:  Severity(a.Labels["severity"]),
		Timestamp: time.UnixMilli(n.AtMS).UTC().Format("2006-01-02T15:04:05.000Z07:00"),
		Component: sinks.Truncate(a.Labels["job"], maxSource),
		Group:     sinks.Truncate(a.Rule, maxSource),
		Class:     sinks.Truncate(n.Name(), maxSource),
		Details:   details,
	}
}

// links returns where weir shows the alert, and its runbook.
func links(n *sinks.Notification) []any {
	var ls []any
	add := func(href, text string) {
		if strings.HasPrefix(href, "https://") || strings.HasPrefix(href, "http://") {
			ls = append(ls, map[string]string{"href": href, "text": text})
		}
	}
	add(n.AlertURL(), "The alert in weir")
	add(n.Alert.Annotations["runbook_url"], "Runbook")
	return ls
}

// Severity maps the label severity to PagerDuty's four. Without a label, or with an unknown one, it
// is error: such an alert still pages.
func Severity(label string) string {
	switch strings.ToLower(label) {
	case "critical", "page", "emergency", "fatal":
		return "critical"
	case "warning", "warn", "minor":
		return "warning"
	case "info", "information", "notice", "none", "debug", "ok":
		return "info"
	default:
		return "error"
	}
}

// recorder is the HTTP client under go-pagerduty: it keeps what go-pagerduty hides.
type recorder struct {
	http   *http.Client
	secret string
	status int
	err    error
}

// Do implements gopagerduty.HTTPClient.
func (r *recorder) Do(req *http.Request) (*http.Response, error) {
	a, err := sinks.Exchange(r.http, req, r.secret)
	if err != nil {
		r.err = err
		return nil, err
	}
	r.status = a.Status
	return &http.Response{
		StatusCode: a.Status, Header: a.Header, Body: io.NopCloser(bytes.NewReader(a.Body)), Request: req,
	}, nil
}
