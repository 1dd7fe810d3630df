package generations

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"weir/schemas"
	"weir/schemas/consume"
	"weir/schemas/topics"
)

// Report writes what this process says of its shards.
func (l *Log) Report(ctx context.Context, reports []schemas.ShardReport) error {
	records := make([]*kgo.Record, len(reports))
	for i := range reports {
		records[i] = &kgo.Record{Topic: topics.ShardReports, Key: []byte(reports[i].Key()), Value: schemas.EncodeDoc(&reports[i])}
	}
	if err := l.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("shard reports: %w", err)
	}
	return nil
}

// Reports reads the newest report of each shard, by ShardReport.Key. Reports that do
// not decode are left out.
func Reports(ctx context.Context, opts ...kgo.Opt) (map[string]schemas.ShardReport, error) {
	client, err := consume.New(consume.Watch{}, append(append([]kgo.Opt{}, opts...),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topics.ShardReports: {0: kgo.NewOffset().AtStart()}}))...)
	if err != nil {
		return nil, fmt.Errorf("shard reports: %w", err)
	}
	defer client.Close()
	reports := map[string]schemas.ShardReport{}
	ends, err := kadm.NewClient(client.Client).ListEndOffsets(ctx, topics.ShardReports)
	if err != nil {
		return nil, fmt.Errorf("shard reports: %w", err)
	}
	end, ok := ends.Lookup(topics.ShardReports, 0)
	if !ok || errors.Is(end.Err, kerr.UnknownTopicOrPartition) {
		return reports, nil
	}
	if end.Err != nil {
		return nil, fmt.Errorf("shard reports: %w", end.Err)
	}
	for next := int64(0); next < end.Offset; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("shard reports: %w", err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			next = r.Offset + 1
			if rep, err := schemas.DecodeDoc[schemas.ShardReport](r.Value); err == nil {
				reports[string(r.Key)] = *rep
			}
		})
	}
	return reports, nil
}
