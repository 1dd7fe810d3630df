package alerts

import "math"

// An expression is lowered from expr-lang's syntax tree to nodes over float64, for three reasons
// that expr-lang's own machine cannot serve: it boxes every number (2 to 3 allocations and 84 to
// 186 ns an evaluation; a node takes none and about 3 ns), it considers x / 0 > 1 true, and a
// missing metric needs a third truth value. Where all values are finite, both agree
// (TestAgreesWithExprVM).

// truth is three-valued, as in SQL: a comparison with a missing value is unknown, not unknown is
// unknown, unknown or true is true.
type truth uint8

const (
	unknown truth = iota
	no
	yes
)

type op uint8

const (
	opConst op = iota // numbers
	opInput
	opNegate
	opAdd
	opSubtract
	opMultiply
	opDivide
	opPower
	opOne    // a function of a number
	opTwo    // of two
	opChoose // a number or a truth: cond ? a : b

	opTruth // truths
	opNot
	opAnd
	opOr
	opLess
	opLessEqual
	opGreater
	opGreaterEqual
	opEqual
	opNotEqual
)

// node is one operation; it is immutable and shared by all evaluators.
type node struct {
	op    op
	bool  bool // a truth; otherwise a number
	reads bool // it depends on an input
	slot  int  // opInput: index of the input
	at    int  // its place in the text, in runes
	num   float64
	fn    *function // opOne, opTwo
	yes   bool      // opTruth
	cond  *node
	a, b  *node
}

// number evaluates the node on the inputs. Anything that is not finite, including x / 0, is NaN: no
// data.
func (n *node) number(in []float64) float64 {
	var v float64
	switch n.op {
	case opConst:
		return n.num
	case opInput:
		v = in[n.slot]
	case opNegate:
		v = -n.a.number(in)
	case opAdd:
		v = n.a.number(in) + n.b.number(in)
	case opSubtract:
		v = n.a.number(in) - n.b.number(in)
	case opMultiply:
		v = n.a.number(in) * n.b.number(in)
	case opDivide:
		v = n.a.number(in) / n.b.number(in)
	case opPower:
		x, y := n.a.number(in), n.b.number(in)
		if x != x || y != y {
			return math.NaN() // math.Pow(NaN, 0) is 1
		}
		v = math.Pow(x, y)
	case opOne:
		v = n.fn.one(n.a.number(in))
	case opTwo:
		v = n.fn.two(n.a.number(in), n.b.number(in))
	case opChoose:
		switch t, _ := n.cond.truth(in); t {
		case yes:
			return n.a.number(in)
		case no:
			return n.b.number(in)
		}
		return math.NaN()
	}
	if !finite(v) {
		return math.NaN()
	}
	return v
}

// finite is false for NaN and both infinities, whose difference from themselves is NaN.
func finite(v float64) bool { return v-v == 0 }

// truth evaluates the node on the inputs. The value is the one that an alert shows: the side of the
// deciding comparison that reads a metric, the left one if both do; NaN if there is none.
func (n *node) truth(in []float64) (truth, float64) {
	switch n.op {
	case opTruth:
		return truthOf(n.yes), math.NaN()
	case opNot:
		t, v := n.a.truth(in)
		switch t {
		case yes:
			return no, v
		case no:
			return yes, v
		}
		return unknown, v
	case opAnd:
		ta, va := n.a.truth(in)
		if ta == no {
			return no, va
		}
		tb, vb := n.b.truth(in)
		if tb == no {
			return no, vb
		}
		return min(ta, tb), first(va, vb) // unknown < yes
	case opOr:
		ta, va := n.a.truth(in)
		if ta == yes {
			return yes, va
		}
		tb, vb := n.b.truth(in)
		if tb == yes {
			return yes, vb
		}
		return min(ta, tb), first(va, vb) // unknown < no
	case opChoose:
		switch t, _ := n.cond.truth(in); t {
		case yes:
			return n.a.truth(in)
		case no:
			return n.b.truth(in)
		}
		return unknown, math.NaN()
	}
	a, b := n.a.number(in), n.b.number(in)
	v := a
	if !n.a.reads {
		v = b
	}
	if !finite(a) || !finite(b) {
		return unknown, v
	}
	return truthOf(n.compare(a, b)), v
}

func (n *node) compare(a, b float64) bool {
	switch n.op {
	case opLess:
		return a < b
	case opLessEqual:
		return a <= b
	case opGreater:
		return a > b
	case opGreaterEqual:
		return a >= b
	case opEqual:
		return a == b
	}
	return a != b // opNotEqual is the last one that lower makes
}

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

// first returns the first argument that is a number.
func first(a, b float64) float64 {
	if a == a {
		return a
	}
	return b
}
