package promrules

import (
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

type matcher = labels.Matcher

// over are the functions of a range, with weir's name, and what differs.
var over = map[string]struct{ name, note string }{
	"rate":             {"rate", notExtrapolated},
	"increase":         {"increase", notExtrapolated},
	"delta":            {"delta", notExtrapolated},
	"deriv":            {"deriv", ofWindows},
	"avg_over_time":    {"avg", ""},
	"min_over_time":    {"min", ""},
	"max_over_time":    {"max", ""},
	"sum_over_time":    {"sum", ""},
	"count_over_time":  {"count", ""},
	"last_over_time":   {"last", ""},
	"first_over_time":  {"first", ""},
	"stddev_over_time": {"stddev", ofWindows},
}

const (
	notExtrapolated = "rate, increase and delta are not extrapolated to the ends of the range"
	notInfinite     = "what is infinite, such as a division by 0 or the logarithm of 0, is no data"
	ofWindows       = "deriv, predict_linear, stddev and holt_winters go by the windows' averages, not by single samples"
)

// ofNumber are the functions of a number that weir has by the same name.
var ofNumber = map[string]bool{"abs": true, "ceil": true, "floor": true, "exp": true, "ln": true, "log2": true, "log10": true, "sqrt": true}

// ofTime are the functions of the time, without an argument.
var ofTime = map[string]bool{"minute": true, "hour": true, "day_of_week": true, "day_of_month": true, "month": true}

// without tells of functions that have no equivalent what to do instead.
var without = map[string]string{
	"absent":             "absent knows series that never were; weir misses those it has seen: a rule with on_no_data: firing",
	"absent_over_time":   "absent knows series that never were; weir misses those it has seen: a rule with on_no_data: firing and no_data",
	"histogram_quantile": "weir has no quantiles of histograms",
	"quantile_over_time": "weir has no quantiles",
	"changes":            "weir has no changes; whether something changed at all is range(x, …) > 0",
	"resets":             "weir has no resets",
	"irate":              "weir has no irate; rate over two windows is closest",
	"time":               "weir has no time()",
	"timestamp":          "weir has no timestamp(); no_data and on_no_data are about the age of data",
	"scalar":             "scalar() makes a number of one series for all others, and a rule of weir sees the series of one label set",
	"vector":             "vector() makes a series without labels",
	"label_replace":      "weir does not change labels",
	"label_join":         "weir does not change labels",
}

func (tr *translation) call(e *parser.Call) (text, error) {
	name := e.Func.Name
	if f, ok := over[name]; ok {
		if f.note != "" {
			tr.note("%s", f.note)
		}
		return tr.overRange(e, f.name)
	}
	switch {
	case ofNumber[name]:
		if strings.HasPrefix(name, "l") { // ln, log2, log10
			tr.note(notInfinite)
		}
		t, err := tr.value(e.Args[0])
		t.expr, t.prec = name+"("+t.expr+")", precAtom
		return t, err
	case ofTime[name] && len(e.Args) == 0:
		return text{expr: name + "()", kind: number, prec: precAtom}, nil
	case ofTime[name]:
		return text{}, faultAt(e, "weir's %s is that of the window's end, and not of a value", name)
	}
	switch name {
	case "predict_linear":
		tr.note(ofWindows)
		return tr.overRange(e, name)
	case "holt_winters", "double_exponential_smoothing":
		tr.note(ofWindows)
		return tr.overRange(e, "holt_winters")
	case "round":
		if len(e.Args) > 1 {
			return text{}, faultAt(e, "weir's round is to whole numbers")
		}
		t, err := tr.value(e.Args[0]) // halves up, where weir's round goes away from 0
		t.expr, t.prec = "floor("+t.in(precAdd)+" + 0.5)", precAtom
		return t, err
	case "clamp_min":
		return tr.clamp(e, "max(%s, %s)")
	case "clamp_max":
		return tr.clamp(e, "min(%s, %s)")
	case "clamp":
		return tr.clamp(e, "min(max(%s, %s), %s)")
	}
	if reason := without[name]; reason != "" {
		return text{}, faultAt(e, "%s", reason)
	}
	return text{}, faultAt(e, "weir has no %s", name)
}

func (tr *translation) clamp(e *parser.Call, format string) (text, error) {
	out := text{kind: number, prec: precAtom}
	var args []any
	for i, a := range e.Args {
		t, err := tr.value(a)
		if err != nil {
			return t, err
		}
		if i == 0 {
			out.selects = t.selects
		} else if t.kind != constant {
			return t, faultAt(a, "must be a number")
		}
		args = append(args, t.expr)
	}
	out.expr = fmt.Sprintf(format, args...)
	return out, nil
}

// overRange translates a function of a range: its metric, its range, and what follows.
func (tr *translation) overRange(e *parser.Call, name string) (text, error) {
	m, ok := e.Args[0].(*parser.MatrixSelector)
	if !ok {
		if _, sub := e.Args[0].(*parser.SubqueryExpr); sub {
			return text{}, faultAt(e.Args[0], "weir has no subqueries")
		}
		return text{}, faultAt(e, "%s must be of a range of a metric", name)
	}
	v, ok := m.VectorSelector.(*parser.VectorSelector)
	if !ok || m.RangeExpr != nil {
		return text{}, faultAt(e, "%s must be of a range of a metric", name)
	}
	t, err := tr.series(v)
	if err != nil {
		return t, err
	}
	args := t.expr + ", " + quoted(m.Range)
	rest := e.Args[1:]
	switch {
	case name == "predict_linear":
		seconds, ok := constantOf(rest[0])
		if !ok || !(seconds >= 1 && seconds <= 10*365*86400) {
			return t, faultAt(rest[0], "must be a number of seconds, at least 1 and at most 10 years")
		}
		args += ", " + quoted(time.Duration(seconds*float64(time.Second)).Round(time.Second))
	default:
		for _, a := range rest {
			x, err := tr.value(a)
			if err != nil {
				return x, err
			}
			args += ", " + x.expr
		}
	}
	if v.OriginalOffset != 0 {
		if len(rest) > 0 {
			return t, faultAt(e, "weir's %s has no offset", name)
		}
		args += ", " + quoted(v.OriginalOffset)
	}
	t.expr, t.prec = name+"("+args+")", precAtom
	return t, nil
}

// constantOf is the value of a number, or of a calculation with numbers, such as 4 * 3600.
func constantOf(e parser.Expr) (float64, bool) {
	switch e := unwrap(e).(type) {
	case *parser.NumberLiteral:
		return e.Val, true
	case *parser.BinaryExpr:
		a, ok := constantOf(e.LHS)
		b, ok2 := constantOf(e.RHS)
		switch {
		case !ok || !ok2:
		case e.Op == parser.MUL:
			return a * b, true
		case e.Op == parser.ADD:
			return a + b, true
		case e.Op == parser.DIV:
			return a / b, true
		}
	}
	return 0, false
}
