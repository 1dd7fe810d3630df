package alerts

import (
	"errors"
	"fmt"
	"slices"
	"text/template/parse"
)

var errTemplateInTemplate = errors.New("template, define and block are not part of rule templates")

// templateCheck walks a template and finds the first thing that is not part of rule templates. It
// adds the budget to the calls of functions that take it.
type templateCheck struct {
	err    error
	nodes  int
	inside bool // inside a range
}

func (c *templateCheck) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
}

func (c *templateCheck) list(l *parse.ListNode) {
	if l == nil {
		return
	}
	for _, n := range l.Nodes {
		c.node(n)
	}
}

// node is default-deny: a kind of node that text/template may get one day is refused.
func (c *templateCheck) node(n parse.Node) {
	if c.nodes++; c.nodes > maxTemplateNodes {
		c.fail("has more than %d parts", maxTemplateNodes)
	}
	if c.err != nil {
		return
	}
	switch n := n.(type) {
	case *parse.TextNode, *parse.CommentNode, *parse.BreakNode, *parse.ContinueNode,
		*parse.BoolNode, *parse.NumberNode, *parse.StringNode, *parse.DotNode, *parse.NilNode,
		*parse.FieldNode, *parse.VariableNode:
	case *parse.ListNode:
		c.list(n)
	case *parse.ActionNode:
		c.pipe(n.Pipe)
	case *parse.IfNode:
		c.branch(&n.BranchNode)
	case *parse.WithNode:
		c.branch(&n.BranchNode)
	case *parse.RangeNode:
		c.loop(n)
	case *parse.PipeNode:
		c.pipe(n)
	case *parse.ChainNode:
		c.node(n.Node)
	case *parse.TemplateNode:
		c.fail("%w", errTemplateInTemplate)
	default:
		c.fail("%s is not part of rule templates", n)
	}
}

func (c *templateCheck) branch(b *parse.BranchNode) {
	c.pipe(b.Pipe)
	c.list(b.List)
	c.list(b.ElseList)
}

// loop allows range only over the labels: text/template also ranges over numbers, and a rule that
// counts to a billion never returns.
func (c *templateCheck) loop(n *parse.RangeNode) {
	over := ""
	if len(n.Pipe.Cmds) == 1 {
		over = n.Pipe.Cmds[0].String()
	}
	switch {
	case over != ".Labels" && over != "$.Labels" && over != "$labels":
		c.fail("range over %s: rule templates range over .Labels only", over)
	case c.inside:
		c.fail("range inside of range: rule templates do not nest them")
	}
	c.inside = true
	c.branch(&n.BranchNode)
	c.inside = false
}

func (c *templateCheck) pipe(p *parse.PipeNode) {
	for _, v := range p.Decl {
		if name := v.Ident[0]; name == "$" || name == "$labels" || name == "$value" {
			c.fail("%s must not be set", name)
		}
	}
	for _, cmd := range p.Cmds {
		if c.nodes++; len(cmd.Args) == 0 {
			continue
		}
		for i, arg := range cmd.Args {
			if id, ok := arg.(*parse.IdentifierNode); !ok {
				c.node(arg)
			} else if i > 0 {
				c.fail("%s must be called inside of parentheses to be an argument", id.Ident)
			} else if id.Ident == "call" {
				c.fail("call is not part of rule templates")
			}
		}
		id, ok := cmd.Args[0].(*parse.IdentifierNode)
		if ok && id.Ident == "printf" && len(cmd.Args) > 1 {
			if s, constant := cmd.Args[1].(*parse.StringNode); constant {
				if err := checkFormat(s.Text); err != nil {
					c.fail("%s: %w", s, err)
				}
			}
		}
		if ok && spends[id.Ident] {
			own := &parse.VariableNode{NodeType: parse.NodeVariable, Pos: id.Pos, Ident: []string{"$", "Budget"}}
			cmd.Args = slices.Insert(cmd.Args, 1, parse.Node(own))
		}
	}
}
