package ruletest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/windows"
)

// tiersMS lists the sizes of the default tiers.
func tiersMS() []int64 {
	c := windows.Default()
	return c.TiersMS()
}

// TestSuites runs the suites in testdata and that of the shipped rules, undisturbed and disturbed: all pass.
func TestSuites(t *testing.T) {
	ran := 0
	for _, pattern := range []string{"testdata/suites/*.yaml", "testdata/promtool/*.yml", "../../deploy/rules/*-tests.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasPrefix(filepath.Base(file), "rules.") {
				continue
			}
			ran++
			for name, d := range map[string]Disturbance{"undisturbed": None, "restarts": Restarts, "replays": Replays} {
				t.Run(filepath.Base(file)+"/"+name, func(t *testing.T) {
					for _, o := range runSuite(t, file, d) {
						for _, f := range o.Failures {
							t.Errorf("%s:%d: %s: %s\n%s", file, f.Line, o.Name, f.What, f.Diff)
						}
					}
				})
			}
		}
	}
	if ran < 5 {
		t.Errorf("%d suites", ran)
	}
}

func runSuite(t *testing.T, file string, d Disturbance) []Outcome {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ParseSuite(file, text, tiersMS())
	if err != nil {
		t.Fatal(err)
	}
	var files []alerts.File
	for _, r := range s.RuleFiles {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(file), r.Pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, alerts.File{Name: r.Pattern, Data: text})
	}
	return runWith(t, s, d, files...)
}

func runWith(t *testing.T, s *Suite, d Disturbance, files ...alerts.File) []Outcome {
	t.Helper()
	c := windows.Default()
	load := alerts.LoadConfig{TiersMS: c.TiersMS()}
	for _, tier := range c.Tiers {
		load.GracesMS = append(load.GracesMS, tier.Grace.MS())
	}
	rules, err := alerts.Load(load, files...)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Check(rules); err != nil {
		t.Fatal(err)
	}
	outcomes, err := s.Run(context.Background(), c, rules, d)
	if err != nil {
		t.Fatal(err)
	}
	return outcomes
}

const someRules = `groups:
- name: g
  rules:
  - alert: high
    expr: x > 10
    labels: {severity: page}
    annotations: {summary: "x is {{ .Value }}"}
  - alert: slow
    expr: x > 10
    for: 1m
  - alert: plain
    expr: y > 5
`

// TestDiffs: what a failure tells about an expectation that is not met.
func TestDiffs(t *testing.T) {
	for name, c := range map[string]struct{ checks, want string }{
		"another label": {
			`alert_rule_test: [{eval_time: 12s, alertname: high, exp_alerts: [{exp_labels: {host: a, severity: ticket}, exp_annotations: {summary: x is 11}}]}]`,
			"alert high at 12s\nfires, but with differences:\n    label host: \"a\"\n  - label severity: \"ticket\"\n  + label severity: \"page\"\n    annotation summary: \"x is 11\"\n",
		},
		"none expected": {
			`alert_rule_test: [{eval_time: 22s, alertname: high}]`,
			"alert high at 22s\nfires and is not expected, with the value 12 since 10s:\n  + label host: \"a\"\n  + label severity: \"page\"\n  + annotation summary: \"x is 12\"\n",
		},
		"pending": {
			`alert_rule_test: [{eval_time: 1m11s, alertname: slow, exp_alerts: [exp_labels: {host: a}]}]`,
			"alert slow at 1m11s\nis expected and does not fire:\n  - label host: \"a\"\nslow{host=\"a\"} is pending since 10s, and fires if it is still true in the window that ends at 1m10s\n",
		},
		"resolved": {
			`alert_rule_test: [{eval_time: 3m, alertname: high, exp_alerts: [{}]}]`,
			"alert high at 3m\nis expected and does not fire:\n  - no labels\nhigh{host=\"a\",severity=\"page\"} is resolved since 2m: false\n",
		},
		"without labels": {
			`alert_rule_test: [{eval_time: 12s, alertname: plain}]`,
			"alert plain at 12s\nfires and is not expected, with the value 7 since 10s:\n  + no labels\n",
		},
		"window": {
			`window_test: [{series: 'x{host="a"}', tier: 1m, at: 59s, exp_window: {count: 5, sum: 81, last: 16}}]`,
			"window of 1m from 0s of x{host=\"a\"}\n  - count: 5\n  + count: 6\n    sum: 81\n    last: 16\n",
		},
		"no window": {
			`window_test: [{series: x, tier: 1m, at: 0s, exp_window: {count: 1, min: 0}}]`,
			"window of 1m from 0s of x\nthere is no such window:\n  - count: 1\n  + count: 0\n  - min: 0\n",
		},
		"a window, and none expected": {
			`window_test: [{series: 'x{host="a"}', tier: 1m, at: 0s, exp_window: {count: 0}}]`,
			"window of 1m from 0s of x{host=\"a\"}\n  - count: 0\n  + count: 6\n",
		},
	} {
		text := "tests:\n- interval: 10s\n  input_series: [{series: 'x{host=\"a\"}', values: 11+1x10 1x9}, {series: y, values: 7}]\n  " + c.checks + "\n"
		s, err := ParseSuite("t.yaml", []byte(text), tiersMS())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		failures := runWith(t, s, None, alerts.File{Name: "rules.yaml", Data: []byte(someRules)})[0].Failures
		if len(failures) != 1 || failures[0].Line != 4 {
			t.Errorf("%s: %+v", name, failures)
		} else if got := failures[0].What + "\n" + failures[0].Diff; got != c.want {
			t.Errorf("%s: got\n%swant\n%s", name, got, c.want)
		}
	}
}

// TestDiffIsBounded: the diff stays short even in a storm of alerts.
func TestDiffIsBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("tests:\n- alert_rule_test: [{eval_time: 1m, alertname: high}]\n  input_series:\n")
	for i := range 50 {
		fmt.Fprintf(&b, "  - {series: 'x{host=\"%d\"}', values: 99}\n", i)
	}
	s, err := ParseSuite("t.yaml", []byte(b.String()), tiersMS())
	if err != nil {
		t.Fatal(err)
	}
	f := runWith(t, s, None, alerts.File{Name: "rules.yaml", Data: []byte(someRules)})[0].Failures
	if len(f) != 1 || strings.Count(f[0].Diff, "fires and is not") != maxTold || !strings.HasSuffix(f[0].Diff, "and 30 more\n") {
		t.Errorf("%+v", f)
	}
}

// TestExampleOfTheDocs runs the example of docs/rules.md.
func TestExampleOfTheDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "# Testing rules")
	_, example, _ := strings.Cut(section, "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	s, err := ParseSuite("docs/rules.md", []byte(example), tiersMS())
	if err != nil {
		t.Fatal(err)
	}
	const rule = "- {name: g, rules: [{alert: instance_down, expr: up == 0, for: 1m, labels: {severity: page}, annotations: {summary: '{{ .Labels.host }} is down'}}]}"
	for _, o := range runWith(t, s, None, alerts.File{Name: "rules.yaml", Data: []byte(rule)}) {
		for _, f := range o.Failures {
			t.Errorf("line %d of the example: %s\n%s", f.Line, f.What, f.Diff)
		}
	}
}

// TestRefusedSamplesFail: a test fails if weir would refuse some of its samples.
func TestRefusedSamplesFail(t *testing.T) {
	text := "tests:\n- interval: 1ms\n  input_series: [{series: x, values: 1x100000 1x100000 1x100000}]\n  window_test: [{series: x, tier: 10s, at: 0s, exp_window: {first: 1}}]\n"
	s, err := ParseSuite("t.yaml", []byte(text), tiersMS())
	if err != nil {
		t.Fatal(err)
	}
	c := windows.Default()
	c.MaxRate = 100
	rules, err := alerts.Load(alerts.LoadConfig{TiersMS: c.TiersMS()})
	if err != nil {
		t.Fatal(err)
	}
	outcomes, err := s.Run(context.Background(), c, rules, None)
	if err != nil {
		t.Fatal(err)
	}
	if f := outcomes[0].Failures; len(f) != 1 || !strings.Contains(f[0].What, "are refused: rate_limit") {
		t.Errorf("%+v", f)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Run(ctx, c, rules, None); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

// TestSuiteFaults: each fault has its line.
func TestSuiteFaults(t *testing.T) {
	const input = "  input_series: [{series: x, values: 1}]\n"
	const check = "  alert_rule_test: [{eval_time: 1m, alertname: high}]\n"
	for text, want := range map[string]string{
		"":                                     "t.yaml: tests: must be given",
		"tests: []\n":                          "t.yaml:1: tests: must be given",
		"rule_file: []\ntests: []\n":           "t.yaml:1: rule_file: unknown field, must be one of evaluation_interval, group_eval_order, rule_files, tests",
		"rule_files: ['']\ntests: []\n":        "t.yaml:1: rule_files[0]: must be the path",
		"evaluation_interval: 0s\ntests: []\n": "t.yaml:1: evaluation_interval: \"0s\": must be at least 1ms and at most 366d",
		"tests:\n- name: a\n":                  "t.yaml:2: tests[0]: must expect something",
		"tests:\n-" + check[1:] + "  intervall: 1m\n": "t.yaml:3: tests[0].intervall: unknown field",
		"tests:\n- interval: 5\n" + check:             "t.yaml:2: tests[0].interval: \"5\": must be a duration",
		"tests:\n- interval: -1s\n" + check:           "t.yaml:2: tests[0].interval: \"-1s\": must be at least",
		"tests:\n- interval: 400d\n" + check:          "t.yaml:2: tests[0].interval: \"400d\": must be at least 1ms and at most 366d",
		"tests:\n- start_timestamp: noon\n" + check:   "t.yaml:2: tests[0].start_timestamp: \"noon\": must be a time such as",
		"tests:\n- start_timestamp: -1\n" + check:     "t.yaml:2: tests[0].start_timestamp: \"-1\": must be a time",
		"tests:\n- start_timestamp: 1e300\n" + check:  "t.yaml:2: tests[0].start_timestamp: \"1e300\": must be a time",
		"tests:\n- start_timestamp: NaN\n" + check:    "t.yaml:2: tests[0].start_timestamp: \"NaN\": must be a time",
		"tests:\n- promql_expr_test: []\n":            "t.yaml:2: tests[0].promql_expr_test: weir has no PromQL",
		"tests:\n- input_series: [{series: 'up{job=\"prometheus\", instance=\"localhost:9090\"', values: 0+0x1440}]\n" + check: "t.yaml:2: tests[0].input_series[0].series: \"up{job=",
		"tests:\n- input_series: [{series: x, values: 1}, {series: 'x{}', values: 1}]\n" + check:                               "t.yaml:2: tests[0].input_series[1].series: \"x{}\": is given twice",
		"tests:\n- input_series: [{series: x}]\n" + check:                                                                      "t.yaml:2: tests[0].input_series[0].values: must be given",
		"tests:\n- input_series: [{series: x, values: 1 two}]\n" + check:                                                       "t.yaml:2: tests[0].input_series[0].values: \"two\": must be a finite number",
		"tests:\n-" + input[1:] + "  alert_rule_test: [{alertname: high}]\n":                                                   "t.yaml:3: tests[0].alert_rule_test[0].eval_time: must be given",
		"tests:\n-" + input[1:] + "  alert_rule_test: [{eval_time: 1m}]\n":                                                     "t.yaml:3: tests[0].alert_rule_test[0].alertname: must be given",
		"tests:\n-" + input[1:] + "  alert_rule_test: [{eval_time: -1m, alertname: high}]\n":                                   "t.yaml:3: tests[0].alert_rule_test[0].eval_time: \"-1m\": must be at least 0s",
		"tests:\n- alert_rule_test:\n  - {eval_time: 1m, alertname: high, exp_alerts: [exp_labels: {alertname: low}]}\n":       "t.yaml:3: tests[0].alert_rule_test[0].exp_alerts[0].exp_labels.alertname: \"low\": must be that of the test",
		"tests:\n- window_test: [{series: x, tier: 5m, at: 1m, exp_window: {count: 1}}]\n":                                     "t.yaml:2: tests[0].window_test[0].tier: \"5m\": must be one of the windows' tiers: 10s, 1m, 1h",
		"tests:\n- window_test: [{series: x, tier: 1m, exp_window: {count: 1}}]\n":                                             "t.yaml:2: tests[0].window_test[0].at: must be given",
		"tests:\n- window_test: [{series: x, tier: 1m, at: 1m}]\n":                                                             "t.yaml:2: tests[0].window_test[0].exp_window: must have some of",
		"tests:\n- window_test: [{series: x, tier: 1m, at: 1m, exp_window: {count: 0, sum: 0}}]\n":                             "t.yaml:2: tests[0].window_test[0].exp_window: count: 0 means that there is no window",
		"tests:\n- window_test: [{series: x, tier: 1m, at: 1m, exp_window: {count: -1}}]\n":                                    "t.yaml:2: tests[0].window_test[0].exp_window.count: \"-1\": must be at least 0",
		"tests:\n- window_test: [{series: x, tier: 1m, at: 1m, exp_window: {count: 1, avg: 2}}]\n":                             "t.yaml:2: tests[0].window_test[0].exp_window.avg: unknown field",
	} {
		_, err := ParseSuite("t.yaml", []byte(text), tiersMS())
		var faults conf.Faults
		if !errors.As(err, &faults) || !slices.ContainsFunc(faults, func(f conf.Fault) bool { return strings.HasPrefix(f.Error(), want) }) {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
}

// TestUnknownAlert: an alert of no rule is refused; it would never fire, so a test that expects it not to fire would always pass.
func TestUnknownAlert(t *testing.T) {
	s, err := ParseSuite("t.yaml", []byte("tests:\n- alert_rule_test:\n  - {eval_time: 1m, alertname: hihg}\n  - {eval_time: 1m, alertname: slow}\n"), tiersMS())
	if err != nil {
		t.Fatal(err)
	}
	rules, err := alerts.Load(alerts.LoadConfig{TiersMS: tiersMS()}, alerts.File{Name: "rules.yaml", Data: []byte(someRules)})
	if err != nil {
		t.Fatal(err)
	}
	const want = `t.yaml:3: tests[0].alert_rule_test[0].alertname: "hihg": is the alert of no rule in rule_files; "high" is`
	if err := s.Check(rules); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestSequence(t *testing.T) {
	nan := math.NaN()
	for text, want := range map[string][]float64{
		"":                   nil,
		"1":                  {1},
		" -2+4x3 ":           {-2, 2, 6, 10},
		"1-2x4":              {1, -1, -3, -5, -7},
		"1x4":                {1, 1, 1, 1, 1},
		"1 _x3 stale":        {1, nan, nan, nan, nan},
		"0x5":                {0, 0, 0, 0, 0, 0},
		"_ _x0 7x0":          {nan, 7},
		"1e3 1.5E-1 -.5 +2.": {1000, 0.15, -0.5, 2},
		"1e+3+1e-1x1":        {1000, 1000.1},
		"-1e-1-.5e0x1":       {-0.1, -0.6},
	} {
		got, err := parseSequence(text)
		if err != nil || !slices.EqualFunc(got, want, func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"NaN":                          `"NaN": must be a finite number`,
		"Inf":                          `"Inf": must be a finite number`,
		"1e999":                        `"1e999": is too large a number`,
		"1e308+1e308x1":                `"1e308+1e308x1": is too large a number`,
		"1+1e999x1":                    `"1+1e999x1": is too large a number`,
		"1+2":                          `"1+2": must be`,
		"1x":                           `"1x": must be`,
		"x5":                           `"x5": must be`,
		"_x":                           `"_x": must repeat 0 to 100000 times`,
		"_x-1":                         `"_x-1": must repeat`,
		"1x100001":                     `"1x100001": must repeat 0 to 100000 times`,
		"1x99999999999999999999":       `"1x99999999999999999999": must repeat`,
		"{{sum:1}}":                    `"{{sum:1}}": a native histogram`,
		"stalex3":                      `"stalex3": must be`,
		"0x1F":                         `"0x1F": must be`,
		strings.Repeat("1x99999 ", 11): "more than 1000000 values",
	} {
		if _, err := parseSequence(text); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.100q: %v, want %s", text, err, want)
		}
	}
}

// FuzzSuite: no file causes a panic, and every valid file can be run.
func FuzzSuite(f *testing.F) {
	for _, file := range []string{"testdata/suites/hosts.yaml", "testdata/promtool/unittest.yml"} {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add("tests:\n- interval: 1s\n  input_series: [{series: x, values: 11x99}]\n  alert_rule_test: [{eval_time: 1m, alertname: high, exp_alerts: [{}]}]\n")
	rules, err := alerts.Load(alerts.LoadConfig{TiersMS: tiersMS()}, alerts.File{Name: "rules.yaml", Data: []byte(someRules)})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSuite("t.yaml", []byte(text), tiersMS())
		if err != nil || s.Check(rules) != nil {
			return
		}
		values := 0
		for i := range s.tests {
			for _, in := range s.tests[i].inputs {
				values += len(in.values)
			}
		}
		if values > 10_000 {
			t.Skip("long")
		}
		if _, err := s.Run(context.Background(), windows.Default(), rules, Restarts); err != nil {
			t.Error(err)
		}
	})
}
