package operations

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

func explainNAB(rule, series, at string, hosts ...string) Explain {
	t := Explain{Backtest: nab(hosts...), Rule: rule, Series: series}
	t.Against, t.Incidents, t.To = "", "", at
	return t
}

func runExplain(t *testing.T, e Explain) string {
	t.Helper()
	var out, shown strings.Builder
	if err := e.Run(t.Context(), &out, &shown); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestExplainOfNAB: what docs/rules.md shows, an alert that is pending, and one that reads two ranges.
func TestExplainOfNAB(t *testing.T) {
	pending := runExplain(t, explainNAB("cpu_saturated", `{host="825cc2"}`, "2014-04-10T01:00:00Z", "825cc2", "ac20cd"))
	firing := runExplain(t, explainNAB("cloud/cpu_unusual", `cpu.usage{host="825cc2"}`, "2014-04-16T05:00:00Z", "825cc2"))
	ended := runExplain(t, explainNAB("cpu_saturated", "", "2014-04-11T20:00:00Z", "77c1ca"))
	docs, err := os.ReadFile("../../docs/rules.md")
	if err != nil || !strings.Contains(string(docs), pending) {
		t.Errorf("docs/rules.md shows another explanation than this: %v\n%s", err, pending)
	}
	sameAs(t, "testdata/backtest/explain.txt", pending+"\n----\n"+firing+"\n----\n"+ended)
	for text, want := range map[string]string{
		pending: "\npending: true since 2014-04-10 00:35:00, and fires if it is still true at 2014-04-10 01:05:00 (for: 30m)\n",
		firing:  "\nfiring since 2014-04-16 04:00:00: true since 2014-04-16 04:00:00, last at 2014-04-16 04:00:00\n",
		ended:   "\ninactive: fired at 2014-04-11 19:01:00, ended at 2014-04-11 19:06:00: recovered\n", // as in the backtest
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestExplainJSON(t *testing.T) {
	e := explainNAB("cpu_saturated", "", "2014-04-10T01:00:00Z", "825cc2")
	e.JSON = true
	var all []explained
	if err := json.Unmarshal([]byte(runExplain(t, e)), &all); err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 || all[0].Rule != "cloud/cpu_saturated" || all[0].Expr[0].Value != "true" || len(all[0].Reads[0].Windows) != 6 ||
		all[0].Alert == nil || all[0].Alert.Fingerprint != all[0].Fingerprint || all[0].Info.ForMS != 30*60_000 {
		t.Errorf("%+v", all)
	}
}

// TestExplainFaults: what is not there is named.
func TestExplainFaults(t *testing.T) {
	for _, c := range []struct {
		rule, series, at string
		want             string
	}{
		{"cpu_saturted", "", "2014-04-10T01:00:00Z", `RULE: "cpu_saturted": must be a rule of the file: did you mean cpu_saturated?`},
		{"cpu_saturated", "{host=", "2014-04-10T01:00:00Z", `--series: "{host=": must be a series`},
		{"cpu_saturated", `{host="b"}`, "2014-04-12T01:00:00Z", `was not judged on {host="b"} up to 2014-04-12 01:00:00`},
		{"cpu_saturated", "", "noon", `--at: "noon"`},
		{"cpu_saturated", "", "2014-04-10T00:05:00Z", "no window of what it reads closed"},
	} {
		var out, shown strings.Builder
		err := explainNAB(c.rule, c.series, c.at, "825cc2").Run(t.Context(), &out, &shown)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q, %q, %s: %v, want %q", c.rule, c.series, c.at, err, c.want)
		}
	}
}
