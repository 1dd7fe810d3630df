package simulation

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/processors/writeback"
	"github.com/weir-metrics/weir/processors/writeback/disk"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/topics"
)

// settle finishes everything that is in progress, without letting time pass.
func (w *World) settle() {
	for range 10_000 {
		busy := false
		for _, r := range w.routers {
			busy = r.poll(1000) || busy
		}
		for _, a := range w.actors() {
			o := w.actor(a)
			for _, q := range o.queues {
				busy = q.put(1<<20, 1<<20) || busy
			}
		}
		for _, m := range w.machines {
			for _, mem := range m.members {
				for _, p := range mem.opened() {
					busy = mem.read(p, 1<<20) || busy
				}
			}
		}
		for p := range w.store.next {
			busy = w.store.read(p, 1<<20) || busy
		}
		if !busy {
			return
		}
		if w.fault != nil {
			return
		}
	}
	w.violate("the world does not come to rest")
}

// finish ends a run: everything is delivered, hosts fall silent, and time passes until there
// is nothing left to do.
func (w *World) finish() {
	for id, m := range w.machines {
		if m.members[windowRole].proc.Failed() != nil || m.members[alertRole].proc.Failed() != nil {
			w.kill(id, 1<<20, 0, 0)
		}
	}
	prompt, reset := w.prompt && w.drained(), w.reset
	w.beCalm()
	w.settle()
	w.prompt, w.reset = prompt, reset
	step := int64(2_000)
	for end := w.now + 3*24*3600_000; w.now < end && w.fault == nil; step += step / 20 {
		w.now += step
		for _, m := range w.machines {
			for _, mem := range m.members {
				mem.proc.Ticks(w.now)
			}
		}
		w.settle()
	}
}

// reference runs a processor without faults over its input and returns what it emits, by
// topic. The run must have emitted the same.
func (w *World) reference(r role) map[string][]*kgo.Record {
	out := map[string][]*kgo.Record{}
	local := disk.New(writeback.ErrBroken)
	proc := w.drive(r, writeback.Host{Table: func(id int32) writeback.Table { return local.Table(id) }, Produce: func(rec *kgo.Record, done func(*kgo.Record, error)) {
		if rec.Topic != w.groups[r].input.name { // not a tick: the log holds the ticks
			out[rec.Topic] = append(out[rec.Topic], rec)
		}
		done(rec, nil)
	}})
	for p, log := range w.groups[r].input.parts {
		if _, err := proc.Open(int32(p)); err != nil {
			w.must(err)
		}
		w.must(proc.Recovered(int32(p)))
		for _, rec := range log {
			proc.Record(int32(p), rec)
		}
	}
	return out
}

// check returns what is wrong with a finished world, or nil.
func (w *World) check() error {
	if w.fault != nil {
		return w.fault
	}
	before, lost := w.counted(), w.lostValues("parked", "unwritable")
	w.stats.Undecodable = w.lostValues("undecodable")
	old, next := w.reference(windowRole), w.reference(nextRole)
	counts := w.counted()
	for k := range counts {
		counts[k] -= before[k]
	}
	w.turnedBy(append(slices.Clone(old[topics.DeadLetter]), next[topics.DeadLetter]...))
	limited := len(w.turned) > 0
	w.checkEmitted(topics.Windows, old[topics.Windows], next[topics.Windows])
	w.checkEmitted(topics.Conditions, old[topics.Conditions], next[topics.Conditions])
	w.checkEmitted(topics.SamplesOf(1), old[topics.SamplesOf(1)])
	alerting := w.reference(alertRole)
	w.checkEmitted(topics.Alerts, alerting[topics.Alerts])
	w.checkHarmed(lost, w.lostValues("parked", "unwritable")-lost)
	letters := append(old[topics.DeadLetter], next[topics.DeadLetter]...)
	w.checkLetters(letters)
	w.checkSpoilt(append(letters, alerting[topics.DeadLetter]...))
	w.checkRouted()
	for key := range w.harmed { // from here on, leave these out too
		w.turned[key] = true
	}
	ws := w.checkRows(letters, counts)
	w.checkTransitions(ws, limited)
	return w.fault
}

// checkEmitted compares what a topic holds with what the references emitted: each key must
// have the same values, those of one reference in the reference's order. A repeated value
// counts once.
func (w *World) checkEmitted(name string, wants ...[]*kgo.Record) {
	got, last := map[string]*sequence{}, map[string][]byte{}
	for _, log := range w.topics[name].parts {
		for _, r := range w.ofUnturned(log) {
			switch k := string(r.Key); {
			case k == "": // a tick
			case name == topics.SamplesOf(1) && !isHandover(r), w.isSpoilt(r): // sent by route, or rubbish
			default:
				add(got, k, r.Value)
				last[k] = r.Value
			}
		}
	}
	expected := map[string]int{}
	for _, want := range wants {
		one := map[string]*sequence{}
		for _, r := range w.ofUnturned(want) {
			add(one, string(r.Key), r.Value)
		}
		for _, k := range slices.Sorted(maps.Keys(one)) {
			g := got[k]
			if g == nil {
				g = &sequence{}
			}
			at := -1
			for _, v := range one[k].values {
				switch i, there := g.at[string(v)]; {
				case !there && at+1 < len(g.values):
					w.violate("%s: key %q: value %d is\n  %s\nwithout faults it is\n  %s", name, k, at+1, show(name, g.values[at+1]), show(name, v))
				case !there:
					w.violate("%s: key %q: %d values; missing: %s", name, k, len(g.values), show(name, v))
				case i < at:
					w.violate("%s: key %q: too early, at %d: %s", name, k, i, show(name, v))
				default:
					at = i
				}
			}
			expected[k] += len(one[k].values)
			if name == topics.Alerts && !bytes.Equal(last[k], one[k].values[len(one[k].values)-1]) {
				w.stats.StaleLast++
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(got)) {
		if n := len(got[k].values); n > expected[k] {
			w.violate("%s: key %q: %d values, want %d; the last: %s", name, k, n, expected[k], show(name, got[k].values[n-1]))
		}
	}
	if name == topics.SamplesOf(1) {
		for _, n := range expected {
			w.stats.Handovers += n
		}
	}
}

// sequence holds distinct values in the order of their first appearance.
type sequence struct {
	values [][]byte
	at     map[string]int
}

func add(m map[string]*sequence, key string, value []byte) {
	s := m[key]
	if s == nil {
		s = &sequence{at: map[string]int{}}
		m[key] = s
	}
	if _, there := s.at[string(value)]; !there {
		s.at[string(value)] = len(s.values)
		s.values = append(s.values, value)
	}
}

// show formats a value of a topic for people.
func show(name string, v []byte) string {
	if name != topics.Windows {
		return fmt.Sprintf("%.2000q", v)
	}
	b, err := schemas.DecodeWindowBatch(v)
	if err != nil {
		return err.Error()
	}
	text := fmt.Sprintf("emitted at %d:", b.EmitMS-epochMS)
	for _, x := range b.Windows {
		text += fmt.Sprintf(" [%s %s %d part %d rev %d: count %d sum %v]", x.Series, schemas.TierName(x.TierMS), x.StartMS-epochMS, x.Part, x.Revision, x.Count, x.Sum)
	}
	return text
}

// told returns the transitions in the topic alerts. Repeats of a transition must agree.
func (w *World) told() map[transition]schemas.Transition {
	told := map[transition]schemas.Transition{}
	for _, log := range w.topics[topics.Alerts].parts {
		for _, r := range log {
			if len(r.Value) == 0 {
				w.stats.Forgotten++
				continue
			}
			a, err := schemas.DecodeDoc[schemas.Alert](r.Value)
			if err != nil {
				w.violate("alerts: %w", err)
				continue
			}
			labels := schemas.NewLabels(a.Labels)
			labels = slices.DeleteFunc(labels, func(l schemas.Label) bool { return l.Name == "alertname" })
			t := transition{schemas.Series{Metric: a.Rule, Labels: labels}.String(), a.Last.To, a.Last.AtMS}
			if w.harmed[string(r.Key)] { // it started over, and may repeat a transition with another cause
				w.begunAnew[t.alert] = true
			} else if before, ok := told[t]; ok && before != a.Last {
				w.violate("alerts: %s: told as %+v and as %+v", t, before, a.Last)
			}
			told[t] = a.Last
		}
	}
	return told
}

// quieted reports whether the silence at the start of the calm part was so long that nothing
// before it matters to the transition's alert.
func (w *World) quieted(t transition) bool {
	for _, r := range rulesOf(w.tiers, w.params.Rules) {
		if strings.HasPrefix(t.alert, "sim/"+r.name+"{") {
			// After hours of silence the steps are long, and keep_firing_for depends on when
			// conditions arrive (processors/alert/doc.go).
			return r.noDataMS+2*r.tierMS <= w.silence && (r.keepMS == 0 || w.silence < 3*3600_000)
		}
	}
	return false
}

// ofMissed reports whether a rule that fires on silence made the transition, and the transition depends on the time before
// the calm part: on the series known then, and so on whether the alert was already firing.
func (w *World) ofMissed(t transition) bool {
	return strings.HasPrefix(t.alert, "sim/missed") && (t.to != schemas.Firing || t.atMS <= w.reset+w.silence)
}

// checkTransitions checks that repeats of a transition agree, and, if nothing has been
// delayed since the reset, that the transitions after it are those of a batch evaluation.
func (w *World) checkTransitions(ws []schemas.Window, limited bool) {
	got := w.told()
	w.stats.Transitions = len(got)
	if w.reset == 0 || !w.prompt || w.lagging || limited {
		return
	}
	w.stats.Calm++
	before := func(t transition) bool {
		return t.atMS <= w.reset || w.ofHarmed(t) || !w.quieted(t) || w.ofMissed(t)
	}
	w.compareTransitions(got, slices.DeleteFunc(alertOracle(w.tiers, w.params.Rules, ws), before), before)
}

// compareTransitions compares transitions with those of a batch evaluation, ignoring any for which but is true.
func (w *World) compareTransitions(got map[transition]schemas.Transition, want []transition, but func(transition) bool) {
	wanted := map[transition]bool{}
	for _, t := range want {
		if wanted[t] = true; got[t].To == "" {
			w.violate("alerts: %s: missing; a batch evaluation has it", t)
		}
	}
	for t := range got {
		if !wanted[t] && !but(t) {
			w.violate("alerts: %s: a batch evaluation does not have it", t)
		}
	}
}
