package endtoend

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/weir-metrics/weir/pipelines"
	"github.com/weir-metrics/weir/schemas/topics"
)

// right is one line of the tables of docs/security.md: an operation of Kafka's ACLs on a resource.
type right struct {
	Operation string // READ, DESCRIBE_CONFIGS
	Kind      string // topic, group
	Name      string
	Prefixed  bool
}

func (r right) String() string {
	if r.Prefixed {
		return fmt.Sprintf("%s on %s %s*", r.Operation, r.Kind, r.Name)
	}
	return fmt.Sprintf("%s on %s %s", r.Operation, r.Kind, r.Name)
}

// commands lists the rows that are commands, not roles.
var commands = []string{"weir reshard", "weir shards", "weir series retire"}

// everybody is the row of docs/security.md that applies to every process.
const everybody = "every process"

// userOf returns the user of a row.
func userOf(row string) string { return strings.ReplaceAll(row, " ", "-") }

var (
	named = regexp.MustCompile("^`([a-z-]+)(\\*?)`$")
	more  = regexp.MustCompile("^([A-Za-z, ]+) on (topic|group)s? (.*)$")
	upper = regexp.MustCompile("([a-z])([A-Z])")
)

// documented reads the table of ACLs in docs/security.md. The keys are its rows.
func documented(t testing.TB) map[string][]right {
	t.Helper()
	text, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "\n| role | topics: Read | topics: Write | groups: Read | more |\n|---|---|---|---|---|\n")
	if !ok {
		t.Fatal("docs/security.md has no table of ACLs")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	all := map[string][]right{}
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(line, "|\n"), "|")
		if len(cells) != 5 {
			t.Fatalf("%q: %d cells", line, len(cells))
		}
		role := strings.Trim(cells[0], " `")
		all[role] = nil // some rows have no rights of their own
		add := func(operations, kind, names string) {
			for name := range strings.SplitSeq(names, ", ") {
				m := named.FindStringSubmatch(name)
				if m == nil {
					t.Fatalf("%s: %q is not a name in backquotes", role, name)
				}
				for op := range strings.SplitSeq(operations, ", ") {
					all[role] = append(all[role], right{strings.ToUpper(upper.ReplaceAllString(op, "${1}_$2")), kind, m[1], m[2] != ""})
				}
			}
		}
		for i, of := range []struct{ operation, kind string }{{"Read", "topic"}, {"Write", "topic"}, {"Read", "group"}} {
			if names := strings.TrimSpace(cells[i+1]); names != "" {
				add(of.operation, of.kind, names)
			}
		}
		if text := strings.TrimSpace(cells[4]); text != "" {
			for part := range strings.SplitSeq(text, "; ") {
				m := more.FindStringSubmatch(part)
				if m == nil {
					t.Fatalf("%s: %q is not of the form: Describe on topics `metrics`, `samples*`", role, part)
				}
				add(m[1], m[2], m[3])
			}
		}
	}
	return all
}

// TestDocumentedRights: the table has every role and every topic, and no others.
func TestDocumentedRights(t *testing.T) {
	all := documented(t)
	roles := append([]string{everybody}, pipelines.Roles...)
	for _, role := range roles {
		if _, ok := all[role]; !ok {
			t.Errorf("no row for %s", role)
		}
	}
	known := []string{topics.SamplesOf(1), topics.WindowTableOf(1)}
	for _, topic := range topics.All(topics.Default()) {
		known = append(known, topic.Name)
	}
	for role, rights := range all {
		if !slices.Contains(append(roles, commands...), role) {
			t.Errorf("%s is neither a role nor a command", role)
		}
		for _, r := range rights {
			covers := func(name string) bool { return name == r.Name || r.Prefixed && strings.HasPrefix(name, r.Name) }
			if r.Kind == "topic" && !slices.ContainsFunc(known, covers) {
				t.Errorf("%s: %s: there is no such topic", role, r)
			}
		}
	}
	for _, name := range known {
		if !slices.ContainsFunc(all[everybody], func(r right) bool {
			return r.Operation == "DESCRIBE" && r.Kind == "topic" && (name == r.Name || r.Prefixed && strings.HasPrefix(name, r.Name))
		}) {
			t.Errorf("the row %q lacks Describe on %s", everybody, name)
		}
	}
}
