package backtest

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/weir-metrics/weir/deploy/conf"
)

// WriteText writes the report for people: tables of the rules and the alerts, and, if asked for, of the differences and
// the incidents. Times are in UTC.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s to %s (%s)\n\n", clock(r.FromMS), clock(r.ToMS), length(r.ToMS-r.FromMS))
	r.writeRules(&b)
	if len(r.Alerts) > 0 {
		table(&b, "true since\tfired\tfor\tended\tvalue\talert", func(row func(...any)) {
			for i := range r.Alerts {
				a := &r.Alerts[i]
				row(clock(a.ActiveMS), clock(a.FiredMS), r.lasted(a), ended(a), number(a.Value), title(a))
			}
		})
	}
	if r.Against != nil {
		r.writeDiff(&b)
	}
	if r.Incidents != nil {
		r.writeIncidents(&b)
	}
	for _, reason := range slices.Sorted(maps.Keys(r.Refused)) {
		fmt.Fprintf(&b, "%d samples would have been refused: %s\n", r.Refused[reason], reason)
	}
	_, err := io.WriteString(w, strings.TrimRight(b.String(), "\n")+"\n")
	return err
}

func (r *Report) writeRules(b *strings.Builder) {
	table(b, "rule\talerts\tseries\tfiring\tlongest\tpending only", func(row func(...any)) {
		for _, c := range r.Rules {
			row(c.Rule, c.Alerts, c.Series, length(c.FiringMS), length(c.Longest), c.Pending)
		}
	})
	missing := false
	for _, c := range r.Rules {
		if len(c.Missing) > 0 {
			missing = true
			fmt.Fprintf(b, "%s: the recording has no %s\n", c.Rule, strings.Join(c.Missing, ", "))
		}
	}
	if missing {
		b.WriteString("\n")
	}
}

func (r *Report) writeDiff(b *strings.Builder) {
	d := r.Against
	if n := len(d.More) + len(d.Less) + len(d.Earlier) + len(d.Later) + len(d.Ended); n == 0 {
		fmt.Fprintf(b, "compared with the other rules: no difference (alerts: %d)\n", d.Same)
	} else {
		table(b, "compared with the other rules\tat\talert", func(row func(...any)) {
			for _, l := range []struct {
				what   string
				alerts []Alert
			}{{"+ new", d.More}, {"- gone", d.Less}} {
				for _, g := range grouped(l.alerts) {
					row(l.what+g.times(), clock(g.first.FiredMS), title(g.first))
				}
			}
			for i := range d.Earlier {
				c := &d.Earlier[i]
				row("< earlier by "+length(c.Before.FiredMS-c.Now.FiredMS), clock(c.Now.FiredMS), title(&c.Now))
			}
			for i := range d.Later {
				c := &d.Later[i]
				row("> later by "+length(c.Now.FiredMS-c.Before.FiredMS), clock(c.Now.FiredMS), title(&c.Now))
			}
			for i := range d.Ended {
				c := &d.Ended[i]
				row("~ "+endedDifferently(c), clock(c.Now.FiredMS), title(&c.Now))
			}
		})
		fmt.Fprintf(b, "new: %d, gone: %d, earlier: %d, later: %d, ended at another time: %d, the same: %d\n",
			len(d.More), len(d.Less), len(d.Earlier), len(d.Later), len(d.Ended), d.Same)
	}
	for _, l := range []struct {
		what  string
		names []string
	}{{"rules added", d.Added}, {"rules removed", d.Removed}} {
		if len(l.names) > 0 {
			fmt.Fprintf(b, "%s: %s\n", l.what, strings.Join(l.names, ", "))
		}
	}
	b.WriteString("\n")
}

// manyTimes is the number of alerts of one rule and series from which on they share a line.
const manyTimes = 4

// repeated is a line for one or several alerts of the same rule and series.
type repeated struct {
	first *Alert
	n     int
}

func (g repeated) times() string {
	if g.n == 1 {
		return ""
	}
	return fmt.Sprintf(", %d times, first", g.n)
}

// grouped returns a line for each alert, or one for all alerts of a title that has many.
func grouped(all []Alert) []repeated {
	count := map[string]int{}
	for i := range all {
		count[title(&all[i])]++
	}
	var groups []repeated
	for i := range all {
		name := title(&all[i])
		switch n := count[name]; {
		case n >= manyTimes:
			groups = append(groups, repeated{&all[i], n})
			count[name] = -1
		case n >= 0:
			groups = append(groups, repeated{&all[i], 1})
		}
	}
	return groups
}

func endedDifferently(c *Change) string {
	switch now, before := c.Now.ResolvedMS, c.Before.ResolvedMS; {
	case now == 0:
		return "no longer ends"
	case before == 0:
		return "ends"
	case now < before:
		return "ends earlier by " + length(before-now)
	default:
		return "ends later by " + length(now-before)
	}
}

func (r *Report) writeIncidents(b *strings.Builder) {
	j := r.Incidents
	table(b, "incident\tuntil\tcaught by", func(row func(...any)) {
		for i := range j.Incidents {
			if in := &j.Incidents[i]; !in.Unseen {
				row(clock(in.FromMS)+" "+in.name(), clock(in.ToMS), in.caught())
			}
		}
	})
	fmt.Fprintf(b, "incidents caught: %d of %d; alerts: %d, of which false: %d\n", j.Caught, j.Known, j.Alerts, len(j.False))
	if n := len(j.Incidents) - j.Known; n > 0 {
		fmt.Fprintf(b, "incidents outside the report's time or of series that the recording lacks: %d\n", n)
	}
	b.WriteString("\n")
	table(b, "false alert\tfor\talert", func(row func(...any)) {
		for _, i := range j.False {
			row(clock(r.Alerts[i].FiredMS), r.lasted(&r.Alerts[i]), title(&r.Alerts[i]))
		}
	})
}

// name returns the incident's name, or its labels if it has none.
func (in *Incident) name() string {
	if in.Name != "" {
		return in.Name
	}
	return labelText(in.Labels)
}

func (in *IncidentReport) caught() string {
	var by []string
	for _, c := range in.Caught {
		by = append(by, fmt.Sprintf("%s after %s, %s before its end", c.Rule, length(c.AfterMS), length(c.LeftMS)))
	}
	if by == nil {
		return "nothing"
	}
	return strings.Join(by, "; ")
}

// title returns an alert's rule and labels.
func title(a *Alert) string { return a.Rule + labelText(a.Labels) }

func ended(a *Alert) string {
	if a.ResolvedMS == 0 {
		return "still firing"
	}
	return a.Reason
}

// lasted returns how long an alert fired.
func (r *Report) lasted(a *Alert) string {
	if a.ResolvedMS == 0 {
		return length(r.ToMS-a.FiredMS) + "+"
	}
	return length(a.ResolvedMS - a.FiredMS)
}

// table writes rows of cells in columns below a header, and then a blank line. Without rows, it writes nothing.
func table(b *strings.Builder, header string, rows func(row func(...any))) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	n := 0
	rows(func(cells ...any) {
		if n++; n == 1 {
			fmt.Fprintln(t, header)
		}
		for i, c := range cells {
			if i > 0 {
				fmt.Fprint(t, "\t")
			}
			fmt.Fprint(t, c)
		}
		fmt.Fprintln(t)
	})
	_ = t.Flush() // writes to a Builder do not fail
	if n > 0 {
		b.WriteString("\n")
	}
}

func clock(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.DateTime) }

func length(ms int64) string {
	return conf.Duration(ms / 1000 * int64(time.Second)).String()
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', 5, 64) }
