package backtest

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/alerts/ruletest"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/windows"
)

// Config configures a backtest.
type Config struct {
	Windows windows.Config // must be valid
	Rules   *alerts.RuleSet
	Against *alerts.RuleSet // the rules to compare with; nil: none
	// The report covers the time [FromMS, ToMS).
	FromMS, ToMS int64
	Incidents    []Incident
}

// Backtest plays recorded data through rules. Pass samples or windows in order of time, and then call Report. It is not
// safe for concurrent use.
type Backtest struct {
	*ruletest.Stream
	config Config
	lives  [2]map[life]*Alert
	seen   map[string]bool // metrics that had windows
	traces map[string]*trace
	points int    // parts of the time in a trace; 0: keep no traces
	about  []bool // for each incident: whether there was a series with its labels
}

// life identifies one life of an alert, from pending to resolved.
type life struct {
	fingerprint string
	activeMS    int64
}

// Alert is an alert that fired. Its times are the ends of windows, ms.
type Alert struct {
	Rule        string            `json:"rule"` // group/alert
	Fingerprint string            `json:"fingerprint"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations,omitempty"`
	ActiveMS    int64             `json:"active_ms"`             // when its expression became true
	FiredMS     int64             `json:"fired_ms"`              // when it had been true for the rule's for
	KnownMS     int64             `json:"known_ms"`              // when the window that decided it had closed, and weir would have known
	ResolvedMS  int64             `json:"resolved_ms,omitempty"` // 0: it was still firing at the end
	Reason      string            `json:"reason,omitempty"`      // why it ended
	Value       float64           `json:"value"`                 // when it fired

	state schemas.AlertState
}

// New returns a Backtest.
func New(c Config) *Backtest {
	b := &Backtest{config: c, seen: map[string]bool{}, traces: map[string]*trace{}, about: make([]bool, len(c.Incidents))}
	rules := []*alerts.RuleSet{c.Rules}
	if c.Against != nil {
		rules = append(rules, c.Against)
	}
	for i := range rules {
		b.lives[i] = map[life]*Alert{}
	}
	b.Stream = ruletest.NewStream(c.Windows, ruletest.StreamHooks{Moved: b.moved, Closed: b.closed}, rules...)
	return b
}

// moved notes a transition.
func (b *Backtest) moved(rules int, after *schemas.Alert, nowMS int64) {
	k := life{after.Fingerprint, after.ActiveMS}
	a := b.lives[rules][k]
	if a == nil {
		a = &Alert{Rule: after.Rule, Fingerprint: after.Fingerprint, ActiveMS: after.ActiveMS}
		b.lives[rules][k] = a
	}
	a.state = after.State
	switch after.State {
	case schemas.Firing:
		if a.FiredMS == 0 {
			a.FiredMS, a.KnownMS, a.Value = after.FiredMS, nowMS, after.Value
		}
		a.Labels, a.Annotations = after.Labels, after.Annotations
		a.ResolvedMS, a.Reason = 0, ""
	case schemas.Resolved:
		a.ResolvedMS, a.Reason = after.Last.AtMS, after.Last.Reason
	}
}

// closed notes which metrics and incidents have data, and what to draw.
func (b *Backtest) closed(ws []schemas.Window) {
	for i := range ws {
		b.seen[ws[i].Series.Metric] = true
		for k := range b.about {
			b.about[k] = b.about[k] || b.config.Incidents[k].isOf(ws[i].Series)
		}
		if b.points > 0 {
			b.draw(&ws[i])
		}
	}
}

// Report is the result of a backtest.
type Report struct {
	FromMS int64 `json:"from_ms"`
	ToMS   int64 `json:"to_ms"`
	// Rules has a count per rule, in the order of the file.
	Rules  []RuleCount `json:"rules"`
	Alerts []Alert     `json:"alerts"` // in the order in which they fired
	// Refused counts the samples that weir would have refused, by reason.
	Refused   map[windows.Reason]int `json:"refused,omitempty"`
	Against   *Diff                  `json:"against,omitempty"`
	Incidents *Judgement             `json:"incidents,omitempty"`
}

// RuleCount is what one rule did.
type RuleCount struct {
	Rule     string   `json:"rule"`
	Alerts   int      `json:"alerts"`            // alerts that fired
	Pending  int      `json:"pending_only"`      // alerts that were pending, but did not fire
	FiringMS int64    `json:"firing_ms"`         // how long they fired within the report's time, all together
	Longest  int64    `json:"longest_ms"`        // how long the longest one fired
	Series   int      `json:"series"`            // label sets that fired
	Missing  []string `json:"missing,omitempty"` // metrics that the rule reads and that the recording lacks
}

// Report plays up to the end of the report's time, and returns the report.
func (b *Backtest) Report() *Report {
	b.AdvanceTo(b.config.ToMS)
	r := &Report{FromMS: b.config.FromMS, ToMS: b.config.ToMS, Alerts: b.fired(0), Refused: b.Refused}
	r.Rules = b.count(r.Alerts)
	if b.config.Against != nil {
		r.Against = b.compare(r.Alerts, b.fired(1))
	}
	if len(b.config.Incidents) > 0 {
		r.Incidents = b.judge(r.Alerts)
	}
	return r
}

// fired returns the alerts of a set of rules that fired within the report's time.
func (b *Backtest) fired(rules int) []Alert {
	all := []Alert{}
	for _, a := range b.lives[rules] {
		if a.FiredMS != 0 && a.FiredMS < b.config.ToMS && (a.ResolvedMS == 0 || a.ResolvedMS > b.config.FromMS) {
			all = append(all, *a)
		}
	}
	slices.SortFunc(all, func(a, b Alert) int {
		return cmp.Or(cmp.Compare(a.FiredMS, b.FiredMS), strings.Compare(a.Rule, b.Rule), strings.Compare(a.Fingerprint, b.Fingerprint), cmp.Compare(a.ActiveMS, b.ActiveMS))
	})
	return all
}

func (b *Backtest) count(fired []Alert) []RuleCount {
	var counts []RuleCount
	for _, read := range b.config.Rules.Reads() {
		c := RuleCount{Rule: read.Rule}
		series := map[string]bool{}
		for i := range fired {
			a := &fired[i]
			if a.Rule != c.Rule {
				continue
			}
			c.Alerts++
			series[a.Fingerprint] = true
			within := b.end(a) - max(a.FiredMS, b.config.FromMS)
			c.FiringMS += within
			c.Longest = max(c.Longest, within)
		}
		for _, a := range b.lives[0] {
			if a.Rule == c.Rule && a.FiredMS == 0 && a.ActiveMS >= b.config.FromMS && a.ActiveMS < b.config.ToMS {
				c.Pending++
			}
		}
		c.Series = len(series)
		for _, metric := range read.Metrics {
			if !b.seen[metric] {
				c.Missing = append(c.Missing, metric)
			}
		}
		counts = append(counts, c)
	}
	return counts
}

// end returns when an alert ended, at most the end of the report's time.
func (b *Backtest) end(a *Alert) int64 {
	if a.ResolvedMS == 0 {
		return b.config.ToMS
	}
	return min(a.ResolvedMS, b.config.ToMS)
}

// labelText returns an alert's labels without its name, in braces as in a series, or "" if there are none.
func labelText(labels map[string]string) string {
	rest := maps.Clone(labels)
	delete(rest, "alertname")
	return schemas.NewLabels(rest).String()
}
