package operations

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/pipelines"
	"github.com/weir-metrics/weir/processors/generations"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
)

// TestShards: the reports of owners are printed with their skew. More than 70 % of --most is marked, 70 % is not. Shards without a
// report are counted, and so are partitions that somebody added.
func TestShards(t *testing.T) {
	cluster := kafkatest.Cluster(t)
	c := pipelines.Default()
	c.Brokers, c.Topics.Shards = cluster.ListenAddrs(), 4
	var out bytes.Buffer
	shards := func() error {
		out.Reset()
		return Shards{Config: &c, Most: 100}.Run(t.Context(), &out)
	}
	if err := shards(); err == nil || !strings.Contains(err.Error(), "Has weir run on these brokers?") {
		t.Errorf("of brokers without weir: %v", err)
	}

	opts := []kgo.Opt{kgo.SeedBrokers(c.Brokers...)}
	adm, err := kadm.NewOptClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer adm.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := topics.Ensure(ctx, adm, topics.All(c.Topics)); err != nil {
		t.Fatal(err)
	}
	if err := shards(); err != nil || !strings.Contains(out.String(), "shards without a report for 20s: 4.") {
		t.Errorf("before anybody ran: %v\n%s", err, out.String())
	}

	log, err := generations.Open(4, opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	now := time.Now()
	if err := log.Report(ctx, []schemas.ShardReport{
		{Shard: 0, Owner: "a:7070", AtMS: now.UnixMilli(), Groups: 3, Series: 30, PerSecond: 70},
		{Shard: 1, Owner: "b:7070", AtMS: now.UnixMilli(), Groups: 5, Series: 50, PerSecond: 70.1},
		{Shard: 2, Owner: "b:7070", AtMS: now.UnixMilli()},
		{Shard: 3, Owner: "gone:7070", AtMS: now.Add(-reportStale - time.Second).UnixMilli(), Groups: 9, Series: 90, PerSecond: 500},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := adm.UpdatePartitions(ctx, 6, topics.Samples); err != nil {
		t.Fatal(err)
	}
	if err := shards(); err != nil {
		t.Fatal(err)
	}
	const want = `generation 0: 4 shards, active, 140 samples/s
 shard owner lag groups series samples/s skew 
 0 a:7070 0 3 30 70 2.00 
 1 b:7070 0 5 50 70 2.00 HOT
 2 b:7070 0 0 0 0 0.00 
 3 - 0 9 90 0 0.00 
samples has 2 partitions more than on record: somebody altered it or its table. They stay empty; to get more shards, run weir reshard --shards N
shards without a report for 20s: 1. Is a process with the role window running and ready (/readyz)?
shards above 70 % of 100 samples/s: 1. Add instances, or add shards with weir reshard --shards N
`
	if got := regexp.MustCompile(` +`).ReplaceAllString(out.String(), " "); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
