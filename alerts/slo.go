package alerts

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/expr-lang/expr/ast"
	"go.yaml.in/yaml/v3"
)

// sloYAML is a service level objective: the share of events that must be good.
type sloYAML struct {
	Good      yaml.Node `yaml:"good"`
	Total     yaml.Node `yaml:"total"`
	Objective objective `yaml:"objective"`
}

// objective is a share in percent.
type objective struct {
	given   bool
	percent float64
}

// minObjective is the percentage from which on a service that fails always burns its budget fast
// enough for the fastest of burns.
const minObjective = 93.1

var errObjective = fmt.Errorf("must be a percentage from %v to below 100, as in 99.9: a lower one can never be missed 14.4 times over", minObjective)

// UnmarshalText reads a percentage.
func (o *objective) UnmarshalText(text []byte) error {
	v, err := strconv.ParseFloat(string(text), 64)
	if err != nil || !(v >= minObjective && v < 100) {
		return errObjective
	}
	o.given, o.percent = true, v
	return nil
}

// burn is a speed at which an error budget is spent, and where it is looked at: over the long window,
// so that it matters, and over the short one, so that the alert ends soon after the errors do.
type burn struct {
	rate            float64 // 1 spends the budget of a period in that period
	longMS, shortMS int64
	suffix          string // of the rule's name
	severity        string
}

// burns are those of Google's SRE workbook, for a period of 30 days: a page once 2 % or 5 % of the
// budget are spent, a ticket once 10 % are.
var burns = []burn{
	{14.4, 3_600_000, 300_000, "_1h", "page"},
	{6, 6 * 3_600_000, 1_800_000, "_6h", "page"},
	{3, 24 * 3_600_000, 2 * 3_600_000, "_1d", "ticket"},
	{1, 72 * 3_600_000, 6 * 3_600_000, "_3d", "ticket"},
}

// sloLabel is the label that the four rules of an slo have in common.
const sloLabel = "slo"

// slo makes the rules of an objective, one for each burn.
func (l *loader) slo(at, group string, common *rule, y *ruleYAML) {
	before := l.doc.Faults()
	l.settings(at, common, y)
	for _, f := range []struct {
		name  string
		given bool
	}{{"expr", y.Expr.Kind != 0}, {"recover", y.Recover.Kind != 0}, {"levels", y.Levels != nil}, {"tier", y.Tier != 0}, {"for", y.For != waits{}}} {
		if f.given {
			l.doc.Fail(at+"."+f.name, nil, "must not be given with slo, whose windows decide it")
		}
	}
	for _, name := range []string{"severity", sloLabel} {
		if text, set := y.Labels[name]; set {
			l.doc.Fail(at+".labels."+name, text, "must not be given with slo, which sets it")
		}
	}
	if !y.SLO.Objective.given {
		l.doc.Fail(at+".slo.objective", nil, "must be given, and "+errObjective.Error())
	}
	l.selection(at, common, y)
	for i := range burns {
		r := *common
		r.burn = &burns[i]
		if r.alert != "" {
			r.alert += r.burn.suffix
		}
		r.name = group + "/" + r.alert
		if l.name(at, &r); l.doc.Faults() == before {
			l.budget(at, &r, y)
		}
		if l.doc.Faults() != before {
			return // once, not for each burn
		}
		l.add(&r, group, r.burn.yaml(y))
	}
	l.lookAtNames(at+".slo.good", &y.SLO.Good)
	l.lookAtNames(at+".slo.total", &y.SLO.Total)
}

// yaml is the rule of a burn as somebody would have to write it.
func (b *burn) yaml(y *ruleYAML) *ruleYAML {
	as := *y
	as.Expr.Value = fmt.Sprintf("1 - (%s) / (%s) > %v * (1 - %v / 100) over %s and %s", y.SLO.Good.Value, y.SLO.Total.Value, b.rate, y.SLO.Objective.percent,
		msText(b.longMS), msText(b.shortMS))
	as.Labels = map[string]string{"severity": b.severity, sloLabel: y.Alert}
	maps.Copy(as.Labels, y.Labels)
	return &as
}

// budget compiles the rule of a burn: more than its rate of the error budget is spent over both of
// its windows.
func (l *loader) budget(at string, r *rule, y *ruleYAML) {
	spent := r.burn.rate * (100 - y.SLO.Objective.percent) / 100
	long := l.burning(at, r, y, r.burn.longMS, spent)
	if long == nil {
		return
	}
	short := l.burning(at, r, y, r.burn.shortMS, spent)
	r.expr, r.ofExpr = &node{op: opAnd, bool: true, reads: true, a: long, b: short}, len(r.inputs)
	if r.tierMS = l.burnTier(r.burn); r.tierMS == 0 {
		l.doc.Fail(at+".slo", nil, fmt.Sprintf("needs a tier (windows.tiers) for %s and %s: both must be multiples of it, %s at least twice, and %s at most %d times and within its ttl",
			msText(r.burn.longMS), msText(r.burn.shortMS), msText(r.burn.shortMS), msText(r.burn.longMS), maxRingWindows))
		return
	}
	for i := range r.inputs {
		r.inputs[i].tierMS = r.tierMS
	}
	l.silence(at, r, y)
	r.labels = append(slices.Clone(r.labels), labelTemplate{name: "severity", text: r.burn.severity}, labelTemplate{name: sloLabel, text: y.Alert})
	slices.SortFunc(r.labels, func(a, b labelTemplate) int { return cmp.Compare(a.name, b.name) })
	r.hash = hashOf(y.SLO.Good.Value, y.SLO.Total.Value, strconv.FormatFloat(y.SLO.Objective.percent, 'g', -1, 64), msText(r.tierMS))
}

// burnTier returns the largest tier that serves both windows of a burn, ms, or 0. The increase of a
// counter needs two windows, as one may have one sample.
func (l *loader) burnTier(b *burn) int64 {
	for _, t := range slices.Backward(l.tiersMS) {
		if b.longMS%t == 0 && b.shortMS%t == 0 && b.shortMS >= 2*t && b.longMS <= maxRingWindows*t && b.longMS <= l.ttlMS(t) {
			return t
		}
	}
	return 0
}

// burning is true if the share of events over a range that are not good is above what may be spent.
// It returns nil if an expression has a fault.
func (l *loader) burning(at string, r *rule, y *ruleYAML, rangeMS int64, spent float64) *node {
	good, total := l.counted(at+".slo.good", r, &y.SLO.Good, rangeMS), l.counted(at+".slo.total", r, &y.SLO.Total, rangeMS)
	if good == nil || total == nil {
		return nil
	}
	ratio := &node{op: opDivide, reads: true, a: good, b: total}
	bad := &node{op: opSubtract, reads: true, a: &node{op: opConst, num: 1}, b: ratio}
	return &node{op: opGreater, bool: true, reads: true, a: bad, b: &node{op: opConst, num: spent}}
}

// counted compiles the number of events over a range.
func (l *loader) counted(field string, r *rule, y *yaml.Node, rangeMS int64) *node {
	text, ok := l.text(field, y)
	if !ok {
		return nil
	}
	if strings.TrimSpace(text) == "" {
		l.doc.Fail(field, nil, "must be given: how many events, as in http.requests - http.errors, of counters")
		return nil
	}
	from := len(r.inputs)
	n, err := compile(text, &lowering{inputs: &r.inputs, names: map[string]*node{}, eventsMS: rangeMS})
	switch {
	case err != nil:
	case n.bool:
		err = &exprError{n.at, "is true or false, must be a number of events"}
	case !n.reads:
		err = errors.New("reads no metric")
	default:
		err = (&verdict{inputs: r.inputs}).dividesByZero(n)
	}
	if err != nil {
		l.failExpr(field, y, err)
		return nil
	}
	for _, in := range r.inputs[from:] {
		line, column := locate(l.lines, y, in.at)
		place := r.place
		place.Line, place.Column, place.Field, place.Value, place.Snippet = line, column, field, "", caret(l.lines, line, column)
		r.places = append(r.places, place)
	}
	return n
}

// bare is what a metric's bare name reads: its last value, or, in an slo, its increase.
func (c *lowering) bare() input {
	if c.eventsMS > 0 {
		return input{fn: byName["increase"], rangeMS: c.eventsMS}
	}
	return input{fn: fnLast}
}

// events returns the node of a function that counts events in an slo, which has its range.
func (c *lowering) events(n *ast.CallNode, name string) (*node, error) {
	switch {
	case name != "increase" && name != "sum" && name != "count":
		return nil, fault(n, "%s counts no events: an slo takes counters, whose increase counts, and increase(…), sum(…) and count(…)", name)
	case len(n.Arguments) != 1:
		return nil, fault(n, "%s takes only a metric here, as in %s(http.requests): an slo has its own ranges", name, name)
	}
	return c.read(n.Arguments[0], input{fn: byName[name], rangeMS: c.eventsMS})
}
