package operations

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/pipelines/pipelinetest"
)

// TestPromtoolsTestsPass: promtool's own rules and unit tests, translated, pass as far as they have an equivalent, and the
// one that promtool expects to fail fails.
func TestPromtoolsTestsPass(t *testing.T) {
	const from = "testdata/promtool/"
	into := t.TempDir()
	var told strings.Builder
	i := ImportPrometheus{Files: []string{from + "unittest.yml", from + "rules.yml", from + "failing.yml", from + "no-test-group-interval.yml"}, Into: into}
	err := i.Run(nil, &told)
	if err == nil || err.Error() != "24 things have no equivalent and were left out" {
		t.Errorf("%v\n%s", err, &told)
	}
	for _, want := range []string{
		"left out: testdata/promtool/rules.yml:15:15: alerts/AlwaysFiring: reads no series: such an alert always or never fires\n",
		"left out: testdata/promtool/rules.yml:19: rules/job:test:count_over_time1m: is a recording rule: weir has none\n",
		"testdata/promtool/rules.yml: alerts translated: 1, left out: 4\n",
		"left out: testdata/promtool/unittest.yml:19: test: input_series: weir has no native histograms\n",
		"testdata/promtool/unittest.yml: tests translated: 1, left out: 14\n",
		"testdata/promtool/no-test-group-interval.yml: tests translated: 0, left out: 2\n",
	} {
		if !strings.Contains(told.String(), want) {
			t.Errorf("not told: %s\n%s", want, &told)
		}
	}
	var out strings.Builder
	if err := (RuleTests{Files: []string{filepath.Join(into, "unittest.yml")}}).Run(t.Context(), &out); err != nil {
		t.Errorf("%v\n%s", err, &out)
	}
	out.Reset()
	err = RuleTests{Files: []string{filepath.Join(into, "failing.yml")}}.Run(t.Context(), &out)
	if err == nil || !strings.Contains(out.String(), "alert InstanceDown at 5m12s\n    fires and is not expected") {
		t.Errorf("%v\n%s", err, &out)
	}
	if _, err := os.Stat(filepath.Join(into, "no-test-group-interval.yml")); err == nil {
		t.Error("a file without tests was written")
	}
}

// TestImportPrometheusFaults: what is wrong is told, and nothing is written over.
func TestImportPrometheusFaults(t *testing.T) {
	dir := t.TempDir()
	good := pipelinetest.Write(t, dir, "good.yml", "groups: [{name: g, rules: [{alert: a, expr: up == 0}]}]\n")
	bad := pipelinetest.Write(t, dir, "bad.yml", "groups: [{rulez: 1}]\n")
	badTests := pipelinetest.Write(t, dir, "tests.yml", "tests: [5]\n")
	for name, c := range map[string]struct {
		i    ImportPrometheus
		want []string
	}{
		"files":  {ImportPrometheus{Files: []string{bad, badTests, dir + "/missing.yml"}, Into: dir}, []string{"bad.yml:1: groups[0].rulez: unknown field", "tests.yml: line 1: a test must be a mapping", "missing.yml"}},
		"into":   {ImportPrometheus{Files: []string{good, good}}, []string{"--into: must be given for several files"}},
		"itself": {ImportPrometheus{Files: []string{good}, Into: dir}, []string{"--into: ", "good.yml must be new and writable: file already exists"}},
		"nobody": {ImportPrometheus{Files: []string{good}, Into: dir + "/no"}, []string{"good.yml must be new and writable: no such file"}},
	} {
		var out, told strings.Builder
		err := c.i.Run(&out, &told)
		var faults conf.Faults
		if !errors.As(err, &faults) || out.Len() > 0 {
			t.Errorf("%s: %v, %q", name, err, &out)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: no %q in %v", name, want, err)
			}
		}
	}
	var out, told strings.Builder
	if err := (ImportPrometheus{Files: []string{good}}).Run(&out, &told); err != nil || !strings.Contains(out.String(), "expr: up == 0") || told.String() != good+": alerts translated: 1, left out: 0\n" {
		t.Errorf("%v, %q, %q", err, &out, &told)
	}
}
