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
// A value that cannot be written (it is larger than a record may be, or the broker refuses
// it) is *parked*: it is thrown away, and a new value takes its place, which knows that
// something was lost before it. That is done when a record that says so is read: its owner
// appends it to the input, as it does with a tick. So
//
//   - what the value held and had not emitted is lost, and nothing else: what it emitted
//     stands, and what comes is applied to the new value;
//   - whoever reads the records again, with the value of before or the new one, parks at the
//     same one, and makes of the others the same again: a process that comes after a crash,
//     and one that has lost the partition and does not know;
//   - nothing is committed before the new value is in the changelog. It is written where it
//     is made, without anything pending, so that it is small;
//   - the partition goes on, and commits.
//
// Two processes may find that a value is too large. The record names the loss before, so that
// the second one does nothing. If the broker does not take the new value either, its key
// lives on in memory alone, with nothing in the table.
//
// A value that is read and does not decode is lost in the same way, but for its offset, which
// nobody knows: the records from the last commit on are applied to the new value. If the
// owner before had applied and emitted some of them, after that commit, they count there
// and here.
//
// Logic is told by Lost, with the time when it happened (by the clock of the value, or of the
// record, or, for what was read, of the wall): what Logic emits of the time before must not
// take the place of what was emitted then.
//
// Each is counted (weir_writeback_lost_values_total), logged, named by Engine.Warning for an
// hour, and if it was read a dead letter.

// ErrSettings is wrapped by the error of Logic.Decode when a value is whole, and was kept
// under other settings than today's. If all values of a partition were, it is the settings
// that are wrong: Run ends, and nothing is lost.
var ErrSettings = errors.New("kept under other settings")

// harmNamedFor is how long after the last of it Warning names harm.
const harmNamedFor = time.Hour

// harms are what cost a key something.
type harms struct {
	names []string // the last of them
	n     int
	at    time.Time
}

// harm counts, logs and alarms what cost a key something: kind is a label of the
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
	"parked":      "a value cannot be written: the key begins anew",
	"undecodable": "a value of the table does not decode: the key begins anew",
	"unwritable":  "a new value for a key whose state was lost cannot be written either: it is kept in memory alone",
	"emission":    "the broker does not take a record: it is dropped",
	"letter":      "the broker does not take a dead letter, however short: it is dropped",
	"key":         "a record has a key that is too long for a table: it is refused",
}

func short(key string) string {
	const most = 80
	if len(key) > most {
		return fmt.Sprintf("%.*s… (%d bytes)", most, key, len(key))
	}
	return key
}

// Warning says whose values were lost, or which records were dropped, in the last hour, or
// is "".
func (e *Engine[T, L]) Warning() string {
	e.harmMu.Lock()
	defer e.harmMu.Unlock()
	if e.harmed.n == 0 || time.Since(e.harmed.at) > harmNamedFor {
		return ""
	}
	return fmt.Sprintf("%s: %d values or records could not be written or read, the last of %s: these keys began anew; see the log and deadletter",
		e.opts.Group, e.harmed.n, strings.Join(e.harmed.names, ", "))
}

// lose makes the entry of a key whose stored form does not decode. The loss is written at the
// next checkpoint.
func (p *Partition[T, L]) lose(key string, writers []writer) {
	e := &Entry[T, L]{Key: key, V: p.eng.logic.New(p, key), offset: -1, writers: writers, lostMS: max(p.eng.nowMS(), 1)}
	p.eng.logic.Lost(p, e.V, e.lostMS)
	p.live[key] = e
	p.register(e)
	p.touch(e)
}

// refuseStored tells of a record of the changelog, or a value of the local store, that does
// not decode. offset is that of the changelog, -1 if nobody knows it.
func (p *Partition[T, L]) refuseStored(key string, value []byte, offset int64, err error) {
	p.eng.harm("undecodable", key, err)
	if p.eng.writes(topics.DeadLetter) {
		p.letter(deadletter.Of(&kgo.Record{Topic: p.eng.opts.Table, Partition: p.ID, Offset: offset, Key: []byte(key), Value: value},
			p.eng.stage(), "undecodable_state", err), nil)
	}
}

// maxKey bounds the key of a record, bytes: a longer one could not stand in the table with
// any value. schemas/topics leaves so much room.
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

// refuseTick refuses a record without a key, which only a tick may be without, and one that parks.
func (p *Partition[T, L]) refuseTick(value []byte, offset int64, err error) {
	p.eng.badTicks.Inc()
	p.eng.log.Error("a record without a key is no tick, nor parks anything: it is refused", "partition", p.ID, "offset", offset, "err", err)
	if p.eng.writes(topics.DeadLetter) {
		p.letter(deadletter.Of(&kgo.Record{Topic: p.eng.opts.Input, Partition: p.ID, Offset: offset, Value: value},
			p.eng.stage(), "no_tick", err), nil)
	}
}

// stage is what letters call the processor: window, alert.
func (e *Engine[T, L]) stage() string { return strings.TrimPrefix(e.opts.Group, "weir-") }

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
		Help: "Keys that lost something, by kind: parked (the value cannot be written), undecodable (a value of the table), unwritable (nor can a small one), emission, letter (the broker does not take a record), key (too long)."}, []string{"kind"})
	return Register(reg, c)
}
