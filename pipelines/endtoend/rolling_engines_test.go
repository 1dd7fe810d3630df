//go:build engines

package endtoend

import (
	"fmt"
	"testing"
	"time"

	"github.com/weir-metrics/weir/pipelines/enginetest"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/sinks/sinktest"
	"github.com/weir-metrics/weir/windows"
)

// TestRollingRestart restarts three processes, one after the other, while samples arrive live and in
// order: no window is late, no alert is told twice, and no alert that still fires is resolved.
func TestRollingRestart(t *testing.T) {
	enginetest.Reset(t, keyspace)
	pager := sinktest.NewPagerDuty(t, pagerKey)
	config := fleetConfig(t, pager, "")
	var weirs []*enginetest.Weir
	for i := range 3 {
		weirs = append(weirs, enginetest.Run(t, fmt.Sprint(i), config, "--roles", rolesButAgent))
	}
	for _, w := range weirs {
		w.Ready(t, time.Minute)
	}
	began := time.Now()
	load := &live{hosts: 60, metrics: 5, hot: func(h int, at time.Time) bool {
		switch {
		case h < 10: // all the time
			return true
		case h < 40: // from then on
			return at.Sub(began) > time.Duration(h)*time.Second
		}
		return false
	}}
	load.begin(t)
	pass(t, 15*time.Second)

	late := map[string]float64{}
	look := func(w *enginetest.Weir) {
		for _, kind := range []string{"closed", "revised", "late_partial"} {
			n, err := metric(w, "weir_window_windows_total", fmt.Sprintf("kind=%q", kind))
			if err != nil {
				t.Fatal(err)
			}
			late[kind] += n
		}
	}
	for _, w := range weirs {
		look(w)
		stopping := time.Now()
		w.Stop(t, 30*time.Second)
		stopped := time.Now()
		w.Start(t)
		w.Ready(t, 30*time.Second)
		t.Logf("weir %s stopped in %v and was ready again %v later", w.Name, stopped.Sub(stopping).Round(time.Millisecond), time.Since(stopped).Round(time.Millisecond))
		pass(t, 5*time.Second)
	}
	pass(t, 10*time.Second)
	endMS := load.stop(t)
	want := transitions(load.samples)
	if len(want) < 30 {
		t.Fatalf("%d alerts in the load", len(want))
	}
	for alert, trs := range want {
		if len(trs) != 1 || trs[0].To != schemas.Firing {
			t.Fatalf("the load resolves %s: %v", alert, trs)
		}
	}
	twice := 0
	enginetest.Eventually(t, time.Minute, "right notifications", func() (err error) {
		twice, err = checkPager(pager, want)
		return err
	})
	if twice > 0 {
		t.Errorf("PagerDuty received %d repeated events", twice)
	}
	checkRows(t, load.samples, endMS, time.Minute)
	for _, w := range weirs {
		look(w)
	}
	t.Logf("windows counted: %v", late)
	if late["closed"] == 0 || late["revised"]+late["late_partial"] > 0 {
		t.Errorf("windows counted: %v, want none revised and no late partial", late)
	}
	// The rows show what a process did between the last look at its metrics and its end.
	type row struct {
		Metric, Series, TS string
		Part, Revision     int64
	}
	cfg := windows.Default()
	for _, tier := range cfg.TiersMS() {
		for _, r := range enginetest.Rows[row](t, fmt.Sprintf("SELECT JSON metric, series, ts, part, revision FROM %s.metrics_%s", keyspace, schemas.TierName(tier))) {
			if r.Part != 0 || r.Revision != 0 {
				t.Errorf("metrics_%s: late: %+v", schemas.TierName(tier), r)
			}
		}
	}
}
