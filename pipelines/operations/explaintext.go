package operations

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas"
)

// state says in a sentence how the alert stands.
func (x *explained) state() string {
	a := x.Alert
	switch {
	case a == nil && x.Said == "":
		return "inactive: its expression has not been true"
	case a == nil:
		return "inactive"
	}
	since := func(ms int64) string { return utc(ms) }
	switch a.State {
	case schemas.Pending:
		return fmt.Sprintf("pending: true since %s, and fires if it is still true at %s (for: %s)", since(a.ActiveMS), utc(a.ActiveMS+a.ForMS), spanText(a.ForMS))
	case schemas.Firing:
		as := ""
		if a.Severity != "" {
			as = " as " + a.Severity
		}
		text := fmt.Sprintf("firing%s since %s: true since %s, last at %s", as, since(a.FiredMS), since(a.ActiveMS), since(a.LastTrueMS))
		switch {
		case x.SaidMissing:
			text += ", for want of data"
		case a.LastMS > a.LastTrueMS:
			text += ", kept by keep_firing_for: " + spanText(a.KeepMS)
		}
		return text
	}
	text := "inactive"
	if a.FiredMS > 0 {
		text += ": fired at " + since(a.FiredMS)
	} else {
		text += ": true since " + since(a.ActiveMS) + ", and did not fire"
	}
	return text + fmt.Sprintf(", ended at %s: %s", since(a.Last.AtMS), a.Last.Reason)
}

func spanText(ms int64) string { return conf.Duration(ms * int64(time.Millisecond)).String() }

// clocks writes times without their dates.
func clocks(ms []int64) string {
	var all []string
	for _, at := range ms {
		all = append(all, time.UnixMilli(at).UTC().Format(time.TimeOnly))
	}
	if all == nil {
		return "none"
	}
	return strings.Join(all, " ")
}

// terms writes an expression and its parts, each below the one that it is a part of.
func terms(w io.Writer, what string, all []alerts.Term) {
	for _, t := range all {
		fmt.Fprintf(w, "%s\t%s\t%s%s\n", what, t.Value, strings.Repeat("  ", t.Depth), t.Text)
		what = ""
	}
}

// shownWindows is how many windows of an input are shown: the newest ones.
const shownWindows = 12

// reading writes what the rule read of one metric and range.
func reading(w io.Writer, r *alerts.Reading, tierMS int64) {
	value := "unknown: " + r.Why
	if r.Value != nil {
		value = strconv.FormatFloat(*r.Value, 'g', 6, 64)
	}
	fmt.Fprintf(w, "\n%s is %s\n", r.Text, value)
	of := fmt.Sprintf("%d of %d windows", len(r.Windows), r.Expects)
	if r.Expects == 0 {
		of = "the newest of the windows"
	}
	fmt.Fprintf(w, "%s of %s that end after %s, up to %s\n", of, schemas.TierName(tierMS), utc(r.FromMS), utc(r.ToMS))
	if len(r.Windows) == 0 {
		return
	}
	var columns []string
	for _, name := range []string{"count", "sum", "min", "max", "first", "last"} {
		if slices.ContainsFunc(r.Windows, func(k alerts.Kept) bool { _, ok := k.Numbers[name]; return ok }) {
			columns = append(columns, name)
		}
	}
	fmt.Fprintf(w, "  end\trevision\t%s\n", strings.Join(columns, "\t"))
	windows := r.Windows
	if more := len(windows) - shownWindows; more > 0 {
		fmt.Fprintf(w, "  (%d older)\t%s\n", more, strings.Repeat("\t", len(columns)))
		windows = windows[more:]
	}
	for _, k := range windows {
		fmt.Fprintf(w, "  %s\t%d", utc(k.EndMS), k.Revision)
		for _, name := range columns {
			text := "-"
			if v, ok := k.Numbers[name]; ok {
				text = strconv.FormatFloat(v, 'g', 6, 64)
			}
			fmt.Fprintf(w, "\t%s", text)
		}
		fmt.Fprintln(w)
	}
}
