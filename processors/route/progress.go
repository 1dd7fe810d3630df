package route

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/topics"
)

const (
	lookEvery = 500 * time.Millisecond // how often the ends of metrics are looked up
	sayEvery  = 400 * time.Millisecond // how often an unchanged report is repeated at least: at each look
	maxLooks  = 256                    // how many looks at a partition are remembered
	sayWithin = 5 * time.Second        // how long a report may take
)

// progress knows how far the partitions that this member owns have been handed on, and reports that
// in the topic progress: the window processes do not let the clock close windows that may get
// samples from a partition that is not handed on as it is written. It goes by the offsets that were
// read, including markers of transactions, and not by commits.
type progress struct {
	mu    sync.Mutex
	of    map[int32]*progressOf
	epoch uint64
	owner string
}

// progressOf is what is known about an owned partition.
type progressOf struct {
	handed int64  // everything before it is in samples, as far as this member knows
	looks  []look // looks at its end, oldest first; of those already reached, only the newest is kept
	end    int64
	said   time.Time
	level  bool // as last reported
}

// look is where a partition ended at a time.
type look struct {
	at  time.Time
	end int64
}

// begin forgets everything.
func (p *progress) begin(epoch uint64, owner string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of, p.epoch, p.owner = map[int32]*progressOf{}, epoch, owner
}

func (p *progress) gained(partitions []int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range partitions {
		p.of[id] = &progressOf{}
	}
}

func (p *progress) lost(partitions []int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range partitions {
		delete(p.of, id)
	}
}

// handed records that everything before an offset is in samples.
func (p *progress) handed(partition int32, offset int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if of := p.of[partition]; of != nil {
		of.handed = max(of.handed, offset)
		of.trim()
	}
}

// trim forgets the looks before the newest reached one.
func (of *progressOf) trim() {
	reached := 0
	for reached < len(of.looks) && of.looks[reached].end <= of.handed {
		reached++
	}
	of.looks = slices.Delete(of.looks, 0, max(0, reached-1))
}

// looked records where the partition ends, and that everything before done was handed on by
// somebody, or is gone.
func (p *progress) looked(partition int32, end, done int64, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	of := p.of[partition]
	if of == nil {
		return
	}
	of.handed, of.end = max(of.handed, done), end
	if n := len(of.looks); n > 0 && of.looks[n-1].end == end {
		of.looks[n-1].at = at // nothing has come since
	} else {
		of.looks = append(of.looks, look{at, end})
	}
	of.trim()
	if len(of.looks) > maxLooks { // a backlog: report less exactly
		kept := of.looks[:0]
		for i, l := range of.looks {
			if i%2 == 0 || i == len(of.looks)-1 {
				kept = append(kept, l)
			}
		}
		of.looks = kept
	}
}

// say returns what to report now: partitions for which something changed, or which were not
// reported for sayEvery.
func (p *progress) say(now time.Time) []schemas.Progress {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []schemas.Progress
	for id, of := range p.of {
		level := of.handed >= of.end
		if len(of.looks) == 0 || now.Sub(of.said) < sayEvery && level == of.level {
			continue
		}
		of.said, of.level = now, level
		s := schemas.Progress{Partition: id, Epoch: p.epoch, Offset: of.handed, End: of.end, AgeMS: of.ageMS(now), AtMS: now.UnixMilli(), Owner: p.owner}
		out = append(out, s)
	}
	return out
}

// ageMS returns Progress.AgeMS.
func (of *progressOf) ageMS(now time.Time) int64 {
	if len(of.looks) == 0 || of.looks[0].end > of.handed {
		return schemas.Unseen
	}
	return max(0, now.Sub(of.looks[0].at).Milliseconds())
}

// ages returns how long ago each partition was level, seconds; for one that never was, since the
// beginning.
func (p *progress) ages(now, began time.Time) map[int32]float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := map[int32]float64{}
	for id, of := range p.of {
		age := float64(of.ageMS(now)) / 1000
		if age < 0 {
			age = now.Sub(began).Seconds()
		}
		all[id] = age
	}
	return all
}

// reporter reports how far route is until ctx ends.
type reporter struct {
	*progress
	member *kgo.Client // of the group: has the committed offsets that it found when it joined
	admin  *kadm.Client
	out    *kgo.Client
	gauge  *prometheus.GaugeVec
	log    *slog.Logger
}

// producerOptions are those of the client that reports, in addition to how to reach the brokers: no
// report may hold up what is handed on.
func producerOptions() []kgo.Opt {
	return []kgo.Opt{kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.RecordDeliveryTimeout(sayWithin),
		kgo.UnknownTopicRetries(0)}
}

func (r *reporter) run(ctx context.Context) {
	began := time.Now()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for faults := 0; ; {
		err := r.report(ctx, began)
		switch {
		case ctx.Err() != nil:
			r.gauge.Reset()
			return
		case err == nil:
			faults = 0
		default:
			if faults++; faults == 1 || faults%60 == 0 {
				r.log.Warn("cannot report how far route is: the clock does not close windows that get samples from here", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			r.gauge.Reset()
			return
		case <-tick.C:
		}
	}
}

func (r *reporter) report(ctx context.Context, began time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, sayWithin)
	defer cancel()
	at := time.Now() // what comes while the brokers answer counts as unseen
	ends, err := r.admin.ListEndOffsets(ctx, topics.Metrics)
	if err != nil {
		return fmt.Errorf("end of %s: %w", topics.Metrics, err)
	}
	starts, err := r.admin.ListStartOffsets(ctx, topics.Metrics)
	if err != nil {
		return fmt.Errorf("start of %s: %w", topics.Metrics, err)
	}
	committed := r.member.CommittedOffsets()[topics.Metrics]
	ends.Each(func(end kadm.ListedOffset) {
		start, ok := starts.Lookup(end.Topic, end.Partition)
		if end.Err == nil && ok && start.Err == nil {
			r.looked(end.Partition, end.Offset, max(start.Offset, committed[end.Partition].Offset), at)
		}
	})
	now := time.Now()
	r.gauge.Reset()
	for id, age := range r.ages(now, began) {
		r.gauge.WithLabelValues(label(id)).Set(age)
	}
	var records []*kgo.Record
	for _, s := range r.say(now) {
		records = append(records, &kgo.Record{Topic: topics.Progress, Key: []byte(s.Key()), Value: schemas.EncodeDoc(&s)})
	}
	if len(records) == 0 {
		return nil
	}
	if err := r.out.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("write %s: %w", topics.Progress, err)
	}
	return nil
}
