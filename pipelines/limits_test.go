package pipelines

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTablesOfLimits: a table that a rule file names is read from that file's folder, at the start and at a reload; if it has faults,
// the rules are refused.
func TestTablesOfLimits(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("disk.csv", "host,limit\ndb01,95\ndb02,80\n")
	write("rules.yaml", "limits:\n- {name: disk, labels: [host], file: disk.csv}\ngroups:\n- name: g\n  rules:\n  - {alert: full, expr: 'disk > limit(\"disk\", labels.host)'}\n")
	file := write("weir.yaml", "rules: [rules.yaml]\n")
	config, first, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	write("disk.csv", "host,limit\ndb01,96\ndb02,80\n")
	next, err := config.LoadRules(file, first, refuseCut)
	if err != nil || next.Hash() == first.Hash() {
		t.Fatalf("reloaded: %v, hash %s as before", err, first.Hash())
	}
	for text, want := range map[string]string{
		"host,limit\ndb01,much\ndb02,80\n": `disk.csv:2: "much": limit must be a finite number`,
		"host,limit\ndb01,96\n":            "disk.csv: looks cut",
		"":                                 "disk.csv: is empty or cut",
	} {
		write("disk.csv", text)
		if _, err := config.LoadRules(file, next, refuseCut); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	write("rules.yaml", "limits:\n- {name: disk, labels: [host], file: nosuch.csv}\ngroups: []\n")
	if _, _, err := Load(file); err == nil || !strings.Contains(err.Error(), `rules.yaml:2: limits[0].file: "nosuch.csv": must be readable: no such file or directory`) {
		t.Error(err)
	}
}
