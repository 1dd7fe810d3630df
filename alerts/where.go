package alerts

import (
	"errors"
	"fmt"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
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
	check := &whereCheck{}
	p, err := expr.Compile(text, expr.Env(whereEnv{}), expr.AsBool(), expr.DisableAllBuiltins(),
		expr.EnableBuiltin("lower"), expr.EnableBuiltin("upper"), expr.EnableBuiltin("len"),
		expr.MaxNodes(maxExprNodes), expr.Patch(check))
	if check.err != nil {
		return nil, check.err
	}
	if err != nil {
		var fe *file.Error
		if !errors.As(err, &fe) {
			return nil, &exprError{0, err.Error()}
		}
		return nil, &exprError{min(fe.From, len([]rune(text))), fe.Message}
	}
	return p, nil
}

// whereCheck refuses what could only fail while it runs.
type whereCheck struct{ err error }

func (c *whereCheck) Visit(n *ast.Node) {
	if c.err != nil {
		return
	}
	switch n := (*n).(type) {
	case *ast.BinaryNode:
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
