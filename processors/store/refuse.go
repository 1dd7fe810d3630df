package store

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/processors/deadletter"
	"github.com/weir-metrics/weir/schemas/topics"
)

// refuse writes the record to deadletter, cut to size, and returns when that is acknowledged, or at
// once if there are too many letters.
func (p *Processor) refuse(ctx context.Context, cl *kgo.Client, r *kgo.Record, reason string, why error) error {
	l := deadletter.Of(r, "store", reason, why)
	p.metrics.deadletters.WithLabelValues(reason).Inc()
	p.log.Debug("record refused", "topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "reason", reason, "err", why)
	if !p.deps.Letters.Admit(l, time.Now()) {
		return nil
	}
	l, err := deadletter.Write(ctx, cl, l)
	if err != nil {
		return err
	}
	if deadletter.Header(l, topics.HeaderCut) != "" {
		p.metrics.truncated.Inc()
	}
	return nil
}
