package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/sinks"
)

// Config is a receiver's settings.
type Config struct {
	// URL is where to post. It is a secret, but may also be given as plain text.
	URL conf.Secret `yaml:"url"`
	// BearerToken, if given, is sent as Authorization: Bearer.
	BearerToken conf.Secret `yaml:"bearer_token"`
	// Timeout bounds one call. Default 10s.
	Timeout conf.Duration `yaml:"timeout"`
}

// Default is a timeout of 10 s; it has no URL.
func Default() Config { return Config{Timeout: conf.Duration(10 * time.Second)} }

// Fill sets whatever was left out to Default, as entries of a list start empty.
func (c *Config) Fill() {
	if c.Timeout == 0 {
		c.Timeout = Default().Timeout
	}
}

// Validate fills c and records what is wrong with it.
func (c *Config) Validate(at string, d *conf.Doc) {
	c.Fill()
	if text, err := c.URL.Reveal(); err != nil {
		d.Fail(at+".url", nil, "must be readable: "+err.Error())
	} else {
		d.HTTPURL(at+".url", c.URL, text)
	}
	if !c.BearerToken.IsZero() {
		if _, err := c.BearerToken.Reveal(); err != nil {
			d.Fail(at+".bearer_token", nil, "must be readable: "+err.Error())
		}
	}
	if c.Timeout < 0 {
		d.Fail(at+".timeout", c.Timeout, "must be more than 0s")
	}
}

// Payload is the body of a POST: Alertmanager's webhook payload, version 4.
type Payload struct {
	Receiver          string            `json:"receiver"`
	Status            string            `json:"status"` // firing or resolved
	Alerts            []Alert           `json:"alerts"`
	GroupLabels       map[string]string `json:"groupLabels"`
	CommonLabels      map[string]string `json:"commonLabels"`
	CommonAnnotations map[string]string `json:"commonAnnotations"`
	ExternalURL       string            `json:"externalURL"`
	Version           string            `json:"version"` // "4"
	GroupKey          string            `json:"groupKey"`
	TruncatedAlerts   uint64            `json:"truncatedAlerts"`
}

// Alert is one alert of a Payload.
type Alert struct {
	Status       string            `json:"status"` // firing or resolved
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"` // when it began to fire
	EndsAt       time.Time         `json:"endsAt"`   // when it was resolved; the zero time while it fires
	GeneratorURL string            `json:"generatorURL"`
	Fingerprint  string            `json:"fingerprint"` // 32 hex digits
}

// Build implements receivers.Kind.
func (c *Config) Build(_ io.Writer) []sinks.Target { return []sinks.Target{{Notifier: New(*c)}} }

// Notifier is one webhook. Use New.
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
func (w *Notifier) Notify(ctx context.Context, n *sinks.Notification) (string, error) {
	target, err := w.cfg.URL.Reveal()
	if err != nil {
		return "", sinks.SecretError("url", err)
	}
	token := ""
	if !w.cfg.BearerToken.IsZero() {
		if token, err = w.cfg.BearerToken.Reveal(); err != nil {
			return "", sinks.SecretError("bearer_token", err)
		}
	}
	body, err := json.Marshal(NewPayload(n))
	if err != nil {
		return "", &sinks.DeliveryError{Err: err}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return "", &sinks.DeliveryError{Misconfigured: true, Err: errors.New("url: not an http or https URL")}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "weir")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := sinks.Exchange(w.http, req, append(addressSecrets(req.URL), target, token)...)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d %s", answer.Status, http.StatusText(answer.Status)), nil
}

// minSegment is the minimum length, in bytes, for a part of a path to be treated as a password of
// its own.
const minSegment = 12

// addressSecrets returns what may be the password in the address: the path with the query, and each
// long part of the path.
func addressSecrets(u *url.URL) []string {
	var secrets []string
	if path := u.RequestURI(); path != "/" {
		secrets = append(secrets, path)
	}
	if u.Path != "/" {
		secrets = append(secrets, u.Path)
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if len(segment) >= minSegment {
			secrets = append(secrets, segment)
		}
	}
	return secrets
}

// NewPayload returns the notification as the webhook receives it.
func NewPayload(n *sinks.Notification) *Payload {
	labels, annotations := orEmpty(n.Alert.Labels), annotationsOf(n)
	a := Alert{
		Status:       "resolved",
		Labels:       labels,
		Annotations:  annotations,
		StartsAt:     startsAt(n),
		EndsAt:       time.UnixMilli(n.AtMS).UTC(),
		GeneratorURL: n.AlertURL(),
		Fingerprint:  n.Alert.Fingerprint,
	}
	if n.Firing() {
		a.Status, a.EndsAt = "firing", time.Time{}
	}
	return &Payload{
		Receiver:          n.Receiver,
		Status:            a.Status,
		Alerts:            []Alert{a},
		GroupLabels:       labels,
		CommonLabels:      labels,
		CommonAnnotations: annotations,
		ExternalURL:       n.ExternalURL,
		Version:           "4",
		GroupKey:          "{}:" + sinks.LabelText(labels),
	}
}

// startsAt is when the alert began to fire, also if it is told again since its severity changed; not
// when it fired later, after what is told.
func startsAt(n *sinks.Notification) time.Time {
	ms := n.AtMS
	if n.Alert.FiredMS != 0 && (!n.Firing() || n.Alert.FiredMS < n.AtMS) {
		ms = n.Alert.FiredMS
	}
	return time.UnixMilli(ms).UTC()
}

// annotationsOf returns the alert's annotations. If it ended because its series fell silent,
// no_data tells since when, and so does summary, as that is what chats show.
func annotationsOf(n *sinks.Notification) map[string]string {
	annotations, since := orEmpty(n.Alert.Annotations), n.NoDataText()
	if since == "" {
		return annotations
	}
	annotations = maps.Clone(annotations)
	annotations["no_data"], annotations["summary"] = since, n.Headline()
	return annotations
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
