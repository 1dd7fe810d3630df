package notify

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weir-metrics/weir/deploy/conf"
)

// Config is how deliveries are made. The receivers are passed to New.
type Config struct {
	// ExternalURL is where weir's pages are, for links in notifications; "" for none.
	ExternalURL string `yaml:"external_url"`
	// MaxAge is how long ago a firing transition, or the last window in which its alert was true,
	// may have ended for the alert to be told. Default 1h.
	MaxAge conf.Duration `yaml:"max_age"`
	// Retry tells when a retryable attempt is repeated.
	Retry Retry `yaml:"retry"`
	// Concurrency is how many calls to one receiver are in flight at most. Default 4.
	Concurrency int `yaml:"concurrency"`
	// Queue is how many pending deliveries to one receiver have their alert in memory; any number
	// of others wait in the ledger. Default 10,000.
	Queue int `yaml:"queue"`
	// Urgency lists values of the label severity, the most urgent first: a slow receiver is told
	// those first. "*" stands for any other value, and for none.
	Urgency []string `yaml:"urgency"`
}

// Retry is an exponential backoff: the wait doubles, and is spread by half of itself in both
// directions.
type Retry struct {
	Initial conf.Duration `yaml:"initial"` // first wait. Default 1s
	Max     conf.Duration `yaml:"max"`     // longest wait, before the spread. Default 1m
	// MaxElapsed bounds the waits and calls of one failing delivery. Waiting because the receiver
	// asks for it, or is down for everybody, does not count. Default 1h.
	MaxElapsed conf.Duration `yaml:"max_elapsed"`
	// RetryAfter is the longest pause granted to a receiver that asks for one (Retry-After); then
	// it is asked again. Default 1m.
	RetryAfter conf.Duration `yaml:"retry_after"`
}

// Default returns the defaults above.
func Default() Config {
	return Config{
		MaxAge: conf.Duration(time.Hour),
		Retry: Retry{
			Initial: conf.Duration(time.Second), Max: conf.Duration(time.Minute), MaxElapsed: conf.Duration(time.Hour),
			RetryAfter: conf.Duration(time.Minute),
		},
		Concurrency: 4,
		Queue:       10_000,
		Urgency:     []string{"critical", "page", "emergency", "fatal", "error", "*", "warning", "info"},
	}
}

// Validate records what is wrong, and removes slashes from the end of ExternalURL.
func (c *Config) Validate(at string, d *conf.Doc) {
	if c.ExternalURL != "" {
		d.HTTPURL(at+".external_url", c.ExternalURL, c.ExternalURL)
		c.ExternalURL = strings.TrimRight(c.ExternalURL, "/")
	}
	for _, f := range []struct {
		field string
		value conf.Duration
	}{{".max_age", c.MaxAge}, {".retry.initial", c.Retry.Initial}, {".retry.max_elapsed", c.Retry.MaxElapsed}, {".retry.retry_after", c.Retry.RetryAfter}} {
		if f.value <= 0 {
			d.Fail(at+f.field, f.value, "must be more than 0s")
		}
	}
	if c.Retry.Max < c.Retry.Initial {
		d.Fail(at+".retry.max", c.Retry.Max, "must be at least retry.initial, "+c.Retry.Initial.String())
	}
	if c.Concurrency < 1 {
		d.Fail(at+".concurrency", c.Concurrency, "must be at least 1")
	}
	if c.Queue < 1 {
		d.Fail(at+".queue", c.Queue, "must be at least 1")
	}
	for i, v := range c.Urgency {
		if v == "" || slices.Index(c.Urgency, v) < i {
			d.Fail(fmt.Sprintf("%s.urgency[%d]", at, i), v, "must not repeat an earlier value of the list")
		}
	}
}

// urgency is the place of an alert with these labels in the config's list: 0 is the most urgent.
// Case is ignored.
func (p *Processor) urgency(labels map[string]string) int {
	list := p.cfg.Urgency
	is := func(value string) func(string) bool {
		return func(v string) bool { return strings.EqualFold(v, value) }
	}
	if s := labels["severity"]; s != "" && s != "*" {
		if i := slices.IndexFunc(list, is(s)); i >= 0 {
			return i
		}
	}
	if i := slices.Index(list, "*"); i >= 0 {
		return i
	}
	return len(list)
}
