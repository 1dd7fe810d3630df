package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

// longFunctions are those above maxFunctionLines, each with the reason why it is not cut.
var longFunctions = map[string]string{
	"pipelines/simulation/plan.go fault":                    "a list of what may fail, one case each",
	"pipelines/simulation/delivery.go freshOf":              "an oracle of its own: the rules of what counts, in the order in which they apply",
	"sinks/sinktest/notifierconformance.go RunNotifier":     "a list of subtests",
	"sinks/sinktest/notifierconformance.go RunHTTPNotifier": "a list of subtests",
	"schemas/formats/point.go decodeFields":                 "a scanner whose state lives in local variables, for speed",
	"schemas/formats/json.go member":                        "one case for each member that a sample may have",
}

const maxFunctionLines = 60

// TestFunctionsAreShort: a function above 60 lines has a reason.
func TestFunctionsAreShort(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range sources(t) {
		if f.test() {
			continue
		}
		fset := token.NewFileSet()
		parsed, err := parser.ParseFile(fset, f.path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			lines := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1
			name := f.path + " " + fn.Name.Name
			if lines <= maxFunctionLines {
				continue
			}
			if seen[name] = true; longFunctions[name] == "" {
				t.Errorf("%s has %d lines, at most %d: cut it where it does one thing less", name, lines, maxFunctionLines)
			}
		}
	}
	for name := range longFunctions {
		if !seen[name] {
			t.Errorf("%s is short, or gone: take it off the list", name)
		}
	}
}

// TestNothingStandsTwice: ten lines that say something stand in one place only. Imports, comments, blank lines and lone
// punctuation do not count.
func TestNothingStandsTwice(t *testing.T) {
	const run = 10
	first := map[string]string{}
	for _, f := range sources(t) {
		if f.test() || strings.Contains(f.path, "test/") {
			continue
		}
		text, err := os.ReadFile(f.path)
		if err != nil {
			t.Fatal(err)
		}
		var said []string // lines that count
		imports := false
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			switch {
			case line == "import (":
				imports = true
			case imports:
				imports = line != ")"
			case strings.HasPrefix(line, "//"), strings.Trim(line, "{}()[],") == "":
			default:
				said = append(said, line)
			}
		}
		reported := 0
		for i := 0; i+run <= len(said); i++ {
			key := strings.Join(said[i:i+run], "\n")
			before, twice := first[key]
			if !twice {
				first[key] = f.path
			} else if i >= reported {
				t.Errorf("%s says again what %s says, from %q on", f.path, before, said[i])
				reported = i + run
			}
		}
	}
}
