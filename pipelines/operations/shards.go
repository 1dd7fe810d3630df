package operations

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/weir-metrics/weir/pipelines"
	"github.com/weir-metrics/weir/processors/generations"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/plain"
	"github.com/weir-metrics/weir/schemas/topics"
)

// Shards prints what each shard has and who owns it.
type Shards struct {
	Config *pipelines.Config // with Brokers
	// Most is what a shard can carry, samples per second.
	Most float64
}

// warnAt is the share of Most at which a shard is marked.
const warnAt = 0.7

// reportStale is how old a shard's report may be for its owner to count as alive.
const reportStale = 20 * time.Second

// Run prints a table of each generation, and then what to do about it.
func (s Shards) Run(ctx context.Context, out io.Writer) error {
	w, closeAll, err := (&Reshard{Config: s.Config}).connect(ctx)
	if err != nil {
		return err
	}
	defer closeAll()
	reports, err := generations.Reports(ctx, w.client...)
	if err != nil {
		return err
	}
	hot, orphans := 0, 0
	for _, g := range w.gens.Current().Live() {
		h, o, err := s.table(ctx, w, g, reports, out)
		if err != nil {
			return err
		}
		hot += h
		if g.State != schemas.Planned {
			orphans += o
		}
	}
	if orphans > 0 {
		fmt.Fprintf(out, "shards without a report for %s: %d. Is a process with the role window running and ready (/readyz)?\n", reportStale, orphans)
	}
	if hot > 0 {
		fmt.Fprintf(out, "shards above %.0f %% of %.0f samples/s: %d. Add instances, or add shards with weir reshard --shards N\n", 100*warnAt, s.Most, hot)
	}
	return nil
}

// table prints a generation and returns how many of its shards carry too much, and how many have no
// recent report.
func (s Shards) table(ctx context.Context, w *resharding, g schemas.Generation, reports map[string]schemas.ShardReport, out io.Writer) (hot, orphans int, err error) {
	ends, err := w.adm.ListEndOffsets(ctx, topics.SamplesOf(g.Gen))
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return 0, 0, fmt.Errorf("end of %s: %w", topics.SamplesOf(g.Gen), err)
	}
	committed, err := w.committed(ctx, topics.WindowConsumerGroupOf(g.Gen))
	if err != nil {
		return 0, 0, fmt.Errorf("offsets of %s: %w", topics.WindowConsumerGroupOf(g.Gen), err)
	}
	shards := make([]schemas.ShardReport, g.Shards)
	sum := 0.0
	for i := range shards {
		shards[i] = reports[(&schemas.ShardReport{Gen: g.Gen, Shard: int32(i)}).Key()]
		if time.Since(time.UnixMilli(shards[i].AtMS)) > reportStale {
			shards[i].Owner, shards[i].PerSecond = "-", 0
			orphans++
		}
		sum += shards[i].PerSecond
	}
	fmt.Fprintf(out, "generation %d: %d shards, %s, %.0f samples/s\n", g.Gen, g.Shards, g.State, sum)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "shard\towner\tlag\tgroups\tseries\tsamples/s\tskew\t\t")
	for i, r := range shards {
		lag := int64(0)
		if end, ok := ends.Lookup(topics.SamplesOf(g.Gen), int32(i)); ok {
			lag = end.Offset
		}
		if c, ok := committed.Lookup(topics.SamplesOf(g.Gen), int32(i)); ok {
			lag -= max(0, c.At)
		}
		skew, mark := 0.0, ""
		if sum > 0 {
			skew = r.PerSecond * float64(g.Shards) / sum
		}
		if r.PerSecond > warnAt*s.Most {
			hot++
			mark = "HOT"
		}
		fmt.Fprintf(t, "%d\t%s\t%d\t%d\t%d\t%.0f\t%.2f\t%s\t\n", i, plain.Text(r.Owner), lag, r.Groups, r.Series, r.PerSecond, skew, mark)
	}
	if extra := len(ends[topics.SamplesOf(g.Gen)]) - int(g.Shards); extra > 0 {
		defer fmt.Fprintf(out, "%s has %d partitions more than on record: somebody altered it or its table. They stay empty; to get more shards, run weir reshard --shards N\n", topics.SamplesOf(g.Gen), extra)
	}
	return hot, orphans, t.Flush()
}
