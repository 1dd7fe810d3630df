package alerts

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// refuse records as faults what can mean nothing, whatever the data: rules that can never be true,
// or are true whenever there is data, and ranges that cannot be served. Each expression gets one
// fault at most, with what may have been meant.
func (l *loader) refuse(at string, r *rule, y *ruleYAML) {
	v := &verdict{inputs: r.inputs}
	for _, text := range []struct {
		field string
		yaml  *yaml.Node
		node  *node
		from  int // its inputs
		to    int
	}{{at + ".expr", &y.Expr, r.expr, 0, r.ofExpr}, {at + ".recover", &y.Recover, r.recover, r.ofExpr, len(r.inputs)}} {
		if text.node == nil {
			continue
		}
		err := l.impossibleRange(r, r.inputs[text.from:text.to])
		if err == nil {
			err = v.dividesByZero(text.node)
		}
		if err != nil {
			l.failExpr(text.field, text.yaml, err)
			continue
		}
		switch err := v.decided(text.node); {
		case err == nil:
		case r.onNoData == fireOnNoData && text.node == r.expr && !v.may(goal{r.expr, true}):
			l.warn(text.field, text.yaml, err.at, "%s. The rule fires on silence only (on_no_data: firing)", err.msg)
		case v.presence(text.node):
			l.warn(text.field, text.yaml, err.at, "%s", err.msg)
		default:
			l.failExpr(text.field, text.yaml, err)
		}
	}
	if r.where != nil && whereNever(y.Where.Value) {
		l.failExpr(at+".where", &y.Where, &exprError{0, "is never true, whatever the labels. One of several values is written labels.env in [\"a\", \"b\"]"})
	}
}

// ttlMS is how long windows of a tier are kept, ms; math.MaxInt64 if that is unknown.
func (l *loader) ttlMS(tierMS int64) int64 {
	if i := slices.Index(l.tiersMS, tierMS); i >= 0 && i < len(l.ttlsMS) && l.ttlsMS[i] > 0 {
		return l.ttlsMS[i]
	}
	return math.MaxInt64
}

// impossibleRange returns why a range has too few windows for its function, or reaches beyond those
// that are kept; nil if none does.
func (l *loader) impossibleRange(r *rule, inputs []input) error {
	tier := msText(r.tierMS)
	for _, in := range inputs {
		if !in.windows() {
			continue
		}
		if n := in.rangeMS / r.tierMS; n < int64(in.fn.least) && in.rangeMS > 0 {
			windows := "windows"
			if n == 1 {
				windows = "window"
			}
			return &exprError{in.at, fmt.Sprintf("%s over %s has %d %s of %s, and needs %d: take a range of \"%s\" or more",
				in.fn.name, msText(in.rangeMS), n, windows, tier, in.fn.least, msText(int64(in.fn.least)*r.tierMS))}
		}
		ttl := l.ttlMS(r.tierMS)
		if in.backMS() <= ttl {
			continue
		}
		what := "a range of " + msText(in.rangeMS)
		if in.beforeMS > 0 {
			what += " that ended " + msText(in.beforeMS) + " earlier"
		}
		hint := "take a shorter one, or keep windows for longer"
		for _, t := range l.tiersMS {
			fits := in.rangeMS%t == 0 && in.beforeMS%t == 0 && in.periodMS%t == 0 && in.rangeMS/t >= int64(in.fn.least)
			if l.ttlMS(t) >= in.backMS() && fits {
				hint = "name a tier that is kept for long enough, tier: " + msText(t)
				break
			}
		}
		return &exprError{in.at, fmt.Sprintf("%s reaches back further than windows of %s are kept, %s (windows.tiers ttl): %s", what, tier, msText(ttl), hint)}
	}
	return nil
}

// each calls f with every node below and including n once, outer ones first, until f returns false.
func (n *node) each(seen map[*node]bool, f func(*node) bool) bool {
	if n == nil || seen[n] {
		return true
	}
	seen[n] = true
	return f(n) && n.cond.each(seen, f) && n.a.each(seen, f) && n.b.each(seen, f)
}

// dividesByZero returns the first division by what is always 0, or nil.
func (v *verdict) dividesByZero(n *node) error {
	var err error
	n.each(map[*node]bool{}, func(n *node) bool {
		if n.op == opDivide && v.span(n.b, nil) == point(0) {
			err = &exprError{n.at, "divides by 0, which has no value: no comparison with it is ever true"}
		}
		return err == nil
	})
	return err
}

// constant reports whether the node is the same at every window.
func (n *node) constant() bool {
	return n.each(map[*node]bool{}, func(n *node) bool { return n.op != opInput })
}

// decided returns why the data cannot decide the expression, or nil: a comparison of constants, a
// comparison that is never true, or a whole that is always, or never.
func (v *verdict) decided(n *node) *exprError {
	var err *exprError
	n.each(map[*node]bool{}, func(n *node) bool {
		if _, is := opposite[n.op]; !is {
			return true
		}
		switch never := !v.may(goal{n, true}); {
		case n.constant():
			always := "true"
			if never {
				always = "false"
			}
			err = &exprError{n.at, "compares constants, and is always " + always + ": compare a metric, as in cpu.usage > 80"}
		case never:
			err = &exprError{n.at, v.whyNever(n)}
		}
		return err == nil
	})
	switch {
	case err != nil:
		return err
	case !v.may(goal{n, true}):
		hint := ""
		if n.op == opAnd {
			hint = ": did you mean or?"
		}
		return &exprError{n.at, "is never true, as its conditions contradict each other" + hint}
	case !v.may(goal{n, false}):
		hint := ", so the alert ends only with its series"
		switch _, compares := opposite[n.op]; {
		case n.op == opOr:
			hint = ": did you mean and?"
		case compares && v.key(n.a) == v.key(n.b):
			hint = ", as both sides are the same"
		}
		return &exprError{n.at, "is true whenever there is data" + hint}
	}
	return nil
}

// presence reports whether the node is a comparison with a count, which, if it is always true, is
// how one asks whether there is data at all.
func (v *verdict) presence(n *node) bool {
	if _, compares := opposite[n.op]; !compares || !v.may(goal{n, true}) {
		return false
	}
	return n.a.op == opInput && v.inputs[n.a.slot].fn == fnCount || n.b.op == opInput && v.inputs[n.b.slot].fn == fnCount
}

// whyNever tells why a comparison is never true, and what to write instead.
func (v *verdict) whyNever(n *node) string {
	for _, side := range []*node{n.a, n.b} {
		if v.span(side, nil).none {
			return "is never true: one side never has a value"
		}
		if side.op == opInput && v.inputs[side.slot].fn == fnCount {
			metric := v.inputs[side.slot].metric
			return fmt.Sprintf("is never true: a series without samples is not evaluated, so count is at least 1. A rule that fires when %s falls silent has on_no_data: firing, and an expr such as %s == 0", metric, metric)
		}
	}
	if v.key(n.a) == v.key(n.b) {
		return "is never true: both sides are the same"
	}
	return fmt.Sprintf("is never true: the left side is %s, and the right %s", v.span(n.a, nil), v.span(n.b, nil))
}

// String tells what values there are, as in "at least 0".
func (s span) String() string {
	text := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	switch {
	case s.none:
		return "no number"
	case s.lo == s.hi:
		return text(s.lo)
	case math.IsInf(s.lo, -1) && math.IsInf(s.hi, 1):
		return "any number"
	case math.IsInf(s.hi, 1):
		return "at least " + text(s.lo)
	case math.IsInf(s.lo, -1):
		return "at most " + text(s.hi)
	}
	return text(s.lo) + " to " + text(s.hi)
}
