package pipelines

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/collect"
	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/pipelines/broker"
	"github.com/weir-metrics/weir/pipelines/listener"
	"github.com/weir-metrics/weir/processors/alert"
	"github.com/weir-metrics/weir/processors/canary"
	"github.com/weir-metrics/weir/processors/connect"
	"github.com/weir-metrics/weir/processors/deadletter"
	"github.com/weir-metrics/weir/processors/members"
	"github.com/weir-metrics/weir/processors/notify"
	"github.com/weir-metrics/weir/processors/route"
	"github.com/weir-metrics/weir/processors/store"
	"github.com/weir-metrics/weir/processors/window"
	"github.com/weir-metrics/weir/query"
	"github.com/weir-metrics/weir/schemas/formats"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/sinks/receivers"
	"github.com/weir-metrics/weir/sinks/scylla"
	"github.com/weir-metrics/weir/windows"
)

// Config is the whole of weir's config file. Every package owns its section.
type Config struct {
	// HTTP is the one address of the page, the API, the gateway and weir's own
	// metrics, host:port.
	HTTP string `yaml:"http"`
	// Web is who may use that address, and how.
	Web listener.Config `yaml:"web"`
	// Data is the folder of what this process keeps: the windows' local state, and
	// the log and the tiers when they are embedded.
	Data string `yaml:"data"`
	// Brokers are Kafka's, host:port each; none: the embedded broker.
	Brokers []string `yaml:"brokers"`
	// Kafka is how the brokers are reached: TLS and SASL.
	Kafka  connect.Config `yaml:"kafka"`
	Broker broker.Config  `yaml:"broker"`
	// Members is how the processes watch each other.
	Members members.Config `yaml:"members"`
	Topics  topics.Config  `yaml:",inline"`
	// Samples is what samples may look like, at the gateway and in route.
	Samples formats.Config      `yaml:"samples"`
	Collect collect.Config      `yaml:"collect"`
	Agent   collect.AgentConfig `yaml:"agent"`
	Route   route.Config        `yaml:"route"`
	Windows windows.Config      `yaml:"windows"`
	Window  window.Config       `yaml:"window"`
	Store   store.Config        `yaml:"store"`
	CQL     scylla.Config       `yaml:"cql"`
	Query   query.Config        `yaml:"query"`
	Alert   alert.Config        `yaml:"alert"`
	// DeadLetter bounds what this process writes to the topic deadletter.
	DeadLetter deadletter.Config `yaml:"deadletter"`
	Notify     Notify            `yaml:"notify"`
	// Canary is what weir sends to itself, to know that alerts come through.
	Canary canary.Config `yaml:"canary"`
	// Rules are the files with the alert rules, or patterns of them, relative to this file. A list
	// that is given and empty is a config without rules.
	Rules []string `yaml:"rules"`
	// RulesReloadInterval is how often those files are looked at; 0: only when weir is asked to
	// reload them.
	RulesReloadInterval conf.Duration `yaml:"rules_reload_interval"`

	source source
}

// source is the file that a config was read from.
type source struct {
	file  string
	text  []byte // when its rules were loaded last
	doc   *conf.Doc
	files *ruleFiles
}

// Notify is the section notify: how to deliver, and to whom.
type Notify struct {
	Delivery  notify.Config  `yaml:",inline"`
	Receivers receivers.List `yaml:"receivers"`
}

// DefaultHTTP is the address at which weir serves by default.
const DefaultHTTP = "127.0.0.1:7070"

// Bounds of RulesReloadInterval.
const (
	minReloadInterval = conf.Duration(time.Second)
	maxReloadInterval = conf.Duration(time.Hour)
)

// Default is every section's default: all of weir on one machine, without rules.
func Default() Config {
	return Config{
		HTTP:       DefaultHTTP,
		Data:       "data",
		Members:    members.Default(),
		Kafka:      connect.Default(),
		Topics:     topics.Default(),
		Samples:    formats.Default(),
		Collect:    collect.Default(),
		Agent:      collect.DefaultAgent(),
		Route:      route.Default(),
		Windows:    windows.Default(),
		Window:     window.Default(),
		Store:      store.Default(),
		CQL:        scylla.Default(),
		Query:      query.Default(),
		Alert:      alert.Default(),
		DeadLetter: deadletter.Default(),
		Notify:     Notify{Delivery: notify.Default(), Receivers: receivers.Default()},
		Canary:     canary.Default(),
		Web:        listener.Default(),

		RulesReloadInterval: conf.Duration(5 * time.Second),
	}
}

// Warnings returns what is dangerous in the config, although it is allowed.
func (c *Config) Warnings() conf.Faults {
	var all conf.Faults
	if c.source.doc != nil {
		all = c.source.doc.Warnings()
	}
	for _, text := range slices.Concat(c.Kafka.Warnings("kafka"), c.CQL.Warnings("cql")) {
		all = append(all, conf.Fault{File: c.source.file, Bound: text})
	}
	return all
}

// validate reports the faults of every section.
func (c *Config) validate(d *conf.Doc) {
	c.validateOwn(d)
	c.Web.Validate("web", d)
	c.Kafka.Validate("kafka", d)
	c.Broker.Validate("broker", d)
	c.Members.Validate("members", d)
	c.Topics.Validate("", d)
	c.Samples.Validate("samples", d)
	c.Collect.Validate("collect", d)
	c.Agent.Validate("agent", d)
	c.Route.Validate("route", d)
	c.Windows.Validate("windows", d)
	c.Window.Validate("window", d)
	c.Store.Validate("store", d)
	c.CQL.Validate("cql", d)
	c.Query.Validate("query", d)
	c.Alert.Validate("alert", d)
	c.DeadLetter.Validate("deadletter", d)
	c.Notify.Delivery.Validate("notify", d)
	c.Notify.Receivers.Validate("notify.receivers", d)
	tierMS, graceMS := c.smallestTier()
	c.Canary.Validate("canary", d, tierMS, graceMS)
}

// smallestTier is the length and the grace of the smallest tier, ms; both are 0 if there is none.
func (c *Config) smallestTier() (tierMS, graceMS int64) {
	if len(c.Windows.Tiers) == 0 {
		return 0, 0
	}
	return c.Windows.TiersMS()[0], c.Windows.Tiers[0].Grace.MS()
}

// validateOwn reports the faults of the fields that flags can also set.
func (c *Config) validateOwn(d *conf.Doc) {
	d.HostPort("http", c.HTTP)
	if c.Data == "" {
		d.Fail("data", c.Data, "must name a folder")
	}
	if i := c.RulesReloadInterval; i != 0 && (i < minReloadInterval || i > maxReloadInterval) {
		d.Fail("rules_reload_interval", i, fmt.Sprintf("must be %v to %v, or 0s: reload only on request", minReloadInterval, maxReloadInterval))
	}
	for i, b := range c.Brokers {
		d.HostPort(fmt.Sprintf("brokers[%d]", i), b)
	}
}

// Load reads the config file and the rule files that it names, or, for file "",
// takes the defaults. The error is conf.Faults with every fault of all of them.
func Load(file string) (*Config, *alerts.RuleSet, error) {
	if file == "" {
		c := Default()
		rules, err := alerts.Load(c.RuleConfig())
		return &c, rules, err
	}
	c, files, err := read(file)
	rules, ruleErr := c.compile(c, nil, files)
	if err := conf.Join(err, ruleErr); err != nil {
		return nil, nil, err
	}
	return c, rules, nil
}

// read reads the config file and the rule files that it names. With an error, which is
// conf.Faults, it returns what could be read.
func read(file string) (*Config, []alerts.File, error) {
	c := Default()
	reads := newRuleFiles()
	text, err := reads.read(file, conf.MaxConfigBytes)
	c.source = source{file, text, conf.Parse(file, text, &c), reads}
	d := c.source.doc
	if err != nil {
		return &c, nil, conf.Unreadable(file, err)
	}
	c.Windows.GroupLabels = c.Route.GroupLabels // both use the one setting
	c.Route.Samples, c.Collect.Samples = c.Samples, c.Samples
	c.validate(d)
	files := c.readRules()
	return &c, files, d.Err()
}

// RuleConfig is what rules are checked against. Invalid tiers are faults of their own; rules are
// then checked against the default tiers.
func (c *Config) RuleConfig() alerts.LoadConfig {
	w := c.Windows
	d := conf.Parse("", nil, &struct{}{})
	if w.Validate("", d); d.Err() != nil {
		w = windows.Default()
	}
	rules := alerts.LoadConfig{TiersMS: w.TiersMS(), Table: tableReader(conf.ReadFile)}
	for _, t := range w.Tiers {
		rules.GracesMS = append(rules.GracesMS, t.Grace.MS())
		rules.TTLsMS = append(rules.TTLsMS, t.TTL.MS())
	}
	return rules
}

// Overrides are what the command line sets instead of the config file; "" and nil keep the file's
// values.
type Overrides struct {
	HTTP    string
	Data    string
	Brokers []string
	CQL     []string
}

// Override applies o, and returns conf.Faults that name the flags that are wrong.
func (c *Config) Override(o Overrides) error {
	if o.HTTP != "" {
		c.HTTP = o.HTTP
	}
	if o.Data != "" {
		c.Data = o.Data
	}
	if len(o.Brokers) > 0 {
		c.Brokers = o.Brokers
	}
	if len(o.CQL) > 0 {
		c.CQL.Hosts = o.CQL
	}
	d := conf.Parse("command line", nil, &struct{}{})
	c.validateOwn(d)
	c.CQL.Validate("cql", d)
	return d.Err()
}

// Roles are the parts of weir that a process can run, in the order in which data passes through
// them; those that make samples come last.
var Roles = []string{"route", "window", "store", "alert", "notify", "query", "gateway", "agent", "canary"}

// ParseRoles reads a list such as route,window; "" is all roles. The error for an unknown role names
// those that exist.
func ParseRoles(list string) ([]string, error) {
	if list == "" {
		return Roles, nil
	}
	names := strings.Split(list, ",")
	for i, name := range names {
		names[i] = strings.TrimSpace(name)
		if !slices.Contains(Roles, names[i]) {
			return nil, fmt.Errorf("role %q: must be one of %s", names[i], strings.Join(Roles, ", "))
		}
	}
	return names, nil
}
