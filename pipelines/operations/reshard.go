package operations

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/pipelines"
	"github.com/weir-metrics/weir/pipelines/terminal"
	"github.com/weir-metrics/weir/processors/connect"
	"github.com/weir-metrics/weir/processors/generations"
	"github.com/weir-metrics/weir/processors/route"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/consume"
	"github.com/weir-metrics/weir/schemas/topics"
)

// Reshard changes the number of shards while weir runs: samples from a time on, the cut, go to a new
// generation of shards, and the old one drains. It can be run again at any time, and continues where
// it was.
type Reshard struct {
	Config *pipelines.Config // with Brokers
	Shards int32
	// Now cuts at the next minute instead of at the end of a window of the largest tier. If no tier is a
	// minute long, the cut is at the end of a window of the largest tier below that. Windows of longer
	// tiers that are open at the cut are in both generations in part; readers merge the parts.
	Now    bool
	DryRun bool // only print what would be done

	lead, lease, patience time.Duration // for tests; 0: what is safe
}

// lead is the least time between the plan and the cut: two leases, in which every route reads the
// plan, what clocks may be off, and max_future, as samples handed on before may be that far ahead.
const planSlack = 5 * time.Second

// maxTail bounds how many uncommitted offsets are looked at.
const maxTail = 1000

// step is how often the command checks its progress.
const step = 500 * time.Millisecond

// resharding is a Reshard that is connected.
type resharding struct {
	*Reshard
	client   []kgo.Opt
	adm      *kadm.Client
	gens     *generations.Log
	out      io.Writer
	progress *terminal.Progress
}

// Run reshards, writes what it does to out, and draws its progress to progress. It returns an error
// if another reshard is under way, or if ctx ends first: the plan stands, and the next Run continues
// it.
func (r Reshard) Run(ctx context.Context, out, progress io.Writer) error {
	if r.lease == 0 {
		r.lease = generations.Lease
	}
	if r.lead == 0 {
		r.lead = 2*r.lease + planSlack + r.Config.Windows.MaxFuture.Std()
	}
	if r.patience == 0 {
		tiers := r.Config.Windows.Tiers
		r.patience = 2*tiers[len(tiers)-1].Size.Std() + time.Hour // a window whose input is held up may stay open for as long
	}
	w, closeAll, err := r.connect(ctx)
	if err != nil {
		return err
	}
	defer closeAll()
	w.out, w.progress = out, terminal.NewProgress(progress)
	live := w.gens.Current().Live()
	newest := live[len(live)-1]
	switch {
	case len(live) == 1 && newest.Shards == r.Shards:
		fmt.Fprintf(out, "there are %d shards already, in generation %d\n", r.Shards, newest.Gen)
		return nil
	case len(live) > 1 && newest.Shards != r.Shards:
		return fmt.Errorf("a reshard to %d shards is under way (generation %d from %s): finish that first, with weir reshard --shards %d",
			newest.Shards, newest.Gen, at(newest.FromMS), newest.Shards)
	case len(live) > 1:
		fmt.Fprintf(out, "generation %d of %d shards from %s is under way: continuing it\n", newest.Gen, newest.Shards, at(newest.FromMS))
	}
	if r.DryRun {
		w.sayPlan(live)
		return nil
	}
	if len(live) == 1 {
		if err := w.plan(ctx, newest); err != nil {
			return err
		}
	}
	return w.seeThrough(ctx)
}

func at(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.DateTime) + "Z" }

func (r *Reshard) connect(ctx context.Context) (*resharding, func(), error) {
	kafka := connect.New(r.Config.Brokers, r.Config.Kafka)
	if err := kafka.Probe(ctx); err != nil {
		return nil, nil, err
	}
	client := kafka.Options()
	adm, err := kadm.NewOptClient(append(slices.Clip(client), kgo.MetadataMinAge(topics.Settle))...)
	if err != nil {
		return nil, nil, err
	}
	first, err := firstShards(ctx, adm)
	if err != nil {
		adm.Close()
		return nil, nil, err
	}
	gens, err := generations.Open(first, client...)
	if err == nil {
		if err = gens.Refresh(ctx); err != nil {
			gens.Close()
		}
	}
	if err != nil {
		adm.Close()
		return nil, nil, err
	}
	return &resharding{Reshard: r, client: client, adm: adm, gens: gens}, func() { gens.Close(); adm.Close() }, nil
}

// firstShards is the number of shards of the first generation: that of the partitions of the topic
// windows, which never changes.
func firstShards(ctx context.Context, adm *kadm.Client) (int32, error) {
	list, err := adm.ListTopics(ctx, topics.Windows)
	if err == nil {
		err = list[topics.Windows].Err
	}
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return 0, fmt.Errorf("topic %s: %w Has weir run on these brokers?", topics.Windows, err)
	}
	if err != nil {
		return 0, fmt.Errorf("topic %s: %w", topics.Windows, err)
	}
	return int32(len(list[topics.Windows].Partitions)), nil
}

// cut is the time, ms, from which the new generation takes the samples.
func (w *resharding) cut(now time.Time) int64 {
	tiers := w.Config.Windows.Tiers
	unit := tiers[len(tiers)-1].Size.MS()
	if w.Now {
		unit = tiers[0].Size.MS()
		for _, t := range tiers[:len(tiers)-1] {
			if t.Size.Std() <= time.Minute {
				unit = t.Size.MS()
			}
		}
	}
	return (now.Add(w.lead).UnixMilli() + unit - 1) / unit * unit
}

func (w *resharding) sayPlan(live []schemas.Generation) {
	if len(live) > 1 {
		return // it was planned before
	}
	g := live[0].Gen + 1
	from := w.cut(time.Now())
	fmt.Fprintf(w.out, "generation %d of %d shards now\ngeneration %d of %d shards would take the samples from %s (in %s)\ntopics to be made: %s, %s\nnothing was changed\n",
		live[0].Gen, live[0].Shards, g, w.Shards, at(from), time.Until(time.UnixMilli(from)).Round(time.Second), topics.SamplesOf(g), topics.WindowTableOf(g))
}

// plan makes the topics, and then the plan.
func (w *resharding) plan(ctx context.Context, newest schemas.Generation) error {
	g := schemas.Generation{Gen: newest.Gen + 1, Shards: w.Shards, State: schemas.Planned}
	make := topics.OfGeneration(w.Config.Topics, g.Gen, g.Shards)
	for _, t := range topics.All(w.Config.Topics) {
		if t.Name == topics.Generations || t.Name == topics.ShardReports {
			make = append(make, t)
		}
	}
	if err := topics.Ensure(ctx, w.adm, make); err != nil {
		return err
	}
	// A plan must not appear so late that routes miss the cut.
	soon, cancel := context.WithTimeout(ctx, w.lease/2)
	defer cancel()
	g.FromMS = w.cut(time.Now())
	if err := w.gens.Write(soon, append(append([]schemas.Generation{}, w.gens.Current().List...), g)); err != nil {
		return err
	}
	fmt.Fprintf(w.out, "generation %d of %d shards takes the samples from %s\n", g.Gen, g.Shards, at(g.FromMS))
	return nil
}

// seeThrough takes the two live generations from state to state.
func (w *resharding) seeThrough(ctx context.Context) error {
	planned := time.Now()
	for {
		live := w.gens.Current().Live()
		if len(live) == 1 {
			fmt.Fprintf(w.out, "generation %d of %d shards has everything\n", live[0].Gen, live[0].Shards)
			return nil
		}
		was, is := live[0], live[len(live)-1]
		var err error
		switch {
		case is.State == schemas.Planned:
			from := time.UnixMilli(is.FromMS)
			err = w.until(ctx, func() (bool, string) {
				return time.Now().After(from), terminal.Bar(float64(time.Since(planned))/float64(from.Sub(planned))) + " cut in " + time.Until(from).Round(time.Second).String()
			})
			if err == nil {
				err = w.set(ctx, schemas.Draining, schemas.Active)
			}
		case was.State == schemas.Draining:
			if err = w.drained(ctx, was); err == nil {
				err = w.set(ctx, schemas.Closed, is.State)
			}
		default: // closed: what routes sent before they read that is still on its way
			began := time.Now()
			err = w.until(ctx, func() (bool, string) { return time.Since(began) > 2*w.lease, "closing" })
			if err == nil {
				err = w.drained(ctx, was)
			}
			if err == nil {
				err = w.set(ctx, schemas.Retired, is.State)
			}
		}
		if err != nil {
			return err
		}
	}
}

// set sets the states of the older and the newer live generation.
func (w *resharding) set(ctx context.Context, older, newer schemas.GenerationState) error {
	list := append([]schemas.Generation{}, w.gens.Current().List...)
	n := len(list)
	list[n-2].State, list[n-1].State = older, newer
	if err := w.gens.Write(ctx, list); err != nil {
		return err
	}
	fmt.Fprintf(w.out, "generation %d is %s, generation %d is %s\n", list[n-2].Gen, older, list[n-1].Gen, newer)
	return nil
}

// ErrStuck is wrapped by Run's error if there was no progress for too long.
var ErrStuck = errors.New("nothing moves any more")

// until returns when done is true, which it asks at each step, and draws how far it is. It gives up
// if that has not changed for long; the error says what it waited for.
func (w *resharding) until(ctx context.Context, done func() (ok bool, far string)) error {
	was, since := "", time.Now()
	for {
		ok, far := done()
		if ok {
			w.progress.Clear()
			return nil
		}
		if far != was {
			was, since = far, time.Now()
		} else if time.Since(since) > w.patience {
			w.progress.Clear()
			return fmt.Errorf("%w: for %s it was: %s. The plan stands; fix that and run the same command again", ErrStuck, w.patience.Round(time.Second), far)
		}
		w.progress.Draw(far)
		select {
		case <-ctx.Done():
			w.progress.Clear()
			return fmt.Errorf("interrupted: the plan stands; run the same command again to continue: %w", ctx.Err())
		case <-time.After(step):
		}
	}
}

// drained returns when nothing of the generation is left: route has handed on all that was in
// metrics at the call, the window role has read all of the generation's samples, and no shard has an
// open window. Late samples make late partials in the next generation, as they would have in this
// one.
func (w *resharding) drained(ctx context.Context, g schemas.Generation) error {
	handed, err := w.adm.ListEndOffsets(ctx, topics.Metrics)
	if err != nil {
		return fmt.Errorf("end of %s: %w", topics.Metrics, err)
	}
	routed := time.Time{}
	return w.until(ctx, func() (bool, string) {
		behind, err := w.behind(ctx, route.ConsumerGroup, topics.Metrics, handed)
		if err != nil || behind > 0 {
			return false, waiting(err, fmt.Sprintf("generation %d: %d records of %s are not handed on", g.Gen, behind, topics.Metrics))
		}
		if routed.IsZero() {
			routed = time.Now()
		}
		ends, err := w.adm.ListEndOffsets(ctx, topics.SamplesOf(g.Gen))
		if err == nil {
			behind, err = w.behind(ctx, topics.WindowConsumerGroupOf(g.Gen), topics.SamplesOf(g.Gen), ends)
		}
		reports := map[string]schemas.ShardReport{}
		if err == nil {
			reports, err = generations.Reports(ctx, w.client...)
		}
		open, silent, names := int64(0), 0, []string{}
		for shard := range g.Shards {
			rep, ok := reports[(&schemas.ShardReport{Gen: g.Gen, Shard: shard}).Key()]
			if !ok || rep.AtMS <= routed.UnixMilli() {
				if silent++; len(names) < 10 {
					names = append(names, strconv.Itoa(int(shard)))
				}
			}
			open += rep.Open
		}
		return err == nil && behind == 0 && open == 0 && silent == 0,
			waiting(err, fmt.Sprintf("generation %d drains: %d records behind, %d series groups open, %d of %d shards not heard of%s", g.Gen, behind, open, silent, g.Shards, named(names)))
	})
}

// named lists shards, in parentheses.
func named(shards []string) string {
	if len(shards) == 0 {
		return ""
	}
	return " (" + strings.Join(shards, ", ") + ")"
}

func waiting(err error, far string) string {
	if err != nil {
		return err.Error()
	}
	return far
}

// behind is how many records before ends the group has not committed. Markers of transactions, and
// records of aborted ones, do not count: nobody ever commits them.
func (w *resharding) behind(ctx context.Context, group, topic string, ends kadm.ListedOffsets) (int64, error) {
	starts, err := w.adm.ListStartOffsets(ctx, topic)
	if err == nil {
		err = starts.Error()
	}
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return 0, err
	}
	committed, err := w.committed(ctx, group)
	if err != nil {
		return 0, err
	}
	behind := int64(0)
	tails := map[int32][2]int64{}
	ends.Each(func(end kadm.ListedOffset) {
		done := int64(0)
		if start, ok := starts.Lookup(topic, end.Partition); ok {
			done = start.Offset
		}
		if c, ok := committed.Lookup(topic, end.Partition); ok {
			done = max(done, c.At)
		}
		if n := end.Offset - done; n > 0 && n <= maxTail {
			tails[end.Partition] = [2]int64{done, end.Offset}
		} else {
			behind += max(0, n)
		}
	})
	for partition, tail := range tails {
		n, err := consume.Count(ctx, w.client, topic, partition, tail[0], tail[1])
		if err != nil {
			return 0, fmt.Errorf("end of %s/%d: %w", topic, partition, err)
		}
		behind += n
	}
	return behind, nil
}

// committed is what the group has committed; nothing if nobody has joined it yet.
func (w *resharding) committed(ctx context.Context, group string) (kadm.OffsetResponses, error) {
	offsets, err := w.adm.FetchOffsets(ctx, group)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return nil, nil
	}
	return offsets, err
}
