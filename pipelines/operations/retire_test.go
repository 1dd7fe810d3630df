package operations

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/pipelines"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
)

// TestRetireIsWrittenToTheShard: to that of the series group, and only what names a group is accepted.
func TestRetireIsWrittenToTheShard(t *testing.T) {
	cluster := kafkatest.Cluster(t)
	c := pipelines.Default()
	c.Brokers, c.Topics.Shards = cluster.ListenAddrs(), 4
	opts := []kgo.Opt{kgo.SeedBrokers(c.Brokers...)}
	adm, err := kadm.NewOptClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer adm.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := topics.Ensure(ctx, adm, topics.All(c.Topics)); err != nil {
		t.Fatal(err)
	}
	retire := func(series string) (string, error) {
		var out bytes.Buffer
		err := Retire{Config: &c, Series: series}.Run(ctx, &out)
		return out.String(), err
	}
	for series, want := range map[string]string{
		`up{host="web01"}`: `must be the labels alone, {host="web01"}`, `{path="/"}`: "must have one of the labels that name a group (route.group_labels: instance, host",
		`{host=`: "must be labels in braces", "{}": "must have one of the labels",
	} {
		if out, err := retire(series); err == nil || !strings.Contains(err.Error(), want) || out != "" {
			t.Errorf("%s: %v, %s, want %q", series, err, out, want)
		}
	}
	reader := kafkatest.Client(t, c.Brokers, kgo.ConsumeTopics(topics.Samples), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for series, group := range map[string]string{`{host="web01",path="/old"}`: "web01", `{host="web02"}`: "web02", `queue.depth{queue="a"}`: `queue.depth{queue="a"}`} {
		out, err := retire(series)
		if err != nil || !strings.Contains(out, "written to samples, partition ") {
			t.Fatalf("%s: %v, %s", series, err, out)
		}
		var records []*kgo.Record
		for len(records) == 0 && ctx.Err() == nil {
			records = reader.PollRecords(ctx, 1).Records()
		}
		if len(records) != 1 || string(records[0].Key) != group || records[0].Partition != schemas.Shard([]byte(group), 4) {
			t.Fatalf("%s: %+v", series, records)
		}
		got, err := schemas.DecodeRetire(records[0].Value)
		if err != nil || "{"+series[strings.IndexByte(series, '{')+1:] != got.Labels.String() {
			t.Errorf("%s is %+v, %v", series, got, err)
		}
	}
}
