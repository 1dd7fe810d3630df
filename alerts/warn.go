package alerts

import (
	"bytes"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/weir-metrics/weir/deploy/conf"
)

// Warnings are rules that are formally right but may not do what their author meant. Each has a
// position, like a fault.
func (rs *RuleSet) Warnings() conf.Faults { return rs.warnings }

// Unended warns of files whose last line has no end, as is usual for truncated files.
func (rs *RuleSet) Unended() conf.Faults {
	var ws conf.Faults
	for _, f := range rs.files {
		if n := len(f.Data); n > 0 && f.Data[n-1] != '\n' {
			ws = append(ws, conf.Fault{File: f.Name, Line: 1 + bytes.Count(f.Data, []byte("\n")), Bound: "has no line break at its end: is the file cut?"})
		}
	}
	return ws
}

// warn records a warning at a rune of the text of n.
func (l *loader) warn(field string, n *yaml.Node, at int, format string, args ...any) {
	line, column := locate(l.lines, n, at)
	l.warnings = append(l.warnings, conf.Fault{File: l.file, Line: line, Column: column, Field: field,
		Value: n.Value, Bound: fmt.Sprintf(format, args...), Snippet: caret(l.lines, line, column)})
}

// look warns about what a valid rule may not do as its author meant.
func (l *loader) look(at string, r *rule, y *ruleYAML) {
	v := &verdict{inputs: r.inputs}
	if r.expr != nil {
		l.lookAtNames(at+".expr", &y.Expr)
	}
	if r.recover != nil {
		l.lookAtNames(at+".recover", &y.Recover)
	}
	if r.expr != nil && r.recover != nil && v.may(goal{r.expr, true}) && !v.may(goal{r.expr, true}, goal{r.recover, false}) &&
		v.may(goal{r.recover, false}) {
		l.warn(at+".recover", &y.Recover, 0, "is true whenever expr is: the alert ends at the next window at which expr is true")
	}
	ttlMS := l.ttlMS(r.tierMS)
	for _, d := range []struct {
		field string
		value conf.Duration
	}{{"for", y.For.duration}, {"keep_firing_for", y.KeepFiringFor}} {
		if d.value > 0 && d.value.MS() < r.tierMS {
			l.warnings = append(l.warnings, conf.Fault{File: l.file, Line: l.doc.Line(at + "." + d.field), Field: at + "." + d.field, Value: d.value.String(),
				Bound: fmt.Sprintf("is shorter than a window, %s, and acts as one: rules are checked when windows of %s close", msText(r.tierMS), msText(r.tierMS))})
		}
		if d.value.MS() > ttlMS {
			l.warnings = append(l.warnings, conf.Fault{File: l.file, Line: l.doc.Line(at + "." + d.field), Field: at + "." + d.field, Value: d.value.String(),
				Bound: fmt.Sprintf("is longer than windows of %s are kept, %s (windows.tiers ttl)", msText(r.tierMS), msText(ttlMS))})
		}
	}
}

// noNumbers are names that people take for numbers; to an expression they are metrics.
var noNumbers = map[string]bool{"nan": true, "inf": true, "infinity": true, "null": true, "none": true, "undefined": true}

// lookAtNames warns about names that are not what they look like.
func (l *loader) lookAtNames(field string, y *yaml.Node) {
	rs := []rune(fuseNames(y.Value))
	for i := 0; i < len(rs); i++ {
		if rs[i] == '"' || rs[i] == '\'' || rs[i] == '`' {
			for q := rs[i]; i+1 < len(rs) && rs[i+1] != q; i++ {
			}
			i++
			continue
		}
		if !startsName(rs[i]) || i > 0 && isNameRune(rs[i-1]) {
			continue
		}
		end, dashes := i+1, 0
		for end < len(rs) && (isNameRune(rs[end]) || rs[end] == '-' && end+1 < len(rs) && startsName(rs[end+1])) {
			if rs[end] == '-' {
				dashes++
			}
			end++
		}
		switch name := unfuse(string(rs[i:end])); {
		case end < len(rs) && rs[end] == '(' && dashes == 0:
		case dashes > 0:
			l.warn(field, y, i, "%s is a subtraction of metrics. A metric whose name has a dash is written metric(\"%s\"); a subtraction with spaces, %s", name, name, strings.ReplaceAll(name, "-", " - "))
		case noNumbers[strings.ToLower(name)]:
			l.warn(field, y, i, "%s is taken for a metric. Something that is not a number is neither more nor less than anything: it makes no rule true", name)
		}
		i = end
	}
}
