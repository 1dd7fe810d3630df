package operations

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/pipelines"
	"github.com/weir-metrics/weir/schemas"
)

// What the blast radius of rules is worked out from: how long a running weir may take to list its
// series, how many a page has, and how long ago a series may have been seen, as weir notes that once
// an hour.
const (
	radiusWithin = 10 * time.Minute
	radiusPage   = 10_000
	radiusSeen   = 25 * time.Hour
)

// radius writes how much there is for each rule to do, by the series that the running weir has seen
// in the last day. It returns an error if that cannot be asked.
func (c Check) radius(ctx context.Context, config *pipelines.Config, rules *alerts.RuleSet) error {
	if c.Radius == nil {
		return nil
	}
	client, err := c.Login.Client(time.Minute)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, radiusWithin)
	defer cancel()
	radii, since := rules.NewRadii(), time.Now().Add(-radiusSeen).UnixMilli()
	for _, metric := range rules.Metrics() {
		for after := ""; ; {
			query := url.Values{"metric": {metric}, "limit": {strconv.Itoa(radiusPage)}}
			if after != "" {
				query.Set("after", after)
			}
			page, err := c.list(ctx, client, c.base(config)+"/api/v1/series?"+query.Encode())
			if err != nil {
				return fmt.Errorf("blast radius: the series of %s: %w", metric, err)
			}
			for _, s := range page.Series {
				if s.LastMS >= since {
					radii.Add(s.Source, schemas.Series{Metric: s.Metric, Labels: schemas.NewLabels(s.Labels)})
				}
			}
			if page.After == "" || page.After == after {
				break
			}
			after = page.After
		}
	}
	return c.writeRadii(radii.Of())
}

func (c Check) writeRadii(all []alerts.Radius) error {
	w := tabwriter.NewWriter(c.Radius, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "rule\tgroups\tlabel sets\tseries\tevaluations/s\tstate")
	sum := alerts.Radius{Rule: "all"}
	for _, r := range all {
		writeRadius(w, &r)
		sum.Sets += r.Sets
		sum.PerSecond += r.PerSecond
		sum.Bytes += r.Bytes
	}
	if len(all) > 1 {
		fmt.Fprintf(w, "%s\t\t%d\t\t%.4g\t%s\n", sum.Rule, sum.Sets, sum.PerSecond, kibibytes(sum.Bytes))
	}
	return w.Flush()
}

func writeRadius(w *tabwriter.Writer, r *alerts.Radius) {
	fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%.4g\t%s\n", r.Rule, r.Groups, r.Sets, r.Series, r.PerSecond, kibibytes(r.Bytes))
}

// kibibytes writes a size, as much of it as people read.
func kibibytes(n int64) string {
	switch {
	case n < 10<<10:
		return fmt.Sprintf("%d B", n)
	case n < 10<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}
