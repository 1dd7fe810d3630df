package ruletest

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas"
)

// Suite is a file of rule tests in promtool's grammar.
type Suite struct {
	RuleFiles []RuleFile
	tests     []test
	doc       *conf.Doc
}

// RuleFile is a file of rules that a suite names.
type RuleFile struct {
	Pattern string     // its path, relative to the suite's folder unless it is absolute; with *, ? and […] of several
	Place   conf.Fault // where the suite names it
}

type suiteYAML struct {
	RuleFiles          []string      `yaml:"rule_files"`
	EvaluationInterval conf.Duration `yaml:"evaluation_interval"` // rules are judged when windows close; the default of interval
	GroupEvalOrder     []string      `yaml:"group_eval_order"`    // no effect: no rule reads what another makes
	Tests              []testYAML    `yaml:"tests"`
}

type testYAML struct {
	Name           string        `yaml:"name"`
	Interval       conf.Duration `yaml:"interval"`
	StartTimestamp string        `yaml:"start_timestamp"`
	InputSeries    []seriesYAML  `yaml:"input_series"`
	AlertRuleTest  []alertYAML   `yaml:"alert_rule_test"`
	WindowTest     []windowYAML  `yaml:"window_test"`
	PromQLExprTest yaml.Node     `yaml:"promql_expr_test"`
}

type seriesYAML struct {
	Series string `yaml:"series"`
	Values string `yaml:"values"`
}

type alertYAML struct {
	EvalTime  *conf.Duration  `yaml:"eval_time"`
	AlertName string          `yaml:"alertname"`
	ExpAlerts []expectedAlert `yaml:"exp_alerts"`
}

// expectedAlert is an alert that fires: its labels, except alertname, and its annotations.
type expectedAlert struct {
	Labels      map[string]string `yaml:"exp_labels"`
	Annotations map[string]string `yaml:"exp_annotations"`
}

type windowYAML struct {
	Series    string         `yaml:"series"`
	Tier      conf.Duration  `yaml:"tier"`
	At        *conf.Duration `yaml:"at"`
	ExpWindow expectedWindow `yaml:"exp_window"`
}

// expectedWindow has the expected numbers of a window; a nil one may be anything.
type expectedWindow struct {
	Count *int64   `yaml:"count"` // 0: there is no such window
	Sum   *float64 `yaml:"sum"`
	Min   *float64 `yaml:"min"`
	Max   *float64 `yaml:"max"`
	First *float64 `yaml:"first"`
	Last  *float64 `yaml:"last"`
}

// test is an entry of tests. Times are in ms; those of checks are since the test's start.
type test struct {
	name       string
	line       int
	startMS    int64 // since 1970
	intervalMS int64
	inputs     []input
	alerts     []alertCheck
	windows    []windowCheck
}

// input is a series and its values, one each intervalMS from the test's start.
type input struct {
	series schemas.Series
	values []float64 // or missing
}

type alertCheck struct {
	at        string // its path in the file
	line      int
	timeMS    int64
	alertname string
	want      []expectedAlert
}

type windowCheck struct {
	line   int
	series schemas.Series
	tierMS int64
	timeMS int64 // in the window
	want   expectedWindow
}

// Bounds of a suite's times.
const (
	defaultInterval = conf.Duration(time.Minute) // promtool's
	maxTime         = 366 * conf.Day
	maxStartMS      = 253402300799_000 // the year 9999
)

// ParseSuite reads a file of rule tests. tiersMS are the lengths of the windows with which it will be run. The error is
// conf.Faults, with every fault of the file.
func ParseSuite(name string, data []byte, tiersMS []int64) (*Suite, error) {
	y := suiteYAML{EvaluationInterval: defaultInterval}
	p := suiteParser{doc: conf.Parse(name, data, &y), tiersMS: tiersMS}
	s := &Suite{doc: p.doc}
	p.duration("evaluation_interval", y.EvaluationInterval, time.Millisecond)
	for i, pattern := range y.RuleFiles {
		at := fmt.Sprintf("rule_files[%d]", i)
		if pattern == "" {
			p.doc.Fail(at, nil, "must be the path of a rules file")
		}
		s.RuleFiles = append(s.RuleFiles, RuleFile{pattern, conf.Fault{File: name, Line: p.doc.Line(at), Field: at, Value: pattern}})
	}
	if len(y.Tests) == 0 && p.doc.Err() == nil {
		p.doc.Fail("tests", nil, "must be given: a file without tests would always pass")
	}
	for i := range y.Tests {
		s.tests = append(s.tests, p.test(fmt.Sprintf("tests[%d]", i), i, &y.Tests[i], y.EvaluationInterval))
	}
	return s, p.doc.Err()
}

type suiteParser struct {
	doc     *conf.Doc
	tiersMS []int64
}

func (p *suiteParser) duration(at string, d conf.Duration, least time.Duration) {
	if d.Std() < least || d > maxTime {
		p.doc.Fail(at, d, fmt.Sprintf("must be at least %s and at most %s", conf.Duration(least), maxTime))
	}
}

// moment reads a time since the test's start, ms.
func (p *suiteParser) moment(at string, d *conf.Duration) int64 {
	if d == nil {
		p.doc.Fail(at, nil, "must be given: a time since the test's start, such as 5m")
		return 0
	}
	p.duration(at, *d, 0)
	return d.MS()
}

func (p *suiteParser) test(at string, i int, y *testYAML, interval conf.Duration) test {
	t := test{name: y.Name, line: p.doc.Line(at)}
	if t.name == "" {
		t.name = "test " + strconv.Itoa(i+1)
	}
	if y.Interval != 0 {
		interval = y.Interval
	}
	p.duration(at+".interval", interval, time.Millisecond)
	t.intervalMS, t.startMS = interval.MS(), p.start(at+".start_timestamp", y.StartTimestamp)
	for k := range y.InputSeries {
		t.inputs = append(t.inputs, p.input(fmt.Sprintf("%s.input_series[%d]", at, k), &y.InputSeries[k], t.inputs))
	}
	for k := range y.AlertRuleTest {
		t.alerts = append(t.alerts, p.alert(fmt.Sprintf("%s.alert_rule_test[%d]", at, k), &y.AlertRuleTest[k]))
	}
	for k := range y.WindowTest {
		t.windows = append(t.windows, p.window(fmt.Sprintf("%s.window_test[%d]", at, k), &y.WindowTest[k]))
	}
	if y.PromQLExprTest.Kind != 0 {
		p.doc.Fail(at+".promql_expr_test", nil, "weir has no PromQL: use window_test for windows, or alert_rule_test for the alerts of a rule")
	} else if len(t.alerts)+len(t.windows) == 0 {
		p.doc.Fail(at, nil, "must expect something, in alert_rule_test or window_test: it would always pass")
	}
	return t
}

// start reads a time in seconds since 1970, or as RFC 3339 writes it, in ms; 0 if none is given.
func (p *suiteParser) start(at, text string) int64 {
	if text == "" {
		return 0
	}
	const bound = "must be a time such as 2026-01-31T08:00:00Z, or seconds since 1970, up to the year 9999"
	ms := int64(-1)
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		ms = t.UnixMilli()
	} else if seconds, err := strconv.ParseFloat(text, 64); err == nil && seconds >= 0 && seconds <= maxStartMS/1000 {
		ms = int64(seconds * 1000)
	}
	if ms < 0 || ms > maxStartMS {
		p.doc.Fail(at, text, bound)
		return 0
	}
	return ms
}

func (p *suiteParser) series(at, text string) schemas.Series {
	s, err := schemas.ParseSeries(text)
	if err != nil {
		p.doc.Fail(at, text, err.Error())
	}
	return s
}

func (p *suiteParser) input(at string, y *seriesYAML, before []input) input {
	in := input{series: p.series(at+".series", y.Series)}
	if slices.ContainsFunc(before, func(b input) bool { return b.series.String() == in.series.String() }) {
		p.doc.Fail(at+".series", y.Series, "is given twice")
	}
	var err error
	if in.values, err = parseSequence(y.Values); err != nil {
		p.doc.Fail(at+".values", nil, err.Error())
	} else if len(in.values) == 0 {
		p.doc.Fail(at+".values", nil, "must be given: numbers, 1x5, 1+2x5, 1-2x5, _, _x5 or stale")
	}
	return in
}

func (p *suiteParser) alert(at string, y *alertYAML) alertCheck {
	c := alertCheck{at: at, line: p.doc.Line(at), timeMS: p.moment(at+".eval_time", y.EvalTime), alertname: y.AlertName, want: y.ExpAlerts}
	if c.alertname == "" {
		p.doc.Fail(at+".alertname", nil, "must be given")
	}
	for i := range c.want {
		labels := c.want[i].Labels
		if name, ok := labels["alertname"]; ok && name != c.alertname {
			p.doc.Fail(fmt.Sprintf("%s.exp_alerts[%d].exp_labels.alertname", at, i), name, "must be that of the test, or not be given")
		}
		delete(labels, "alertname")
	}
	return c
}

func (p *suiteParser) window(at string, y *windowYAML) windowCheck {
	c := windowCheck{line: p.doc.Line(at), series: p.series(at+".series", y.Series), tierMS: y.Tier.MS(), timeMS: p.moment(at+".at", y.At), want: y.ExpWindow}
	if !slices.Contains(p.tiersMS, c.tierMS) {
		p.doc.Fail(at+".tier", y.Tier, "must be one of the windows' tiers: "+tierNames(p.tiersMS))
	}
	w := c.want
	switch none := w.Count != nil && *w.Count == 0; {
	case w == expectedWindow{}:
		p.doc.Fail(at+".exp_window", nil, "must have some of count, sum, min, max, first, last; count: 0 means that there is no window")
	case none && (w.Sum != nil || w.Min != nil || w.Max != nil || w.First != nil || w.Last != nil):
		p.doc.Fail(at+".exp_window", nil, "count: 0 means that there is no window, which has no other values")
	case w.Count != nil && *w.Count < 0:
		p.doc.Fail(at+".exp_window.count", *w.Count, "must be at least 0")
	}
	return c
}

func tierNames(tiersMS []int64) string {
	names := ""
	for i, ms := range tiersMS {
		if i > 0 {
			names += ", "
		}
		names += schemas.TierName(ms)
	}
	return names
}

// Check returns conf.Faults with the alerts of the suite's expectations that no rule has, or nil.
func (s *Suite) Check(rules *alerts.RuleSet) error {
	known := alertNames(rules)
	for i := range s.tests {
		for _, c := range s.tests[i].alerts {
			if slices.Contains(known, c.alertname) {
				continue
			}
			bound := "is the alert of no rule in rule_files"
			if closest := conf.Closest(c.alertname, known); closest != "" {
				bound += "; " + strconv.Quote(closest) + " is"
			}
			s.doc.Fail(c.at+".alertname", c.alertname, bound)
		}
	}
	return s.doc.Err()
}
