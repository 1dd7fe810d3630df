package alerts

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas"
)

// maxLevels bounds the severities of one rule.
const maxLevels = 8

// severityLabel is the label that levels set.
const severityLabel = "severity"

// levelYAML is one severity of a rule, and when the rule has it.
type levelYAML struct {
	Severity string        `yaml:"severity"`
	Expr     yaml.Node     `yaml:"expr"`
	For      conf.Duration `yaml:"for"`
	Recover  yaml.Node     `yaml:"recover"`
}

// level is a severity of a rule, compiled.
type level struct {
	schemas.Level
	expr    *node
	recover *node // nil: it is over when expr is false
}

// levelText is an expression of a level in the file, with the inputs that were added for it.
type levelText struct {
	field    string
	yaml     *yaml.Node
	node     *node
	from, to int
}

// levels compiles the severities of a rule, which stand in place of expr, for and recover.
func (l *loader) levels(at string, r *rule, y *ruleYAML) {
	before := l.doc.Faults()
	for _, f := range []struct {
		name  string
		given bool
	}{{"expr", y.Expr.Kind != 0}, {"recover", y.Recover.Kind != 0}, {"for", y.For != waits{}}} {
		if f.given {
			l.doc.Fail(at+"."+f.name, nil, "must not be given with levels, each of which has its own")
		}
	}
	if text, set := y.Labels[severityLabel]; set {
		l.doc.Fail(at+".labels."+severityLabel, text, "must not be given with levels, which set it")
	}
	if r.onNoData == fireOnNoData {
		l.doc.Fail(at+".on_no_data", y.OnNoData, "must not be firing with levels, as silence has no severity: write a rule of its own for it")
	}
	if n := len(y.Levels); n < 2 || n > maxLevels {
		l.doc.Fail(at+".levels", n, fmt.Sprintf("must be 2 to %d, the mildest first", maxLevels))
	}
	l.selection(at, r, y)
	if l.doc.Faults() != before {
		return
	}
	texts := l.levelTexts(at, r, y)
	r.ofExpr = len(r.inputs)
	r.tierMS = chooseTier(l.tiersMS, r.inputs)
	if y.Tier > 0 {
		if r.tierMS = y.Tier.MS(); !slices.Contains(l.tiersMS, r.tierMS) {
			l.doc.Fail(at+".tier", y.Tier, "must be one of the windows' tiers: "+l.tierNames())
			return
		}
	}
	l.silence(at, r, y)
	hashed := []string{msText(r.tierMS)}
	for i := range texts {
		l.checkLevel(r, &texts[i])
		hashed = append(hashed, texts[i].field[len(at):], texts[i].yaml.Value)
	}
	for _, v := range r.levels {
		hashed = append(hashed, v.Severity)
	}
	r.hash = hashOf(append(hashed, limitHashes(r.inputs)...)...)
	if len(r.levels) > 0 {
		r.expr, r.recover, r.forMS = r.levels[0].expr, r.levels[0].recover, r.levels[0].ForMS
	}
}

// levelsText is what the levels are, on a line.
func levelsText(levels []levelYAML) string {
	var each []string
	for i := range levels {
		text := levels[i].Severity + ": " + levels[i].Expr.Value
		if levels[i].For > 0 {
			text += " for " + levels[i].For.String()
		}
		if levels[i].Recover.Value != "" {
			text += " until " + levels[i].Recover.Value
		}
		each = append(each, text)
	}
	return strings.Join(each, "; ")
}

// levelTexts compiles the expressions of all levels.
func (l *loader) levelTexts(at string, r *rule, y *ruleYAML) []levelText {
	var texts []levelText
	seen := map[string]bool{}
	for i := range y.Levels {
		one, at := &y.Levels[i], fmt.Sprintf("%s.levels[%d]", at, i)
		switch {
		case one.Severity == "":
			l.doc.Fail(at+".severity", nil, "must be given")
		case seen[one.Severity]:
			l.doc.Fail(at+".severity", one.Severity, "is that of two levels")
		case len(one.Severity) > maxLabelBytes:
			l.doc.Fail(at+".severity", one.Severity, fmt.Sprintf("is %d bytes long, must be at most %d", len(one.Severity), maxLabelBytes))
		}
		seen[one.Severity] = true
		if one.For < 0 || one.For.MS() > maxForMS {
			l.doc.Fail(at+".for", one.For, "must be 0s to "+msText(maxForMS))
		}
		v := level{Level: schemas.Level{Severity: one.Severity, ForMS: one.For.MS()}}
		if one.Expr.Kind == 0 {
			l.doc.Fail(at+".expr", nil, "must be given")
		} else {
			texts, v.expr = l.levelText(texts, at+".expr", r, &one.Expr)
		}
		if one.Recover.Kind != 0 {
			texts, v.recover = l.levelText(texts, at+".recover", r, &one.Recover)
		}
		r.levels = append(r.levels, v)
	}
	return texts
}

// levelText compiles one expression of a level.
func (l *loader) levelText(texts []levelText, field string, r *rule, y *yaml.Node) ([]levelText, *node) {
	text, ok := l.text(field, y)
	if !ok {
		return texts, nil
	}
	from := len(r.inputs)
	n, err := compileExpr(text, &r.inputs)
	if err != nil {
		l.failExpr(field, y, err)
		return texts, nil
	}
	l.findLimits(field, y, r.inputs[from:])
	for _, in := range r.inputs[from:] {
		line, column := locate(l.lines, y, in.at)
		r.places = append(r.places, conf.Fault{File: l.file, Line: line, Column: column, Field: field, Snippet: caret(l.lines, line, column)})
	}
	return append(texts, levelText{field, y, n, from, len(r.inputs)}), n
}

// checkLevel refuses an expression of a level that no window can serve, or that means nothing.
func (l *loader) checkLevel(r *rule, t *levelText) {
	v := &verdict{inputs: r.inputs}
	for i := t.from; i < t.to; i++ {
		in := &r.inputs[i]
		in.tierMS = r.tierMS
		if err := checkRange(r.tierMS, in); err != nil {
			l.failExpr(t.field, t.yaml, &exprError{in.at, err.Error()})
			return
		}
	}
	err := l.impossibleRange(r, r.inputs[t.from:t.to])
	if err == nil {
		err = v.dividesByZero(t.node)
	}
	if err == nil {
		if decided := v.decided(t.node); decided != nil {
			err = decided
		}
	}
	if err != nil {
		l.failExpr(t.field, t.yaml, err)
		return
	}
	l.lookAtNames(t.field, t.yaml)
}

// levelsOf are the levels, as a condition has them.
func (r *rule) levelsOf() []schemas.Level {
	if len(r.levels) == 0 {
		return nil
	}
	all := make([]schemas.Level, len(r.levels))
	for i := range r.levels {
		all[i] = r.levels[i].Level
	}
	return all
}

// rise returns the highest level that is true at a window's end, from 1, or 0, with its value, and why
// none is. A level up to was, that of the end before, is over when its recover is true; one of
// which that cannot be told stays.
func (e *Evaluator) rise(set *labelSet, b *binding, end int64, was int) (int, float64, string) {
	e.read(set, b, end)
	value, why, known := 0.0, reasonFalse, false
	for k := len(b.rule.levels); k > 0; k-- {
		one := &b.rule.levels[k-1]
		t, v := one.expr.truth(e.in)
		if k <= was && one.recover != nil {
			recovered, of := one.recover.truth(e.in)
			v = first(v, of)
			switch {
			case recovered == yes:
				t, why = no, reasonRecovered
			case recovered == no || t == yes:
				t = yes
			}
		}
		known = known || t != unknown
		value = v
		if t == yes {
			return k, v, ""
		}
	}
	if !known {
		why = reasonNoData
	}
	return 0, value, why
}
