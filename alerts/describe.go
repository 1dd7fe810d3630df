package alerts

import (
	"fmt"
	"math"
	"strings"
)

// RuleInfo is a rule as its file has it. Nobody changes it.
type RuleInfo struct {
	File                 string
	Line                 int
	Group, Alert         string
	Expr, Recover, Where string
	ForMS                int64
	Most, Of             int // for: M of N windows; Of is 0 for a duration
	KeepMS               int64
	TierMS               int64 // of the windows that it is evaluated on
	Shadow               bool
	Labels, Annotations  map[string]string // templates
}

// Name is the rule's name in conditions and alerts.
func (r *RuleInfo) Name() string { return r.Group + "/" + r.Alert }

// Info returns the rules in the order of the files.
func (rs *RuleSet) Info() []*RuleInfo {
	all := make([]*RuleInfo, len(rs.rules))
	for i, r := range rs.rules {
		all[i] = &r.written
	}
	return all
}

// Describe tells of each rule, in the order of the files, on what windows it is judged, and what it
// waits for: a line for the rule and an indented one for each metric and range that it reads.
func (rs *RuleSet) Describe() []string {
	var lines []string
	for _, r := range rs.rules {
		line := fmt.Sprintf("%s:%d: %s is judged when windows of %s close", r.place.File, r.place.Line, r.name, msText(r.tierMS))
		switch {
		case r.burn != nil:
			line += fmt.Sprintf(", and fires if %v times the error budget was spent over both %s and %s", r.burn.rate, msText(r.burn.longMS), msText(r.burn.shortMS))
		case r.of > 0:
			line += fmt.Sprintf(", and fires if expr was true at %d of the newest %d ends", r.most, r.of)
		case len(r.levels) > 0:
		case r.forMS > 0:
			line += ", and fires if expr stays true for " + msText(r.forMS)
		}
		for _, v := range r.levels {
			line += fmt.Sprintf("; %s after %s", v.Severity, msText(v.ForMS))
		}
		if r.shadow {
			line += "; a shadow: nobody is told"
		}
		lines = append(lines, line)
		for i := range r.inputs {
			if in := &r.inputs[i]; in.windows() {
				lines = append(lines, "  "+r.reads(in))
			}
		}
	}
	return lines
}

// reads tells what an input reads, and from when on it is judged.
func (r *rule) reads(in *input) string {
	if in.rangeMS == 0 {
		return fmt.Sprintf("%s: its last value, of the last %s (no_data)", in.metric, msText(r.noDataMS))
	}
	args := []string{in.metric, msText(in.rangeMS)}
	for _, ms := range []int64{in.beforeMS, in.aheadMS, in.periodMS} {
		if ms > 0 {
			args = append(args, msText(ms))
		}
	}
	text := fmt.Sprintf("%s(%s): ", in.fn.name, strings.Join(args, ", "))
	switch n := in.rangeMS / r.tierMS; {
	case n == 1:
		return text + "the window"
	case r.coverage == 0:
		return text + fmt.Sprintf("what there is of %d windows (coverage: 0)", n)
	case in.fn == fnCount:
		return text + fmt.Sprintf("of a series that has been there for %s", msText(in.backMS()))
	default:
		return text + fmt.Sprintf("of a series that has been there for %s, and has data in %.0f of %d windows, or as often as it sends (coverage: %v)",
			msText(in.backMS()), math.Ceil(r.coverage*float64(n)), n, r.coverage)
	}
}
