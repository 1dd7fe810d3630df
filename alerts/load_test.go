package alerts

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weir-metrics/weir/deploy/conf"
)

// TestFilesWithoutRules: a file may have no rules only if it states that.
func TestFilesWithoutRules(t *testing.T) {
	for text, want := range map[string]string{
		"": "no groups", "\n\n": "no groups", "# only a comment\n": "no groups", "---\n": "no groups", "~\n": "no groups", "{}\n": "no groups",
		"groups:\n": "no groups", "groups: ~\n": "no groups", "groups:\n# cut\n": "no groups", "groups:\n-\n": "name: must be given", "-\n": "name: must be given",
		"groups:\n- name: g\n": "[0].rules: must be given", "- name: g\n  rules:\n": "[0].rules: must be given", "- name: g\n  rules:\n  -\n": "alert: must be given",
		"- name: g\n  rules:\n  - alert: a\n": "expr: must be given", "grou": "must be a mapping", "gro:": "unknown field",
		"groups: []\n": "", "[]\n": "", "---\n[]\n": "", "groups:\n- {name: g, rules: []}\n": "", "# none\n---\n- name: g\n  rules: []\n": "",
	} {
		rs, err := Load(LoadConfig{TiersMS: tiersMS}, File{"r.yaml", []byte(text)})
		switch {
		case want == "" && (err != nil || rs.Len() != 0):
			t.Errorf("%q: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// TestLoadIsBounded: each bound of rules has a fault of its own; both sides of the bound are tested.
func TestLoadIsBounded(t *testing.T) {
	rule := func(more string) string { return "- name: g\n  rules:\n  - {alert: a, expr: x > 1" + more + "}\n" }
	many := func(what string, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "n%d: v,", i)
		}
		return rule(", " + what + ": {" + b.String() + "}")
	}
	long := func(n int) string { return strings.Repeat("a", n) }
	rules := func(n int) string {
		var b strings.Builder
		b.WriteString("- name: g\n  rules:\n")
		for i := range n {
			fmt.Fprintf(&b, "  - {alert: a%d, expr: x>1}\n", i)
		}
		return b.String()
	}
	all := ""
	for i := range 5 {
		all += fmt.Sprintf("n%d: %s,", i, long(13_500))
	}
	for _, c := range []struct{ name, text, want string }{
		{"labels", many("labels", 32), ""}, {"33 labels", many("labels", 33), "at most 32"},
		{"annotations", many("annotations", 32), ""}, {"33 annotations", many("annotations", 33), "at most 32"},
		{"label", rule(", labels: {l: " + long(1024) + "}"), ""}, {"long label", rule(", labels: {l: " + long(1025) + "}"), "is 1025 bytes, must be at most 1024"},
		{"annotation", rule(", annotations: {l: " + long(16384) + "}"), ""}, {"long annotation", rule(", annotations: {l: " + long(16385) + "}"), "is 16385 bytes, must be at most 16384"},
		{"5 MB", rule(", annotations: {l: " + long(5<<20) + "}"), "bytes long, must be at most 4194304"},
		{"all annotations", rule(", annotations: {" + all + "}"), "bytes together, must be at most 65536"},
		{"label name", rule(", labels: {" + long(128) + ": v}"), ""}, {"long label name", rule(", labels: {" + long(129) + ": v}"), "at most 128 bytes"},
		{"alert", "- {name: g, rules: [{alert: " + long(256) + ", expr: x>1}]}", ""}, {"long alert", "- {name: g, rules: [{alert: " + long(257) + ", expr: x>1}]}", "is 257 bytes long, must be at most 256"},
		{"group", "- {name: " + long(256) + ", rules: []}", ""}, {"long group", "- {name: " + long(257) + ", rules: []}", "at most 256 bytes"},
		{"for", rule(", for: 365d, keep_firing_for: 365d, no_data: 365d"), ""}, {"long for", rule(", for: 366d"), "at most 365d"},
		{"long keep", rule(", keep_firing_for: 366d"), "at most 365d"}, {"long no_data", rule(", no_data: 366d"), "at most 365d"},
		{"rules", rules(maxRules), ""}, {"too many rules", rules(maxRules + 1), "must be at most 20000"},
	} {
		start := time.Now()
		_, err := Load(LoadConfig{TiersMS: tiersMS}, File{"r.yaml", []byte(c.text)})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %.300v, want %q", c.name, err, c.want)
		}
		if err != nil && len(err.Error()) > 2000 {
			t.Errorf("%s: a fault of %d bytes", c.name, len(err.Error()))
		}
		if took := time.Since(start); took > time.Minute {
			t.Errorf("%s: %v", c.name, took)
		}
	}
	var files []File
	for i := range 3 {
		files = append(files, File{fmt.Sprintf("r%d.yaml", i), []byte(strings.ReplaceAll(rules(maxRules/2), "name: g", fmt.Sprintf("name: g%d", i)))})
	}
	if _, err := Load(LoadConfig{TiersMS: tiersMS}, files...); err == nil || !strings.Contains(err.Error(), "r2.yaml") || len(err.(conf.Faults)) != 1 {
		t.Errorf("too many in all: %v", err)
	}
}

// TestIsList: what conf.Parse takes for a list is seen to be one.
func TestIsList(t *testing.T) {
	for text, want := range map[string]bool{
		"- a": true, "-\n": true, "[]": true, "# c\n\n- a": true, "---\n- a": true, "--- # c\n- a": true, "--- [a]": true, "%YAML 1.2\n---\n- a": true, "\ufeff- a": true, "  - a": true, "-\ta": true,
		"": false, "groups:\n- a": false, "---": false, "-a": false, "a: [b]": false, "{a: b}": false, "'- a'": false, "...": false,
	} {
		if IsList([]byte(text)) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}
