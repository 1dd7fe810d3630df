package operations

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/pipelines"
)

// Check finds what is wrong with files, each a config or rules.
type Check struct {
	Files []string
	// URL is a running weir that is asked which metrics it has seen; "": the http address of each
	// config. No answer is a warning only if URL was given.
	URL   string
	Login Login
	// Show is given what each rule reads and waits for, a line at a time; nil: nobody asks.
	Show func(line string)
	// Radius is where the blast radius of the rules is written, worked out from the series that the
	// running weir has; nil: nobody asks.
	Radius io.Writer
}

func (c Check) show(rules *alerts.RuleSet) {
	if c.Show == nil {
		return
	}
	for _, line := range rules.Describe() {
		c.Show(line)
	}
}

// Run returns warnings of what will not work as it is written, and, as the error, which is
// conf.Faults, every fault of the files. Rules are told from a config by their top: they are a list,
// or have groups.
func (c Check) Run(ctx context.Context) (warnings conf.Faults, err error) {
	var all error
	for _, file := range c.Files {
		ws, err := c.file(ctx, file)
		warnings, all = append(warnings, ws...), conf.Join(all, err)
	}
	return warnings, all
}

func (c Check) file(ctx context.Context, file string) (conf.Faults, error) {
	text, err := conf.ReadFile(file, conf.MaxRulesBytes)
	if err != nil {
		return nil, conf.Unreadable(file, err)
	}
	if holdsRules(text) {
		config := pipelines.Default()
		rules, err := alerts.Load(config.RuleConfig(), alerts.File{Name: file, Data: text})
		if err != nil {
			return nil, err
		}
		c.show(rules)
		if err := c.radius(ctx, &config, rules); err != nil {
			return nil, err
		}
		return slices.Concat(rules.Unended(), rules.Warnings(), c.unseen(ctx, &config, rules)), nil
	}
	config, rules, err := pipelines.Load(file)
	if err != nil {
		return nil, err
	}
	c.show(rules)
	if err := c.radius(ctx, config, rules); err != nil {
		return nil, err
	}
	var warnings conf.Faults
	if len(bytes.TrimSpace(text)) == 0 {
		warnings = append(warnings, conf.Fault{File: file, Bound: "is empty: weir runs with the defaults, and without rules"})
	}
	return slices.Concat(warnings, config.Warnings(), unended(file, text), rules.Unended(), rules.Warnings(), config.Untold(rules), c.unseen(ctx, config, rules)), nil
}

// unended warns of a last line without a line break, which most truncated files have.
func unended(file string, text []byte) conf.Faults {
	if len(text) == 0 || text[len(text)-1] == '\n' {
		return nil
	}
	return conf.Faults{{File: file, Line: 1 + bytes.Count(text, []byte("\n")), Bound: "has no line break at its end: is the file cut?"}}
}

// Bounds of asking a running weir: how long in all, about how many metrics, and how much of an
// answer is read, bytes.
const (
	askWithin   = 10 * time.Second
	askedAtMost = 500
	answerBytes = 8 << 20
)

// unseen warns of metrics that a running weir, if one answers, has never seen.
func (c Check) unseen(ctx context.Context, config *pipelines.Config, rules *alerts.RuleSet) conf.Faults {
	base := c.base(config)
	silent := func(err error) conf.Faults {
		if c.URL == "" {
			return nil // weir need not run
		}
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return conf.Faults{{Field: "--url", Value: c.URL, Bound: fmt.Sprintf("cannot be asked, and whether metrics are seen was not looked at: %v", err)}}
	}
	client, err := c.Login.Client(askWithin)
	if err != nil {
		return silent(err)
	}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	known, err := c.ask(ctx, client, base+"/api/v1/series?limit=10000")
	if err != nil {
		return silent(err)
	}
	if len(known) == 0 {
		return nil // it has seen nothing at all yet
	}
	var missing []string
	for i, metric := range rules.Metrics() {
		if slices.Contains(known, metric) {
			continue
		}
		if i >= askedAtMost {
			break
		}
		seen, err := c.ask(ctx, client, base+"/api/v1/series?limit=1&metric="+url.QueryEscape(metric))
		if err != nil {
			return silent(err)
		}
		if len(seen) == 0 {
			missing = append(missing, metric)
		}
	}
	return rules.Unseen(missing, known)
}

// base is the address of the running weir, without a path.
func (c Check) base(config *pipelines.Config) string {
	if c.URL != "" {
		return c.URL
	}
	return "http://" + reachable(config.HTTP)
}

// reachable turns a listen address into one that can be reached from this machine.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// ask returns the metrics of the series that the address lists, each once.
func (c Check) ask(ctx context.Context, client *http.Client, address string) ([]string, error) {
	page, err := c.list(ctx, client, address)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, s := range page.Series {
		seen[s.Metric] = true
	}
	return slices.Collect(maps.Keys(seen)), nil
}

// listed is an answer of /api/v1/series.
type listed struct {
	Series []struct {
		Metric string            `json:"metric"`
		Labels map[string]string `json:"labels"`
		Source string            `json:"source"`
		LastMS int64             `json:"last"`
	} `json:"series"`
	After string `json:"after"`
}

func (c Check) list(ctx context.Context, client *http.Client, address string) (*listed, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	if err := c.Login.Sign(req); err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var body listed
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, answerBytes)).Decode(&body); err != nil {
		return nil, fmt.Errorf("not an answer of weir's: %w", err)
	}
	return &body, nil
}

// holdsRules reports whether a file's top is a list, or has groups, as that of rules.
func holdsRules(text []byte) bool {
	if alerts.IsList(text) {
		return true
	}
	for line := range bytes.Lines(text) {
		if bytes.HasPrefix(bytes.TrimPrefix(line, []byte("\ufeff")), []byte("groups:")) {
			return true
		}
	}
	var top yaml.Node // written in another way, as {groups: …}
	if len(text) > conf.MaxConfigBytes || yaml.Unmarshal(text, &top) != nil || len(top.Content) == 0 {
		return false // and Load says what is wrong
	}
	for i := 0; i < len(top.Content[0].Content); i += 2 {
		if top.Content[0].Content[i].Value == "groups" {
			return true
		}
	}
	return false
}
