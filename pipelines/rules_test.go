package pipelines

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/deploy/conf"
)

// gauge is the sum of a metric's gauges.
func gauge(t *testing.T, reg *prometheus.Registry, name string) (n float64) {
	t.Helper()
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				n += m.GetGauge().GetValue()
			}
		}
	}
	return n
}

// TestLastReload: a refused reload is told by metrics, log and warning, with its first fault, until the next one
// is accepted.
func TestLastReload(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_500)
	var answer error
	reg := prometheus.NewRegistry()
	var log bytes.Buffer
	r := newRules(&alerts.RuleSet{}, func(*alerts.RuleSet, cutFiles) (*alerts.RuleSet, error) {
		if answer != nil {
			return nil, answer
		}
		return alerts.Load(alerts.LoadConfig{TiersMS: []int64{10_000}}, alerts.File{Name: "a.yaml", Data: []byte("groups: [{name: g, rules: [{alert: a, expr: cpu > 1}]}]\n")})
	}, func() time.Time { return now }, reg, slog.New(slog.NewTextHandler(&log, nil)))
	check := func(successful, at, loaded float64, warning string) {
		t.Helper()
		for name, want := range map[string]float64{
			"weir_rules_last_reload_successful": successful, "weir_rules_last_reload_success_timestamp_seconds": at, "weir_rules_loaded": loaded,
		} {
			if got := gauge(t, reg, name); got != want {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
		}
		if got := r.Warning(); got != warning {
			t.Errorf("warning %q, want %q", got, warning)
		}
	}
	check(1, 1_700_000_000.5, 0, "")

	now = now.Add(time.Minute)
	answer = conf.Faults{{File: "a.yaml", Line: 4, Column: 3, Field: "groups[0]", Bound: "is wrong", Snippet: "a\n^"}, {File: "b.yaml", Bound: "too"}}
	if err := r.reload(refuseCut); err == nil {
		t.Error("no error")
	}
	check(0, 1_700_000_000.5, 0, "the rules loaded at 2023-11-14T22:13:20Z are still in use; those in the files were refused at 2023-11-14T22:14:20Z: a.yaml:4: groups[0]: is wrong (and 1 more)")
	if !strings.Contains(log.String(), "rules not reloaded") {
		t.Errorf("not logged: %s", log.String())
	}
	answer = errNoFile
	_ = r.reload(refuseCut)
	if w := r.Warning(); !strings.HasSuffix(w, errNoFile.Error()) {
		t.Errorf("of an error that is no fault: %q", w)
	}

	now, answer = now.Add(time.Minute), nil
	if err := r.reload(refuseCut); err != nil {
		t.Error(err)
	}
	check(1, 1_700_000_120.5, 1, "")
}
