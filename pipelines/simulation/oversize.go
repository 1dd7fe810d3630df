package simulation

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/topics"
)

// This file is about values that are too large for the broker. The log records where a key
// lost its value, so what the key emits is compared like that of any other key. Its rows are
// not compared, because the oracle cannot know what the value held.

// tooLarge reports whether the broker refuses a record, because it holds a table's value that
// is larger than this run's limit.
func (w *World) tooLarge(r *kgo.Record) bool {
	most := w.params.MaxValue
	if r.Topic == topics.AlertTable {
		most = w.params.MaxAlert
	}
	return most > 0 && isTable(r.Topic) && len(r.Value) > most
}

func isTable(topic string) bool {
	return topic == topics.WindowTable || topic == topics.WindowTableOf(1) || topic == topics.AlertTable
}

// refuse tells the producer that a record is too large.
func (o *outbox) refuse(it item) {
	o.w.stats.TooLarge++
	key := baseOf(it.r)
	o.w.harmed[key], o.w.harmedMS[key] = true, o.w.now
	if o.isMoot(it.r) {
		if it.done != nil {
			it.done(it.r, kerr.MessageTooLarge)
		}
		return
	}
	if o.refused[it.r.Partition] == nil {
		o.refused[it.r.Partition] = map[string]bool{}
	}
	if o.refused[it.r.Partition][key] = true; it.done != nil {
		it.done(it.r, kerr.MessageTooLarge)
	}
}

// tableEntry is a key in a partition of a table, or, with no key, the whole partition.
type tableEntry struct {
	part int32
	key  string
}

// forget notes that the process has given up a partition: the values that it has sent for it
// no longer matter to it.
func (o *outbox) forget(p int32) { o.moot[tableEntry{part: p}] = o.w.writers }

// forgetRead does what forget does, for the keys of which the process, as the newest writer, has read records anew.
func (o *outbox) forgetRead(p int32, rs []*kgo.Record) {
	for _, r := range rs {
		o.moot[tableEntry{p, baseOf(r)}] = o.w.writers - 1
	}
}

func (o *outbox) isMoot(r *kgo.Record) bool {
	by := binary.BigEndian.Uint64(r.Key[len(r.Key)-8:])
	return by <= max(o.moot[tableEntry{part: r.Partition}], o.moot[tableEntry{r.Partition, baseOf(r)}])
}

// baseOf returns the key of a table record without the writer (writeback/changelog.go).
func baseOf(r *kgo.Record) string { return string(r.Key[:max(0, len(r.Key)-10)]) }

// replaced notes that a producer has sent another value for a key whose last value was refused.
func (o *outbox) replaced(r *kgo.Record) {
	if isTable(r.Topic) {
		delete(o.refused[r.Partition], baseOf(r))
	}
}

// checkHarmed checks that each loss stands in the log once, was counted by the process that
// met it, and follows a refusal. The run lost before values, the references n.
func (w *World) checkHarmed(before, n int) {
	named := 0
	for _, g := range w.groups {
		for _, log := range g.input.parts {
			for _, r := range log {
				if len(r.Key) > 0 || !schemas.IsParking(r.Value) {
					continue
				}
				if ps, err := schemas.DecodeParking(r.Value); err == nil { // an error: it is rubbish
					named += len(ps)
				}
			}
		}
	}
	if n > named || n > before || named > w.stats.TooLarge {
		w.violate("harm: the references lost %d values, the run %d; the log names %d, and the broker refused %d", n, before, named, w.stats.TooLarge)
	}
	w.stats.Lost, w.stats.Harmed = n, len(w.harmed)
}

// lostValues returns weir_writeback_lost_values_total of some kinds.
func (w *World) lostValues(kinds ...string) int {
	families, err := w.registry.Gather()
	w.must(err)
	n := 0
	for _, f := range families {
		if f.GetName() == "weir_writeback_lost_values_total" {
			for _, m := range f.GetMetric() {
				for _, l := range m.GetLabel() {
					if l.GetName() == "kind" && slices.Contains(kinds, l.GetValue()) {
						n += int(m.GetCounter().GetValue())
					}
				}
			}
		}
	}
	return n
}

// ofHarmed reports whether the alert of a transition, or its group, lost a value.
func (w *World) ofHarmed(t transition) bool {
	for key := range w.harmed {
		if w.begunAnew[t.alert] || strings.Contains(t.alert, `host="`+key+`"`) {
			return true
		}
	}
	return false
}
