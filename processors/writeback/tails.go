package writeback

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas/consume"
)

// bound makes sarama read within the same bounds as schemas/consume's readers.
func (e *Engine[T, L]) bound(cfg *sarama.Config) {
	bounded := &consume.Dialer{Inner: cfg.Net.Proxy.Dialer, Watch: consume.Counted(e.opts.ConsumerGroup, e.opts.Registry, e.log)}
	if !cfg.Net.Proxy.Enable {
		bounded.Inner = &net.Dialer{Timeout: cfg.Net.DialTimeout, KeepAlive: cfg.Net.KeepAlive}
	}
	cfg.Net.Proxy.Enable, cfg.Net.Proxy.Dialer = true, bounded
}

// countLost counts records of the input that retention deleted before this group read them. sarama
// silently continues at the start of the log.
func (e *Engine[T, L]) countLost(claims []int32) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	adm := kadm.NewClient(e.prod.client)
	starts, err := adm.ListStartOffsets(ctx, e.opts.Input)
	if err != nil {
		e.log.Warn("cannot check whether retention deleted records before they were read", "err", err)
		return
	}
	committed, err := adm.FetchOffsets(ctx, e.opts.ConsumerGroup)
	if err != nil {
		if !errors.Is(err, kerr.GroupIDNotFound) {
			e.log.Warn("cannot check whether retention deleted records before they were read", "err", err)
		}
		return
	}
	watch := consume.Counted(e.opts.ConsumerGroup, e.opts.Registry, e.log)
	for _, p := range claims {
		start, known := starts.Lookup(e.opts.Input, p)
		c, read := committed.Lookup(e.opts.Input, p)
		if known && start.Err == nil && read && c.Err == nil && c.At >= 0 && start.Offset > c.At {
			watch.Lost(consume.Gap{Topic: e.opts.Input, Partition: p, From: c.At, To: start.Offset - 1})
		}
	}
}

const (
	// stallAfter is how long a table may deliver nothing to a recovery before its end is taken to
	// be markers of transactions, or gone.
	stallAfter = 2 * time.Second
	// barrierKey is the key of the tombstone that is written after such an end. No value has it.
	barrierKey = "\x00end"
)

// passTails looks, until ctx ends, for recoveries that do not progress: Goka waits for the last
// offset of the table, and a marker, or a record that was compacted away, never comes. A tombstone
// written after it does.
func (e *Engine[T, L]) passTails(ctx context.Context) {
	type seen struct {
		at    int64
		since time.Time
	}
	was := map[*Partition[T, L]]seen{}
	tick := time.NewTicker(stallAfter / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, p := range e.recovering() {
			at := p.offset.Load()
			if at >= p.to-1 {
				continue
			}
			s, known := was[p]
			if !known || s.at != at {
				was[p] = seen{at, time.Now()}
				continue
			}
			if time.Since(s.since) < stallAfter {
				continue
			}
			was[p] = seen{at, time.Now().Add(10 * stallAfter)} // do not write again at once
			e.log.Warn("the end of the table does not come, perhaps because it is a transaction marker: writing a record after it", "partition", p.ID, "read_to", at+1, "end", p.to)
			e.prod.client.Produce(ctx, &kgo.Record{Topic: e.opts.Table, Partition: p.ID, Key: []byte(barrierKey)}, func(_ *kgo.Record, err error) {
				if err != nil {
					e.log.Warn("cannot write after the end of the table", "partition", p.ID, "err", err)
				}
			})
		}
	}
}

// recovering returns the partitions that are being recovered.
func (e *Engine[T, L]) recovering() []*Partition[T, L] {
	e.mu.RLock()
	defer e.mu.RUnlock()
	var ps []*Partition[T, L]
	for _, p := range e.opened {
		ps = append(ps, p)
	}
	return ps
}
