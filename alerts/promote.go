package alerts

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/weir-metrics/weir/deploy/conf"
)

// shadowLine is all that is missing in a file whose last rule was promoted.
var shadowLine = regexp.MustCompile(`^\s*shadow:\s*true\s*(#[^\n]*)?\s*$`)

// Promote returns the file without the shadow: true of the rule, which is named as group/alert, or as
// alert if there is one of that name; all else is as it was, to the byte. Its error is conf.Faults.
func Promote(f File, rule string) ([]byte, error) {
	fail := func(line int, field, format string, args ...any) ([]byte, error) {
		return nil, conf.Faults{{File: f.Name, Line: line, Field: field, Bound: fmt.Sprintf(format, args...)}}
	}
	before, err := rulesOf(f)
	if err != nil {
		return nil, err
	}
	var found []*ruleNode
	for _, r := range before {
		if r.name == rule || r.alert == rule {
			found = append(found, r)
		}
	}
	switch {
	case len(found) == 0:
		return fail(0, "", "has no rule %s; it has %s", rule, strings.Join(namesOf(before), ", "))
	case len(found) > 1:
		return fail(found[1].node.Line, "", "has several rules %s: name its group, too, as in %s", rule, found[0].name)
	}
	r := found[0]
	key, value, next := r.field("shadow")
	if key == nil || value.Tag != "!!bool" || !strings.EqualFold(value.Value, "true") {
		return fail(r.node.Line, r.name, "is not a shadow: it has no line shadow: true")
	}
	after, err := without(f.Data, r.node, key, value, next)
	if err == nil {
		err = onlyPromoted(f, after, r)
	}
	if err != nil {
		return fail(key.Line, r.name, "%v", err)
	}
	return after, nil
}

// ruleNode is a rule in a YAML file.
type ruleNode struct {
	alert, name string // and group/alert
	node        *yaml.Node
}

// field returns a field's key and value, and the key after them; nil for what there is not.
func (r *ruleNode) field(name string) (key, value, next *yaml.Node) {
	fields := r.node.Content
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i].Value != name {
			continue
		}
		if i+2 < len(fields) {
			next = fields[i+2]
		}
		return fields[i], fields[i+1], next
	}
	return nil, &yaml.Node{}, nil
}

// rulesOf returns the rules of a file, whatever else is wrong with it.
func rulesOf(f File) ([]*ruleNode, error) {
	var file struct {
		Groups []struct {
			Name  string
			Rules []yaml.Node
		}
	}
	var into any = &file
	if IsList(f.Data) {
		into = &file.Groups
	}
	if err := yaml.Unmarshal(f.Data, into); err != nil {
		return nil, conf.Faults{{File: f.Name, Bound: "is no file of rules: " + err.Error()}}
	}
	var rules []*ruleNode
	for i := range file.Groups {
		g := &file.Groups[i]
		for k := range g.Rules {
			r := &ruleNode{node: &g.Rules[k]}
			if r.node.Kind != yaml.MappingNode {
				continue
			}
			_, alert, _ := r.field("alert")
			r.alert, r.name = alert.Value, g.Name+"/"+alert.Value
			rules = append(rules, r)
		}
	}
	return rules, nil
}

func namesOf(rules []*ruleNode) []string {
	names := []string{}
	for _, r := range rules {
		names = append(names, r.name)
	}
	return names
}

// without removes a field of a rule from the text of its file: its line, or, if it stands first in
// its rule, what is before the next field.
func without(data []byte, rule, key, value, next *yaml.Node) ([]byte, error) {
	if rule.Style&yaml.FlowStyle != 0 || value.Line != key.Line {
		return nil, errors.New("shadow: true does not stand on a line of its own: remove it by hand")
	}
	start, end := lineAt(data, key.Line), lineAt(data, key.Line+1)
	line := string(data[start:end])
	indent := strings.TrimLeft(line, " ")
	if strings.HasPrefix(indent, "shadow") {
		return append(bytes.Clone(data[:start]), data[end:]...), nil
	}
	from := start + key.Column - 1
	if next == nil || strings.Trim(string(data[start:from]), " -") != "" || from > end {
		return nil, errors.New("shadow: true does not stand on a line of its own: remove it by hand")
	}
	to := lineAt(data, next.Line) + next.Column - 1
	if strings.Contains(string(data[from:to]), "#") {
		return nil, errors.New("a comment follows shadow: true, which stands first in its rule: put it, or the comment, elsewhere")
	}
	return append(bytes.Clone(data[:from]), data[to:]...), nil
}

// lineAt returns where a line, from 1, begins, or the text's end.
func lineAt(data []byte, line int) int {
	at := 0
	for ; line > 1; line-- {
		i := bytes.IndexByte(data[at:], '\n')
		if i < 0 {
			return len(data)
		}
		at += i + 1
	}
	return at
}

// onlyPromoted returns an error if a file means anything else than before but for the shadow of one
// rule.
func onlyPromoted(f File, after []byte, promoted *ruleNode) error {
	old, err := rulesOf(f)
	if err != nil {
		return err
	}
	now, err := rulesOf(File{f.Name, after})
	if err != nil || len(now) != len(old) {
		return errors.New("without it the file would mean something else: remove it by hand")
	}
	for i, r := range old {
		was, is := map[string]any{}, map[string]any{}
		if err := errors.Join(r.node.Decode(&was), now[i].node.Decode(&is)); err != nil {
			return err
		}
		if r.node.Line == promoted.node.Line && r.name == promoted.name {
			delete(was, "shadow")
		}
		if r.name != now[i].name || !reflect.DeepEqual(was, is) {
			return errors.New("without it the file would mean something else: remove it by hand")
		}
	}
	return nil
}

// promotedLast reports whether all that a file lacks of its previous text is the shadow of its last
// rule.
func promotedLast(before, now []byte) bool {
	rest, ok := bytes.CutPrefix(before, now)
	return ok && shadowLine.Match(rest) && bytes.HasSuffix(now, []byte("\n"))
}
