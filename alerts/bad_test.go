package alerts

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas"
)

// badFiles matches rule files with one fault each. Next to each is the text of the fault.
const badFiles = "testdata/bad/*.yaml"

// badConfig has weir's default tiers, and keeps their windows for 2, 15 and 15 days.
var badConfig = LoadConfig{TiersMS: []int64{10_000, 60_000, 3_600_000}, GracesMS: []int64{2000, 5000, 30_000},
	TTLsMS: []int64{2 * 86_400_000, 15 * 86_400_000, 15 * 86_400_000}}

// TestBadFiles: each file of the corpus has exactly one fault, whose text tells what is wrong and where. No two files have the same.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob(badFiles)
	if err != nil || len(files) < 60 {
		t.Fatalf("%d files, want at least 60: %v", len(files), err)
	}
	told := map[string]string{}
	for _, file := range files {
		name := filepath.Base(file)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Load(badConfig, File{name, text})
		var faults conf.Faults
		if !errors.As(err, &faults) || len(faults) != 1 {
			t.Errorf("%s: %v, want one fault", name, err)
			continue
		}
		fault := faults[0]
		if fault.Line == 0 && name != "file-unknown-anchor.yaml" && len(strings.TrimSpace(string(text))) > 0 && !strings.HasPrefix(string(text), "#") {
			t.Errorf("%s: the fault has no line", name)
		}
		if inExpr := strings.HasSuffix(fault.Field, ".expr") && fault.Value != ""; inExpr && (fault.Column == 0 || fault.Snippet == "") {
			t.Errorf("%s: a fault in an expression has neither column nor caret: %v", name, fault)
		}
		of := fault.Field[strings.LastIndexByte(fault.Field, '.')+1:] + ": " + fault.Bound
		if other := told[of]; other != "" && !strings.HasPrefix(name, "file-") {
			t.Errorf("%s and %s have the same fault: %s", other, name, of)
		}
		told[of] = name
		golden := strings.TrimSuffix(file, ".yaml") + ".txt"
		got := err.Error() + "\n"
		if *rewrite {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s: the fault is\n%swant\n%s", name, got, want)
		}
	}
}

// TestGoodFilesBesideABadOne: only the bad file has faults, whatever files come before and after it.
func TestGoodFilesBesideABadOne(t *testing.T) {
	good := func(group string) File {
		return File{group + ".yaml", []byte("groups:\n- name: " + group + "\n  rules:\n  - {alert: a, expr: up == 0}\n")}
	}
	files, err := filepath.Glob(badFiles)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Load(badConfig, good("before"), File{"bad.yaml", text}, good("after"))
		var faults conf.Faults
		if !errors.As(err, &faults) || len(faults) != 1 || faults[0].File != "bad.yaml" {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// FuzzBadFiles: no change to a bad file makes Load panic; each fault has a text and a place in the file, and rules that load can
// be evaluated.
func FuzzBadFiles(f *testing.F) {
	files, err := filepath.Glob(badFiles)
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		rs, err := Load(badConfig, File{"f.yaml", data})
		if err != nil {
			lines := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + 2
			for _, fault := range err.(conf.Faults) {
				if fault.File != "f.yaml" || fault.Bound == "" || fault.Line < 0 || fault.Line > lines || fault.Column < 0 {
					t.Errorf("%#v", fault)
				}
			}
			return
		}
		e, st := rs.NewEvaluator(), &State{}
		for i, metric := range rs.Metrics() {
			w := window(t, `up{host="web01"}`, int64(i+1)*10_000, float64(i))
			w.Series.Metric = metric
			e.Closed(st, "web01", 10_000, w.EndMS(), []schemas.Window{w}, nil)
		}
		e.Advance(st, "web01", 1_000_000, nil)
	})
}
