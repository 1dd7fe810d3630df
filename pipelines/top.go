package pipelines

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"weir/schemas"
)

// Top prints what processes know of their sources: those that send the most, and
// those that something is wrong with.
type Top struct {
	URLs []string // of the processes; each knows the partitions that it owns
	By   string   // order of the first table: rate or series
	Rows int      // most rows of a table
}

// topWithin bounds how long a process may take to answer.
const topWithin = 10 * time.Second

// Run asks and prints once. It returns an error that names the process when one
// does not answer, or answers that it has no window role.
func (t Top) Run(ctx context.Context, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, topWithin)
	defer cancel()
	busiest, total, err := t.ask(ctx, t.By)
	if err != nil {
		return err
	}
	named, _, err := t.ask(ctx, "named")
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "SOURCE\tSAMPLES/S\tSERIES\tLARGEST METRIC\tLATE BY\tCOLLAPSED\tREFUSED")
	for _, s := range busiest {
		fmt.Fprintf(w, "%s\t%.1f\t%d\t%s\t%s\t%s\t%s\n", plain(s.Source), s.SamplesPerSecond, s.Series,
			largest(s), late(s.DelayMS), counts(s.Collapsed), counts(s.Refused))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if total > len(busiest) {
		fmt.Fprintf(out, "and %d more\n", total-len(busiest))
	}
	if len(named) == 0 {
		_, err = fmt.Fprintln(out, "\nNo source is beyond a limit, and no clock seems wrong.")
		return err
	}
	fmt.Fprintln(out, "\nBeyond a limit, or with a wrong clock:")
	for _, s := range named {
		fmt.Fprintf(w, "%s\t%s\tlast at %s\n", plain(s.Source), strings.Join(wrong(s), "; "), time.UnixMilli(s.LastMS).UTC().Format(time.RFC3339))
	}
	return w.Flush()
}

// ask merges the answers of all processes, in the order by.
func (t Top) ask(ctx context.Context, by string) (all []schemas.Source, total int, err error) {
	for _, base := range t.URLs {
		var body struct {
			Sources []schemas.Source
			Total   int
		}
		if err := getJSON(ctx, base, "/api/v1/top?by="+by+"&limit="+strconv.Itoa(t.Rows), &body); err != nil {
			return nil, 0, err
		}
		all = append(all, body.Sources...)
		total += body.Total
	}
	all = schemas.Top(all, by)
	return all[:min(t.Rows, len(all))], total, nil
}

// getJSON reads what base answers at path.
func getJSON(ctx context.Context, base, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(base, "/")+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return fmt.Errorf("%s does not answer: %w", base, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return fmt.Errorf("%s: %w", base, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s: %.500s", base, resp.Status, strings.TrimSpace(string(text)))
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s answers what is no JSON: %w", base, err)
	}
	return nil
}

// plain is a name as a terminal may be given it: a source is named by who sends.
func plain(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(name)
	}
	return name
}

func largest(s schemas.Source) string {
	if s.LargestMetric == "" {
		return "-"
	}
	return fmt.Sprintf("%s (%d)", plain(s.LargestMetric), s.LargestSeries)
}

func late(ms int64) string { return (time.Duration(ms) * time.Millisecond).String() }

// counts writes reason=n for each, by name.
func counts(by map[string]int64) string {
	if len(by) == 0 {
		return "-"
	}
	var all []string
	for _, reason := range slices.Sorted(maps.Keys(by)) {
		all = append(all, fmt.Sprintf("%s=%d", reason, by[reason]))
	}
	return strings.Join(all, ",")
}

// wrong says in words what is wrong with the source.
func wrong(s schemas.Source) []string {
	var all []string
	if len(s.Collapsed) > 0 {
		all = append(all, "collapsed "+counts(s.Collapsed)+", most series in "+largest(s))
	}
	if len(s.Refused) > 0 {
		all = append(all, "refused "+counts(s.Refused))
	}
	switch {
	case s.AheadMS > 0:
		all = append(all, "clock fast by "+late(s.AheadMS))
	case s.Clock == schemas.FastClock:
		all = append(all, "clock fast by "+late(-s.DelayMS))
	case s.Clock == schemas.SlowClock:
		all = append(all, "clock slow, or samples held up, by "+late(s.DelayMS))
	}
	return all
}
