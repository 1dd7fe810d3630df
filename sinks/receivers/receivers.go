package receivers

import (
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/sinks"
	"github.com/weir-metrics/weir/sinks/console"
	"github.com/weir-metrics/weir/sinks/pagerduty"
	"github.com/weir-metrics/weir/sinks/twilio"
	"github.com/weir-metrics/weir/sinks/webhook"
)

// Kinds has a field for each kind of receiver; an entry sets exactly one. This is the registry: a
// new kind is a folder beside this one, whose *Config is a Kind, and a line here.
type Kinds struct {
	Console   *console.Config   `yaml:"console"`
	Webhook   *webhook.Config   `yaml:"webhook"`
	PagerDuty *pagerduty.Config `yaml:"pagerduty"`
	Twilio    *twilio.Config    `yaml:"twilio"`
}

// Kind is the config of a kind of receiver.
type Kind interface {
	// Validate sets defaults, and records what is wrong.
	Validate(at string, d *conf.Doc)
	// Build returns the notifiers, each with its target: "" if there is only one. They are in the
	// order in which they are told. Build uses what it needs of its arguments; the config must be
	// valid.
	Build(out io.Writer) []sinks.Target
}

// names returns the names of all kinds, as the config spells them.
func names() (all []string) {
	t := reflect.TypeFor[Kinds]()
	for i := range t.NumField() {
		all = append(all, t.Field(i).Tag.Get("yaml"))
	}
	return all
}

// set returns the kinds that an entry has, and their names.
func (k *Kinds) set() (names []string, kinds []Kind) {
	v := reflect.ValueOf(k).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); !f.IsNil() {
			names, kinds = append(names, v.Type().Field(i).Tag.Get("yaml")), append(kinds, f.Interface().(Kind))
		}
	}
	return names, kinds
}

// Config is one entry of the config's list of receivers.
type Config struct {
	Name string `yaml:"name"` // unique: letters, digits, _ . -
	// Match holds the labels that an alert must have, each with exactly that
	// value; empty matches every alert.
	Match map[string]string `yaml:"match"`
	Kinds `yaml:",inline"`
}

// List is the config's list of receivers.
type List []Config

// Default is one receiver, the console, for every alert.
func Default() List { return List{{Name: "console", Kinds: Kinds{Console: &console.Config{}}}} }

var nameForm = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// Validate sets defaults in the entries, and records what is wrong with them.
func (l List) Validate(at string, d *conf.Doc) {
	seen := map[string]bool{}
	for i := range l {
		c, at := &l[i], fmt.Sprintf("%s[%d]", at, i)
		if !nameForm.MatchString(c.Name) {
			d.Fail(at+".name", c.Name, "must have 1 to 64 letters, digits, _ . or -")
		}
		if seen[c.Name] {
			d.Fail(at+".name", c.Name, "must be unique: the delivery ledger identifies receivers by it")
		}
		seen[c.Name] = true
		set, kinds := c.set()
		for k := range kinds {
			kinds[k].Validate(at+"."+set[k], d)
		}
		if len(kinds) != 1 {
			d.Fail(at, strings.Join(set, ", "), "must have exactly one of "+strings.Join(names(), ", ")+": an empty one is {}")
		}
	}
}

// Build makes the receivers of a valid list. The console writes to out.
func (l List) Build(out io.Writer) []sinks.Receiver {
	var all []sinks.Receiver
	for i := range l {
		_, kinds := l[i].set()
		for _, t := range kinds[0].Build(out) {
			all = append(all, sinks.Receiver{Name: l[i].Name, Match: l[i].Match, Target: t.Name, Notifier: t.Notifier})
		}
	}
	return all
}
