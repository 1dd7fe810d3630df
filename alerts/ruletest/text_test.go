package ruletest

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write what was got into the files of testdata")

// TestFiles runs the rule tests in testdata, undisturbed and disturbed. After an intended change, run it
// with -rewrite and read the diff.
func TestFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for name, d := range map[string]Disturbance{"undisturbed": None, "restarts": Restarts, "replays": Replays} {
			t.Run(filepath.Base(file)+"/"+name, func(t *testing.T) {
				cases, err := Parse(file, data)
				if err != nil {
					t.Fatal(err)
				}
				Run(cases, d)
				for _, c := range cases {
					if c.Failed() && !*rewrite {
						t.Errorf("%s:%d: %s\ngot\n%swant\n%s", file, c.Line, c.Command, c.Got, c.Want)
					}
				}
				if *rewrite && d == None {
					if err := os.WriteFile(file, Format(cases), 0o644); err != nil {
						t.Fatal(err)
					}
				}
			})
		}
	}
}

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":               "f: no cases",
		"# only\n":       "f: no cases",
		"run 5m\n":       "f:1: run 5m: no line ---- after the input",
		"\n\nrules\na\n": "f:3: rules: no line ---- after the input",
	} {
		if _, err := Parse("f", []byte(text)); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}
