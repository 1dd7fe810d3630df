package operations

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
	"sync"
	"text/tabwriter"
	"time"

	"github.com/weir-metrics/weir/pipelines/routelag"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/plain"
)

// Top prints what processes know of their sources: those that send the most, and those with
// something wrong.
type Top struct {
	URLs []string // of the processes; each knows the shards that it owns
	By   string   // order of the first table: rate or series
	Rows int      // most rows of a table
	// Login is how to authenticate to the processes.
	Login Login
}

// topWithin bounds how long a process may take to answer.
const topWithin = 10 * time.Second

// ParseURL returns the address of a process, which may be written as host:port. The error says what
// it must be.
func ParseURL(text string) (string, error) {
	base := text
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Port() == "" && base != text {
		return "", errors.New("must be http://host:port or host:port")
	}
	return strings.TrimSuffix(base, "/"), nil
}

// known is what some processes know.
type known struct {
	busiest, named           []schemas.Source
	sources, wrong           int // that the processes know: more than fit
	owned, shards, processes int
	late                     []schemas.Late // ascending, each partition once
}

// Run asks all processes once, and prints. If some do not answer, or do not run the role window, it
// prints what the others know, and returns an error that names them.
func (t Top) Run(ctx context.Context, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, topWithin)
	defer cancel()
	k, err := t.askAll(ctx)
	if k.processes == 0 {
		return err
	}
	if printErr := t.print(k, out); printErr != nil {
		return printErr
	}
	return err
}

func (t Top) print(k known, out io.Writer) error {
	if late := routelag.Text(k.late, time.Now()); late != "" {
		fmt.Fprintf(out, "%s.\n\n", late)
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "SOURCE\tSAMPLES/S\tSERIES\tLARGEST METRIC\tLATE BY\tCOLLAPSED\tREFUSED")
	for _, s := range k.busiest {
		fmt.Fprintf(w, "%s\t%.1f\t%d\t%s\t%s\t%s\t%s\n", plain.Text(s.Source), s.SamplesPerSecond, s.Series,
			largest(s), late(s.DelayMS), counts(s.Collapsed), counts(s.Refused))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	more(out, k.sources-len(k.busiest))
	if len(k.named) == 0 {
		fmt.Fprintln(out, "\nNo source is over a limit, and no clock seems wrong.")
	} else {
		fmt.Fprintln(out, "\nOver a limit, or with a wrong clock:")
	}
	for _, s := range k.named {
		fmt.Fprintf(w, "%s\t%s\tlast at %s\n", plain.Text(s.Source), strings.Join(wrong(s), "; "), time.UnixMilli(s.LastMS).UTC().Format(time.RFC3339))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	more(out, k.wrong-len(k.named))
	if k.owned < k.shards {
		fmt.Fprintf(out, "\nThese are %d of %d shards. Ask the owners of the others, too, each with --url; weir shards names them.\n", k.owned, k.shards)
	}
	return nil
}

// more prints how many sources the table leaves out, at least: a process does not know all of its sources by name.
func more(out io.Writer, n int) {
	if n > 0 {
		fmt.Fprintf(out, "and at least %d more: see --rows\n", n)
	}
}

// askAll asks all processes at once and merges their answers. The error joins those of the processes
// that did not answer.
func (t Top) askAll(ctx context.Context) (known, error) {
	client, err := t.Login.Client(topWithin)
	if err != nil {
		return known{}, err
	}
	answers, faults := make([]known, len(t.URLs)), make([]error, len(t.URLs))
	var all sync.WaitGroup
	for i, base := range t.URLs {
		all.Go(func() { answers[i], faults[i] = t.ask(ctx, client, base) })
	}
	all.Wait()
	var k known
	for i, a := range answers {
		if faults[i] != nil {
			continue
		}
		k.busiest, k.named = append(k.busiest, a.busiest...), append(k.named, a.named...)
		k.sources, k.wrong = k.sources+a.sources, k.wrong+a.wrong
		k.owned, k.shards, k.processes = k.owned+a.owned, max(k.shards, a.shards), k.processes+1
		for _, p := range a.late {
			if at := slices.IndexFunc(k.late, func(known schemas.Late) bool { return known.Partition == p.Partition }); at < 0 {
				k.late = append(k.late, p)
			} else if p.LevelMS > k.late[at].LevelMS { // the other process saw it level more recently
				k.late[at] = p
			}
		}
	}
	slices.SortFunc(k.late, func(a, b schemas.Late) int { return int(a.Partition - b.Partition) })
	cut := func(list []schemas.Source, by string) []schemas.Source {
		list = schemas.Top(list, by)
		return list[:min(t.Rows, len(list))]
	}
	k.busiest, k.named = cut(k.busiest, t.By), cut(k.named, "named")
	return k, errors.Join(faults...)
}

// ask is what one process knows.
func (t Top) ask(ctx context.Context, client *http.Client, base string) (k known, err error) {
	type answer struct {
		Sources              []schemas.Source
		Total, Owned, Shards int
		Late                 []schemas.Late
	}
	var busiest, named answer
	path := "/api/v1/top?limit=" + strconv.Itoa(t.Rows) + "&by="
	if err := t.getJSON(ctx, client, base, path+t.By, &busiest); err != nil {
		return known{}, err
	}
	if err := t.getJSON(ctx, client, base, path+"named", &named); err != nil {
		return known{}, err
	}
	return known{busiest: busiest.Sources, sources: busiest.Total, named: named.Sources, wrong: named.Total, owned: busiest.Owned, shards: busiest.Shards, late: busiest.Late}, nil
}

// getJSON decodes base's answer at path.
func (t Top) getJSON(ctx context.Context, client *http.Client, base, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(base, "/")+path, nil)
	if err != nil {
		return err
	}
	if err := t.Login.Sign(req); err != nil {
		return err
	}
	resp, err := client.Do(req)
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
		return fmt.Errorf("%s: the answer is not JSON: %w", base, err)
	}
	return nil
}

func largest(s schemas.Source) string {
	if s.LargestMetric == "" {
		return "-"
	}
	return fmt.Sprintf("%s (%d)", plain.Text(s.LargestMetric), s.LargestSeries)
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

// wrong describes what is wrong with the source.
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
