package promrules

import (
	"fmt"
	"slices"

	"github.com/prometheus/prometheus/promql/parser"
)

var (
	arithmetic = map[parser.ItemType]struct {
		op   string
		prec int
	}{parser.ADD: {"+", precAdd}, parser.SUB: {"-", precAdd}, parser.MUL: {"*", precMultiply}, parser.DIV: {"/", precMultiply}, parser.POW: {"^", precPower}}
	comparisons = map[parser.ItemType]string{parser.EQLC: "==", parser.NEQ: "!=", parser.LSS: "<", parser.LTE: "<=", parser.GTR: ">", parser.GTE: ">="}
	// swapped says the same of the operands in the other order.
	swapped = map[string]string{"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
)

func (tr *translation) binary(e *parser.BinaryExpr) (text, error) {
	switch e.Op {
	case parser.LAND, parser.LOR:
		return tr.logic(e)
	case parser.LUNLESS:
		return text{}, faultAt(e, "unless: where the right side has no series, weir's `not` is unknown and the rule would not fire")
	}
	if err := oneToOne(e); err != nil {
		return text{}, err
	}
	a, err := tr.value(e.LHS)
	if err != nil {
		return a, err
	}
	b, err := tr.value(e.RHS)
	if err != nil {
		return b, err
	}
	if e.VectorMatching != nil && (a.selects == nil) != (b.selects == nil) {
		return a, faultAt(e, "a function of the time has no labels to be joined by")
	}
	t := text{kind: number, selects: both(a, b)}
	if a.kind == constant && b.kind == constant {
		t.kind = constant
	}
	if op, ok := comparisons[e.Op]; ok {
		if a.kind == constant && b.kind != constant { // the alert's value is that of the left side
			a, b, op = b, a, swapped[op]
		}
		t.expr, t.prec = a.in(precAdd)+" "+op+" "+b.in(precAdd), precCompare
		switch {
		case e.ReturnBool:
			t.expr, t.prec = "("+t.expr+" ? 1 : 0)", precAtom
		case t.kind == constant:
			return t, faultAt(e, "compares numbers without series")
		default:
			t.kind = condition
		}
		return t, nil
	}
	op, ok := arithmetic[e.Op]
	if !ok {
		return t, faultAt(e, "weir has no operator %s", e.Op)
	}
	if n, isNumber := constantOf(e.RHS); e.Op == parser.POW || e.Op == parser.DIV && !(isNumber && n != 0) {
		tr.note(notInfinite)
	}
	left, right := op.prec, op.prec+1 // of the same strength they group to the left
	if e.Op == parser.POW {
		left, right = precAtom, precAtom
	}
	t.expr, t.prec = fmt.Sprintf("%s %s %s", a.in(left), op.op, b.in(right)), op.prec
	return t, nil
}

// oneToOne returns why two sides are not joined by all their labels, or nil.
func oneToOne(e *parser.BinaryExpr) error {
	m := e.VectorMatching
	switch {
	case m == nil:
		return nil
	case m.On || len(m.MatchingLabels) > 0 || len(m.Include) > 0 || m.Card == parser.CardManyToOne || m.Card == parser.CardOneToMany:
		return faultAt(e, "joins series on some of their labels (on, ignoring, group_left, group_right), and weir joins on all")
	case m.FillValues.LHS != nil || m.FillValues.RHS != nil:
		return faultAt(e, "weir has no fill")
	}
	return nil
}

// both are the matchers of two sides, which are joined by all their labels and so must all hold.
func both(a, b text) *[]*matcher {
	switch {
	case a.selects == nil:
		return b.selects
	case b.selects == nil:
		return a.selects
	}
	all := slices.Concat(*a.selects, *b.selects)
	return &all
}

func (tr *translation) logic(e *parser.BinaryExpr) (text, error) {
	a, err := tr.expr(e.LHS)
	if err != nil {
		return a, err
	}
	b, err := tr.expr(e.RHS)
	if err != nil {
		return b, err
	}
	m := e.VectorMatching
	timeOnly := b.selects == nil && e.Op == parser.LAND && m.On && len(m.MatchingLabels) == 0 // … and on() hour() > 8
	if !timeOnly {
		if m.On || len(m.MatchingLabels) > 0 || len(m.Include) > 0 {
			return text{}, faultAt(e, "joins series on some of their labels (on, ignoring), and weir joins on all")
		}
		if (a.selects == nil) != (b.selects == nil) {
			return text{}, faultAt(e, "%s matches series that have no labels, and weir's those of a label set: write %s on()", e.Op, e.Op)
		}
	}
	if a, err = side(e.LHS, a); err != nil {
		return a, err
	}
	if b, err = side(e.RHS, b); err != nil {
		return b, err
	}
	t := text{kind: condition, selects: both(a, b)}
	if e.Op == parser.LAND {
		t.expr, t.prec = a.in(precAnd)+" and "+b.in(precAnd), precAnd
		return t, nil
	}
	if a.selects != nil && whereOf(*a.selects) != whereOf(*b.selects) {
		return text{}, faultAt(e, "or of series with different matchers: a rule of weir has one where; write two rules")
	}
	t.expr, t.prec = a.in(precOr)+" or "+b.in(precOr), precOr
	return t, nil
}

// side is an operand of and and or: a condition, or that a series is there.
func side(e parser.Expr, t text) (text, error) {
	if t.kind == condition {
		return t, nil
	}
	if v, ok := unwrap(e).(*parser.VectorSelector); ok && v.OriginalOffset == 0 {
		return exists(v, t), nil
	}
	return t, faultAt(e, "asks whether a calculation has a result, not how large it is: compare it")
}
