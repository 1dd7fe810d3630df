package notify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/consume"
	"github.com/weir-metrics/weir/schemas/topics"
)

const (
	// settle is how long after its assignment a partition is surveyed: what was missed while nobody
	// read can wait until what has come is on its way.
	settle = time.Second
	// surveyAgain is how long to wait after a failed survey.
	surveyAgain = 5 * time.Second
)

// survey looks up the state of the alerts that somebody was told are firing, by reading alerts from
// its start: the record of an alert's end may have been compacted away, its tombstone, too, and the
// offset committed. Records that are read meanwhile in the usual way are newer, and are ignored
// here.
func (p *Processor) survey(part *partition) {
	defer part.running.Done()
	for delay := p.settle; wait(delay, part.stopping); {
		err := p.lookUp(part)
		if err == nil {
			if part.settled() {
				return
			}
			delay = p.settle
			continue
		}
		delay = surveyAgain
		if part.calls.Err() == nil {
			p.log.Error("cannot look up the alerts that were told, will try again", "partition", part.id, "err", err)
		}
	}
}

// lookUp does one survey.
func (p *Processor) lookUp(part *partition) error {
	asked, foreign := part.asked()
	if len(asked) > 0 {
		if err := p.lookUpAlerts(part, asked); err != nil {
			return err
		}
	}
	p.doubtNoMore(part)
	return p.overwrite(part, foreign)
}

// lookUpAlerts looks up the state of the alerts with these fingerprints.
func (p *Processor) lookUpAlerts(part *partition, keys []string) error {
	ends, err := kadm.NewClient(p.out).ListEndOffsets(part.calls, topics.Alerts)
	if err != nil {
		return fmt.Errorf("end of %s: %w", topics.Alerts, err)
	}
	listed, ok := ends.Lookup(topics.Alerts, part.id)
	if !ok || listed.Err != nil {
		return fmt.Errorf("end of %s/%d: %w", topics.Alerts, part.id, listed.Err)
	}
	newest := map[string]*schemas.Alert{} // nil: deleted
	unknown := map[string]bool{}          // alerts whose newest record cannot be read
	partly := false                       // records were skipped: an alert that was not seen may be among them
	if listed.Offset > 0 {
		err = p.readAlerts(part, listed.Offset, func(r *kgo.Record) {
			key := string(r.Key)
			partly = partly || consume.SkippedBatch(r) != nil
			part.mu.Lock()
			asked := part.unsure[key]
			part.mu.Unlock()
			if !asked {
				return
			}
			delete(unknown, key)
			newest[key] = nil
			if r.Value == nil {
				return
			}
			a, err := decodeAlert(r)
			newest[key], unknown[key] = a, err != nil
		})
		if err != nil {
			return err
		}
	}
	now := time.Now().UnixMilli()
	var due []planned
	for _, key := range keys {
		if _, seen := newest[key]; !unknown[key] && (seen || !partly) && part.asks(key) {
			due = append(due, p.observe(part, key, newest[key], now)...)
		}
	}
	if err := p.enter(part.calls, part, due); err != nil {
		return err
	}
	part.mu.Lock()
	defer part.mu.Unlock()
	for _, key := range keys {
		delete(part.unsure, key) // nothing can be known about the rest
	}
	return nil
}

// doubtNoMore releases triggers that waited so long that it had to be known whether their alert
// still fires.
func (p *Processor) doubtNoMore(part *partition) {
	part.mu.Lock()
	defer part.mu.Unlock()
	for _, lanes := range part.alerts {
		for _, l := range lanes {
			e, i := l.head()
			if e == nil || !e.doubtful {
				continue
			}
			if l.endAfter(i) == nil {
				e.doubtful = false // the alert fires
			}
			p.scheduleLocked(l, time.Now())
		}
	}
}

// asked lists the fingerprints whose state must be looked up, and the keys under which a former
// owner wrote.
func (part *partition) asked() (fingerprints, foreign []string) {
	part.mu.Lock()
	defer part.mu.Unlock()
	return slices.Collect(maps.Keys(part.unsure)), slices.Collect(maps.Keys(part.foreign))
}

func (part *partition) asks(key string) bool {
	part.mu.Lock()
	defer part.mu.Unlock()
	return part.unsure[key]
}

// readAlerts passes each the records of alerts before end. The last of them may have been compacted
// away, so that none at or after end comes: then reading ends when the broker has answered twice
// that there is nothing more.
func (p *Processor) readAlerts(part *partition, end int64, each func(*kgo.Record)) error {
	answers := &fetchAnswers{}
	in, err := consume.New(consume.Counted("notify", p.deps.Registry, p.log), append(slices.Clone(p.deps.Options), kgo.FetchMaxWait(fetchWait),
		kgo.WithHooks(answers), kgo.KeepRetryableFetchErrors(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topics.Alerts: {part.id: kgo.NewOffset().AtStart()}}),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		return fmt.Errorf("read %s: %w", topics.Alerts, err)
	}
	defer in.Close()
	began := time.Now()
	for next, empty := int64(0), answers.n.Load(); next < end; {
		soon, cancel := context.WithTimeout(part.calls, fetchWait/5)
		fetches := in.PollFetches(soon)
		cancel()
		if err := fetches.Err(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("read %s: %w", topics.Alerts, err)
		}
		if fetches.NumRecords() == 0 {
			switch {
			case answers.n.Load() >= empty+2:
				return nil
			case time.Since(began) > loadTimeout:
				return fmt.Errorf("read %s/%d: nothing for %v, read to %d of %d", topics.Alerts, part.id, loadTimeout, next, end)
			}
			continue
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if next = r.Offset + 1; r.Offset < end {
				each(r)
			}
		})
		began, empty = time.Now(), answers.n.Load()
	}
	return nil
}

// fetchAnswers counts the fetches that a broker has answered.
type fetchAnswers struct{ n atomic.Int64 }

// OnBrokerE2E implements kgo.HookBrokerE2E.
func (f *fetchAnswers) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, e2e kgo.BrokerE2E) {
	if kmsg.Key(key) == kmsg.Fetch && e2e.Err() == nil {
		f.n.Add(1)
	}
}
