package alerts

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	exprconf "github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"
)

// whereEnv is the environment of a rule's where: labels.env == "prod". A label that the series does
// not have is "".
type whereEnv struct {
	Labels map[string]string `expr:"labels"`
}

// Bounds of a pattern of matches: its text, and the instructions into which it compiles, for each
// of which every byte of a label is examined.
const (
	maxPatternBytes = 1024
	maxPatternSize  = 1000
)

// compileWhere compiles a test of labels. It runs once for each label set that a rule meets, rather
// than on every window, so expr-lang's own machine will do.
func compileWhere(text string) (*vm.Program, error) {
	if len(text) > maxExprBytes {
		return nil, &exprError{0, fmt.Sprintf("is %d bytes, must be at most %d", len(text), maxExprBytes)}
	}
	tree, err := parser.ParseWithConfig(text, whereSyntax)
	if err != nil {
		return nil, whereError(err, text)
	}
	check := &whereCheck{}
	if check.walk(tree.Node); check.err != nil {
		return nil, check.err
	}
	p, err := expr.Compile(text, expr.Env(whereEnv{}), expr.AsBool(), expr.DisableAllBuiltins(),
		expr.EnableBuiltin("lower"), expr.EnableBuiltin("upper"), expr.EnableBuiltin("len"), expr.MaxNodes(maxExprNodes))
	if err != nil {
		return nil, whereError(err, text)
	}
	return p, nil
}

// whereSyntax is the syntax by which expr.Compile parses: with another one, what was checked would
// not be what runs.
var whereSyntax = func() *exprconf.Config {
	c := exprconf.CreateNew()
	c.MaxNodes = maxExprNodes
	for name := range c.Builtins {
		if !whereFuncs[name] {
			c.Disabled[name] = true
		}
	}
	return c
}()

func whereError(err error, text string) error {
	var fe *file.Error
	if !errors.As(err, &fe) {
		return &exprError{0, err.Error()}
	}
	msg := fe.Message
	if strings.Contains(msg, `Operator("=")`) {
		msg += ": equality is =="
	}
	return &exprError{min(fe.From, len([]rune(text))), msg}
}

var (
	whereFuncs = map[string]bool{"lower": true, "upper": true, "len": true}
	whereUnary = map[string]bool{"!": true, "not": true, "-": true, "+": true}
	// whereBinary has no operator that could fail at run time, or that makes more of its operands
	// than their own bytes: + would make texts longer. Without let, each operand is in the tree
	// once.
	whereBinary = map[string]bool{"==": true, "!=": true, "<": true, "<=": true, ">": true, ">=": true, "and": true, "&&": true, "or": true, "||": true,
		"in": true, "contains": true, "startsWith": true, "endsWith": true, "matches": true, "+": true}
)

// whereCheck is default-deny: only what is named here is part of where. So nothing can fail at run
// time, and nothing costs more than the bytes of its labels: no ranges, closures, let, names of the
// environment ($env), or arithmetic. It keeps the first fault.
type whereCheck struct{ err error }

func (c *whereCheck) fail(n ast.Node, format string, args ...any) {
	if c.err == nil {
		c.err = fault(n, format, args...)
	}
}

func (c *whereCheck) walk(n ast.Node) {
	if c.err != nil {
		return
	}
	switch n := n.(type) {
	case *ast.StringNode, *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode:
	case *ast.UnaryNode:
		if !whereUnary[n.Operator] {
			c.fail(n, "where has no operator %s", n.Operator)
		}
		c.walk(n.Node)
	case *ast.BinaryNode:
		c.binary(n)
	case *ast.ConditionalNode:
		c.walk(n.Cond)
		c.walk(n.Exp1)
		c.walk(n.Exp2)
	case *ast.MemberNode:
		_, constant := n.Property.(*ast.StringNode)
		if !isLabels(n.Node) || !constant || n.Optional {
			c.fail(n, "must be labels.name or labels[\"name\"]")
		}
	case *ast.BuiltinNode:
		c.call(n, n.Name, n.Arguments)
	case *ast.CallNode:
		name := ""
		if id, ok := n.Callee.(*ast.IdentifierNode); ok {
			name = id.Value
		}
		c.call(n, name, n.Arguments)
	case *ast.IdentifierNode:
		c.fail(n, "unknown name %s: labels are written labels.name or labels[\"name\"]", n.Value)
	case *ast.SliceNode:
		c.fail(n, "where has no slices: use startsWith, endsWith or matches")
	default:
		c.fail(n, "this is not part of where, which is made of labels, texts, numbers, comparisons, in, contains, startsWith, endsWith, matches, lower, upper, len, and, or, not and ?:")
	}
}

func isLabels(n ast.Node) bool {
	id, ok := n.(*ast.IdentifierNode)
	return ok && id.Value == "labels"
}

// binary refuses chained comparisons: their middle is in the tree twice, so nested ones double all
// work with each level, including this walk.
func (c *whereCheck) binary(n *ast.BinaryNode) {
	switch array, isArray := n.Right.(*ast.ArrayNode); {
	case !whereBinary[n.Operator]:
		c.fail(n, "where has no operator %s", n.Operator)
	case chained(n):
		c.fail(n, "where has no chained comparisons: write a < b and b < c")
	case n.Operator == "in" && isArray:
		for _, e := range array.Nodes {
			if _, ok := e.(*ast.StringNode); !ok {
				c.fail(e, "a list must consist of texts, as in labels.env in [\"prod\", \"test\"]")
			}
		}
		c.walk(n.Left)
		return
	case n.Operator == "in" && isLabels(n.Right):
		c.walk(n.Left)
		return
	case n.Operator == "in":
		c.fail(n.Right, "in must be followed by a list of texts, as in labels.env in [\"prod\", \"test\"]")
	case n.Operator == "matches":
		c.pattern(n.Right)
	}
	c.walk(n.Left)
	c.walk(n.Right)
}

func (c *whereCheck) call(n ast.Node, name string, args []ast.Node) {
	switch {
	case !whereFuncs[name]:
		c.fail(n, "where has only the functions lower, upper and len")
	case len(args) != 1:
		c.fail(n, "%s takes one text, got %d arguments", name, len(args))
	default:
		c.walk(args[0])
	}
}

// pattern bounds what a regular expression costs before it is compiled: (a{1000}){1000} is 13
// bytes, and a million instructions.
func (c *whereCheck) pattern(n ast.Node) {
	s, ok := n.(*ast.StringNode)
	if !ok {
		c.fail(n, "the pattern of matches must be a text")
		return
	}
	if len(s.Value) > maxPatternBytes {
		c.fail(n, "a pattern of %d bytes, must be at most %d", len(s.Value), maxPatternBytes)
		return
	}
	re, err := syntax.Parse(s.Value, syntax.Perl)
	if err != nil {
		c.fail(n, "%v", err)
	} else if patternSize(re) > maxPatternSize {
		c.fail(n, "the pattern's repetitions make more than %d steps", maxPatternSize)
	}
}

// patternSize is roughly how many instructions re becomes, at most maxPatternSize+1.
func patternSize(re *syntax.Regexp) int {
	size := 1 + len(re.Rune)/2
	for _, sub := range re.Sub {
		size = min(size+patternSize(sub), maxPatternSize+1)
	}
	if re.Op == syntax.OpRepeat {
		size *= max(re.Min, re.Max, 1)
	}
	return min(size, maxPatternSize+1)
}

// chained reports whether n is the and of a < b < c, whose comparisons share b.
func chained(n *ast.BinaryNode) bool {
	left, ok := n.Left.(*ast.BinaryNode)
	if !ok {
		return false
	}
	right, ok := n.Right.(*ast.BinaryNode)
	if !ok {
		return false
	}
	if and, ok := left.Right.(*ast.BinaryNode); ok && left.Operator == "&&" {
		left = and // a < b < c < d is (a < b and b < c) and c < d
	}
	return left.Right == right.Left
}

// runWhere reports whether the rule applies to series with these labels.
func runWhere(machine *vm.VM, p *vm.Program, labels map[string]string) (bool, error) {
	out, err := machine.Run(p, whereEnv{Labels: labels})
	if err != nil {
		return false, err
	}
	yes, ok := out.(bool)
	if !ok {
		return false, fmt.Errorf("is %T, must be true or false", out)
	}
	return yes, nil
}
