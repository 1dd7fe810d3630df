package promrules

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/weir-metrics/weir/deploy/conf"
)

// nameLabel is the label in which Prometheus keeps a series' metric.
const nameLabel = "__name__"

// exprFault is why an expression has no equivalent, and where in its text.
type exprFault struct {
	at     int // byte
	reason string
}

func (f *exprFault) Error() string { return f.reason }

func faultAt(n parser.Node, format string, args ...any) error {
	return &exprFault{int(n.PositionRange().Start), fmt.Sprintf(format, args...)}
}

// kind is what a translated expression is in weir.
type kind int

const (
	number    kind = iota // of series: there only if their data is
	constant              // a number without series: a scalar
	condition             // a comparison, or several
)

// text is a translated expression.
type text struct {
	expr string
	kind kind
	prec int // of its operator, from weaker to stronger
	// selects are the matchers of all selectors in it, without the name; nil: there is no selector.
	selects *[]*labels.Matcher
}

// Precedences of weir's operators.
const (
	precOr = iota
	precAnd
	precCompare
	precAdd
	precMultiply
	precPower
	precAtom
)

// in is the expression as an operand of an operator that binds by prec.
func (t text) in(prec int) string {
	if t.prec < prec {
		return "(" + t.expr + ")"
	}
	return t.expr
}

// translation is of one expression. It collects what differs.
type translation struct{ notes []string }

func (tr *translation) note(format string, args ...any) {
	if n := fmt.Sprintf(format, args...); !slices.Contains(tr.notes, n) {
		tr.notes = append(tr.notes, n)
	}
}

// translated is a rule's condition.
type translated struct {
	expr, where string
	notes       []string
}

// maxExprBytes bounds an expression, which is translated recursively. Those of weir are shorter.
const maxExprBytes = 16 << 10

// translateExpr translates the expression of an alerting rule. The error is *exprFault.
func translateExpr(promql string) (*translated, error) {
	if len(promql) > maxExprBytes {
		return nil, &exprFault{0, fmt.Sprintf("is %d bytes long, must be at most %d", len(promql), maxExprBytes)}
	}
	e, err := parser.NewParser(parser.Options{}).ParseExpr(promql)
	if err != nil {
		if errs := (parser.ParseErrors)(nil); asParseErrors(err, &errs) {
			return nil, &exprFault{int(errs[0].PositionRange.Start), "does not parse as PromQL: " + errs[0].Err.Error()}
		}
		return nil, &exprFault{0, "does not parse as PromQL: " + err.Error()}
	}
	tr := &translation{}
	t, err := tr.expr(e)
	if err != nil {
		return nil, err
	}
	switch {
	case t.kind == constant:
		return nil, faultAt(e, "reads no series: such an alert always or never fires")
	case t.kind == number:
		return nil, faultAt(e, "has no comparison: it fires for any value, and weir refuses what is always true; for values that are never negative, write >= 0")
	}
	out := &translated{expr: t.expr, notes: tr.notes}
	if t.selects != nil {
		out.where = whereOf(*t.selects)
	}
	return out, nil
}

func asParseErrors(err error, to *parser.ParseErrors) bool {
	errs, ok := err.(parser.ParseErrors)
	if ok && len(errs) > 0 {
		*to = errs
		return true
	}
	return false
}

func unwrap(e parser.Expr) parser.Expr {
	for {
		p, ok := e.(*parser.ParenExpr)
		if !ok {
			return e
		}
		e = p.Expr
	}
}

// exists is the condition that a series has data.
func exists(v *parser.VectorSelector, t text) text {
	return text{expr: "count(" + metric(v.Name) + `, "5m") > 0`, kind: condition, prec: precCompare, selects: t.selects}
}

func (tr *translation) expr(e parser.Expr) (text, error) {
	switch e := e.(type) {
	case *parser.ParenExpr:
		return tr.expr(e.Expr)
	case *parser.NumberLiteral:
		return tr.literal(e)
	case *parser.VectorSelector:
		return tr.selector(e)
	case *parser.UnaryExpr:
		t, err := tr.value(e.Expr)
		if err != nil || e.Op == parser.ADD {
			return t, err
		}
		t.expr, t.prec = "-"+t.in(precAtom), precMultiply
		return t, nil
	case *parser.BinaryExpr:
		return tr.binary(e)
	case *parser.Call:
		return tr.call(e)
	case *parser.AggregateExpr:
		return text{}, faultAt(e, "%s aggregates several series, and a rule of weir sees those of one label set", e.Op)
	case *parser.SubqueryExpr:
		return text{}, faultAt(e, "weir has no subqueries")
	case *parser.MatrixSelector:
		return text{}, faultAt(e, "a range without a function")
	case *parser.StringLiteral:
		return text{}, faultAt(e, "a text is no condition")
	}
	return text{}, faultAt(e, "weir has no equivalent of %s", e.Type())
}

// value translates an operand that must be a number.
func (tr *translation) value(e parser.Expr) (text, error) {
	t, err := tr.expr(e)
	if err == nil && t.kind == condition {
		err = faultAt(e, "a comparison without bool that filters the series of a calculation")
	}
	return t, err
}

func (tr *translation) literal(e *parser.NumberLiteral) (text, error) {
	if math.IsNaN(e.Val) || math.IsInf(e.Val, 0) {
		return text{}, faultAt(e, "weir's numbers are finite")
	}
	t := text{expr: strconv.FormatFloat(e.Val, 'g', -1, 64), kind: constant, prec: precAtom}
	if math.Abs(e.Val) < 1e15 && math.Abs(e.Val) >= 1e-6 || e.Val == 0 {
		t.expr = strconv.FormatFloat(e.Val, 'f', -1, 64)
	}
	if e.Val < 0 {
		t.prec = precMultiply
	}
	return t, nil
}

// bareName is a metric's name that weir takes without quotes, and that is no word of its language.
var bareName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

var words = map[string]bool{"and": true, "or": true, "not": true, "in": true, "let": true, "if": true, "else": true, "nil": true, "true": true, "false": true,
	"contains": true, "matches": true, "startsWith": true, "endsWith": true}

func metric(name string) string {
	if bareName.MatchString(name) && !words[name] {
		return name
	}
	return "metric(" + strconv.Quote(name) + ")"
}

// selector translates the last value of a series.
func (tr *translation) selector(v *parser.VectorSelector) (text, error) {
	t, err := tr.series(v)
	if err != nil {
		return t, err
	}
	if v.OriginalOffset != 0 {
		t.expr = fmt.Sprintf("last(%s, \"5m\", %s)", t.expr, quoted(v.OriginalOffset))
	}
	return t, nil
}

// series is a selector's metric, with its matchers.
func (tr *translation) series(v *parser.VectorSelector) (text, error) {
	switch {
	case v.Timestamp != nil || v.StartOrEnd != 0:
		return text{}, faultAt(v, "weir has no @")
	case v.OriginalOffsetExpr != nil || v.OriginalOffset < 0:
		return text{}, faultAt(v, "an offset must be a length of time, and not negative")
	}
	name := v.Name
	selects := []*labels.Matcher{}
	for _, m := range v.LabelMatchers {
		switch {
		case m.Name != nameLabel:
			selects = append(selects, m)
		case m.Type == labels.MatchEqual:
			name = m.Value
		default:
			return text{}, faultAt(v, "several metrics are selected by a pattern: a rule of weir names its metrics")
		}
	}
	switch name {
	case "":
		return text{}, faultAt(v, "no metric is named")
	case "ALERTS", "ALERTS_FOR_STATE":
		return text{}, faultAt(v, "%s is a metric of Prometheus's own rules", name)
	}
	return text{expr: metric(name), kind: number, prec: precAtom, selects: &selects}, nil
}

func quoted(d time.Duration) string { return strconv.Quote(conf.Duration(d).String()) }

// whereOf is the condition on labels that matchers are, sorted.
func whereOf(ms []*labels.Matcher) string {
	var parts []string
	for _, m := range ms {
		label := "labels." + m.Name
		if !bareName.MatchString(m.Name) || words[m.Name] {
			label = "labels[" + strconv.Quote(m.Name) + "]"
		}
		value := strconv.Quote(m.Value)
		part := ""
		switch m.Type {
		case labels.MatchEqual:
			part = label + " == " + value
		case labels.MatchNotEqual:
			part = label + " != " + value
		default:
			part = label + " matches " + strconv.Quote("^(?s:"+m.Value+")$")
			if m.Type == labels.MatchNotRegexp {
				part = "not (" + part + ")"
			}
		}
		if !slices.Contains(parts, part) {
			parts = append(parts, part)
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, " and ")
}
