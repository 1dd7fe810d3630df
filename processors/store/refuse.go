package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"weir/schemas/topics"
)

const (
	letterBytes = 16 << 20 // of a deadletter record's value; see schemas/topics
	letterRoom  = 64 << 10 // what its key and headers may take beside it, bytes
	leastBytes  = 1 << 10  // to which a letter is cut before the processor gives up
)

// refuse hands the record to deadletter whole, and returns when that is acknowledged.
func (p *Processor) refuse(ctx context.Context, cl *kgo.Client, r *kgo.Record, reason string, why error) error {
	l := letter(r, reason, why)
	err := cl.ProduceSync(ctx, l).FirstErr()
	for size := len(r.Value) / 2; errors.Is(err, kerr.MessageTooLarge) && size >= leastBytes; size /= 2 {
		l = letter(r, reason, why)
		l.Value = r.Value[:size]
		l.Headers = append(l.Headers, kgo.RecordHeader{Key: "weir.truncated", Value: []byte(strconv.Itoa(len(r.Value)))})
		err = cl.ProduceSync(ctx, l).FirstErr()
	}
	if err != nil {
		return fmt.Errorf("produce to %s, %d bytes: %w", l.Topic, len(l.Value), err)
	}
	if len(l.Value) < len(r.Value) {
		p.metrics.truncated.Inc()
	}
	p.metrics.deadletters.WithLabelValues(reason).Inc()
	p.log.Debug("record refused", "topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "reason", reason, "err", why)
	return nil
}

// letter is the deadletter record of r.
func letter(r *kgo.Record, reason string, why error) *kgo.Record {
	l := &kgo.Record{Topic: topics.DeadLetter, Key: r.Key, Value: r.Value}
	for _, h := range []struct{ name, value string }{
		{"weir.reason", reason},
		{"weir.error", why.Error()},
		{"weir.topic", r.Topic},
		{"weir.partition", strconv.Itoa(int(r.Partition))},
		{"weir.offset", strconv.FormatInt(r.Offset, 10)},
		{"weir.stage", "store"},
	} {
		l.Headers = append(l.Headers, kgo.RecordHeader{Key: h.name, Value: []byte(h.value)})
	}
	return l
}
