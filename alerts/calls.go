package alerts

import (
	"strings"
	"time"

	"github.com/expr-lang/expr/ast"
	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas"
)

// refusedFuncs are functions that people look for and that do not exist.
var refusedFuncs = map[string]string{
	"quantile": "needs a sketch, which windows do not keep yet",
	"absent":   "is not a function: a rule with on_no_data: firing fires when its series fall silent for no_data, as in expr: up == 0, no_data: 1m, on_no_data: firing",
}

// alsoCalled are names that other systems have for functions.
var alsoCalled = map[string]string{
	"avg_over_time": "avg", "mean": "avg", "min_over_time": "min", "max_over_time": "max", "sum_over_time": "sum", "count_over_time": "count",
	"last_over_time": "last", "first_over_time": "first", "stddev_over_time": "stddev", "stdev": "stddev", "double_exponential_smoothing": "holt_winters",
	"irate": "rate", "idelta": "delta", "difference": "delta", "derivative": "deriv", "forecast": "predict_linear", "log": "ln",
}

func (c *lowering) call(n *ast.CallNode) (*node, error) {
	callee, ok := n.Callee.(*ast.IdentifierNode)
	if !ok {
		return nil, fault(n, "only functions are called")
	}
	name := callee.Value
	if name == "metric" {
		return c.read(n, c.bare())
	}
	if c.eventsMS > 0 {
		return c.events(n, name)
	}
	if name == "limit" {
		return c.limit(n)
	}
	f := byName[name]
	if f == nil {
		return nil, unknownFunc(n, name)
	}
	switch ranged := len(n.Arguments) > 1 && isText(n.Arguments[1]); {
	case f.at != nil:
		return c.time(n, f)
	case f.over != nil && (ranged || f.two == nil):
		return c.over(n, f)
	case f.two != nil && len(n.Arguments) == 2:
		return c.binaryCall(n, f)
	case f.two != nil:
		return nil, fault(n, `%s takes a metric and a range, as in %s, or two numbers`, name, f.usage())
	case len(n.Arguments) != 1:
		return nil, fault(n, "%s takes one number, got %d arguments", name, len(n.Arguments))
	}
	a, err := c.number(n.Arguments[0], name)
	return &node{op: opOne, fn: f, a: a, reads: err == nil && a.reads}, err
}

func isText(n ast.Node) bool {
	_, ok := n.(*ast.StringNode)
	return ok
}

func unknownFunc(n ast.Node, name string) error {
	if why, ok := refusedFuncs[name]; ok {
		return fault(n, "%s %s", name, why)
	}
	names := functionNames()
	near, ok := alsoCalled[strings.ToLower(name)]
	if !ok {
		near = conf.Closest(name, names)
		if f := strings.ToLower(name); byName[f] != nil {
			near = f
		}
	}
	hint := ""
	if f := byName[near]; f != nil {
		hint = " (did you mean " + near + ", as in " + f.usage() + "?)"
	} else if near != "" {
		hint = " (did you mean " + near + "?)"
	}
	return fault(n, "unknown function %s%s, must be one of %s", name, hint, strings.Join(names, ", "))
}

func (c *lowering) binaryCall(n *ast.CallNode, f *function) (*node, error) {
	a, err := c.number(n.Arguments[0], f.name)
	if err != nil {
		return nil, err
	}
	b, err := c.number(n.Arguments[1], f.name)
	if err != nil {
		return nil, err
	}
	return &node{op: opTwo, fn: f, a: a, b: b, reads: a.reads || b.reads}, nil
}

// time returns the node of a function of the time.
func (c *lowering) time(n *ast.CallNode, f *function) (*node, error) {
	in := input{fn: f, zone: time.UTC, at: n.Location().From}
	if len(n.Arguments) > 0 {
		text, ok := n.Arguments[0].(*ast.StringNode)
		if !ok || len(n.Arguments) > 1 {
			return nil, fault(n, `%s takes a time zone or nothing, as in %s("Europe/Zurich")`, f.name, f.name)
		}
		zone, err := time.LoadLocation(text.Value)
		if err != nil || text.Value == "" || text.Value == "Local" {
			return nil, fault(text, `unknown time zone %q, must be a name such as "UTC" or "Europe/Zurich"`, text.Value)
		}
		in.zone = zone
	}
	slot, err := c.slot(n, in)
	return &node{op: opInput, slot: slot}, err
}

// over returns the node of a function of windows.
func (c *lowering) over(n *ast.CallNode, f *function) (*node, error) {
	in, args := input{fn: f}, n.Arguments
	least, most := 2, 2
	switch f.extra {
	case anOffset, aPeriod:
		most = 3
	case earlier, aHorizon:
		least, most = 3, 3
	case aQuotient:
		least, most = 4, 4
	}
	if len(args) < least || len(args) > most {
		return nil, fault(n, `%s takes (%s), got %d of these, as in %s`, f.name, f.args, len(args), f.usage())
	}
	var err error
	if in.rangeMS, err = duration(args[1], "range"); err != nil {
		return nil, err
	}
	if len(args) == 3 {
		to, what := &in.beforeMS, "offset"
		switch f.extra {
		case aHorizon:
			to, what = &in.aheadMS, "horizon"
		case aPeriod:
			to, what = &in.periodMS, "period"
		}
		if *to, err = duration(args[2], what); err != nil {
			return nil, err
		}
	}
	for i := range args[2:] {
		if f.extra == aQuotient {
			if in.factors[i], err = c.factor(args[2+i], f.name); err != nil {
				return nil, err
			}
		}
	}
	return c.read(args[0], in)
}

// duration reads a duration from a text, ms.
func duration(n ast.Node, what string) (int64, error) {
	text, ok := n.(*ast.StringNode)
	if !ok {
		return 0, fault(n, `the %s must be a duration in quotes, as in "5m"`, what)
	}
	d, err := conf.ParseDuration(text.Value)
	if err != nil {
		return 0, fault(text, "%s %q %v", what, text.Value, err)
	}
	if d.MS() <= 0 {
		return 0, fault(text, "%s %q must be positive", what, text.Value)
	}
	return d.MS(), nil
}

// factor reads a constant between 0 and 1.
func (c *lowering) factor(n ast.Node, where string) (float64, error) {
	v, err := c.number(n, where)
	if err != nil {
		return 0, err
	}
	if v.op != opConst || !(v.num > 0 && v.num < 1) {
		return 0, fault(n, "must be a number between 0 and 1 for %s", where)
	}
	return v.num, nil
}

// read returns the node of an input. n is a name, or metric("any name").
func (c *lowering) read(n ast.Node, in input) (*node, error) {
	in.at = n.Location().From
	switch n := n.(type) {
	case *ast.IdentifierNode:
		if strings.HasPrefix(unfuse(n.Value), "labels.") {
			return nil, fault(n, "labels are tested in where, as in where: %s == \"…\"", n.Value)
		}
		if strings.Contains(n.Value, "$") { // $env is all names at once to expr-lang
			return nil, fault(n, `unknown name %s: a metric of that name is written metric("%s")`, n.Value, n.Value)
		}
		if c.names[n.Value] != nil {
			return nil, fault(n, "%s is declared by let, must be a metric", n.Value)
		}
		in.metric = unfuse(n.Value)
	case *ast.CallNode:
		if callee, ok := n.Callee.(*ast.IdentifierNode); ok && callee.Value == "metric" && len(n.Arguments) == 1 {
			if s, ok := n.Arguments[0].(*ast.StringNode); ok {
				in.metric = s.Value
				break
			}
		}
		return nil, fault(n, `must be a metric: its name, or metric("its name")`)
	case *ast.StringNode:
		return nil, fault(n, `a text is no metric: a name is written without quotes, or metric(%q)`, n.Value)
	default:
		return nil, fault(n, `must be a metric: its name, or metric("its name")`)
	}
	if err := (schemas.Series{Metric: in.metric}).Validate(); err != nil {
		return nil, fault(n, "%v", err)
	}
	slot, err := c.slot(n, in)
	return &node{op: opInput, slot: slot, reads: true}, err
}

// slot returns the place of the input among those of the rule, adding it if need be.
func (c *lowering) slot(n ast.Node, in input) (int, error) {
	for i, known := range *c.inputs {
		if known.at = in.at; known == in {
			return i, nil
		}
	}
	if len(*c.inputs) == maxInputs {
		return 0, fault(n, "a rule reads at most %d metrics and ranges", maxInputs)
	}
	*c.inputs = append(*c.inputs, in)
	return len(*c.inputs) - 1, nil
}
