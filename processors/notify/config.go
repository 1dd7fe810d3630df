package notify

import (
	"net/url"
	"strings"
	"time"

	"weir/schemas/conf"
)

// Config is how deliveries are made. The receivers are given to New.
type Config struct {
	// ExternalURL is where weir's pages are, for links in notifications; "" for none.
	ExternalURL string `yaml:"external_url"`
	// MaxAge is how long ago a firing transition, or the last window in which its
	// alert was true, may have ended for the alert to be told. Default 1h.
	MaxAge conf.Duration `yaml:"max_age"`
	// Retry is when a retryable attempt is made again.
	Retry Retry `yaml:"retry"`
	// Concurrency is how many calls to one receiver are in flight at most. Default 4.
	Concurrency int `yaml:"concurrency"`
	// Queue is how many deliveries to one receiver may be pending; more are FAILED.
	// Default 10,000.
	Queue int `yaml:"queue"`
}

// Retry is an exponential backoff: the wait doubles, and is spread by half of
// itself both ways.
type Retry struct {
	Initial    conf.Duration `yaml:"initial"`     // first wait. Default 1s
	Max        conf.Duration `yaml:"max"`         // longest wait, before the spread. Default 1m
	MaxElapsed conf.Duration `yaml:"max_elapsed"` // from the first attempt to the last. Default 1h
}

// Default returns the defaults above.
func Default() Config {
	return Config{
		MaxAge: conf.Duration(time.Hour),
		Retry: Retry{
			Initial: conf.Duration(time.Second), Max: conf.Duration(time.Minute), MaxElapsed: conf.Duration(time.Hour),
		},
		Concurrency: 4,
		Queue:       10_000,
	}
}

// Validate records what is wrong, and cuts slashes from the end of ExternalURL.
func (c *Config) Validate(at string, d *conf.Doc) {
	if c.ExternalURL != "" {
		if u, err := url.Parse(c.ExternalURL); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			d.Fail(at+".external_url", c.ExternalURL, "must be an http or https URL")
		}
		c.ExternalURL = strings.TrimRight(c.ExternalURL, "/")
	}
	for _, f := range []struct {
		field string
		value conf.Duration
	}{{".max_age", c.MaxAge}, {".retry.initial", c.Retry.Initial}, {".retry.max_elapsed", c.Retry.MaxElapsed}} {
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
}
