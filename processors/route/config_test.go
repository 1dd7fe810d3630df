package route

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weir-metrics/weir/deploy/conf"
)

func TestDefaultIsValid(t *testing.T) {
	c := Default()
	d := conf.Parse("weir.yaml", nil, &struct{}{})
	c.Validate("route", d)
	if err := d.Err(); err != nil {
		t.Error(err)
	}
}

func TestValidateReportsEveryFault(t *testing.T) {
	const text = `route:
  group_labels: [host, "", host]
  max_record_bytes: %d
  max_labels: %d
  commit: %s
`
	check := func(bytes, labels int, commit time.Duration) string {
		file := struct {
			Route Config `yaml:"route"`
		}{Default()}
		d := conf.Parse("weir.yaml", fmt.Appendf(nil, text, bytes, labels, commit), &file)
		file.Route.Validate("route", d)
		return d.Err().Error()
	}
	got := check(1023, 0, 99*time.Millisecond)
	for _, want := range []string{
		"weir.yaml:2: route.group_labels[1]: must not be empty", `weir.yaml:2: route.group_labels[2]: "host": must not appear twice`,
		`weir.yaml:3: route.max_record_bytes: "1023": must be 1024 to 67108864 bytes`, `weir.yaml:4: route.max_labels: "0": must be 1 to 512`,
		`weir.yaml:5: route.commit: "99ms": must be 100ms to 1m`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no fault %q in\n%s", want, got)
		}
	}
	if got := check(64<<20+1, 513, time.Minute+time.Millisecond); strings.Count(got, "\n") != 4 {
		t.Errorf("beyond the upper bounds, want 5 faults:\n%s", got)
	}
	if got := check(64<<20, 512, time.Minute); strings.Count(got, "\n") != 1 {
		t.Errorf("at the upper bounds, want the labels' 2 faults:\n%s", got)
	}
	if got := check(1<<10, 1, 100*time.Millisecond); strings.Count(got, "\n") != 1 {
		t.Errorf("at the lower bounds, want the labels' 2 faults:\n%s", got)
	}
}
