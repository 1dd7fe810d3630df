package alerts

import (
	"fmt"
	"maps"
	"math"
	"strconv"
)

// What an expression can be is worked out on intervals: each number is known to lie between two
// bounds, and a comparison narrows them for what follows. Where that leads nowhere, anything is
// possible: a verdict is never wrong, only missing. It is also missing for expressions of more than
// maxVerdictSteps operations.
const (
	maxVerdictSteps = 200
	maxVerdictTries = 20_000
)

// span is the values that a number may have, including both bounds; none means that there is never
// a value, as with x / 0.
type span struct {
	lo, hi float64
	none   bool
}

var anything = span{lo: math.Inf(-1), hi: math.Inf(1)}

func (s span) and(o span) span {
	s.lo, s.hi, s.none = max(s.lo, o.lo), min(s.hi, o.hi), s.none || o.none
	if s.lo > s.hi {
		s.none = true
	}
	return s
}

func point(v float64) span { return span{lo: v, hi: v} }

// over is the span of f over all pairs of bounds, for a monotonic f.
func over(a, b span, f func(x, y float64) float64) span {
	out := span{lo: math.Inf(1), hi: math.Inf(-1)}
	for _, x := range []float64{a.lo, a.hi} {
		for _, y := range []float64{b.lo, b.hi} {
			v := f(x, y)
			if v != v {
				return anything
			}
			out.lo, out.hi = min(out.lo, v), max(out.hi, v)
		}
	}
	return out
}

// verdict decides what a rule's expressions can be.
type verdict struct {
	inputs []input
	keys   map[*node]string
	tries  int
}

// goal is a node that should have a certain truth.
type goal struct {
	n    *node
	want bool
}

// may reports whether all goals can be met at one window. It returns true if that is unknown.
func (v *verdict) may(goals ...goal) bool {
	steps := 0
	for _, g := range goals {
		steps += g.n.steps(map[*node]int{})
	}
	if steps > maxVerdictSteps {
		return true
	}
	v.tries = 0
	return v.meet(goals, map[string]span{})
}

func (v *verdict) meet(goals []goal, facts map[string]span) bool {
	if v.tries++; v.tries > maxVerdictTries {
		return true
	}
	if len(goals) == 0 {
		return true
	}
	g, rest := goals[0], goals[1:]
	with := func(more ...goal) bool { return v.meet(append(more, rest...), facts) }
	n := g.n
	switch n.op {
	case opTruth:
		return n.yes == g.want && v.meet(rest, facts)
	case opNot:
		return with(goal{n.a, !g.want})
	case opAnd, opOr:
		if (n.op == opAnd) == g.want {
			return with(goal{n.a, g.want}, goal{n.b, g.want})
		}
		return with(goal{n.a, g.want}) || with(goal{n.b, g.want})
	case opChoose:
		return with(goal{n.cond, true}, goal{n.a, g.want}) || with(goal{n.cond, false}, goal{n.b, g.want})
	}
	facts, ok := v.compare(n, g.want, facts)
	return ok && v.meet(rest, facts)
}

var (
	opposite = map[op]op{opLess: opGreaterEqual, opLessEqual: opGreater, opGreater: opLessEqual, opGreaterEqual: opLess, opEqual: opNotEqual, opNotEqual: opEqual}
	swapped  = map[op]op{opLess: opGreater, opLessEqual: opGreaterEqual, opGreater: opLess, opGreaterEqual: opLessEqual, opEqual: opEqual, opNotEqual: opNotEqual}
)

// compare reports whether the comparison can have the wanted truth, and what is known if it does.
func (v *verdict) compare(n *node, want bool, facts map[string]span) (map[string]span, bool) {
	o, a, b := n.op, n.a, n.b
	if !want {
		o = opposite[o]
	}
	sa, sb := v.span(a, facts), v.span(b, facts)
	if sa.none || sb.none {
		return nil, false
	}
	if v.key(a) == v.key(b) {
		sa, sb = point(0), point(0)
	}
	possible := false
	switch o {
	case opLess:
		possible = sa.lo < sb.hi
	case opLessEqual:
		possible = sa.lo <= sb.hi
	case opGreater:
		possible = sa.hi > sb.lo
	case opGreaterEqual:
		possible = sa.hi >= sb.lo
	case opEqual:
		possible = sa.lo <= sb.hi && sb.lo <= sa.hi
	default:
		possible = sa.lo != sa.hi || sb.lo != sb.hi || sa.lo != sb.lo
	}
	if !possible || v.key(a) == v.key(b) {
		return facts, possible
	}
	if sa.lo == sa.hi { // move the constant to the right
		a, sa, sb, o = b, sb, sa, swapped[o]
	}
	if sb.lo != sb.hi || o == opNotEqual || a.op == opConst {
		return facts, true
	}
	a, c, o := v.isolate(a, sb.lo, o)
	narrowed := v.span(a, facts).and(bound(o, c))
	if narrowed.none {
		return nil, false
	}
	facts = maps.Clone(facts)
	facts[v.key(a)] = narrowed
	return facts, true
}

// bound is the span of values that compare to c by o.
func bound(o op, c float64) span {
	s := anything
	switch o {
	case opLess:
		s.hi = math.Nextafter(c, math.Inf(-1))
	case opLessEqual:
		s.hi = c
	case opGreater:
		s.lo = math.Nextafter(c, math.Inf(1))
	case opGreaterEqual:
		s.lo = c
	default:
		s = point(c)
	}
	return s
}

// isolate moves sums with constants, and signs, from a to the other side, where they are exact: x -
// 5 > 0 is x > 5.
func (v *verdict) isolate(a *node, c float64, o op) (*node, float64, op) {
	for {
		switch {
		case a.op == opNegate:
			a, c, o = a.a, -c, swapped[o]
		case a.op == opAdd && a.b.op == opConst:
			a, c = a.a, c-a.b.num
		case a.op == opAdd && a.a.op == opConst:
			a, c = a.b, c-a.a.num
		case a.op == opSubtract && a.b.op == opConst:
			a, c = a.a, c+a.b.num
		default:
			return a, c, o
		}
	}
}

// span is the values that the number can have, by itself and given what is known.
func (v *verdict) span(n *node, facts map[string]span) span {
	s := v.own(n, facts)
	if known, ok := facts[v.key(n)]; ok {
		s = s.and(known)
	}
	return s
}

func (v *verdict) own(n *node, facts map[string]span) span {
	switch n.op {
	case opConst:
		return span{n.num, n.num, !finite(n.num)}
	case opInput:
		if fn := v.inputs[n.slot].fn; fn != nil && fn.within != (span{}) {
			return fn.within // given that there is a value
		}
		return anything
	case opChoose:
		a, b := v.span(n.a, facts), v.span(n.b, facts)
		if a.none {
			return b
		} else if b.none {
			return a
		}
		return span{lo: min(a.lo, b.lo), hi: max(a.hi, b.hi)}
	}
	a := v.span(n.a, facts)
	b := a
	if n.b != nil {
		b = v.span(n.b, facts)
	}
	if a.none || b.none {
		return span{none: true}
	}
	return v.apply(n, a, b)
}

func (v *verdict) apply(n *node, a, b span) span {
	one := func(f func(float64) float64) span { return span{lo: f(a.lo), hi: f(a.hi)} }
	switch n.op {
	case opNegate:
		return span{lo: -a.hi, hi: -a.lo}
	case opAdd:
		return span{lo: a.lo + b.lo, hi: a.hi + b.hi}
	case opSubtract:
		if v.key(n.a) == v.key(n.b) {
			return point(0)
		}
		return span{lo: a.lo - b.hi, hi: a.hi - b.lo}
	case opMultiply:
		if a == point(0) || b == point(0) {
			return point(0)
		}
		return over(a, b, func(x, y float64) float64 { return x * y })
	case opDivide:
		switch {
		case b == point(0):
			return span{none: true}
		case b.lo <= 0 && b.hi >= 0:
			return anything
		}
		return over(a, b, func(x, y float64) float64 { return x / y })
	case opOne:
		switch out := anything; {
		case n.fn.spans != nil:
			return n.fn.spans(a)
		case n.fn.mono:
			return one(n.fn.one)
		case n.fn.within != (span{}):
			return n.fn.within
		default:
			return out
		}
	case opTwo:
		return over(a, b, n.fn.two)
	case opPower:
		if a.lo == a.hi && b.lo == b.hi {
			p := math.Pow(a.lo, b.lo)
			return span{p, p, !finite(p)}
		}
	}
	return anything
}

// key is equal for equal numbers.
func (v *verdict) key(n *node) string {
	if n == nil {
		return ""
	}
	if k, ok := v.keys[n]; ok {
		return k
	}
	k := ""
	switch n.op {
	case opConst:
		k = strconv.FormatFloat(n.num, 'g', -1, 64)
	case opInput:
		k = "i" + strconv.Itoa(n.slot)
	default:
		name := ""
		if n.fn != nil {
			name = n.fn.name
		}
		k = fmt.Sprintf("(%d%s %s %s %s %v)", n.op, name, v.key(n.cond), v.key(n.a), v.key(n.b), n.yes)
	}
	if v.keys == nil {
		v.keys = map[*node]string{}
	}
	v.keys[n] = k
	return k
}
