package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// sourceFile is a Go file of the project, by its path with slashes.
type sourceFile struct {
	path    string
	folder  string // "" for the root
	ast     *ast.File
	imports []string
	lines   int
}

func (f *sourceFile) test() bool { return strings.HasSuffix(f.path, "_test.go") }

// sources parses every Go file of the project, except those in modules of their own.
func sources(t *testing.T) []*sourceFile {
	t.Helper()
	var files []*sourceFile
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (name != "." && strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() && name != "." {
			if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil {
				return filepath.SkipDir
			}
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		parsed, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		f := &sourceFile{path: filepath.ToSlash(name), ast: parsed, lines: fset.File(parsed.Pos()).LineCount()}
		if f.folder = path.Dir(f.path); f.folder == "." {
			f.folder = ""
		}
		for _, i := range parsed.Imports {
			p, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			f.imports = append(f.imports, p)
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 50 {
		t.Fatalf("%d files: is this the project's root?", len(files))
	}
	return files
}

// layer orders the top folders: a package imports those below it, and those of
// its own folder.
var layer = map[string]int{
	"deploy":  0,
	"schemas": 1,
	"windows": 2, "alerts": 2,
	"sinks": 3, "processors": 3, "collect": 3, "query": 3,
	"pipelines": 4,
	"":          5,
}

// beside lists the allowed imports between folders of one layer.
var beside = map[[2]string]bool{
	{"deploy", "schemas"}:   true, // plain: faults escape text that others have chosen
	{"processors", "sinks"}: true, // the interfaces of sinks
	{"query", "sinks"}:      true,

	{"alerts/ruletest", "windows"}: true, // rules are tested on the windows that weir makes of samples
	{"alerts/backtest", "windows"}: true, // and on those of recordings
}

func top(folder string) string {
	first, _, _ := strings.Cut(folder, "/")
	return first
}

func TestImportsPointOneWay(t *testing.T) {
	for _, f := range sources(t) {
		from := top(f.folder)
		if _, known := layer[from]; !known {
			t.Errorf("%s: the folder %s has no layer", f.path, from)
		}
		for _, i := range f.imports {
			inner, ours := strings.CutPrefix(i, "github.com/weir-metrics/weir/")
			if !ours {
				continue
			}
			to := top(inner)
			if from != to && layer[to] >= layer[from] && !beside[[2]string{from, to}] && !beside[[2]string{f.folder, to}] {
				t.Errorf("%s imports %s: %s is not below %s", f.path, i, to, from)
			}
		}
	}
}

// TestKitsAreForTests: test kits, and the disk in memory that can crash, are imported only by tests, by other kits, and by the
// simulation and the attacks, which are tests with programs of their own. Exceptions are alerts/ruletest, which users run as weir
// test, and backtest, which is not a test.
func TestKitsAreForTests(t *testing.T) {
	kit := regexp.MustCompile(`/(\w+test|writeback/disk)(/|$)`)
	for _, f := range sources(t) {
		if f.test() || kit.MatchString("/"+f.folder) || f.folder == "pipelines/attack" || f.folder == "pipelines/simulation" {
			continue
		}
		for _, i := range f.imports {
			if inner, ours := strings.CutPrefix(i, "github.com/weir-metrics/weir/"); ours && kit.MatchString("/"+inner) && inner != "alerts/ruletest" && inner != "alerts/backtest" {
				t.Errorf("%s imports %s", f.path, i)
			}
		}
	}
}

// TestEachDependencyHasItsFolder: each dependency is used behind one package.
func TestEachDependencyHasItsFolder(t *testing.T) {
	homes := map[string][]string{
		"github.com/lovoo/goka":             {"processors/writeback"}, // in goka.go
		"github.com/IBM/sarama":             {"processors"},
		"github.com/scylladb/gocqlx":        {"sinks/scylla"},
		"github.com/gocql/gocql":            {"sinks/scylla"},
		"github.com/expr-lang/expr":         {"alerts"},
		"github.com/prometheus/prometheus":  {"alerts/promrules"},
		"github.com/twilio/twilio-go":       {"sinks/twilio"},
		"github.com/PagerDuty/go-pagerduty": {"sinks/pagerduty"},
		"github.com/cockroachdb/pebble":     {"processors/writeback", "sinks/embedded"},
		"github.com/shirou/gopsutil":        {"collect"},
		"github.com/alecthomas/kong":        {""},
	}
	used := map[string]bool{}
	for _, f := range sources(t) {
		for _, i := range f.imports {
			for dependency, folders := range homes {
				if i != dependency && !strings.HasPrefix(i, dependency+"/") {
					continue
				}
				used[dependency] = true
				if !slices.ContainsFunc(folders, func(home string) bool { return within(f.folder, home) }) {
					t.Errorf("%s imports %s, which belongs to %v", f.path, i, folders)
				}
			}
		}
	}
	for dependency := range homes {
		if !used[dependency] {
			t.Errorf("nothing imports %s", dependency)
		}
	}
}

// within reports whether folder is home or below it. Nothing counts as below the root.
func within(folder, home string) bool {
	return folder == home || home != "" && strings.HasPrefix(folder, home+"/")
}

// TestKafkaStaysOutOfThePureCore: schemas, windows and alerts import no client. Only schemas/topics makes topics, and only
// schemas/consume makes consumers. The fake broker is for the embedded default and for tests.
func TestKafkaStaysOutOfThePureCore(t *testing.T) {
	const franz = "github.com/twmb/franz-go"
	for _, f := range sources(t) {
		for _, i := range f.imports {
			switch {
			case f.test():
			case strings.HasPrefix(i, franz+"/pkg/kfake"):
				if f.folder != "pipelines/broker" && f.folder != "schemas/kafkatest" {
					t.Errorf("%s imports %s", f.path, i)
				}
			case f.folder == "schemas/topics" || within(f.folder, "schemas/consume") || f.folder == "schemas/kafkatest":
			case strings.HasPrefix(i, franz) && layer[top(f.folder)] < layer["sinks"]:
				t.Errorf("%s imports %s", f.path, i)
			}
		}
	}
}

// TestCoreIsPure: windows and alerts have no clock, goroutine or I/O.
func TestCoreIsPure(t *testing.T) {
	impure := []string{"os", "net", "io/fs", "path/filepath", "sync", "context", "log", "log/slog", "math/rand", "math/rand/v2", "database/sql"}
	for _, f := range sources(t) {
		if f.test() || f.folder != "windows" && f.folder != "alerts" {
			continue
		}
		for _, i := range f.imports {
			if slices.Contains(impure, i) || strings.HasPrefix(i, "net/") {
				t.Errorf("%s imports %s", f.path, i)
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s starts a goroutine", f.path)
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "After", "Sleep", "NewTimer", "NewTicker", "Tick", "AfterFunc"}, n.Sel.Name) {
					t.Errorf("%s reads the clock: time.%s", f.path, n.Sel.Name)
				}
			}
			return true
		})
	}
}

// TestEveryPackageSaysItsContract: every package has a doc.go with its comment, and no other file has one.
func TestEveryPackageSaysItsContract(t *testing.T) {
	documented, folders := map[string]bool{}, map[string]bool{}
	for _, f := range sources(t) {
		if f.test() || f.folder == "" {
			continue
		}
		folders[f.folder] = true
		if path.Base(f.path) == "doc.go" {
			documented[f.folder] = f.ast.Doc != nil && strings.HasPrefix(f.ast.Doc.Text(), "Package "+f.ast.Name.Name+" ")
		} else if f.ast.Doc != nil {
			t.Errorf("%s has a package comment: it belongs into doc.go", f.path)
		}
	}
	for folder := range folders {
		if !documented[folder] {
			t.Errorf("%s has no doc.go with its contract", folder)
		}
	}
}

func TestFilesAreShort(t *testing.T) {
	for _, f := range sources(t) {
		if !f.test() && f.lines > 500 {
			t.Errorf("%s has %d lines, at most 500: is there a second idea in it?", f.path, f.lines)
		}
	}
}

// TestNoFolderOfNoMeaning: the names of packages tell what they are about.
func TestNoFolderOfNoMeaning(t *testing.T) {
	for _, f := range sources(t) {
		for part := range strings.SplitSeq(f.folder, "/") {
			if slices.Contains([]string{"util", "utils", "common", "helpers", "misc", "base", "shared"}, part) {
				t.Errorf("%s", f.path)
			}
		}
	}
}

// TestNoDependencyIsReplaced: a replace in go.mod breaks go install weir@version.
func TestNoDependencyIsReplaced(t *testing.T) {
	b, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "replace") {
			t.Error(line)
		}
	}
}

// TestPromisesAreTested: each row of the table of promises names tests, and each named test or file exists in the package that is
// named before it.
func TestPromisesAreTested(t *testing.T) {
	page, err := os.ReadFile("docs/promises.md")
	if err != nil {
		t.Fatal(err)
	}
	section, _, _ := strings.Cut(string(page), "\n## What it does not promise")
	if rows := checkTestsExist(t, section, 2); rows < 12 {
		t.Errorf("%d promises: is this the table?", rows)
	}
}

// TestFaultsAreTested: the tests that docs/faults.md names exist.
func TestFaultsAreTested(t *testing.T) {
	faults, err := os.ReadFile("docs/faults.md")
	if err != nil {
		t.Fatal(err)
	}
	if rows := checkTestsExist(t, string(faults), 3); rows != strings.Count(string(faults), "\n| ")-strings.Count(string(faults), " | test |\n") {
		t.Errorf("only %d rows have three cells", rows)
	}
}

// checkTestsExist goes through the rows of the tables in text and returns their number. In each row, the cell with the number
// column (from 1) names packages, each followed by its tests.
func checkTestsExist(t *testing.T, text string, column int) (rows int) {
	t.Helper()
	tests := map[string]bool{} // folder/TestX; in the root, which rows call ., just TestX
	for _, f := range sources(t) {
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && f.test() && fn.Recv == nil {
				tests[path.Join(f.folder, fn.Name.Name)] = true
			}
		}
	}
	word := regexp.MustCompile("`[^`]+`|\\bTest[A-Z]\\w*")
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.ReplaceAll(line, `\|`, ""), "|")
		if len(cells) != column+2 || strings.HasPrefix(cells[1], "---") || strings.TrimSpace(cells[column]) == "test" {
			continue
		}
		rows++
		named, folders := 0, []string{}
		after := true // a test has come since the last folder
		for _, w := range word.FindAllString(cells[column], -1) {
			name, quoted := strings.CutPrefix(strings.TrimSuffix(w, "`"), "`")
			switch {
			case !quoted:
				named, after = named+1, true
				if !slices.ContainsFunc(folders, func(f string) bool { return tests[path.Join(f, w)] }) {
					t.Errorf("%s is not in %v, of the promise\n%s", w, folders, cells[1])
				}
			case strings.HasSuffix(name, ".trace"):
				named++
				if !strings.Contains(name, "/") {
					name = folders[len(folders)-1] + "/" + name
				}
				if _, err := os.Stat(name); err != nil {
					t.Errorf("%v, of the promise\n%s", err, cells[1])
				}
				folders, after = []string{path.Dir(name)}, true
			case strings.Contains(name, " "): // a command
			default:
				if info, err := os.Stat(name); err != nil || !info.IsDir() {
					t.Errorf("%s is no folder, of the promise\n%s", name, cells[1])
				}
				if after {
					folders = nil
				}
				folders, after = append(folders, name), false
			}
		}
		if named == 0 {
			t.Errorf("no test of the promise\n%s", cells[1])
		}
	}
	return rows
}
