package alerts

import (
	"fmt"
	"strings"
	"testing"
)

// TestSLO: an objective makes the four rules of the table in docs/rules.md, each on the largest tier that serves it, with what the
// rule itself has; tiers that cannot serve one are a fault, once.
func TestSLO(t *testing.T) {
	const text = "- name: g\n  rules:\n  - alert: a\n    slo:\n      good: count(ok) - sum(late)\n      total: metric(\"all-requests\")\n      objective: 99.5\n    shadow: true\n    keep_firing_for: 5m\n" +
		"    where: labels.env == \"prod\"\n    labels: {team: web}\n"
	rs, err := Load(badConfig, File{"r.yaml", []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		name, severity, tier, long, short string
		spent                             float64
	}{
		{"g/a_1h", "page", "1m", "1h", "5m", 14.4 * 0.005},
		{"g/a_6h", "page", "1m", "6h", "30m", 6 * 0.005},
		{"g/a_1d", "ticket", "1h", "1d", "2h", 3 * 0.005},
		{"g/a_3d", "ticket", "1h", "3d", "6h", 1 * 0.005},
	}
	if rs.Len() != len(want) {
		t.Fatalf("%d rules: %v", rs.Len(), rs.Names())
	}
	for i, w := range want {
		r := rs.rules[i]
		labels := map[string]string{}
		for _, l := range r.labels {
			labels[l.name] = l.text
		}
		if got := fmt.Sprint(labels); r.name != w.name || !r.shadow || r.keepMS != 300_000 || r.where == nil || got != fmt.Sprintf("map[severity:%s slo:a team:web]", w.severity) {
			t.Errorf("%s: labels %s of %+v", w.name, got, r)
		}
		said := strings.Join(rs.Describe(), "\n")
		for _, line := range []string{fmt.Sprintf("%s is judged when windows of %s close, and fires if", w.name, w.tier), "over both " + w.long + " and " + w.short + "; a shadow"} {
			if !strings.Contains(said, line) {
				t.Errorf("%s: no %q in\n%s", w.name, line, said)
			}
		}
		if info := rs.Info()[i]; info.Name() != w.name || !info.Shadow || info.Labels["severity"] != w.severity || info.Labels["team"] != "web" ||
			!strings.HasPrefix(info.Expr, `1 - (count(ok) - sum(late)) / (metric("all-requests")) > `) || !strings.HasSuffix(info.Expr, "over "+w.long+" and "+w.short) {
			t.Errorf("%s: shown as %+v", w.name, info)
		}
		in := func(bad float64) []float64 {
			all := make([]float64, len(r.inputs))
			for k := range r.inputs {
				switch r.inputs[k].metric {
				case "ok":
					all[k] = 1000 - bad*500
				case "late":
					all[k] = bad * 500
				default:
					all[k] = 1000
				}
			}
			return all
		}
		for _, bad := range []float64{w.spent * 0.999, w.spent * 1.001} {
			if got, value := r.expr.truth(in(bad)); got != truthOf(bad > w.spent) || value < bad*0.999 || value > bad*1.001 {
				t.Errorf("%s: %v of the requests are bad, limit %v: %v, %v", w.name, bad, w.spent, got, value)
			}
		}
		half := in(w.spent * 2) // over the long range only
		for k := range r.inputs {
			if msText(r.inputs[k].rangeMS) == w.short {
				half[k] = in(0)[k]
			}
		}
		if got, _ := r.expr.truth(half); got != no {
			t.Errorf("%s: the errors are over, and it is %v", w.name, got)
		}
	}
	_, err = Load(LoadConfig{TiersMS: []int64{10_000}}, File{"r.yaml", []byte(text)})
	if err == nil || strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "r.yaml:5: groups[0].rules[0].slo: needs a tier (windows.tiers) for 6h and 30m:") &&
		!strings.HasPrefix(err.Error(), "r.yaml:5: [0].rules[0].slo: needs a tier (windows.tiers) for 6h and 30m:") {
		t.Errorf("with windows of 10s: %v", err)
	}
}
