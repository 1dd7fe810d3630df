package writeback

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/processors/deadletter"
	"github.com/weir-metrics/weir/schemas/topics"
)

// # Values that are lost
//
// A value that cannot be written (it is larger than a record may be, or the broker refuses it) is
// *parked*: it is thrown away, and a new value takes its place, which knows that something was lost
// before it. This happens when a record that says so is read: the owner appends it to the input,
// like a tick. So
//
//   - what the value held and had not emitted is lost, and nothing else: what it emitted stays, and
//     later records are applied to the new value;
//   - whoever reads the records again, with the old value or the new one, parks at the same record,
//     and makes the same of the others: a process that comes after a crash, and one that has lost
//     the partition without knowing;
//   - nothing is committed before the new value is in the changelog. It is written as soon as it is
//     made, without anything pending, so that it is small;
//   - the partition continues, and commits.
//
// Two processes may find that a value is too large. The record names the previous loss, so the
// second one does nothing. If the broker does not accept the new value either, the key lives on in
// memory only, with nothing in the table.
//
// A value that is read and does not decode is lost in the same way, except that nobody knows its
// offset: the records from the last commit on are applied to the new value. If the previous owner
// had applied and emitted some of them, after that commit, they count twice.
//
// Logic learns of it through Lost, with the time when it happened (by the clock of the value, or of
// the record, or, for a value that was read, of the wall): what Logic emits about the time before
// must not take the place of what was emitted then.
//
// Each loss is counted (weir_writeback_lost_values_total), logged, named by Engine.Warning for an
// hour, and, if the value was read, becomes a dead letter.

// ErrSettings is wrapped by the error of Logic.Decode if a value is intact but was kept under other
// settings than the current ones. If any value of a partition was, Run ends and none of them is lost,
// so that the settings can be put back.
var ErrSettings = errors.New("kept under other settings")

// harmNamedFor is how long after the last harm Warning names it.
const harmNamedFor = time.Hour

// harms are things that cost a key something.
type harms struct {
	names []string // the last of them
	n     int
	at    time.Time
}

// harm counts, logs and reports something that cost a key something: kind is a label of the
// counter.
func (e *Engine[T, L]) harm(kind, key string, err error) {
	e.lost.WithLabelValues(kind).Inc()
	e.log.Error(harmText[kind], "key", short(key), "err", err)
	e.harmMu.Lock()
	defer e.harmMu.Unlock()
	if time.Since(e.harmed.at) > harmNamedFor {
		e.harmed = harms{}
	}
	e.harmed.n++
	e.harmed.at = time.Now()
	if name := short(key); !slices.Contains(e.harmed.names, name) {
		e.harmed.names = append(e.harmed.names[max(0, len(e.harmed.names)-4):], name)
	}
}

// harmText is what the log says, by kind.
var harmText = map[string]string{
	"parked":      "a value cannot be written: the key starts again",
	"undecodable": "a value of the table does not decode: the key starts again",
	"unwritable":  "a new value for a key whose state was lost cannot be written either: it is kept only in memory",
	"emission":    "the broker does not accept a record: it is dropped",
	"letter":      "the broker does not accept a dead letter, however short: it is dropped",
	"key":         "a record has a key that is too long for a table: it is refused",
}

func short(key string) string {
	const most = 80
	if len(key) > most {
		return fmt.Sprintf("%.*s… (%d bytes)", most, key, len(key))
	}
	return key
}

// Warning tells whose values were lost, or which records were dropped, in the last hour; "" if
// none.
func (e *Engine[T, L]) Warning() string {
	e.harmMu.Lock()
	defer e.harmMu.Unlock()
	if e.harmed.n == 0 || time.Since(e.harmed.at) > harmNamedFor {
		return ""
	}
	return fmt.Sprintf("%s: %d values or records could not be written or read, the last of %s: these keys have started again; see the log and deadletter",
		e.opts.ConsumerGroup, e.harmed.n, strings.Join(e.harmed.names, ", "))
}

// lose makes the entry for a key whose stored form does not decode. The loss is written at the next
// checkpoint.
func (p *Partition[T, L]) lose(key string, writers []writer) {
	e := &Entry[T, L]{Key: key, V: p.eng.logic.New(p, key), offset: -1, writers: writers, lostMS: max(p.eng.nowMS(), 1)}
	p.eng.logic.Lost(p, e.V, e.lostMS)
	p.live[key] = e
	p.register(e)
	p.touch(e)
}

// refuseStored reports a record of the changelog, or a value of the local store, that does not
// decode. offset is that of the changelog, or -1 if unknown.
func (p *Partition[T, L]) refuseStored(key string, value []byte, offset int64, err error) {
	p.eng.harm("undecodable", key, err)
	if p.eng.writes(topics.DeadLetter) {
		p.letter(deadletter.Of(&kgo.Record{Topic: p.eng.opts.Table, Partition: p.ID, Offset: offset, Key: []byte(key), Value: value},
			p.eng.stage(), "undecodable_state", err), nil)
	}
}

// maxKey bounds the key of a record, bytes: a longer one could not be in the table with any value.
// schemas/topics leaves that much room.
const maxKey = 32 << 10

// refuseKey refuses a record whose key is too long.
func (p *Partition[T, L]) refuseKey(key string, value []byte, offset int64) {
	err := fmt.Errorf("a key of %d bytes, at most %d", len(key), maxKey)
	p.eng.harm("key", key, err)
	if p.eng.writes(topics.DeadLetter) {
		p.letter(deadletter.Of(&kgo.Record{Topic: p.eng.opts.Input, Partition: p.ID, Offset: offset, Key: []byte(key), Value: value},
			p.eng.stage(), "key_too_long", err), nil)
	}
}

// refuseTick refuses a record without a key that is neither a tick nor a record that parks.
func (p *Partition[T, L]) refuseTick(value []byte, offset int64, err error) {
	p.eng.badTicks.Inc()
	p.eng.log.Error("a record without a key is neither a tick nor a parking record: it is refused", "partition", p.ID, "offset", offset, "err", err)
	if p.eng.writes(topics.DeadLetter) {
		p.letter(deadletter.Of(&kgo.Record{Topic: p.eng.opts.Input, Partition: p.ID, Offset: offset, Value: value},
			p.eng.stage(), "no_tick", err), nil)
	}
}

// stage is the name of the processor in letters: window, alert.
func (e *Engine[T, L]) stage() string {
	return strings.TrimPrefix(e.opts.ConsumerGroup, topics.ConsumerGroupPrefix)
}

// writes reports whether the processor may write to the topic.
func (e *Engine[T, L]) writes(topic string) bool {
	if _, ok := e.opts.Counts[topic]; ok {
		return true
	}
	if e.opts.More == nil {
		return false
	}
	_, ok := e.opts.More(topic)
	return ok
}

func newLost(reg prometheus.Registerer, labels prometheus.Labels) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_writeback_lost_values_total", ConstLabels: labels,
		Help: "Keys that lost something, by kind: parked (the value cannot be written), undecodable (a value of the table), unwritable (not even a small one can be), emission, letter (the broker does not accept a record), key (too long)."}, []string{"kind"})
	return Register(reg, c)
}
