package alerts

import (
	"maps"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"
)

// wants is what a label, or a function of one, must be: one of these, unless nil, and none of
// those.
type wants struct {
	one  []string
	none []string
}

// whereVerdict decides, as verdict does for numbers, whether a where can ever match.
type whereVerdict struct{ tries int }

type whereGoal struct {
	n    ast.Node
	want bool
}

// whereNever reports whether a where that compiles matches no labels. It returns false if that is
// unknown.
func whereNever(text string) bool {
	tree, err := parser.ParseWithConfig(text, whereSyntax)
	if err != nil {
		return false
	}
	v := &whereVerdict{}
	return !v.meet([]whereGoal{{tree.Node, true}}, map[string]wants{})
}

func (v *whereVerdict) meet(goals []whereGoal, facts map[string]wants) bool {
	if v.tries++; v.tries > maxVerdictTries || len(goals) == 0 {
		return true
	}
	g, rest := goals[0], goals[1:]
	with := func(more ...whereGoal) bool { return v.meet(append(more, rest...), facts) }
	switch n := g.n.(type) {
	case *ast.BoolNode:
		return n.Value == g.want && v.meet(rest, facts)
	case *ast.UnaryNode:
		if n.Operator == "!" || n.Operator == "not" {
			return with(whereGoal{n.Node, !g.want})
		}
	case *ast.ConditionalNode:
		return with(whereGoal{n.Cond, true}, whereGoal{n.Exp1, g.want}) || with(whereGoal{n.Cond, false}, whereGoal{n.Exp2, g.want})
	case *ast.BinaryNode:
		isAnd, isOr := n.Operator == "and" || n.Operator == "&&", n.Operator == "or" || n.Operator == "||"
		switch {
		case isAnd && g.want, isOr && !g.want:
			return with(whereGoal{n.Left, g.want}, whereGoal{n.Right, g.want})
		case isAnd, isOr:
			return with(whereGoal{n.Left, g.want}) || with(whereGoal{n.Right, g.want})
		}
		facts, ok := v.compare(n, g.want, facts)
		return ok && v.meet(rest, facts)
	}
	return v.meet(rest, facts)
}

// compare narrows what a label can be by ==, != and in with texts.
func (v *whereVerdict) compare(n *ast.BinaryNode, want bool, facts map[string]wants) (map[string]wants, bool) {
	left, texts := n.Left, []string(nil)
	if s, ok := left.(*ast.StringNode); ok && n.Operator != "in" {
		if other, both := n.Right.(*ast.StringNode); both && (n.Operator == "==" || n.Operator == "!=") {
			return facts, ((s.Value == other.Value) == (n.Operator == "==")) == want
		}
		left, texts = n.Right, []string{s.Value}
	} else if s, ok := n.Right.(*ast.StringNode); ok {
		texts = []string{s.Value}
	} else if list, ok := n.Right.(*ast.ArrayNode); ok {
		texts = []string{}
		for _, e := range list.Nodes {
			texts = append(texts, e.(*ast.StringNode).Value) // where has no other lists
		}
	}
	equal := n.Operator == "==" || n.Operator == "in"
	if texts == nil || !equal && n.Operator != "!=" {
		return facts, true
	}
	if _, is := left.(*ast.BinaryNode); is {
		return facts, true
	}
	key := left.String()
	w := facts[key]
	if equal == want {
		if call, ok := left.(*ast.BuiltinNode); ok { // lower(…) is never "Prod"
			change := map[string]func(string) string{"lower": strings.ToLower, "upper": strings.ToUpper}[call.Name]
			texts = slices.DeleteFunc(texts, func(t string) bool { return change != nil && change(t) != t })
		}
		if w.one != nil {
			texts = slices.DeleteFunc(texts, func(t string) bool { return !slices.Contains(w.one, t) })
		}
		w.one = append([]string{}, texts...)
	} else {
		w.none = append(slices.Clone(w.none), texts...)
	}
	if w.one != nil {
		w.one = slices.DeleteFunc(w.one, func(t string) bool { return slices.Contains(w.none, t) })
		if len(w.one) == 0 {
			return nil, false
		}
	}
	facts = maps.Clone(facts)
	facts[key] = w
	return facts, true
}
