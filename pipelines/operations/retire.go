package operations

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/pipelines"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/consume"
	"github.com/weir-metrics/weir/schemas/topics"
)

// Retire tells the rules that series will send no more (schemas.Retire).
type Retire struct {
	Config *pipelines.Config // with Brokers
	Series string            // labels in braces, or a series that has no group label
}

// Run writes to the shards that have the series, and tells out where. It returns conf.Faults if Series names no series
// group.
func (r Retire) Run(ctx context.Context, out io.Writer) error {
	group, record, err := r.record()
	if err != nil {
		return err
	}
	w, closeAll, err := (&Reshard{Config: r.Config}).connect(ctx)
	if err != nil {
		return err
	}
	defer closeAll()
	client, err := consume.New(consume.Watch{}, append(slices.Clip(w.client), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RecordDeliveryTimeout(retireWithin))...)
	if err != nil {
		return err
	}
	defer client.Close()
	for _, g := range w.gens.Current().Live() {
		sent := &kgo.Record{Topic: topics.SamplesOf(g.Gen), Partition: schemas.Shard([]byte(group), g.Shards), Key: []byte(group), Value: record.AppendTo(nil)}
		if err := client.ProduceSync(ctx, sent).FirstErr(); err != nil {
			return fmt.Errorf("topic %s: %w", sent.Topic, err)
		}
		fmt.Fprintf(out, "retired %s of %s: written to %s, partition %d, offset %d\n", labelsOrAll(record.Labels), group, sent.Topic, sent.Partition, sent.Offset)
	}
	return nil
}

// retireWithin is how long to try to write to a shard.
const retireWithin = 30 * time.Second

// record returns the series group that Series names, and what to write to it.
func (r Retire) record() (group string, record *schemas.Retire, err error) {
	fail := func(bound string) (string, *schemas.Retire, error) {
		return "", nil, conf.Faults{{Field: "SERIES", Value: r.Series, Bound: bound}}
	}
	names := r.Config.Route.GroupLabels
	text, bare := r.Series, strings.HasPrefix(r.Series, "{")
	if bare {
		text = "x" + text
	}
	s, err := schemas.ParseSeries(text)
	if err != nil {
		return fail(`must be labels in braces, such as {host="web01"}: ` + err.Error())
	}
	named := slices.ContainsFunc(names, func(name string) bool { return s.Labels.Get(name) != "" })
	switch {
	case named && !bare:
		return fail(fmt.Sprintf("must be the labels alone, %s: whatever has them is retired, of all metrics", s.Labels))
	case !named && bare:
		return fail(fmt.Sprintf("must have one of the labels that name a group (route.group_labels: %s), or be a whole series with its metric", strings.Join(names, ", ")))
	}
	return schemas.GroupOf(s, names), &schemas.Retire{Labels: s.Labels}, nil
}

func labelsOrAll(labels schemas.Labels) string {
	if len(labels) == 0 {
		return "everything"
	}
	return labels.String()
}
