package simulation

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"weir/schemas/topics"
)

// This file is about values that the broker does not take. What a key lost for it nobody
// knows, so nothing is compared of its group; everything else stays exact.

// tooLarge reports whether the broker refuses a record: a value of a table of windows beyond
// the limit of this run.
func (w *World) tooLarge(r *kgo.Record) bool {
	return w.params.MaxValue > 0 && (r.Topic == topics.WindowTable || r.Topic == topics.WindowTableOf(1)) && len(r.Value) > w.params.MaxValue
}

// refuse tells the producer of a record that is too large.
func (o *outbox) refuse(it item) {
	o.w.stats.TooLarge++
	raw := string(it.r.Key)
	key := raw[:len(raw)-10] // the writer comes last (writeback/changelog.go)
	o.w.harmed[key] = true
	if o.refused[it.r.Partition] == nil {
		o.refused[it.r.Partition] = map[string]bool{}
	}
	if o.refused[it.r.Partition][key] = true; it.done != nil {
		it.done(it.r, kerr.MessageTooLarge)
	}
}

// checkHarmed: keys were lost if, and only if, the broker refused a value of theirs.
func (w *World) checkHarmed() {
	n := w.lostValues()
	if n > w.stats.TooLarge {
		w.violate("harm: %d values were lost, %d were refused", n, w.stats.TooLarge)
	}
	if n < w.mustLose {
		w.violate("harm: %d values were lost, of %d keys one was refused and then committed", n, w.mustLose)
	}
	w.stats.Harmed += len(w.harmed)
}

// lostValues is weir_writeback_lost_values_total of values that cannot be written.
func (w *World) lostValues() int {
	families, err := w.registry.Gather()
	w.must(err)
	n := 0
	for _, f := range families {
		if f.GetName() == "weir_writeback_lost_values_total" {
			for _, m := range f.GetMetric() {
				for _, l := range m.GetLabel() {
					if v := l.GetValue(); l.GetName() == "kind" && (v == "parked" || v == "unwritable") {
						n += int(m.GetCounter().GetValue())
					}
				}
			}
		}
	}
	return n
}

// ofHarmed reports whether an alert is of a group that lost a value.
func (w *World) ofHarmed(t transition) bool {
	for key := range w.harmed {
		if strings.Contains(t.alert, `host="`+key+`"`) {
			return true
		}
	}
	return false
}
