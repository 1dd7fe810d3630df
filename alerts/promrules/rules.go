package promrules

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/deploy/conf"
)

// Result is what came of a file.
type Result struct {
	// File is weir's file; nil if nothing could be translated.
	File []byte
	// Alerts are the names of the alerts, or how many tests there are.
	Alerts []string
	Tests  int
	// Left is what was left out, each with its place and the reason, and Notes what differs in detail.
	Left, Notes conf.Faults
}

type fileYAML struct {
	Groups []groupYAML `yaml:"groups"`
}

type groupYAML struct {
	Name        string            `yaml:"name"`
	Interval    string            `yaml:"interval"`
	QueryOffset string            `yaml:"query_offset"`
	Limit       int               `yaml:"limit"`
	Labels      map[string]string `yaml:"labels"`
	Rules       []ruleYAML        `yaml:"rules"`
}

type ruleYAML struct {
	Record        string            `yaml:"record"`
	Alert         string            `yaml:"alert"`
	Expr          yaml.Node         `yaml:"expr"`
	For           string            `yaml:"for"`
	KeepFiringFor string            `yaml:"keep_firing_for"`
	Labels        map[string]string `yaml:"labels"`
	Annotations   map[string]string `yaml:"annotations"`
}

// rule is one of weir's. The order of the fields is that of the file.
type rule struct {
	Alert         string            `yaml:"alert"`
	Expr          string            `yaml:"expr"`
	Where         string            `yaml:"where,omitempty"`
	Coverage      *float64          `yaml:"coverage,omitempty"` // 0, as Prometheus judges a range on what there is
	For           string            `yaml:"for,omitempty"`
	KeepFiringFor string            `yaml:"keep_firing_for,omitempty"`
	Labels        map[string]string `yaml:"labels,omitempty"`
	Annotations   map[string]string `yaml:"annotations,omitempty"`
	notes         []string
}

type group struct {
	name  string
	rules []rule
}

// Rules translates a file of Prometheus's rules into one that loads with c. The error is conf.Faults, of a file that is none.
func Rules(name string, data []byte, c alerts.LoadConfig) (*Result, error) {
	var y fileYAML
	d := conf.Parse(name, data, &y)
	if err := d.Err(); err != nil {
		return nil, err
	}
	t := &fileTranslation{name: name, doc: d, places: alerts.NewPlaces(alerts.File{Name: name, Data: data}), load: c, result: &Result{}}
	var groups []group
	for i := range y.Groups {
		groups = append(groups, t.group(fmt.Sprintf("groups[%d]", i), &y.Groups[i])...)
	}
	if len(t.result.Alerts) == 0 {
		return t.result, nil
	}
	t.result.File = t.file(groups)
	if _, err := alerts.Load(c, alerts.File{Name: name + ", translated", Data: t.result.File}); err != nil {
		return nil, err // of the file as a whole, such as too many rules
	}
	return t.result, nil
}

type fileTranslation struct {
	name   string
	doc    *conf.Doc
	places *alerts.Places
	load   alerts.LoadConfig
	result *Result
}

// left records that something was left out.
func (t *fileTranslation) left(at, what, reason string) {
	t.result.Left = append(t.result.Left, conf.Fault{File: t.name, Line: t.doc.Line(at), Field: what, Bound: reason})
}

func (t *fileTranslation) note(at, what, note string) {
	t.result.Notes = append(t.result.Notes, conf.Fault{File: t.name, Line: t.doc.Line(at), Field: what, Bound: note})
}

// group translates a group. Alerts of one name, of which weir allows one in a group, go to further groups.
func (t *fileTranslation) group(at string, y *groupYAML) []group {
	if y.Interval != "" {
		t.note(at+".interval", y.Name, "interval: weir judges a rule when a window closes")
	}
	if y.Limit != 0 {
		t.left(at+".limit", y.Name, "limit: weir has no limit of alerts of a group")
	}
	if y.QueryOffset != "" {
		t.note(at+".query_offset", y.Name, "query_offset: weir waits for late samples for a tier's grace")
	}
	var groups []group
	for i := range y.Rules {
		r := t.rule(fmt.Sprintf("%s.rules[%d]", at, i), y, &y.Rules[i])
		if r == nil {
			continue
		}
		t.result.Alerts = append(t.result.Alerts, r.Alert)
		k := slices.IndexFunc(groups, func(g group) bool {
			return !slices.ContainsFunc(g.rules, func(has rule) bool { return has.Alert == r.Alert })
		})
		if k < 0 {
			k = len(groups)
			groups = append(groups, group{name: y.Name})
			if k > 0 {
				groups[k].name += fmt.Sprintf("-%d", k+1)
			}
		}
		groups[k].rules = append(groups[k].rules, *r)
	}
	return groups
}

// rule translates a rule, or records why it was left out.
func (t *fileTranslation) rule(at string, g *groupYAML, y *ruleYAML) *rule {
	what := g.Name + "/" + y.Alert
	if y.Record != "" || y.Alert == "" {
		t.left(at, g.Name+"/"+y.Record, "is a recording rule: weir has none")
		return nil
	}
	if y.Expr.Kind != yaml.ScalarNode {
		t.left(at, what, "expr: must be given, as a text")
		return nil
	}
	e, err := translateExpr(y.Expr.Value)
	if err != nil {
		t.leftExpr(what, y, err)
		return nil
	}
	r := &rule{Alert: y.Alert, Expr: e.expr, Where: e.where, Annotations: maps.Clone(y.Annotations), notes: e.notes}
	for _, f := range []struct {
		field, text string
		to          *string
	}{{"for", y.For, &r.For}, {"keep_firing_for", y.KeepFiringFor, &r.KeepFiringFor}} {
		if *f.to, err = duration(f.text); err != nil {
			t.left(at+"."+f.field, what, f.field+": "+err.Error())
			return nil
		}
	}
	r.Labels = maps.Clone(g.Labels)
	if r.Labels == nil {
		r.Labels = map[string]string{}
	}
	maps.Copy(r.Labels, y.Labels)
	if strings.Contains(r.Expr, `, "`) { // a range
		r.Coverage = new(float64)
	}
	if !t.loads(at, what, r) {
		return nil
	}
	for _, n := range r.notes {
		t.note(at+".expr", what, n)
	}
	return r
}

// duration is a length of time in weir's notation, which has no years.
func duration(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	years, rest, found := strings.Cut(text, "y")
	d := conf.Duration(0)
	if !found {
		rest = text
	} else if n, err := conf.ParseDuration(years + "d"); err == nil {
		d = 365 * n
	} else {
		return "", err
	}
	if rest != "" {
		more, err := conf.ParseDuration(rest)
		if err != nil {
			return "", err
		}
		d += more
	}
	if d == 0 {
		return "", nil
	}
	return d.String(), nil
}

// leftExpr records a rule that was left out for its expression, with the place in it.
func (t *fileTranslation) leftExpr(what string, y *ruleYAML, err error) {
	at := 0
	var ef *exprFault
	if errors.As(err, &ef) {
		at = utf8.RuneCountInString(y.Expr.Value[:max(0, min(ef.at, len(y.Expr.Value)))])
	}
	f := t.places.Fault(&y.Expr, at)
	f.Field, f.Bound = what, err.Error()
	t.result.Left = append(t.result.Left, f)
}

// loads reports whether weir takes the rule. Annotations that it does not take are left out; anything else leaves out the rule.
func (t *fileTranslation) loads(at, what string, r *rule) bool {
	for {
		text := t.file([]group{{name: "g", rules: []rule{*r}}})
		_, err := alerts.Load(t.load, alerts.File{Name: t.name, Data: text})
		if err == nil {
			return true
		}
		var faults conf.Faults
		errors.As(err, &faults)
		dropped := false
		for _, f := range faults {
			name, ok := strings.CutPrefix(f.Field, "groups[0].rules[0].annotations.")
			if _, has := r.Annotations[name]; ok && has {
				t.left(at+".annotations."+name, what, "annotation "+name+": "+f.Bound)
				delete(r.Annotations, name)
				dropped = true
			}
		}
		if !dropped {
			reason := err.Error()
			if len(faults) > 0 {
				reason = strings.TrimPrefix(faults[0].Field, "groups[0].rules[0].") + ": " + faults[0].Bound
				if faults[0].Field == "groups[0].rules[0].expr" {
					reason = fmt.Sprintf("would be %q in weir: %s", r.Expr, faults[0].Bound)
				}
			}
			t.left(at, what, reason)
			return false
		}
	}
}

// file writes groups as a rules file, with the notes as comments.
func (t *fileTranslation) file(groups []group) []byte {
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for _, g := range groups {
		rules := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range g.rules {
			n := &yaml.Node{}
			if err := n.Encode(&g.rules[i]); err != nil {
				continue // texts and maps of texts always encode
			}
			n.HeadComment = strings.Join(g.rules[i].notes, "\n")
			rules.Content = append(rules.Content, n)
		}
		list.Content = append(list.Content, mapping("name", scalar(g.name), "rules", rules))
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Translated from Prometheus's rules (weir import prometheus). Comments tell what differs in detail.\n")
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(mapping("groups", list)); err != nil {
		return nil
	}
	return b.Bytes()
}

func scalar(text string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(text)
	return n
}

func mapping(pairs ...any) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, p := range pairs {
		switch p := p.(type) {
		case string:
			n.Content = append(n.Content, scalar(p))
		case *yaml.Node:
			n.Content = append(n.Content, p)
		}
	}
	return n
}
