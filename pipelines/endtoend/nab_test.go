package endtoend

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/windows"
	"github.com/weir-metrics/weir/windows/windowtest"
)

// nabFile is a file of testdata/nab, with the threshold of the end-to-end tests' rule on it.
type nabFile struct {
	name      string  // without .csv; the metric's name
	threshold float64 // of the hourly average; a few hours of the file exceed it
}

var nabFiles = []nabFile{
	{"ec2_cpu_utilization_24ae8d", 0.238},
	{"ec2_request_latency_system_failure", 47.11},
	{"ec2_disk_write_bytes_1ef3de", 5.24e7},
}

// nabHourMS is the largest tier. Times are shifted by multiples of it, so that samples fall into
// the same windows as before.
const nabHourMS = 3_600_000

// nabTime is the format of the times in the files, which are UTC.
const nabTime = "2006-01-02 15:04:05"

// readNAB returns the samples of a file in the order of its rows, with shiftMS added to their
// times.
func readNAB(t testing.TB, name string, shiftMS int64) []schemas.Sample {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "nab", name+".csv"))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	var samples []schemas.Sample
	for _, row := range rows[1:] {
		at, err := time.Parse(nabTime, row[0])
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		v, err := strconv.ParseFloat(row[1], 64)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		samples = append(samples, schemas.Sample{Series: nabSeries(name), TimeMS: at.UnixMilli() + shiftMS, Value: v})
	}
	return samples
}

// shiftBefore returns the shift, a multiple of an hour in ms, that moves the last sample into the
// newest hour that ended before beforeMS.
func shiftBefore(samples []schemas.Sample, beforeMS int64) int64 {
	last := slices.MaxFunc(samples, func(a, b schemas.Sample) int { return int(a.TimeMS - b.TimeMS) }).TimeMS
	return (beforeMS/nabHourMS - 1 - last/nabHourMS) * nabHourMS
}

// change is a transition of an alert to firing or resolved, of which receivers are told.
type change struct {
	to   schemas.AlertState
	atMS int64 // end of the window that decided it
}

func (c change) String() string {
	return fmt.Sprintf("%s at %s", c.to, time.UnixMilli(c.atMS).UTC().Format(time.RFC3339))
}

// changes returns the changes of a rule avg(metric, "1h") > threshold on the 1h tier, without for.
// It reads only the 1h windows. No gap of the files is as long as no_data.
func changes(ws []schemas.Window, threshold float64) []change {
	var all []change
	firing := false
	for _, w := range ws {
		if w.TierMS != nabHourMS || w.Avg() > threshold == firing {
			continue
		}
		firing = !firing
		to := schemas.Resolved
		if firing {
			to = schemas.Firing
		}
		all = append(all, change{to, w.EndMS()})
	}
	return all
}

// nabRules returns the rule file, with a rule per NAB file and one for the scenario's probe.
func nabRules() string {
	var b strings.Builder
	b.WriteString("groups:\n- name: nab\n  rules:\n")
	for _, f := range nabFiles {
		fmt.Fprintf(&b, "  - alert: high_%s\n    expr: avg(%s, \"1h\") > %v\n    tier: 1h\n    labels: {severity: page}\n"+
			"    annotations: {summary: \"{{ .Value }} is high\"}\n", f.name, f.name, f.threshold)
	}
	b.WriteString("  - {alert: probe, expr: probe > 0, labels: {severity: page}}\n")
	return b.String()
}

// TestNABThroughTheWindowCode compares the pure core with the oracle on real data. If it fails,
// the other end-to-end tests need no explanation.
func TestNABThroughTheWindowCode(t *testing.T) {
	cfg := windows.Default()
	fold := windows.NewFold(cfg, schemas.GroupLabels)
	var all []schemas.Sample
	for _, f := range nabFiles {
		all = append(all, readNAB(t, f.name, 0)...)
	}
	for _, s := range all {
		if err := fold.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	got, err := fold.Windows()
	if err != nil {
		t.Fatal(err)
	}
	want := windowtest.Oracle(all, cfg.TiersMS()...)
	if err := windowtest.Compare(got, want); err != nil {
		t.Error(err)
	}
	if fold.Duplicates != 11 {
		t.Errorf("%d repeats, want the 11 of ec2_disk_write_bytes_1ef3de", fold.Duplicates)
	}
	for _, f := range nabFiles {
		own := slices.DeleteFunc(slices.Clone(want), func(w schemas.Window) bool { return w.Series.Metric != f.name })
		if cs := changes(own, f.threshold); len(cs) < 4 || cs[len(cs)-1].to != schemas.Resolved {
			t.Errorf("%s: threshold %v gives the changes %v, want at least 4, the last one to resolved", f.name, f.threshold, cs)
		}
	}
}

func nabSeries(name string) schemas.Series { return schemas.Series{Metric: name} }
