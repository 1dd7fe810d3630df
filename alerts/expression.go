package alerts

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	exprconf "github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
)

// Bounds of one expression. The length also bounds the depth of nesting.
const (
	maxExprBytes = 4096
	maxExprNodes = 500
	maxInputs    = 32
	// maxSteps bounds the operations of one evaluation. A chained comparison repeats its middle,
	// and let repeats its value, so nested ones double with each level.
	maxSteps = 2000
)

// input is one number that an expression reads for each label set: a metric's last value, a
// function of its windows over a range, or, without a metric, a function of the time.
type input struct {
	metric   string
	fn       *function
	rangeMS  int64 // 0: the metric alone
	beforeMS int64 // how much earlier the range, or the one that it is compared with, ended
	aheadMS  int64
	periodMS int64
	factors  [2]float64
	zone     *time.Location // for a function of the time; otherwise nil
	table    string         // for a limit, the name of its table; otherwise ""
	keys     string         // and the labels by which it is looked up, joined
	limits   *limits        // the table, set by the loader
	tierMS   int64          // the rule's, set when it is chosen
	at       int            // where the text says so, in runes
}

// windows reports whether it reads windows: it is neither the time nor a limit.
func (in *input) windows() bool { return in.zone == nil && in.table == "" }

// backMS is how far back from a window's end it reads.
func (in *input) backMS() int64 { return in.rangeMS + in.beforeMS }

// exprError is a fault in an expression, at a rune of its text.
type exprError struct {
	at  int
	msg string
}

func (e *exprError) Error() string { return e.msg }

// fusedDot replaces the dots of a metric's name while expr-lang parses it, so that load.1 and
// net.in are one identifier: a letter to its lexer, one rune like the dot, so that positions stay
// true, and not in ordinary use in any alphabet.
const fusedDot = 'ꓸ' // U+A4F8

// compileExpr lowers text to a node and adds what it reads to inputs, each once.
func compileExpr(text string, inputs *[]input) (*node, error) {
	n, err := compile(text, &lowering{inputs: inputs, names: map[string]*node{}})
	switch {
	case err != nil:
		return nil, err
	case !n.bool:
		return nil, &exprError{n.at, "is a number, must be true or false: compare it, as in … > 80"}
	case !n.reads:
		return nil, &exprError{0, "reads no metric"}
	}
	return n, nil
}

// compile lowers text to a node, whatever it is.
func compile(text string, c *lowering) (*node, error) {
	if len(text) > maxExprBytes {
		return nil, &exprError{0, fmt.Sprintf("is %d bytes, must be at most %d", len(text), maxExprBytes)}
	}
	if at := strings.IndexRune(text, fusedDot); at >= 0 {
		return nil, &exprError{len([]rune(text[:at])), fmt.Sprintf("unrecognized character: %#U", fusedDot)}
	}
	tree, err := parser.ParseWithConfig(fuseNames(text), ruleSyntax)
	if err != nil {
		return nil, parseError(err, text)
	}
	n, err := c.lower(tree.Node)
	if err != nil {
		return nil, err
	}
	if n.steps(map[*node]int{}) > maxSteps {
		return nil, errTooManySteps
	}
	return n, nil
}

var errTooManySteps = &exprError{0, fmt.Sprintf("takes more than %d operations", maxSteps)}

// steps returns how many nodes an evaluation may visit, at most maxSteps+1.
func (n *node) steps(known map[*node]int) int {
	if n == nil {
		return 0
	}
	steps, ok := known[n]
	if !ok {
		steps = min(maxSteps+1, 1+n.cond.steps(known)+n.a.steps(known)+n.b.steps(known))
		known[n] = steps
	}
	return steps
}

// ruleSyntax keeps expr-lang's parser from taking weir's functions for its own builtins, some of
// which have a syntax of their own (count, sum).
var ruleSyntax = func() *exprconf.Config {
	c := exprconf.CreateNew()
	c.MaxNodes = maxExprNodes
	for name := range c.Builtins {
		c.Disabled[name] = true
		c.Functions[name] = &builtin.Function{Name: name}
	}
	return c
}()

func parseError(err error, text string) error {
	var fe *file.Error
	if !errors.As(err, &fe) {
		return &exprError{0, unfuse(err.Error())}
	}
	msg := unfuse(fe.Message)
	rs := []rune(text)
	switch {
	case strings.Contains(msg, `Operator("=")`) && strings.HasPrefix(string(rs[min(fe.From, len(rs)):]), "=>"):
		msg += `: did you mean >=?`
	case strings.Contains(msg, `Operator("=")`):
		msg += `: equality is ==`
	case strings.Contains(msg, "token EOF") && strings.HasSuffix(strings.TrimSpace(text), "%"):
		msg = `something must follow %: 80 % is written 80, or 0.8 of a ratio`
	case strings.Contains(msg, "token EOF") && strings.Count(text, "(") > strings.Count(text, ")"):
		msg = `the expression ends before a bracket is closed`
	case strings.Contains(msg, "token EOF"):
		msg = `the expression ends early: something must follow`
	case strings.HasPrefix(msg, "bad number syntax") && strings.Contains(string(rs[:min(fe.From+1, len(rs))]), "["):
		msg += `: a range is the second argument, as in rate(http.requests, "5m")`
	case strings.Contains(msg, `Identifier("unless")`):
		msg += `: write and not (…)`
	case strings.Contains(msg, `Identifier("by")`), strings.Contains(msg, `Identifier("without")`):
		msg += `: a rule sees the series of one label set`
	case strings.Contains(msg, `Bracket("{")`):
		msg += `: series are selected by where, as in labels.cpu == "0"`
	case strings.HasPrefix(msg, "bad number syntax"):
		msg += `: a range is quoted, as in "5m"`
	}
	return &exprError{min(fe.From, len(rs)), msg}
}

func unfuse(s string) string { return strings.ReplaceAll(s, string(fusedDot), ".") }

func startsName(r rune) bool { return r == '_' || r == '$' || unicode.IsLetter(r) }

func isNameRune(r rune) bool { return startsName(r) || unicode.IsDigit(r) }

// fuseNames replaces the dots inside names, outside strings and comments.
func fuseNames(text string) string {
	rs := []rune(text)
	isName := func(i int) bool { return i < len(rs) && isNameRune(rs[i]) }
	for i := 0; i < len(rs); i++ {
		switch r := rs[i]; {
		case r == '"' || r == '\'' || r == '`':
			for i++; i < len(rs) && rs[i] != r; i++ {
				if rs[i] == '\\' && r != '`' {
					i++
				}
			}
		case r == '/' && i+1 < len(rs) && rs[i+1] == '/':
			for i < len(rs) && rs[i] != '\n' {
				i++
			}
		case r == '/' && i+1 < len(rs) && rs[i+1] == '*':
			for i += 2; i < len(rs) && (rs[i] != '/' || rs[i-1] != '*'); i++ {
			}
		case unicode.IsDigit(r): // 1.5e3 is not a name
			for isName(i+1) || i+1 < len(rs) && rs[i+1] == '.' {
				i++
			}
		case isName(i):
			for isName(i+1) || i+2 < len(rs) && rs[i+1] == '.' && isName(i+2) {
				if i++; rs[i] == '.' {
					rs[i] = fusedDot
				}
			}
		}
	}
	return string(rs)
}

// lowering turns expr-lang's tree into nodes, resolving names and types.
type lowering struct {
	inputs *[]input
	// eventsMS is, in an slo, the range over which metrics count events, ms; otherwise 0.
	eventsMS int64
	names    map[string]*node // declared by let
	steps    int
}

func fault(n ast.Node, format string, args ...any) error {
	return &exprError{n.Location().From, unfuse(fmt.Sprintf(format, args...))}
}

// lower returns the node of n, with its place.
func (c *lowering) lower(n ast.Node) (*node, error) {
	made, err := c.lowerNode(n)
	if id, ok := n.(*ast.IdentifierNode); err == nil && made.at == 0 && (!ok || c.names[id.Value] == nil) {
		made.at = n.Location().From
	}
	return made, err
}

func (c *lowering) lowerNode(n ast.Node) (*node, error) {
	if c.steps++; c.steps > maxSteps {
		return nil, errTooManySteps
	}
	switch n := n.(type) {
	case *ast.IntegerNode:
		return &node{op: opConst, num: float64(n.Value)}, nil
	case *ast.FloatNode:
		return &node{op: opConst, num: n.Value}, nil
	case *ast.BoolNode:
		return &node{op: opTruth, bool: true, yes: n.Value}, nil
	case *ast.IdentifierNode:
		if named, ok := c.names[n.Value]; ok {
			return named, nil
		}
		return c.read(n, c.bare())
	case *ast.UnaryNode:
		return c.unary(n)
	case *ast.BinaryNode:
		return c.binary(n)
	case *ast.CallNode:
		return c.call(n)
	case *ast.ConditionalNode:
		return c.choose(n)
	case *ast.VariableDeclaratorNode:
		value, err := c.lower(n.Value)
		if err != nil {
			return nil, err
		}
		if _, twice := c.names[n.Name]; twice {
			return nil, fault(n, "%s is declared twice", n.Name)
		}
		c.names[n.Name] = value
		body, err := c.lower(n.Expr)
		delete(c.names, n.Name)
		return body, err
	case *ast.StringNode:
		return nil, fault(n, "%q is a text, must be a number: rules compare numbers; labels are tested in where", n.Value)
	}
	return nil, fault(n, "this is not part of rule expressions, which are made of numbers, metrics, functions, comparisons, and, or, not, ?: and let")
}

func (c *lowering) number(n ast.Node, where string) (*node, error) {
	v, err := c.lower(n)
	if err == nil && v.bool {
		err = fault(n, "is true or false, must be a number for %s", where)
	}
	return v, err
}

func (c *lowering) truth(n ast.Node, where string) (*node, error) {
	v, err := c.lower(n)
	if err == nil && !v.bool {
		err = fault(n, "is a number, must be true or false for %s", where)
	}
	return v, err
}

func (c *lowering) unary(n *ast.UnaryNode) (*node, error) {
	switch n.Operator {
	case "-":
		a, err := c.number(n.Node, "-")
		return &node{op: opNegate, a: a, reads: err == nil && a.reads}, err
	case "+":
		return c.number(n.Node, "+")
	case "!", "not":
		a, err := c.truth(n.Node, n.Operator)
		return &node{op: opNot, bool: true, a: a, reads: err == nil && a.reads}, err
	}
	return nil, fault(n, "rules have no operator %s", n.Operator)
}

var (
	arithmetic = map[string]op{"+": opAdd, "-": opSubtract, "*": opMultiply, "/": opDivide, "**": opPower, "^": opPower}
	comparison = map[string]op{"<": opLess, "<=": opLessEqual, ">": opGreater, ">=": opGreaterEqual, "==": opEqual, "!=": opNotEqual}
	logic      = map[string]op{"&&": opAnd, "and": opAnd, "||": opOr, "or": opOr}
)

func (c *lowering) binary(n *ast.BinaryNode) (*node, error) {
	operand, isBool := c.number, false
	o, ok := arithmetic[n.Operator]
	if !ok {
		o, ok = comparison[n.Operator]
		isBool = true
	}
	if !ok {
		o, ok = logic[n.Operator]
		operand = c.truth
	}
	if !ok {
		return nil, fault(n, "rules have no operator %s", n.Operator)
	}
	a, err := operand(n.Left, n.Operator)
	if err != nil {
		return nil, err
	}
	b, err := operand(n.Right, n.Operator)
	if err != nil {
		return nil, err
	}
	return &node{op: o, bool: isBool, a: a, b: b, reads: a.reads || b.reads}, nil
}

func (c *lowering) choose(n *ast.ConditionalNode) (*node, error) {
	cond, err := c.truth(n.Cond, "a condition")
	if err != nil {
		return nil, err
	}
	a, err := c.lower(n.Exp1)
	if err != nil {
		return nil, err
	}
	b, err := c.lower(n.Exp2)
	if err != nil {
		return nil, err
	}
	if a.bool != b.bool {
		return nil, fault(n.Exp2, "both outcomes must be numbers, or both true or false")
	}
	return &node{op: opChoose, bool: a.bool, cond: cond, a: a, b: b, reads: cond.reads || a.reads || b.reads}, nil
}
