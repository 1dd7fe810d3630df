package writeback

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
)

// ErrPartitions is wrapped by Run's error if a topic has fewer partitions than on record.
var ErrPartitions = errors.New("wrong number of partitions")

// newAltered returns the alarm about topics that somebody altered.
func newAltered(reg prometheus.Registerer) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_topics_altered",
		Help: "Partitions beyond those on record of a group's input or table: somebody altered one of them, and weir enlarged the other to match. Use weir reshard instead."}, []string{"topic"})
	return Register(reg, g)
}

// guard ensures that the input and the table have the partitions on record. Keys go to partitions
// by the number on record, so added ones stay empty and nothing is lost. But Goka requires the
// input and the table to have the same number, so the smaller one is enlarged to match, and the
// alarm is raised.
func (e *Engine[T, L]) guard(ctx context.Context, adm *kadm.Client, topics kadm.TopicDetails) error {
	has := map[string]int32{}
	most := int32(0)
	for name, t := range topics {
		n := int32(len(t.Partitions))
		if n < e.opts.Counts[name] {
			return fmt.Errorf("topic %s: %w: it has %d, %d are on record", name, ErrPartitions, n, e.opts.Counts[name])
		}
		has[name], most = n, max(most, n)
	}
	e.tell(has, most)
	e.warn(has)
	for name, n := range has {
		e.altered.WithLabelValues(name).Set(float64(n - e.opts.Counts[name]))
		if n == most {
			continue
		}
		if err := grow(ctx, adm, name, most); err != nil {
			return fmt.Errorf("topic %s: grow from %d to %d partitions: %w", name, n, most, err)
		}
		e.told[name] = most
		e.log.Info("enlarged a topic to match the one that was altered", "topic", name, "from", n, "partitions", most)
	}
	return nil
}

// tell logs, once, which topics have more partitions than on record. weir only grows the smaller
// topic, so the larger was altered externally; if they are equal, we cannot tell, as this process
// or another may have grown one earlier.
func (e *Engine[T, L]) tell(has map[string]int32, most int32) {
	even := slices.Min(slices.Collect(maps.Values(has))) == most
	for name, n := range has {
		if n == e.opts.Counts[name] || n == e.told[name] {
			continue
		}
		e.told[name] = n
		said := "somebody altered a topic"
		if even || n < most {
			said = "a topic has more partitions than on record: somebody altered it, or weir enlarged it to match one that was altered"
		}
		e.log.Error(said+"; the added partitions stay empty; to get more shards, run weir reshard --shards N",
			"topic", name, "partitions", n, "on_record", e.opts.Counts[name])
	}
}

// warn makes Altered tell which topics have more partitions than on record.
func (e *Engine[T, L]) warn(has map[string]int32) {
	var altered []string
	for _, name := range slices.Sorted(maps.Keys(has)) {
		if n, want := has[name], e.opts.Counts[name]; n > want {
			altered = append(altered, fmt.Sprintf("%s has %d partitions, %d are on record", name, n, want))
		}
	}
	warning := strings.Join(altered, "; ")
	e.warning.Store(&warning)
}

// Altered names the topics that have more partitions than on record, with both numbers; "" if none.
func (e *Engine[T, L]) Altered() string {
	if w := e.warning.Load(); w != nil {
		return *w
	}
	return ""
}

// disarm withdraws the alarm: what somebody did to the topics of a retired generation no longer
// matters.
func (e *Engine[T, L]) disarm() {
	for _, topic := range []string{e.opts.Input, e.opts.Table} {
		e.altered.DeleteLabelValues(topic)
	}
}

// guardEvery is how often a running engine checks whether somebody altered its topics. It also
// checks at the start of each session: new partitions may be among its claims, and Goka fails if
// the table does not have them.
const guardEvery = 10 * time.Second

// keepGuard guards until ctx ends. Brokers that do not answer are asked again.
func (e *Engine[T, L]) keepGuard(ctx context.Context, adm *kadm.Client) {
	tick := time.NewTicker(guardEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := e.look(ctx, adm); err != nil && ctx.Err() == nil {
			e.log.Warn("cannot look at the topics", "err", err)
		}
	}
}

// look guards the topics as they are now.
func (e *Engine[T, L]) look(ctx context.Context, adm *kadm.Client) error {
	e.guarding.Lock()
	defer e.guarding.Unlock()
	list, err := adm.ListTopics(ctx, e.opts.Table, e.opts.Input)
	if err == nil {
		err = list.Error()
	}
	if err != nil {
		return fmt.Errorf("look up topics: %w", err)
	}
	return e.guard(ctx, adm, list)
}

// grow returns when the topic has the partitions and all of them answer. Another process may be
// doing the same.
func grow(ctx context.Context, adm *kadm.Client, topic string, to int32) error {
	_, asked := adm.UpdatePartitions(ctx, int(to), topic)
	for {
		ends, err := adm.ListEndOffsets(ctx, topic)
		if err == nil {
			err = ends.Error()
		}
		if err == nil && int32(len(ends[topic])) >= to {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(asked, err, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Each calls f for every partition that this member owns and that has recovered.
func (e *Engine[T, L]) Each(f func(*Partition[T, L])) {
	for _, p := range e.owned() {
		f(p)
	}
}
