package operations

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-metrics/weir/alerts/backtest"
	"github.com/weir-metrics/weir/collect"
	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/pipelines/pipelinetest"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the expected results in testdata and docs")

// nab returns a backtest of CPU usage that was recorded in Amazon's cloud; see testdata/backtest/nab.
func nab(hosts ...string) Backtest {
	const dir = "testdata/backtest/"
	t := Backtest{Rules: dir + "rules.yaml", Against: dir + "old.yaml", Incidents: dir + "incidents.yaml"}
	t.Recorded.Series = `cpu.usage{host="{file}"}`
	for _, h := range hosts {
		t.Recorded.Files = append(t.Recorded.Files, dir+"nab/"+h+".csv")
	}
	return t
}

func runBacktest(t *testing.T, b Backtest) (out, shown string) {
	t.Helper()
	var o, s strings.Builder
	if err := b.Run(t.Context(), &o, &s); err != nil {
		t.Fatal(err)
	}
	return o.String(), s.String()
}

// sameAs compares a text with a file or, with -rewrite, writes the file.
func sameAs(t *testing.T, file, got string) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (-rewrite writes it); got\n%s", file, got)
	}
}

// TestBacktestOfNAB: the report and the plot in docs/rules.md come from the recordings, and so do the numbers there about
// other machines, for which the rules were not written.
func TestBacktestOfNAB(t *testing.T) {
	b := nab("77c1ca", "825cc2", "ac20cd")
	b.Plot = filepath.Join(t.TempDir(), "plot.svg")
	got, shown := runBacktest(t, b)
	if !strings.Contains(shown, " x real time\n") || !strings.Contains(shown, "12096 samples of ") {
		t.Errorf("shown: %q", shown)
	}
	sameAs(t, "testdata/backtest/nab.txt", got)
	plot, err := os.ReadFile(b.Plot)
	if err != nil {
		t.Fatal(err)
	}
	sameAs(t, "../../docs/backtest.svg", string(plot))
	for d := xml.NewDecoder(strings.NewReader(string(plot))); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	others, _ := runBacktest(t, nab("24ae8d", "5f5533", "c6585a", "fe7f93"))
	sameAs(t, "testdata/backtest/others.txt", others)

	page, err := os.ReadFile("../../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := os.ReadFile("testdata/backtest/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{got, string(rules)} {
		if !strings.Contains(string(page), part) {
			t.Errorf("docs/rules.md lacks\n%s", part)
		}
	}
	_, found, _ := strings.Cut(others, "\nincidents caught: ")
	if found, _, _ = strings.Cut(found, "\n"); !strings.Contains(string(page), "`incidents caught: "+found+"`") {
		t.Errorf("docs/rules.md lacks `incidents caught: %s`", found)
	}
}

// TestBacktestJSON: the JSON report agrees with the text, and does not depend on the order of a file's rows.
func TestBacktestJSON(t *testing.T) {
	b := nab("77c1ca", "ac20cd")
	b.JSON = true
	text, _ := runBacktest(t, b)
	var r backtest.Report
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Rules) != 2 || r.Rules[0].Rule != "cloud/cpu_saturated" || r.Rules[0].Alerts != 2 || len(r.Alerts) != 4 || r.Incidents.Known != 2 || r.Incidents.Caught != 2 {
		t.Errorf("%s", text)
	}
	for _, a := range r.Alerts {
		if a.FiredMS < a.ActiveMS || a.KnownMS < a.FiredMS || a.Labels["alertname"] == "" {
			t.Errorf("%+v", a)
		}
	}

	// One series after the other, in one file.
	dir := t.TempDir()
	var rows strings.Builder
	for _, host := range []string{"ac20cd", "77c1ca"} {
		csv, err := os.ReadFile("testdata/backtest/nab/" + host + ".csv")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(csv)) {
			if !strings.HasPrefix(line, "timestamp") {
				rows.WriteString(`cpu.usage{host="` + host + `"},` + line)
			}
		}
	}
	b.Recorded.Files = []string{pipelinetest.Write(t, dir, "all.csv", rows.String())}
	if sorted, _ := runBacktest(t, b); sorted != text {
		t.Errorf("sorted:\n%s\nmerged:\n%s", sorted, text)
	}
}

// TestBacktestOfPart: data from before the report's time counts for ranges and alerts, but is not reported.
func TestBacktestOfPart(t *testing.T) {
	b := nab("825cc2")
	b.Against, b.From, b.To = "", "2014-04-15 20:00", "2014-04-16T05:00:00Z"
	got, _ := runBacktest(t, b)
	for _, want := range []string{
		"2014-04-15 20:00:00 to 2014-04-16 05:00:00 (9h)\n",
		"cloud/cpu_saturated  1       1       7h10m   7h10m    0\n",
		"cloud/cpu_unusual    1       1       1h      1h       0\n",
		"2014-04-15 19:55:00  2014-04-15 20:25:00  7h10m  recovered     90.852  cloud/cpu_saturated{host=\"825cc2\",severity=\"page\"}\n",
		"2014-04-16 04:00:00  2014-04-16 04:00:00  1h+    still firing  19.557  cloud/cpu_unusual{host=\"825cc2\",severity=\"ticket\"}\n",
		"incidents caught: 1 of 1; alerts: 2, of which false: 0\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// TestBacktestFaults: faults are returned, all at once where possible, and no report is written.
func TestBacktestFaults(t *testing.T) {
	dir := t.TempDir()
	bad := pipelinetest.Write(t, dir, "bad.csv", "a,1000,1\na,x,1\n")
	empty := pipelinetest.Write(t, dir, "empty.csv", "")
	broken := pipelinetest.Write(t, dir, "broken.yaml", "groups:\n- name: g\n  rules:\n  - {alert: a, expr: 'x >'}\n")
	incidents := pipelinetest.Write(t, dir, "incidents.yaml", "incidents:\n- {from: noon, to: 2014-01-01}\n- {from: 2014-01-02, to: 2014-01-01, label: 1}\n")
	for name, c := range map[string]struct {
		change func(*Backtest)
		want   []string
		faults bool
	}{
		"rules":     {func(b *Backtest) { b.Rules, b.Against = broken, dir+"/missing.yaml" }, []string{"broken.yaml:4:", "missing.yaml"}, true},
		"incidents": {func(b *Backtest) { b.Incidents = incidents }, []string{"incidents.yaml:2: incidents[0].from: \"noon\": must be a time", "incidents.yaml:3: incidents[1].label: unknown field", "incidents[1].to: \"2014-01-01\": must be after from"}, true},
		"times":     {func(b *Backtest) { b.From, b.To = "yesterday", "x" }, []string{"--from: \"yesterday\": must be a time", "--to: \"x\""}, true},
		"order":     {func(b *Backtest) { b.To = "2014-01-01" }, []string{"--to: \"2014-01-01\": must be after the beginning, 2014-04-02"}, true},
		"rows":      {func(b *Backtest) { b.Recorded.Files = []string{bad} }, []string{"bad.csv:2: "}, false},
		"empty":     {func(b *Backtest) { b.Recorded.Files = []string{empty} }, []string{"no samples"}, false},
		"missing":   {func(b *Backtest) { b.Recorded.Files = []string{dir + "/none.csv"} }, []string{"none.csv"}, false},
		"plot":      {func(b *Backtest) { b.Plot = dir + "/no/plot.svg" }, []string{"--plot: "}, true},
	} {
		b := nab("77c1ca")
		c.change(&b)
		var out strings.Builder
		err := b.Run(t.Context(), &out, io.Discard)
		var faults conf.Faults
		if err == nil || errors.As(err, &faults) != c.faults || out.Len() > 0 {
			t.Errorf("%s: %v, %q", name, err, out.String())
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: no %q in\n%v", name, want, err)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := nab("77c1ca").Run(ctx, io.Discard, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	b := nab("77c1ca")
	b.Recorded.Files = []string{empty}
	if err := b.Run(t.Context(), io.Discard, io.Discard); !errors.Is(err, collect.ErrNoSamples) {
		t.Errorf("empty: %v", err)
	}
}
