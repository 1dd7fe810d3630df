package pipelines

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-metrics/weir/alerts"
)

// watched is a config with its rules, which a test polls.
type watched struct {
	*testing.T
	dir    string
	file   string
	config *Config
	rules  *rules
	log    bytes.Buffer
	used   [][]string            // names of the rules, whenever they were put to use
	loaded func(*alerts.RuleSet) // called after a load, before it counts
	wrote  int                   // files: each gets a time of its own
}

// watch writes the files, whose names and texts alternate, and loads them.
func watch(t *testing.T, texts ...string) *watched {
	t.Helper()
	w := &watched{T: t, dir: t.TempDir(), loaded: func(*alerts.RuleSet) {}}
	for i := 0; i < len(texts); i += 2 {
		w.write(texts[i], texts[i+1])
	}
	w.file = filepath.Join(w.dir, "weir.yaml")
	var first *alerts.RuleSet
	var err error
	if w.config, first, err = Load(w.file); err != nil {
		t.Fatal(err)
	}
	w.rules = newRules(first, func(before *alerts.RuleSet, cut cutFiles) (*alerts.RuleSet, error) {
		set, err := w.config.LoadRules(w.file, before, cut)
		w.loaded(set)
		return set, err
	}, time.Now, prometheus.NewRegistry(), slog.New(slog.NewTextHandler(&w.log, nil)))
	w.rules.follow(func(set *alerts.RuleSet) { w.used = append(w.used, set.Names()) })
	w.used = nil
	return w
}

func (w *watched) write(name, text string) {
	w.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		w.Fatal(err)
	}
	w.wrote++
	at := time.Unix(1_700_000_000+int64(w.wrote), 0) // a disk's clock may be coarser than the test is fast
	if err := os.Chtimes(path, at, at); err != nil {
		w.Fatal(err)
	}
}

func (w *watched) remove(name string) {
	w.Helper()
	if err := os.Remove(filepath.Join(w.dir, name)); err != nil {
		w.Fatal(err)
	}
}

// polls polls n times and checks which rules were put to use, and how many loads were refused.
func (w *watched) polls(n int, refused int, want ...string) {
	w.Helper()
	w.used = nil
	w.log.Reset()
	for range n {
		w.rules.poll(w.config.source.files)
	}
	var used []string
	for _, names := range w.used {
		used = append(used, strings.Join(names, ","))
	}
	if !slices.Equal(used, want) {
		w.Errorf("put to use: %q, want %q", used, want)
	}
	if got := strings.Count(w.log.String(), "rules not reloaded"); got != refused {
		w.Errorf("%d loads were refused, want %d: %s", got, refused, w.log.String())
	}
}

// warns checks what /readyz says of the rules.
func (w *watched) warns(want string) {
	w.Helper()
	if got := w.rules.Warning(); want == "" && got != "" || !strings.Contains(got, want) {
		w.Errorf("warning %q, want %q", got, want)
	}
}

// ruleText is a rules file with a rule of each name.
func ruleText(group string, names ...string) string {
	text := "groups:\n- name: " + group + "\n  rules:\n"
	for _, name := range names {
		text += fmt.Sprintf("  - {alert: %s, expr: 'cpu > 1'}\n", name)
	}
	return text
}

func TestChangedRulesAreLoaded(t *testing.T) {
	w := watch(t, "weir.yaml", "rules: [a.yaml]\n", "a.yaml", ruleText("a", "one"))
	w.polls(3, 0)
	w.write("a.yaml", ruleText("a", "one", "two"))
	w.polls(1, 0) // it may not be whole yet
	w.polls(1, 0, "a/one,a/two")
	w.polls(3, 0)

	for i := range 4 { // somebody is writing
		w.write("a.yaml", ruleText("a", "one", "two", fmt.Sprint("more", i)))
		w.polls(1, 0)
	}
	w.polls(3, 0, "a/one,a/two,a/more3")

	w.write("a.yaml", ruleText("a", "one", "two", "more3")) // touched
	w.polls(3, 0)
	w.write("b.yaml", ruleText("b", "three"))
	w.polls(3, 0)
	w.write("weir.yaml", "rules: [a.yaml, b.yaml]\n")
	w.polls(3, 0, "a/one,a/two,a/more3,b/three")

	w.write("b.yaml", ruleText("b", "three", "four"))
	if err := w.rules.reload(refuseCut); err != nil { // sooner than the polls
		t.Error(err)
	}
	w.polls(3, 0)
}

func TestWrongRulesAreRefusedOnce(t *testing.T) {
	w := watch(t, "weir.yaml", "rules: [a.yaml]\n", "a.yaml", ruleText("a", "one", "two"))
	for i, c := range []struct{ file, text, want string }{
		{"a.yaml", strings.Replace(ruleText("a", "one", "two"), "cpu > 1", "cpu >", 1), "a.yaml:4: "},
		{"a.yaml", ruleText("a", "one"), "looks cut"},
		{"a.yaml", "", "the file is empty or cut"},
		{"weir.yaml", "rules: [a.yaml]\nhttp: x\n", `weir.yaml:2: http: "x"`},
		{"weir.yaml", "rules: [a.yaml, b.yaml]\n", `"b.yaml": must be readable`},
	} {
		before, err := os.ReadFile(filepath.Join(w.dir, c.file))
		if err != nil {
			t.Fatal(err)
		}
		w.write(c.file, c.text)
		w.polls(4, 1)
		w.warns(c.want)
		w.write(c.file, c.text)
		w.polls(4, 0) // the same is told once
		w.warns(c.want)
		if i == 3 { // the rule files are watched although the config has a fault
			w.write("a.yaml", ruleText("a", "one", "two", "three"))
			w.polls(4, 1)
			w.write("a.yaml", ruleText("a", "one", "two"))
			w.polls(4, 1)
		}
		w.write(c.file, string(before))
		w.polls(4, 0, "a/one,a/two")
		w.warns("")
	}
	w.remove("a.yaml")
	w.polls(4, 1)
	w.warns("no such file")
	w.write("a.yaml", ruleText("a", "one", "two"))
	w.polls(4, 0, "a/one,a/two")
	w.remove("weir.yaml")
	w.polls(4, 1)
	w.warns("weir.yaml: must be readable")
	w.write("weir.yaml", "rules: [a.yaml]\n")
	w.polls(4, 0, "a/one,a/two")
	w.warns("")
}

// TestTablesAreWatched: also one that a refused file names and that comes later.
func TestTablesAreWatched(t *testing.T) {
	text := func(table string) string {
		return "limits:\n- {name: disk, labels: [host], file: " + table + "}\n" + strings.Replace(ruleText("g", "full"), "1", `limit("disk", labels.host)`, 1)
	}
	w := watch(t, "weir.yaml", "rules: [a.yaml]\n", "a.yaml", text("disk.csv"), "disk.csv", "host,limit\ndb1,90\n")
	w.polls(3, 0)
	w.write("disk.csv", "host,limit\ndb1,91\n")
	w.polls(3, 0, "g/full")
	w.write("disk.csv", "host,limit\ndb1,much\n")
	w.polls(3, 1)
	w.warns("disk.csv:2")
	w.write("disk.csv", "host,limit\ndb1,92\n")
	w.polls(3, 0, "g/full")
	w.write("a.yaml", text("new.csv"))
	w.polls(3, 1)
	w.warns(`"new.csv": must be readable`)
	w.write("new.csv", "host,limit\ndb1,92\n")
	w.polls(3, 0, "g/full")
	w.write("new.csv", "host,limit\ndb1,93\n")
	w.polls(3, 0, "g/full")
	w.remove("disk.csv") // which nobody reads any more
	w.polls(3, 0)
}

func TestPatternsOfRuleFiles(t *testing.T) {
	w := watch(t, "weir.yaml", "rules: ['*-rules.yaml', b-rules.yaml]\n", "a-rules.yaml", ruleText("a", "one"), "b-rules.yaml", ruleText("b", "two"))
	if got := strings.Join(w.rules.current.Names(), ","); got != "a/one,b/two" {
		t.Fatalf("rules %s", got)
	}
	w.write("c-rules.yaml", ruleText("c", "three"))
	w.polls(3, 0, "a/one,b/two,c/three")
	w.write(".c-rules.yaml", "what an editor keeps") // and Kubernetes
	w.polls(3, 0)
	w.remove("a-rules.yaml")
	w.polls(1, 0)
	w.polls(1, 0, "b/two,c/three")
	w.write("weir.yaml", "rules: ['*-rules.yaml']\n")
	w.polls(3, 0, "b/two,c/three")
	w.remove("b-rules.yaml")
	w.remove("c-rules.yaml")
	w.polls(4, 1)
	w.warns("matches no file")
	w.write("weir.yaml", "rules: ['[']\n")
	w.polls(4, 1)
	w.warns("must be a pattern of file names: syntax error in pattern")
	w.write("weir.yaml", "rules: []\n")
	w.polls(4, 0, "")
}

// TestTurnedLinks: Kubernetes writes a new folder beside the old one and turns one link.
func TestTurnedLinks(t *testing.T) {
	w := watch(t, "weir.yaml", "rules: []\n")
	for _, version := range []string{"..1", "..2", "..3"} {
		if err := os.Mkdir(filepath.Join(w.dir, version), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	turn := func(to string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(w.dir, "..tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(w.dir, "..tmp"), filepath.Join(w.dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	w.write("..1/r.yaml", ruleText("g", "one"))
	w.write("..2/r.yaml", ruleText("g", "two"))
	w.write("..3/r.yaml", ruleText("g", "two"))
	turn("..1")
	if err := os.Symlink("..data/r.yaml", filepath.Join(w.dir, "r.yaml")); err != nil {
		t.Fatal(err)
	}
	w.write("weir.yaml", "rules: ['*.yaml']\n") // and itself
	w.polls(3, 1)
	w.warns("weir.yaml")
	w.write("weir.yaml", "rules: ['r*.yaml', '*/r.yaml']\n") // of which the second matches only what is hidden
	w.polls(3, 1)
	w.warns("matches no file")
	w.write("weir.yaml", "rules: ['r*.yaml']\n")
	w.polls(3, 0, "g/one")
	turn("..2")
	w.polls(3, 0, "g/two")
	turn("..3")
	w.polls(3, 0)
}

// TestFilesThatMoveWhileTheyAreRead: what was read then is not used.
func TestFilesThatMoveWhileTheyAreRead(t *testing.T) {
	w := watch(t, "weir.yaml", "rules: [a.yaml, b.yaml]\n", "a.yaml", ruleText("a", "one"), "b.yaml", ruleText("b", "one"))
	w.write("a.yaml", ruleText("a", "two"))
	old := ruleText("b", "one")
	for _, text := range []string{ruleText("b", "two"), "groups: [", old, old} {
		w.loaded = func(*alerts.RuleSet) { w.write("b.yaml", text) }
		w.polls(2, 0)
		w.warns("")
	}
	w.loaded = func(*alerts.RuleSet) {}
	w.polls(4, 0, "a/two,b/one")
}

// TestUnreadableFilesAreTriedAgain: stat tells nothing when a disk or a file server answers again.
func TestUnreadableFilesAreTriedAgain(t *testing.T) {
	f, dir := newRuleFiles(), t.TempDir()
	if _, err := f.read(dir, 10); err == nil || f.known[dir].look != "" {
		t.Fatalf("a folder was read: %v %q", err, f.known[dir].look)
	}
	for range 3 {
		if f.changed() {
			t.Error("it cannot be read for the same reason")
		}
	}
	f.known[dir] = fileState{text: 1} // it could not be read for another reason
	if !f.changed() {
		t.Error("what is read now is another thing")
	}
}

// TestReloadInterval: both bounds.
func TestReloadInterval(t *testing.T) {
	for text, ok := range map[string]bool{"0s": true, "1s": true, "1h": true, "999ms": false, "3601s": false, "-1s": false} {
		_, _, err := Load(write(t, t.TempDir(), "weir.yaml", "rules_reload_interval: "+text+"\n"))
		if ok != (err == nil) || err != nil && !strings.Contains(err.Error(), "must be 1s to 1h, or 0s") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
