package backtest

import (
	"strings"
	"testing"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/windows"
)

func load(t *testing.T, text string) *alerts.RuleSet {
	t.Helper()
	c := windows.Default()
	rules, err := alerts.Load(alerts.LoadConfig{TiersMS: c.TiersMS(), GracesMS: []int64{2000, 10_000, 60_000}}, alerts.File{Name: "rules.yaml", Data: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

const (
	nowRules = `
groups:
- name: g
  rules:
  - {alert: high, expr: x > 80, for: 20s}
  - {alert: new, expr: x == 55}
  - {alert: other, expr: z > 0}
`
	oldRules = `
groups:
- name: g
  rules:
  - {alert: high, expr: x > 80, for: 40s, recover: x < 50}
  - {alert: gone, expr: x == 15}
`
)

// played returns a backtest that has played a series, with a sample every 10 s from 0 on.
func played(t *testing.T, c Config, values ...float64) *Backtest {
	t.Helper()
	b := New(c)
	b.Draw()
	x := schemas.Series{Metric: "x", Labels: schemas.NewLabels(map[string]string{"host": "a"})}
	for i, v := range values {
		if err := b.Samples([]schemas.Sample{{Series: x, TimeMS: int64(i) * 10_000, Value: v}}); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// TestReport: the counts, differences and incidents of a history that a reader can follow by hand.
func TestReport(t *testing.T) {
	c := Config{Windows: windows.Default(), Rules: load(t, nowRules), Against: load(t, oldRules), ToMS: 300_000,
		Incidents: []Incident{
			{Name: "outage", Labels: map[string]string{"host": "a"}, FromMS: 20_000, ToMS: 60_000},
			{FromMS: 120_000, ToMS: 130_000},
			{Labels: map[string]string{"host": "b"}, FromMS: 20_000, ToMS: 60_000},
			{FromMS: 400_000, ToMS: 500_000},
		}}
	b := played(t, c,
		0, 90, 90, 90, 90, 90, 90, 60, 60, 40, // high: from 40s until 80s; with the old rules from 60s until 100s
		55, 15, 0, 0, 0, 90, 0, 0, 0, 0, // pending only
		90, 90, 90, 0, 0, 0, 90, 90, 90, 90) // high twice; with the old rules never, because 30s are less than 40s
	r := b.Report()
	var text strings.Builder
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	const want = `1970-01-01 00:00:00 to 1970-01-01 00:05:00 (5m)

rule     alerts  series  firing  longest  pending only
g/high   3       1       1m      40s      1
g/new    1       1       10s     10s      0
g/other  0       0       0s      0s       0

g/other: the recording has no z

true since           fired                for   ended         value  alert
1970-01-01 00:00:20  1970-01-01 00:00:40  40s   false         90     g/high{host="a"}
1970-01-01 00:01:50  1970-01-01 00:01:50  10s   false         55     g/new{host="a"}
1970-01-01 00:03:30  1970-01-01 00:03:50  10s   false         90     g/high{host="a"}
1970-01-01 00:04:30  1970-01-01 00:04:50  10s+  still firing  90     g/high{host="a"}

compared with the other rules  at                   alert
+ new                          1970-01-01 00:01:50  g/new{host="a"}
+ new                          1970-01-01 00:03:50  g/high{host="a"}
+ new                          1970-01-01 00:04:50  g/high{host="a"}
- gone                         1970-01-01 00:02:00  g/gone{host="a"}
< earlier by 20s               1970-01-01 00:00:40  g/high{host="a"}

new: 3, gone: 1, earlier: 1, later: 0, ended at another time: 0, the same: 0
rules added: g/new, g/other
rules removed: g/gone

incident                    until                caught by
1970-01-01 00:00:20 outage  1970-01-01 00:01:00  g/high after 20s, 20s before its end
1970-01-01 00:02:00         1970-01-01 00:02:10  nothing

incidents caught: 1 of 2; alerts: 4, of which false: 3
incidents outside the report's time or of series that the recording lacks: 2

false alert          for   alert
1970-01-01 00:01:50  10s   g/new{host="a"}
1970-01-01 00:03:50  10s   g/high{host="a"}
1970-01-01 00:04:50  10s+  g/high{host="a"}
`
	if text.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &text, want)
	}
	if a := r.Alerts[0]; a.KnownMS != 42_000 {
		t.Errorf("known at %d ms, want 42,000", a.KnownMS)
	}
	var plot strings.Builder
	if err := b.Plot(r, &plot); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`>x{host=&#34;a&#34;}</text>`, `<title>outage</title>`, `<title>before: g/gone{host=&#34;a&#34;}</title>`, `<path fill="none" stroke="#1565c0" d="M170 `} {
		if !strings.Contains(plot.String(), want) {
			t.Errorf("no %s in\n%s", want, &plot)
		}
	}
}

// TestCompare: an alert that fires later, one that ends later, and one that ends earlier; a set of rules does not differ
// from itself.
func TestCompare(t *testing.T) {
	values := []float64{0, 90, 90, 90, 90, 90, 90, 60, 60, 40, 0}
	for _, x := range []struct{ now, old, want string }{
		{oldRules, nowRules, "> later by 20s                 1970-01-01 00:01:00  g/high{host=\"a\"}\n"},
		{strings.Replace(nowRules, "20s", "20s, recover: x < 50", 1), nowRules, "~ ends later by 20s            1970-01-01 00:00:40  g/high{host=\"a\"}\n"},
		{nowRules, strings.Replace(nowRules, "20s", "20s, recover: x < 50", 1), "~ ends earlier by 20s          1970-01-01 00:00:40  g/high{host=\"a\"}\n"},
		{nowRules, nowRules, "compared with the other rules: no difference (alerts: 1)\n"},
	} {
		r := played(t, Config{Windows: windows.Default(), Rules: load(t, x.now), Against: load(t, x.old), ToMS: 200_000}, values...).Report()
		var text strings.Builder
		if err := r.WriteText(&text); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(text.String(), x.want) {
			t.Errorf("no %q in\n%s", x.want, &text)
		}
	}
}

// TestWithoutAlerts: a report without alerts can be drawn, too.
func TestWithoutAlerts(t *testing.T) {
	b := played(t, Config{Windows: windows.Default(), Rules: load(t, nowRules), ToMS: 100_000}, 0, 1, 2)
	r := b.Report()
	var plot strings.Builder
	if err := b.Plot(r, &plot); err != nil || len(r.Alerts) > 0 || !strings.Contains(plot.String(), ">no alerts</text>") {
		t.Errorf("%v, %+v\n%s", err, r.Alerts, &plot)
	}
}

func TestParseTime(t *testing.T) {
	for text, want := range map[string]int64{
		"1970-01-02": 86_400_000, "1970-01-01 00:01": 60_000, "1970-01-01 00:00:01": 1000, "1970-01-01T01:00:00+01:00": 0,
	} {
		if got, err := ParseTime(text); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "noon", "1970-13-01", "5"} {
		if ms, err := ParseTime(text); err == nil {
			t.Errorf("%q: %d", text, ms)
		}
	}
}

// TestIncidentEndsAfterItBegins, also where one of its times is the year 1970's first.
func TestIncidentEndsAfterItBegins(t *testing.T) {
	for _, times := range []string{"from: 1970-01-01, to: 1970-01-01", "from: 2014-01-01, to: 1970-01-01"} {
		_, err := ParseIncidents("i.yaml", []byte("incidents:\n- {"+times+"}\n"))
		if err == nil || !strings.Contains(err.Error(), "incidents[0].to: \"1970-01-01\": must be after from") {
			t.Errorf("%s: %v", times, err)
		}
	}
	if _, err := ParseIncidents("i.yaml", []byte("incidents:\n- {from: 1970-01-01, to: 1970-01-02}\n")); err != nil {
		t.Error(err)
	}
}

// FuzzParseIncidents: no file makes ParseIncidents panic, and no incident ends before it begins.
func FuzzParseIncidents(f *testing.F) {
	f.Add("incidents:\n- {name: a, labels: {host: b}, from: 2014-01-01, to: 2014-01-02}\n")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := ParseIncidents("i.yaml", []byte(text))
		for _, in := range all {
			if err == nil && in.ToMS <= in.FromMS {
				t.Errorf("%+v", in)
			}
		}
	})
}
