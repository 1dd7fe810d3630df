package alerts

import (
	"errors"
	"strings"
	"testing"

	"github.com/weir-metrics/weir/deploy/conf"
)

// TestPromote: only the rule's line with shadow is removed, whatever surrounds it.
func TestPromote(t *testing.T) {
	const two = "groups:\n- name: g\n  rules:\n  # the first\n  - alert: a   # one\n    expr: >-\n      up\n      == 0\n    shadow: true # until March\n\n    for:   5m\n" +
		"  - alert: b\n    shadow: true\n    expr: \"up == 0\"\n- {name: h, rules: [{alert: a, expr: up == 0, shadow: false}]}\n"
	for name, c := range map[string]struct{ file, rule, gone string }{
		"in the middle":    {two, "g/a", "    shadow: true # until March\n"},
		"by its alert":     {two, "b", "    shadow: true\n    expr: \"up"},
		"last in the file": {"- name: g\n  rules:\n  - alert: a\n    expr: up == 0\n    shadow: true\n", "a", "    shadow: true\n"},
		"without an end":   {"- name: g\n  rules:\n  - alert: a\n    expr: up == 0\n    shadow: true", "a", "    shadow: true"},
		"first":            {"- name: g\n  rules:\n  -   shadow: true\n      alert: a\n      expr: up == 0\n", "a", "shadow: true\n      "},
		"with CRLF":        {"- name: g\r\n  rules:\r\n  - alert: a\r\n    shadow: true\r\n    expr: up == 0\r\n", "a", "    shadow: true\r\n"},
		"with tabs after":  {"- name: g\n  rules:\n  - alert: a\n    shadow:\ttrue\t# x\n    expr: up == 0\n", "a", "    shadow:\ttrue\t# x\n"},
		"quoted elsewhere": {"- name: g\n  rules:\n  - alert: a\n    annotations: {x: \"é\", shadow: \"true\"}\n    shadow: True\n    expr: up == 0\n", "a", "    shadow: True\n"},
	} {
		got, err := Promote(File{"r.yaml", []byte(c.file)}, c.rule)
		kept := strings.TrimSuffix(c.gone, "    expr: \"up")
		want := strings.Replace(c.file, c.gone, strings.TrimPrefix(c.gone, kept), 1)
		if err != nil || string(got) != want {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, got, want)
		}
		if err == nil && c.file == want {
			t.Errorf("%s: the test expects nothing", name)
		}
	}
}

func TestPromoteRefuses(t *testing.T) {
	const rules = "- name: g\n  rules:\n  - {alert: a, expr: up == 0, shadow: true}\n  - alert: b\n    expr: up == 0\n  - alert: c\n    expr: up == 0\n    shadow: false\n" +
		"- name: h\n  rules:\n  - alert: b\n    expr: up == 0\n"
	for name, c := range map[string]struct{ file, rule, want string }{
		"flow":      {rules, "a", "r.yaml:3: g/a: shadow: true does not stand on a line of its own: remove it by hand"},
		"unknown":   {rules, "x", "r.yaml: has no rule x; it has g/a, g/b, g/c, h/b"},
		"ambiguous": {rules, "b", "r.yaml:11: has several rules b: name its group, too, as in g/b"},
		"none":      {rules, "g/b", "r.yaml:4: g/b: is not a shadow: it has no line shadow: true"},
		"false":     {rules, "c", "r.yaml:6: g/c: is not a shadow: it has no line shadow: true"},
		"a comment": {"- name: g\n  rules:\n  - shadow: true # why\n    alert: a\n    expr: up == 0\n", "a", "r.yaml:3: g/a: a comment follows shadow: true, which stands first in its rule: put it, or the comment, elsewhere"},
		"an anchor": {"- name: g\n  rules:\n  - alert: a\n    shadow: &s true\n    expr: up == 0\n  - alert: b\n    shadow: *s\n", "a", "r.yaml:4: g/a: without it the file would mean something else: remove it by hand"},
		"no rules":  {"x: [", "a", "r.yaml: is no file of rules: yaml: line 1: did not find expected node content"},
	} {
		got, err := Promote(File{"r.yaml", []byte(c.file)}, c.rule)
		var faults conf.Faults
		if got != nil || !errors.As(err, &faults) || err.Error() != c.want {
			t.Errorf("%s: %q, %v\nwant %s", name, got, err, c.want)
		}
	}
}

// TestPromotedFileIsNotCut: if the last line of a file made its last rule a shadow, a reload accepts the file without that line; a
// file that lost more, or half of the line, looks cut.
func TestPromotedFileIsNotCut(t *testing.T) {
	const text = "- name: g\n  rules:\n  - alert: a\n    expr: up == 0\n    shadow: true # for now\n"
	load := func(text string) *RuleSet {
		rs, err := Load(LoadConfig{TiersMS: tiersMS}, File{"r.yaml", []byte(text)})
		if err != nil {
			t.Fatal(err)
		}
		return rs
	}
	before := load(text)
	promoted, err := Promote(File{"r.yaml", []byte(text)}, "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := load(string(promoted)).Cut(before); err != nil {
		t.Error(err)
	}
	if load(strings.TrimSuffix(string(promoted), "\n")).Cut(before) == nil {
		t.Error("a file without an end is not cut")
	}
	if load(string(promoted)).Cut(load(text+"    for: 5m\n")) == nil {
		t.Error("a file that lost its for is not cut")
	}
}

func FuzzPromote(f *testing.F) {
	f.Add("- name: g\n  rules:\n  - alert: a\n    shadow: true\n    expr: up == 0\n", "a")
	f.Add("groups: [{name: g, rules: [{alert: a, shadow: true}]}]", "g/a")
	f.Add("- rules:\n  - shadow: true\n    alert: a\n", "a")
	f.Fuzz(func(t *testing.T, text, rule string) {
		got, err := Promote(File{"r", []byte(text)}, rule)
		if err == nil && len(got) >= len(text) {
			t.Errorf("%q became %q", text, got)
		}
	})
}
