package alerts

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/weir-metrics/weir/deploy/conf"
)

// Explanation is how a rule was judged on one label set, at the end of its newest window.
type Explanation struct {
	Rule   string            `json:"rule"` // group/alert
	Group  string            `json:"group"`
	Labels map[string]string `json:"labels"` // of the series
	TierMS int64             `json:"tier_ms"`
	EndMS  int64             `json:"end_ms"` // the window's end at which it was judged
	// Fingerprint is that of the rule's alert.
	Fingerprint string `json:"fingerprint"`

	// Expr and Recover are those of all levels, one after the other, if the rule has them.
	Expr    []Term `json:"expr"`
	Recover []Term `json:"recover,omitempty"`
	// Most and Of are those of for: M of N windows, and Trues the ends of those N at which expr was
	// true. Of is 0 if for is a duration.
	Most  int     `json:"most,omitempty"`
	Of    int     `json:"of,omitempty"`
	Trues []int64 `json:"trues,omitempty"`

	Reads []Reading `json:"reads"`
	// Said is what the rule says: "true" or "false" with the reason, "true" for want of data if
	// SaidMissing, or "" if it has never been true, or its end was said long ago.
	Said        string `json:"said,omitempty"`
	SaidMissing bool   `json:"said_missing,omitempty"`
	SaidEndMS   int64  `json:"said_end_ms,omitempty"`
}

// Term is an expression, or a part of one. A slice of terms lists an expression before its parts.
type Term struct {
	Depth int    `json:"depth"` // 0: the whole expression
	Text  string `json:"text"`
	// Value is a number as text, "true", "false", or "unknown", which also stands for a number that
	// is missing.
	Value string `json:"value"`
}

// Reading is an input of the rule: a metric and a range. One that compares two ranges is there twice.
type Reading struct {
	Text    string   `json:"text"`
	Value   *float64 `json:"value"`         // nil: unknown
	Why     string   `json:"why,omitempty"` // why it is unknown
	FromMS  int64    `json:"from_ms"`       // windows that end after FromMS, up to ToMS, count
	ToMS    int64    `json:"to_ms"`
	Expects int64    `json:"expects"` // how many windows fit into that; 0: the newest counts alone
	Windows []Kept   `json:"windows"` // those that there are, oldest first
}

// Kept is a window as a rule keeps it: of its numbers, those that rules read.
type Kept struct {
	EndMS    int64              `json:"end_ms"`
	Revision uint32             `json:"revision"`
	Numbers  map[string]float64 `json:"numbers"` // count, sum, min, max, first, last
}

// Explain tells how a rule (group/alert) was judged in a series group, on each label set that it
// applies to, in the order in which they came. It changes nothing.
func (e *Evaluator) Explain(st *State, group, rule string) (all []Explanation) {
	for _, set := range st.sets {
		for i := range set.bound {
			if b := &set.bound[i]; b.rule.name == rule {
				all = append(all, e.explain(set, b, group))
			}
		}
	}
	return all
}

func (e *Evaluator) explain(set *labelSet, b *binding, group string) Explanation {
	r := b.rule
	x := Explanation{Rule: r.name, Group: group, Labels: set.labels.Map(), TierMS: r.tierMS, EndMS: math.MinInt64, Most: r.most, Of: r.of}
	x.Fingerprint = b.last.fingerprint(r.name, group, set.labels)
	for _, i := range b.in {
		if i >= 0 {
			x.EndMS = max(x.EndMS, set.series[i].ring.newest())
		}
	}
	for at := x.EndMS - r.beforeMS(); r.of > 0 && at <= x.EndMS; at += r.tierMS {
		if at < x.EndMS && !b.closedAt(set, at) {
			continue
		}
		e.read(set, b, at)
		if t, _ := r.expr.truth(e.in); t == yes {
			x.Trues = append(x.Trues, at)
		}
	}
	e.read(set, b, x.EndMS)
	for k := range r.inputs {
		in := &r.inputs[k]
		if !in.windows() {
			continue
		}
		if in.fn.extra == anOffset {
			x.Reads = append(x.Reads, e.reading(set, b, k, x.EndMS, x.EndMS-in.beforeMS))
			continue
		}
		x.Reads = append(x.Reads, e.reading(set, b, k, x.EndMS, x.EndMS))
		if in.fn.extra == earlier {
			x.Reads = append(x.Reads, e.reading(set, b, k, x.EndMS, x.EndMS-in.beforeMS))
		}
	}
	x.Expr, x.Recover = e.terms(nil, r, r.expr, 0), e.terms(nil, r, r.recover, 0)
	for i := 1; i < len(r.levels); i++ { // the first is expr and recover
		x.Expr, x.Recover = e.terms(x.Expr, r, r.levels[i].expr, 0), e.terms(x.Recover, r, r.levels[i].recover, 0)
	}
	if last := &b.last; last.truth != unknown {
		x.Said, x.SaidMissing, x.SaidEndMS = truthText(last.truth), last.missing, last.endMS
	}
	return x
}

// reading tells of an input whose value at a window's end e.in holds, and of its range that ends at
// toMS.
func (e *Evaluator) reading(set *labelSet, b *binding, k int, end, toMS int64) Reading {
	r, in := b.rule, &b.rule.inputs[k]
	back := in.rangeMS
	if back == 0 {
		back = r.noDataMS
	}
	x := Reading{Text: in.text(), FromMS: toMS - back, ToMS: toMS, Expects: in.rangeMS / r.tierMS}
	if v := e.in[k]; v == v {
		x.Value = &v
	}
	i := b.in[k]
	if i < 0 {
		x.Why = "the label set has no " + in.metric
		return x
	}
	ring := &set.series[i].ring
	from, to := ring.ending(toMS, back)
	for ; from < to; from++ {
		x.Windows = append(x.Windows, ring.kept(from))
	}
	switch {
	case x.Value != nil:
	case len(x.Windows) == 0:
		x.Why = "no window in this time"
	case in.rangeMS > 0 && !r.covers(ring, in, end):
		x.Why = "not covered: " + r.reads(in)
	default:
		x.Why = "it needs more windows, or numbers that these lack"
	}
	return x
}

// kept returns the i-th window.
func (r *ring) kept(i int) Kept {
	w := Kept{EndMS: r.at[i].endMS, Revision: r.at[i].revision, Numbers: map[string]float64{}}
	for k, name := range [...]string{"sum", "count", "min", "max", "first", "last"} { // as in columns
		if v := r.value(i, colSum<<k); finite(v) {
			w.Numbers[name] = v
		}
	}
	return w
}

// terms appends the node and its parts, with their values on e.in. Constants are not parts.
func (e *Evaluator) terms(out []Term, r *rule, n *node, depth int) []Term {
	if n == nil || n.constant() {
		return out
	}
	t := Term{Depth: depth, Text: n.text(r.inputs)}
	if n.bool {
		truth, _ := n.truth(e.in)
		t.Value = truthText(truth)
	} else {
		t.Value = numberText(n.number(e.in))
	}
	out = append(out, t)
	for _, part := range []*node{n.cond, n.a, n.b} {
		out = e.terms(out, r, part, depth+1)
	}
	return out
}

func truthText(t truth) string {
	switch t {
	case yes:
		return "true"
	case no:
		return "false"
	}
	return "unknown"
}

func numberText(v float64) string {
	if !finite(v) {
		return "unknown"
	}
	return strconv.FormatFloat(v, 'g', 6, 64)
}

var opText = map[op]string{
	opAdd: "+", opSubtract: "-", opMultiply: "*", opDivide: "/", opPower: "^", opAnd: "and", opOr: "or",
	opLess: "<", opLessEqual: "<=", opGreater: ">", opGreaterEqual: ">=", opEqual: "==", opNotEqual: "!=",
}

// text writes the node as an expression. Names that let declared are replaced by what they stand
// for.
func (n *node) text(inputs []input) string {
	switch n.op {
	case opConst:
		return strconv.FormatFloat(n.num, 'g', -1, 64)
	case opTruth:
		return strconv.FormatBool(n.yes)
	case opInput:
		return inputs[n.slot].text()
	case opNegate:
		return "-" + n.a.operand(inputs)
	case opNot:
		return "not (" + n.a.text(inputs) + ")"
	case opOne:
		return n.fn.name + "(" + n.a.text(inputs) + ")"
	case opTwo:
		return n.fn.name + "(" + n.a.text(inputs) + ", " + n.b.text(inputs) + ")"
	case opChoose:
		return n.cond.operand(inputs) + " ? " + n.a.operand(inputs) + " : " + n.b.operand(inputs)
	}
	return n.a.operand(inputs) + " " + opText[n.op] + " " + n.b.operand(inputs)
}

// operand is text, in brackets if it would be read otherwise next to an operator. Comparisons bind
// more tightly than and and or, and arithmetic more tightly than both.
func (n *node) operand(inputs []input) string {
	text := n.text(inputs)
	switch n.op {
	case opConst, opTruth, opInput, opOne, opTwo, opLess, opLessEqual, opGreater, opGreaterEqual, opEqual, opNotEqual:
		return text
	}
	return "(" + text + ")"
}

// text writes the input as an expression has it.
func (in *input) text() string {
	quoted := func(ms int64) string { return strconv.Quote(conf.Duration(ms * int64(time.Millisecond)).String()) }
	switch {
	case in.zone != nil:
		return in.fn.name + "(" + strconv.Quote(in.zone.String()) + ")"
	case in.table != "":
		args := []string{strconv.Quote(in.table)}
		for key := range strings.SplitSeq(in.keys, "\xff") {
			args = append(args, "labels["+strconv.Quote(key)+"]")
		}
		return "limit(" + strings.Join(args, ", ") + ")"
	}
	metric := in.metric
	if strings.IndexFunc(metric, func(c rune) bool { return !isNameRune(c) && c != '.' }) >= 0 {
		metric = "metric(" + strconv.Quote(metric) + ")"
	}
	if in.rangeMS == 0 {
		return metric
	}
	args := []string{metric, quoted(in.rangeMS)}
	for _, ms := range []int64{in.beforeMS, in.aheadMS, in.periodMS} {
		if ms > 0 {
			args = append(args, quoted(ms))
		}
	}
	if in.fn.extra == aQuotient {
		for _, f := range in.factors {
			args = append(args, strconv.FormatFloat(f, 'g', -1, 64))
		}
	}
	return in.fn.name + "(" + strings.Join(args, ", ") + ")"
}
