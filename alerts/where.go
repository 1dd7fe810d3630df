package alerts

import (
	"errors"
	"fmt"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"
)

// whereEnv is the environment of a rule's where: labels.env == "prod". A label
// that the series does not have is "".
type whereEnv struct {
	Labels map[string]string `expr:"labels"`
}

// compileWhere compiles a test of labels. It runs once for each label set that a
// rule meets, and not on every window, so expr-lang's own machine serves it.
func compileWhere(text string) (*vm.Program, error) {
	if len(text) > maxExprBytes {
		return nil, &exprError{0, fmt.Sprintf("is %d bytes, must be at most %d", len(text), maxExprBytes)}
	}
	if tree, err := parser.Parse(text); err == nil {
		check := &whereCheck{}
		if ast.Walk(&tree.Node, check); check.err != nil {
			return nil, check.err
		}
	}
	p, err := expr.Compile(text, expr.Env(whereEnv{}), expr.AsBool(), expr.DisableAllBuiltins(),
		expr.EnableBuiltin("lower"), expr.EnableBuiltin("upper"), expr.EnableBuiltin("len"), expr.MaxNodes(maxExprNodes))
	if err != nil {
		var fe *file.Error
		if !errors.As(err, &fe) {
			return nil, &exprError{0, err.Error()}
		}
		return nil, &exprError{min(fe.From, len([]rune(text))), fe.Message}
	}
	return p, nil
}

// whereCheck refuses what could fail while it runs, and chained comparisons:
// their middle is in the tree twice, so that nested ones double all work with
// each level. Those it also cuts, or its own walk would take as long.
type whereCheck struct{ err error }

func (c *whereCheck) Visit(at *ast.Node) {
	switch n := (*at).(type) {
	case *ast.BinaryNode:
		if chained(n) {
			c.err = fault(n, "where has no chained comparisons: write a < b and b < c")
			*at = &ast.NilNode{}
			return
		}
		switch n.Operator {
		case "matches":
			if _, ok := n.Right.(*ast.StringNode); !ok {
				c.err = fault(n.Right, "the pattern of matches must be a text")
			}
		case "..", "%", "|", "??":
			c.err = fault(n, "where has no operator %s", n.Operator)
		}
	case *ast.SliceNode:
		c.err = fault(n, "where has no slices: use startsWith, endsWith or matches")
	case *ast.MemberNode:
		if id, ok := n.Node.(*ast.IdentifierNode); !ok || id.Value != "labels" {
			c.err = fault(n, "must be labels.name or labels[\"name\"]")
		}
	case *ast.IdentifierNode:
		if n.Value == "$env" {
			c.err = fault(n, "unknown name $env")
		}
	}
}

// chained says whether n is the and of a < b < c, whose comparisons share b.
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

// runWhere says whether the rule applies to series with these labels.
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
