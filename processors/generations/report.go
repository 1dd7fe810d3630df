package generations

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/consume"
	"github.com/weir-metrics/weir/schemas/topics"
)

// Report writes this process's reports on its shards.
func (l *Log) Report(ctx context.Context, reports []schemas.ShardReport) error {
	records := make([]*kgo.Record, len(reports))
	for i := range reports {
		records[i] = &kgo.Record{Topic: topics.ShardReports, Key: []byte(reports[i].Key()), Value: schemas.EncodeDoc(&reports[i])}
	}
	if err := l.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("%s: %w", topics.ShardReports, err)
	}
	return nil
}

// Reports reads the newest report of each shard, by ShardReport.Key. Reports that do not decode, or
// are invalid, are left out.
func Reports(ctx context.Context, opts ...kgo.Opt) (map[string]schemas.ShardReport, error) {
	client, err := consume.New(consume.Watch{}, append(append([]kgo.Opt{}, opts...),
		kgo.KeepControlRecords(), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topics.ShardReports: {0: kgo.NewOffset().AtStart()}}))...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", topics.ShardReports, err)
	}
	defer client.Close()
	reports := map[string]schemas.ShardReport{}
	to, err := end(ctx, kadm.NewClient(client.Client), topics.ShardReports)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", topics.ShardReports, err)
	}
	_, err = readTo(ctx, client, 0, to, func(r *kgo.Record) {
		rep, err := schemas.DecodeDoc[schemas.ShardReport](r.Value)
		switch {
		case len(r.Value) == 0:
			delete(reports, string(r.Key))
		case err == nil && rep.Key() == string(r.Key) && rep.Validate() == nil:
			reports[rep.Key()] = *rep
		}
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", topics.ShardReports, err)
	}
	return reports, nil
}
