package promrules

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/deploy/conf"
)

var tiers = alerts.LoadConfig{TiersMS: []int64{10_000, 60_000, 3_600_000}}

// TestExpressions: what PromQL is translated to; where is written after //.
func TestExpressions(t *testing.T) {
	for promql, want := range map[string]string{
		`up == 0`:          `up == 0`,
		`0 == up`:          `up == 0`,
		`3 < x`:            `x > 3`,
		`3 >= x`:           `x <= 3`,
		`up{job="a"} == 0`: `up == 0 // labels.job == "a"`,
		`up{job="a",b!="c",d=~"e|f",g!~"h.*"} != 1`: `up != 1 // labels.b != "c" and labels.d matches "^(?s:e|f)$" and labels.job == "a" and not (labels.g matches "^(?s:h.*)$")`,
		`{__name__="a:b","in"="x","c-d"="y"} > 1`:   `metric("a:b") > 1 // labels["c-d"] == "y" and labels["in"] == "x"`,
		`not > 1`:                   `metric("not") > 1`,
		`a{x="1"} / b{y="2"} > 0.5`: `a / b > 0.5 // labels.x == "1" and labels.y == "2"`,
		`(a - b) - (c - d) * -e ^ 2 > 1e-7 / 1e20`:    `a - b - (c - d) * (-(e ^ 2)) > 1e-07 / 1e+20`,
		`(a ^ b) ^ c ^ -1 > +x`:                       `(a ^ b) ^ (c ^ (-1)) > x`,
		`(a > bool 3) * 5 == 5`:                       `(a > 3 ? 1 : 0) * 5 == 5`,
		`x > 1 and y`:                                 `x > 1 and count(y, "5m") > 0`,
		`x > 1 or y > 2 and z > 3`:                    `x > 1 or y > 2 and z > 3`,
		`(x > 1 or y > 2) and z > 3`:                  `(x > 1 or y > 2) and z > 3`,
		`x > 1 and on() hour() >= 8`:                  `x > 1 and hour() >= 8`,
		`x > 1 and on() (month() == 1 or minute()<9)`: `x > 1 and (month() == 1 or minute() < 9)`,
		`x offset 5m > 1`:                             `last(x, "5m", "5m") > 1`,
		`rate(x{a="b"}[5m]) > 1`:                      `rate(x, "5m") > 1 // labels.a == "b"`,
		`increase(x[1h] offset 1w) > 1`:               `increase(x, "1h", "7d") > 1`,
		`avg_over_time(x[10m]) - min_over_time(x[10m]) < max_over_time(x[1h])`:              `avg(x, "10m") - min(x, "10m") < max(x, "1h")`,
		`sum_over_time(x[5m]) + count_over_time(x[5m]) > stddev_over_time(x[5m])`:           `sum(x, "5m") + count(x, "5m") > stddev(x, "5m")`,
		`last_over_time(x[5m]) + delta(x[5m]) > deriv(x[5m])`:                               `last(x, "5m") + delta(x, "5m") > deriv(x, "5m")`,
		`predict_linear(x[1h], 4 * 3600) < 0`:                                               `predict_linear(x, "1h", "4h") < 0`,
		`round(abs(x) + 1) > clamp(x, 1, 5) + clamp_min(x, 2) + clamp_max(x, 3) + ceil(x)`:  `floor(abs(x) + 1 + 0.5) > min(max(x, 1), 5) + max(x, 2) + min(x, 3) + ceil(x)`,
		`floor(sqrt(exp(x))) + ln(x) + log2(x) > log10(x)`:                                  `floor(sqrt(exp(x))) + ln(x) + log2(x) > log10(x)`,
		"x > 1\nand # a comment\ny < 2":                                                     `x > 1 and y < 2`,
		`node_filesystem_avail_bytes{fstype!="tmpfs"} / node_filesystem_size_bytes * 100<5`: `node_filesystem_avail_bytes / node_filesystem_size_bytes * 100 < 5 // labels.fstype != "tmpfs"`,
	} {
		got, err := translateExpr(promql)
		if err != nil {
			t.Errorf("%s: %v", promql, err)
			continue
		}
		text := got.expr
		if got.where != "" {
			text += " // " + got.where
		}
		if text != want {
			t.Errorf("%s\ngot  %s\nwant %s", promql, text, want)
		}
		made := (&fileTranslation{}).file([]group{{"g", []rule{{Alert: "a", Expr: got.expr, Where: got.where}}}})
		if _, err := alerts.Load(tiers, alerts.File{Name: "made", Data: made}); err != nil {
			t.Errorf("%s: %v", promql, err)
		}
	}
}

// TestNotes: there is a note wherever a translated rule can behave differently.
func TestNotes(t *testing.T) {
	for promql, want := range map[string][]string{
		"x / 1024 + x / (2 * 3) > 1":   nil,
		"x / y > 1":                    {notInfinite},
		"x / 0 > 1":                    {notInfinite},
		"x ^ y > ln(x)":                {notInfinite},
		"log2(x) > exp(x) + abs(x)":    {notInfinite},
		"rate(x[5m]) / delta(y[5m])>1": {notExtrapolated, notInfinite},
		"deriv(x[5m]) > 1":             {ofWindows},
	} {
		if got, err := translateExpr(promql); err != nil || !slices.Equal(got.notes, want) {
			t.Errorf("%s: %q, %v", promql, got.notes, err)
		}
	}
}

// TestNoEquivalent: each expression without an equivalent in weir is left out with a reason and its place.
func TestNoEquivalent(t *testing.T) {
	for promql, want := range map[string]struct {
		at     int
		reason string
	}{
		`1`:                                     {0, "reads no series"},
		`1 > bool 2`:                            {0, "reads no series"},
		`x + 1`:                                 {0, "has no comparison"},
		`(x{a="b"})`:                            {0, "has no comparison: it fires for any value"},
		`2 * (x > 1) > 1`:                       {4, "a comparison without bool that filters"},
		`x > 1 > 2`:                             {0, "a comparison without bool that filters"},
		`1 < x and sum by (job) (y) > 2`:        {10, "sum aggregates several series"},
		`topk(3, x) > 1`:                        {0, "topk aggregates"},
		`x == 0 unless y`:                       {0, "unless: where the right side has no series"},
		`a / on(x) b > 1`:                       {0, "joins series on some of their labels"},
		`a / ignoring(x) b > 1`:                 {0, "joins series on some of their labels"},
		`a * on(x) group_left() b > 1`:          {0, "joins series on some of their labels"},
		`a > 1 and on(x) b > 1`:                 {0, "joins series on some of their labels"},
		`a > 1 and hour() > 8`:                  {0, "and matches series that have no labels"},
		`a * hour() > 8`:                        {0, "a function of the time has no labels"},
		`a{x="1"} > 1 or a{x="2"} > 2`:          {0, "or of series with different matchers"},
		`a > 1 and b + c`:                       {10, "asks whether a calculation has a result"},
		`a % 2 > 1`:                             {0, "weir has no operator %"},
		`a atan2 b > 1`:                         {0, "weir has no operator atan2"},
		`a > Inf`:                               {4, "weir's numbers are finite"},
		`a @ 100 > 1`:                           {0, "weir has no @"},
		`rate(a[5m] @ end()) > 1`:               {5, "weir has no @"},
		`a offset -5m > 1`:                      {0, "an offset must be"},
		`{__name__=~"a.*"} > 1`:                 {0, "several metrics are selected by a pattern"},
		`{x="y"} > 1`:                           {0, "no metric is named"},
		`ALERTS{alertname="x"} == 1`:            {0, "ALERTS is a metric of Prometheus's own rules"},
		`max_over_time(rate(a[5m])[1h:]) > 1`:   {14, "weir has no subqueries"},
		`a[5m:] > 1`:                            {0, "does not parse as PromQL"},
		`absent(a)`:                             {0, "absent knows series that never were"},
		`histogram_quantile(0.9, a) > 1`:        {0, "weir has no quantiles of histograms"},
		`quantile_over_time(0.9, a[5m]) > 1`:    {0, "weir has no quantiles"},
		`changes(a[5m]) > 1`:                    {0, "weir has no changes"},
		`irate(a[5m]) > 1`:                      {0, "weir has no irate"},
		`time() - a > 1`:                        {0, "weir has no time()"},
		`hour(a) > 1`:                           {0, "weir's hour is that of the window's end"},
		`round(a, 5) > 1`:                       {0, "weir's round is to whole numbers"},
		`clamp_max(a, scalar(b)) > 1`:           {13, "scalar() makes a number of one series"},
		`predict_linear(a[1h], 0 / 0) > 1`:      {22, "must be a number of seconds"},
		`predict_linear(a[1h] offset 1h, 9)> 1`: {0, "weir's predict_linear has no offset"},
		`sgn(a) > 1`:                            {0, "weir has no sgn"},
		`a{ > 1`:                                {3, "does not parse as PromQL: unexpected character"},
		``:                                      {0, "does not parse as PromQL"},
		strings.Repeat("(", 20_000) + "x":       {0, "is 20001 bytes long, must be at most 16384"},
	} {
		_, err := translateExpr(promql)
		var f *exprFault
		if !errors.As(err, &f) || f.at != want.at || !strings.HasPrefix(f.reason, want.reason) {
			t.Errorf("%s: %+v, want %+v", promql, f, want)
		}
	}
}

const someRules = `
groups:
- name: g
  interval: 30s
  limit: 5
  labels: {team: infra, severity: low}
  rules:
  - {record: r, expr: x}
  - alert: a
    expr: rate(x[5m]) / y > 1
    for: 1h
    keep_firing_for: 1y
    labels: {severity: "2"}
    annotations: {good: '{{ $labels.host }} {{ $value | humanize }}', bad: '{{ query "x" }}'}
  - {alert: a, expr: 'up{job="x"} == 0'}
  - {alert: b, expr: sum(x) > 1}
  - alert: c
    expr: |
      x > 1 and
        y % 2 > 1
  - {alert: d, expr: 'rate(x[1s]) > 1'}
  - {alert: e, expr: x > 1, for: 5}
  - {alert: f, expr: x > 1, labels: {l: '{{ bad }}'}}
  - alert: h
`

// TestRules: the translation of a whole file, with all that is left out and all notes.
func TestRules(t *testing.T) {
	r, err := Rules("p.yml", []byte(someRules), tiers)
	if err != nil {
		t.Fatal(err)
	}
	const want = `# Translated from Prometheus's rules (weir import prometheus). Comments tell what differs in detail.
groups:
  - name: g
    rules:
      # rate, increase and delta are not extrapolated to the ends of the range
      # what is infinite, such as a division by 0 or the logarithm of 0, is no data
      - alert: a
        expr: rate(x, "5m") / y > 1
        coverage: 0
        for: 1h
        keep_firing_for: 365d
        labels:
          severity: "2"
          team: infra
        annotations:
          good: '{{ $labels.host }} {{ $value | humanize }}'
  - name: g-2
    rules:
      - alert: a
        expr: up == 0
        where: labels.job == "x"
        labels:
          severity: low
          team: infra
`
	if string(r.File) != want {
		t.Errorf("got\n%s\nwant\n%s", r.File, want)
	}
	if !slices.Equal(r.Alerts, []string{"a", "a"}) {
		t.Errorf("alerts %q", r.Alerts)
	}
	const left = `p.yml:5: g: limit: weir has no limit of alerts of a group
p.yml:8: g/r: is a recording rule: weir has none
p.yml:14: g/a: annotation bad: template: bad:1: function "query" not defined
p.yml:16:22: g/b: sum aggregates several series, and a rule of weir sees those of one label set
  - {alert: b, expr: sum(x) > 1}
                     ^
p.yml:20:9: g/c: weir has no operator %
        y % 2 > 1
        ^
p.yml:21: g/d: would be "rate(x, \"1s\") > 1" in weir: range 1s must be a multiple of the tier, 10s
p.yml:22: g/e: for: must be a duration with its unit: 250ms, 10s, 5m, 1h30m, 7d, 1w
p.yml:23: g/f: labels.l: template: l:1: function "bad" not defined
p.yml:24: g/h: expr: must be given, as a text`
	if r.Left.Error() != left {
		t.Errorf("left out\n%v\nwant\n%s", r.Left, left)
	}
	const notes = `p.yml:4: g: interval: weir judges a rule when a window closes
p.yml:10: g/a: rate, increase and delta are not extrapolated to the ends of the range
p.yml:10: g/a: what is infinite, such as a division by 0 or the logarithm of 0, is no data`
	if r.Notes.Error() != notes {
		t.Errorf("notes\n%v\nwant\n%s", r.Notes, notes)
	}
	if _, err := alerts.Load(tiers, alerts.File{Name: "made", Data: r.File}); err != nil {
		t.Error(err)
	}
	if r, err := Rules("p.yml", []byte("groups: [{name: g, rules: [{record: r, expr: x}]}]"), tiers); err != nil || r.File != nil || len(r.Left) != 1 {
		t.Errorf("nothing to translate: %+v, %v", r, err)
	}
	var faults conf.Faults
	if _, err := Rules("p.yml", []byte("groups:\n- rulez: []\n"), tiers); !errors.As(err, &faults) || !strings.HasPrefix(err.Error(), "p.yml:2: groups[0].rulez: unknown field") {
		t.Error(err)
	}
}

// TestTests: the translation of a file of tests.
func TestTests(t *testing.T) {
	const text = `rule_files: [rules.yml]
fuzzy_compare: true
tests:
- name: kept
  external_labels: {a: b}
  input_series: [{series: x, values: 1x5}, {series: h, values: '{{sum:3}}'}]
  alert_rule_test:
  - {eval_time: 1h, alertname: a, exp_alerts: [{exp_labels: {host: b}}]}
  - {eval_time: 0, alertname: a}
  - {eval_time: 1m, alertname: other}
- name: dropped
  promql_expr_test: []
- name: dropped, too
  alert_rule_test: [{eval_time: 1m, alertname: other}]
`
	r, err := Tests("t.yml", []byte(text), []string{"a"}, 12_000)
	if err != nil {
		t.Fatal(err)
	}
	const want = `# Translated from promtool's tests (weir import prometheus): times are 12s later, as windows close then.
rule_files: [rules.yml]
tests:
  - name: kept
    input_series: [{series: x, values: 1x5}]
    alert_rule_test:
      - {eval_time: 1h12s, alertname: a, exp_alerts: [{exp_labels: {host: b}}]}
      - {eval_time: 12s, alertname: a}
`
	if string(r.File) != want || r.Tests != 1 {
		t.Errorf("got\n%s\nwant\n%s", r.File, want)
	}
	const left = `t.yml:5: kept: external_labels: weir has no external labels
t.yml:6: kept: input_series: weir has no native histograms
t.yml:10: kept: alert_rule_test: the alert "other" was not translated
t.yml:12: dropped: promql_expr_test: weir has no PromQL: windows can be expected instead (window_test)
t.yml:11: dropped: expects no alerts
t.yml:14: dropped, too: alert_rule_test: the alert "other" was not translated
t.yml:13: dropped, too: expects nothing any more`
	if r.Left.Error() != left {
		t.Errorf("left out\n%v\nwant\n%s", r.Left, left)
	}
	for text, want := range map[string]string{
		"tests: [": "t.yml: yaml: ", "groups: []": "t.yml: must be a file of promtool's tests", "tests: 5": "t.yml: must be a file",
		"tests: [x]": "t.yml: line 1: a test must be a mapping",
		"tests: [{alert_rule_test: [{alertname: a, eval_time: x}]}]": "t.yml: line 1: eval_time: must be a duration",
		"tests: [{alert_rule_test: [{alertname: a}]}]":               "t.yml: line 1: eval_time must be given",
	} {
		if _, err := Tests("t.yml", []byte(text), []string{"a"}, 0); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if !IsTests([]byte(text)) || IsTests([]byte(someRules)) || IsTests([]byte("tests: [")) {
		t.Error("files of tests are taken for files of rules")
	}
}

// FuzzExpr: no expression causes a panic, and each translated rule either loads or is refused for exceeding weir's bounds.
func FuzzExpr(f *testing.F) {
	for _, seed := range []string{`up{a="b",c=~"d"} == 0 and on() hour() > 8`, `rate(x[5m] offset 1h) / y > bool 1 - 2`, `-x ^ 2 ^ -y < (4 - -1)`, `predict_linear(x[1h], 4*3600) > clamp(x, 1, 2)`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, promql string) {
		e, err := translateExpr(promql)
		if err != nil {
			return
		}
		ft := &fileTranslation{}
		file := ft.file([]group{{"g", []rule{{Alert: "a", Expr: e.expr, Where: e.where}}}})
		_, err = alerts.Load(tiers, alerts.File{Name: "made", Data: file})
		var faults conf.Faults
		if !errors.As(err, &faults) {
			return
		}
		for _, x := range faults {
			for _, syntax := range []string{"unexpected token", "unrecognized", "must be true or false for", "is a number, must be", "is true or false", "unknown function", "cannot"} {
				if strings.Contains(x.Bound, syntax) {
					t.Errorf("%q becomes %q: %v", promql, e.expr, err)
				}
			}
		}
	})
}

// FuzzFiles: no file causes a panic.
func FuzzFiles(f *testing.F) {
	f.Add(someRules)
	f.Add("tests: [{alert_rule_test: [{alertname: a, eval_time: 5m}], input_series: [{series: x, values: '{{'}]}]")
	f.Fuzz(func(t *testing.T, text string) {
		if IsTests([]byte(text)) {
			_, _ = Tests("t.yml", []byte(text), []string{"a"}, 12_000)
			return
		}
		if r, err := Rules("p.yml", []byte(text), tiers); err == nil && len(r.Alerts) > 0 {
			if _, err := alerts.Load(tiers, alerts.File{Name: "made", Data: r.File}); err != nil {
				t.Errorf("%s\n%v", r.File, err)
			}
		}
	})
}
