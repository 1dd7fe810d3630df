package receivers

import (
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/sinks"
	"github.com/weir-metrics/weir/sinks/console"
	"github.com/weir-metrics/weir/sinks/pagerduty"
	"github.com/weir-metrics/weir/sinks/twilio"
	"github.com/weir-metrics/weir/sinks/webhook"
)

// Config is one entry of the config's list of receivers.
type Config struct {
	Name string `yaml:"name"` // unique: letters, digits, _ . -
	// Match holds the labels that an alert must have, each with exactly that
	// value; empty matches every alert.
	Match     map[string]string `yaml:"match"`
	Console   *console.Config   `yaml:"console"`
	Webhook   *webhook.Config   `yaml:"webhook"`
	PagerDuty *pagerduty.Config `yaml:"pagerduty"`
	Twilio    *twilio.Config    `yaml:"twilio"`
}

// List is the config's list of receivers.
type List []Config

// Default is one receiver, the console, for every alert.
func Default() List { return List{{Name: "console", Console: &console.Config{}}} }

var nameForm = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// Validate fills the entries and records what is wrong with them.
func (l List) Validate(at string, d *conf.Doc) {
	seen := map[string]bool{}
	for i := range l {
		c, at := &l[i], fmt.Sprintf("%s[%d]", at, i)
		if !nameForm.MatchString(c.Name) {
			d.Fail(at+".name", c.Name, "must have 1 to 64 letters, digits, _ . or -")
		}
		if seen[c.Name] {
			d.Fail(at+".name", c.Name, "must be unique: the delivery ledger goes by it")
		}
		seen[c.Name] = true
		c.validateKinds(at, d)
	}
}

func (c *Config) validateKinds(at string, d *conf.Doc) {
	var kinds []string
	if c.Console != nil {
		kinds = append(kinds, "console")
		c.Console.Validate(at+".console", d)
	}
	if c.Webhook != nil {
		kinds = append(kinds, "webhook")
		c.Webhook.Validate(at+".webhook", d)
	}
	if c.PagerDuty != nil {
		kinds = append(kinds, "pagerduty")
		c.PagerDuty.Validate(at+".pagerduty", d)
	}
	if c.Twilio != nil {
		kinds = append(kinds, "twilio")
		c.Twilio.Validate(at+".twilio", d)
	}
	if len(kinds) != 1 {
		d.Fail(at, strings.Join(kinds, ", "), "must have exactly one of console: {}, webhook, pagerduty, twilio")
	}
}

// Build makes the receivers of a valid list. The console writes to out.
func (l List) Build(out io.Writer) []sinks.Receiver {
	var rs []sinks.Receiver
	for _, c := range l {
		r := sinks.Receiver{Name: c.Name, Match: c.Match}
		switch {
		case c.Console != nil:
			r.Notifier = console.New(out)
		case c.Webhook != nil:
			r.Notifier = webhook.New(*c.Webhook)
		case c.PagerDuty != nil:
			r.Notifier = pagerduty.New(*c.PagerDuty)
		case c.Twilio != nil:
			for _, to := range c.Twilio.To {
				r.Target, r.Notifier = to, twilio.New(*c.Twilio, to)
				rs = append(rs, r)
			}
			continue
		}
		rs = append(rs, r)
	}
	return rs
}
