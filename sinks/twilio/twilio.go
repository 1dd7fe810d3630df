package twilio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	openapi "github.com/twilio/twilio-go/rest/api/v2010"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas/plain"
	"github.com/weir-metrics/weir/sinks"
)

// maxBody is what Twilio takes in one message, in characters.
const maxBody = 1600

var (
	e164       = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)
	accountSID = regexp.MustCompile(`^AC[0-9a-fA-F]{32}$`)
)

// Config is a receiver's settings.
type Config struct {
	AccountSID string      `yaml:"account_sid"` // AC and 32 hex digits
	AuthToken  conf.Secret `yaml:"auth_token"`
	From       string      `yaml:"from"` // a number of the account, E.164: +15005550006
	To         []string    `yaml:"to"`   // numbers to reach, E.164, at least one
	// URL is the API without a path. Default https://api.twilio.com.
	URL string `yaml:"url"`
	// Timeout bounds one call. Default 10s.
	Timeout conf.Duration `yaml:"timeout"`
}

// Default is Twilio's own address and a timeout of 10 s; it has no account.
func Default() Config {
	return Config{URL: "https://api.twilio.com", Timeout: conf.Duration(10 * time.Second)}
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
	if !accountSID.MatchString(c.AccountSID) {
		d.Fail(at+".account_sid", c.AccountSID, "must be AC and 32 hex digits")
	}
	if _, err := c.AuthToken.Reveal(); err != nil {
		d.Fail(at+".auth_token", nil, "must be readable: "+err.Error())
	}
	const number = "must be a number in E.164: + and 7 to 15 digits, the first not 0"
	if !e164.MatchString(c.From) {
		d.Fail(at+".from", c.From, number)
	}
	if len(c.To) == 0 {
		d.Fail(at+".to", nil, "must have at least one number")
	}
	seen := map[string]bool{}
	for i, to := range c.To {
		field := fmt.Sprintf("%s.to[%d]", at, i)
		if !e164.MatchString(to) {
			d.Fail(field, to, number)
		}
		if seen[to] {
			d.Fail(field, to, "must not be in the list twice")
		}
		seen[to] = true
	}
	d.HTTPURL(at+".url", c.URL, c.URL)
	if c.Timeout < 0 {
		d.Fail(at+".timeout", c.Timeout, "must be more than 0s")
	}
}

// Build implements receivers.Kind: each number is a target of its own.
func (c *Config) Build(_ io.Writer) (all []sinks.Target) {
	for _, to := range c.To {
		all = append(all, sinks.Target{Name: to, Notifier: New(*c, to)})
	}
	return all
}

// Notifier is one phone. Use New.
type Notifier struct {
	cfg  Config
	to   string
	http *http.Client
}

// New returns the notifier for one number of a valid config.
func New(cfg Config, to string) *Notifier {
	cfg.Fill()
	return &Notifier{cfg: cfg, to: to, http: sinks.NewHTTPClient(cfg.Timeout.Std())}
}

// Notify implements sinks.Notifier.
func (t *Notifier) Notify(ctx context.Context, n *sinks.Notification) (string, error) {
	token, err := t.cfg.AuthToken.Reveal()
	if err != nil {
		return "", sinks.SecretError("auth_token", err)
	}
	params := new(openapi.CreateMessageParams).SetTo(t.to).SetFrom(t.cfg.From).SetBody(Text(n))
	call := &client{ctx: ctx, http: t.http, base: t.cfg.URL, account: t.cfg.AccountSID, token: token}
	msg, err := openapi.NewApiServiceWithClient(call).CreateMessage(params)
	var de *sinks.DeliveryError
	switch {
	case errors.As(err, &de):
		return "", de
	case err != nil:
		return "", strangeAnswer(call.status, sinks.Redact(err.Error(), token))
	case call.status != http.StatusCreated || msg.Sid == nil:
		return "", strangeAnswer(call.status, "no message was created: this is not Twilio's API")
	}
	return sinks.Shown("201 created "+*msg.Sid, token), nil
}

// strangeAnswer is the error for an answer that Twilio does not give. A 201 is final: Twilio may
// have sent, and would send again.
func strangeAnswer(status int, why string) error {
	created := status == http.StatusCreated
	return &sinks.DeliveryError{Status: status, Misconfigured: !created, MaybeTaken: created, Err: errors.New(plain.Text(why))}
}

// Text is the notification as a message of at most 1,600 characters: state, name
// and summary, then value and time, then where to look.
func Text(n *sinks.Notification) string {
	head := fmt.Sprintf("%s %s: ", n.State(), sinks.Truncate(n.Name(), 100))
	at := time.UnixMilli(n.AtMS).UTC().Format("2006-01-02 15:04:05 UTC")
	tail := "\n" + n.ValueText()
	switch {
	case n.Firing():
		tail += " at " + at
	case n.NoDataText() == "": // otherwise it already tells since when
		tail += " until " + at
	}
	if u := n.AlertURL(); u != "" && sinks.TextLen(u) < maxBody/2 {
		tail += "\n" + u
	}
	room := maxBody - sinks.TextLen(head) - sinks.TextLen(tail)
	return strings.ToValidUTF8(head+sinks.Truncate(n.Summary(), room)+tail, "\uFFFD")
}
