package operations

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/alerts/backtest"
	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas"
)

// Explain tells why a rule fired, or did not, at a time: it plays recorded data up to that time, as a backtest does, and
// shows what the rule read and what it made of that.
type Explain struct {
	// Backtest says which rules and data to use. Its To is the time.
	Backtest
	Rule   string // group/alert, or the alert's name if only one group has it
	Series string // a series with the labels in question, such as cpu.usage{host="a"}; "": all that the rule applies to
}

// explained is what is told about a rule and a label set.
type explained struct {
	AtMS int64 `json:"at_ms"`
	alerts.Explanation
	Info  *alerts.RuleInfo `json:"rule_file"`
	Alert *schemas.Alert   `json:"alert,omitempty"`
}

// Run writes the explanation to out and shows its progress on shown. It returns conf.Faults if a file or a flag is wrong,
// and an error if the rule applies to nothing.
func (t Explain) Run(ctx context.Context, out, shown io.Writer) error {
	labels, err := t.labels()
	if err != nil {
		return err
	}
	has := func(all map[string]string) bool {
		for name, value := range labels {
			if all[name] != value {
				return false
			}
		}
		return true
	}
	t.toIs = "--at"
	t.only = func(s schemas.Series) bool { return has(s.Labels.Map()) }
	c, source, err := t.load()
	if err != nil {
		return err
	}
	info, err := t.rule(c.Rules)
	if err != nil {
		return err
	}
	b, err := t.play(ctx, c, source, shown)
	if err != nil {
		return err
	}
	var all []explained
	for _, x := range b.Explain(0, info.Name()) {
		if has(x.Labels) {
			all = append(all, explained{b.NowMS(), x, info, b.Alert(0, x.Fingerprint)})
		}
	}
	if len(all) == 0 {
		return t.nothing(b, c, info)
	}
	if t.JSON {
		return writeJSON(out, all)
	}
	for i := range all {
		if i > 0 {
			fmt.Fprintln(out)
		}
		if err := all[i].writeText(out); err != nil {
			return err
		}
	}
	return nil
}

// labels are those that Series asks for.
func (t Explain) labels() (map[string]string, error) {
	if t.Series == "" {
		return nil, nil
	}
	text := t.Series
	if strings.HasPrefix(text, "{") {
		text = "x" + text // the metric does not matter
	}
	s, err := schemas.ParseSeries(text)
	if err != nil {
		return nil, conf.Faults{{Field: "--series", Value: t.Series, Bound: "must be a series, such as cpu.usage{host=\"web01\"}: " + err.Error()}}
	}
	return s.Labels.Map(), nil
}

// rule finds the rule among those of the file.
func (t Explain) rule(rs *alerts.RuleSet) (*alerts.RuleInfo, error) {
	var found []*alerts.RuleInfo
	names := rs.Names()
	for _, info := range rs.Info() {
		names = append(names, info.Alert)
		if info.Name() == t.Rule {
			return info, nil
		}
		if info.Alert == t.Rule {
			found = append(found, info)
		}
	}
	bound := "must be a rule of the file"
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		bound = fmt.Sprintf("is in several groups: %s, or %s?", found[0].Name(), found[1].Name())
	default:
		if near := conf.Closest(t.Rule, names); near != "" {
			bound += ": did you mean " + near + "?"
		}
	}
	return nil, conf.Faults{{Field: "RULE", Value: t.Rule, Bound: bound}}
}

// nothing tells why there is nothing to explain.
func (t Explain) nothing(b *backtest.Backtest, c *backtest.Config, info *alerts.RuleInfo) error {
	of := "anything"
	if t.Series != "" {
		of = t.Series
	}
	why := "no window of what it reads closed"
	for _, count := range b.Report().Rules {
		if count.Rule == info.Name() && len(count.Missing) > 0 {
			why = "there is no " + strings.Join(count.Missing, ", no ")
		}
	}
	if info.Where != "" {
		why += ", or its where selects none of them"
	}
	return fmt.Errorf("rule %s was not judged on %s up to %s: from %s on, %s", info.Name(), of, utc(c.ToMS), utc(c.FromMS), why)
}

// writeText writes the explanation for people. Times are in UTC.
func (x *explained) writeText(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s%s at %s\n\n%s\n", x.Rule, schemas.NewLabels(x.Labels), utc(x.AtMS), x.state())
	fmt.Fprintf(w, "\njudged at %s, the end of its newest window (of %s)\n\n", utc(x.EndMS), schemas.TierName(x.TierMS))
	terms(w, "expr", x.Expr)
	if x.Of > 0 {
		fmt.Fprintf(w, "\nfor: %d of %d windows\ttrue at %d of the newest %d ends: %s\n", x.Most, x.Of, len(x.Trues), x.Of, clocks(x.Trues))
	}
	if len(x.Recover) > 0 {
		fmt.Fprintln(w)
		terms(w, "recover", x.Recover)
	}
	for i := range x.Reads {
		reading(w, &x.Reads[i], x.TierMS)
	}
	return w.Flush()
}
