package conf

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write what was got into the files of testdata")

// tier and settings have one field of every kind that a config can hold.
type tier struct {
	Size  Duration `yaml:"size"`
	Grace Duration `yaml:"grace"`
}

type inlined struct {
	Shards int32 `yaml:"shards"`
}

type settings struct {
	Inlined inlined           `yaml:",inline"`
	HTTP    string            `yaml:"http"`
	Windows windowSettings    `yaml:"windows"`
	Labels  map[string]string `yaml:"labels"`
	Limit   uint16            `yaml:"limit"`
	Ratio   float64           `yaml:"ratio"`
	On      bool              `yaml:"on"`
	Token   Secret            `yaml:"token"`
	Hook    *hook             `yaml:"hook"`
	Names   []string          `yaml:"names"`
}

type windowSettings struct {
	Tiers []tier   `yaml:"tiers"`
	Age   Duration `yaml:"max_age"`
}

type hook struct {
	URL string `yaml:"url"`
}

func defaults() settings {
	return settings{HTTP: "127.0.0.1:7070", Ratio: 0.5, Labels: map[string]string{"default": "label"},
		Windows: windowSettings{Age: Day, Tiers: []tier{{Duration(1e9), 0}}}}
}

// validate stands for the validation in packages: it checks what was decoded.
func (s *settings) validate(d *Doc) {
	for i, t := range s.Windows.Tiers {
		if t.Grace < 0 {
			d.Fail(fmt.Sprintf("windows.tiers[%d].grace", i), t.Grace, "must be at least 0s")
		}
		if t.Size == 0 {
			d.Fail(fmt.Sprintf("windows.tiers[%d].size", i), nil, "must be given")
		}
	}
	if s.Inlined.Shards < 0 {
		d.Fail("shards", s.Inlined.Shards, "must be at least 1")
	}
}

const divider = "-- what it gives --\n"

// readCase splits a file of testdata into a config and, after the divider, the wanted result.
func readCase(t testing.TB, file string) (config, want string) {
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	config, want, found := strings.Cut(string(b), divider)
	if !found {
		t.Fatalf("%s: no line %q", file, divider)
	}
	return config, want
}

// TestFiles reads the files in testdata and compares what was decoded, or the faults. After an intended change, run it with
// -rewrite and read the diff.
func TestFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			config, want := readCase(t, file)
			s := defaults()
			d := Parse("weir.yaml", []byte(config), &s)
			s.validate(d)
			var got string
			if err := d.Err(); err != nil {
				got = err.Error() + "\n"
			} else {
				b, err := json.MarshalIndent(s, "", "  ")
				if err != nil {
					t.Fatal(err)
				}
				got = string(b) + "\n"
			}
			if *rewrite {
				if err := os.WriteFile(file, []byte(config+divider+got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

func TestLineFallsBackToParent(t *testing.T) {
	var s settings
	d := Parse("f", []byte("http: x\nwindows:\n  tiers:\n  - size: 10s\n    grace: 1s\n"), &s)
	for _, c := range []struct {
		field string
		line  int
	}{
		{"windows.tiers[0].grace", 5}, {"windows.tiers[0].nothing", 4}, {"windows.tiers[7].grace", 4},
		{"windows.max_age", 3}, {"nowhere", 1}, {"", 1},
	} {
		if got := d.Line(c.field); got != c.line {
			t.Errorf("line of %q: %d, want %d", c.field, got, c.line)
		}
	}
	if err := d.Err(); err != nil {
		t.Error(err)
	}
}

func TestFaultWithSnippet(t *testing.T) {
	var s settings
	d := Parse("rules.yaml", nil, &s)
	d.FailAt(7, 12, "groups[0].rules[0].expr", "up = 0", "unexpected token", "    expr: up = 0\n             ^")
	want := "rules.yaml:7:12: groups[0].rules[0].expr: \"up = 0\": unexpected token\n    expr: up = 0\n             ^"
	if got := d.Err().Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestFaultsAreSortedByLine(t *testing.T) {
	var s settings
	d := Parse("f", []byte("http: x\nshards: 1\n"), &s)
	d.Fail("shards", 1, "second")
	d.Fail("http", "x", "first")
	fs, ok := d.Err().(Faults)
	if !ok || len(fs) != 2 || fs[0].Bound != "first" || fs[1].Line != 2 {
		t.Errorf("%#v", d.Err())
	}
}

// nested is a list of lists of lists, as deep as its file makes it.
type nested []nested

// TestAliasBomb: nine levels of nine aliases each are 387 million values.
func TestAliasBomb(t *testing.T) {
	var deep struct {
		M map[string]nested
	}
	text := "m:\n  l0: &l0 [[],[],[],[],[],[],[],[],[]]\n"
	for i := 1; i < 10; i++ {
		text += fmt.Sprintf("  l%d: &l%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*l%d,", i-1), 9), ","))
	}
	err := Parse("bomb.yaml", []byte(text), &deep).Err()
	if err == nil || !strings.Contains(err.Error(), "or have more than") {
		t.Errorf("%.200v", err)
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		config, _ := readCase(f, file)
		f.Add([]byte(config))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := defaults()
		d := Parse("fuzz.yaml", data, &s)
		s.validate(d)
		err := d.Err()
		if err == nil {
			return
		}
		lines := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + 2
		for _, fault := range err.(Faults) {
			if fault.Bound == "" || fault.File != "fuzz.yaml" || fault.Line < 0 || fault.Line > lines {
				t.Errorf("%#v", fault)
			}
			if len(fault.Error()) > 4*maxShown+len(fault.Field)+len(fault.Bound)+100 {
				t.Errorf("%d bytes: %s", len(fault.Error()), fault.Error())
			}
		}
	})
}
