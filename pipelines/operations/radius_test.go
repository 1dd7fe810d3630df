package operations

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/weir-metrics/weir/pipelines/pipelinetest"
)

// TestRadiusOfRunningWeir: series are listed page by page, those that were not seen for a day are left
// out, and a weir that does not answer is an error.
func TestRadiusOfRunningWeir(t *testing.T) {
	now := time.Now().UnixMilli()
	entry := func(metric, host string, lastMS int64) string {
		return fmt.Sprintf(`{"series":"%[1]s{host=\"%[2]s\"}","metric":"%[1]s","labels":{"host":"%[2]s"},"source":"%[2]s","last":%[3]d}`, metric, host, lastMS)
	}
	pages := map[string]string{
		"cpu.usage":   `{"series":[` + entry("cpu.usage", "a", now) + `,` + entry("cpu.usage", "b", now-3600_000) + `],"after":"b"}`,
		"cpu.usage b": `{"series":[` + entry("cpu.usage", "c", now) + `,` + entry("cpu.usage", "old", now-26*3600_000) + `]}`,
		"disk.used":   `{"series":[` + entry("disk.used", "a", now) + `]}`,
		"":            `{"series":[{"metric":"cpu.usage"},{"metric":"disk.used"}]}`,
	}
	weir := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, ok := pages[strings.TrimSpace(r.FormValue("metric")+" "+r.FormValue("after"))]
		if !ok || r.URL.Path != "/api/v1/series" {
			w.WriteHeader(http.StatusBadRequest)
		}
		fmt.Fprint(w, body)
	}))
	defer weir.Close()
	file := pipelinetest.Write(t, t.TempDir(), "r.yaml", `groups:
- name: g
  rules:
  - {alert: busy, expr: 'avg(cpu.usage, "1m") > 90'}
  - {alert: both, expr: cpu.usage > 90 and disk.used > 90, where: labels.host == "a"}
`)
	var out strings.Builder
	check := Check{Files: []string{file}, URL: weir.URL, Radius: &out}
	if _, err := check.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	const want = `rule    groups  label sets  series  evaluations/s  state
g/busy  3       3           3       0.3            1310 B
g/both  1       1           2       0.1            516 B
all             4                   0.4            1826 B
`
	if got := out.String(); strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(want), " ") {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	check.URL = "http://" + nobodyListens(t)
	if _, err := check.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "blast radius: the series of cpu.usage: ") {
		t.Errorf("nobody answers: %v", err)
	}
}
