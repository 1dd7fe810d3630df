package notify

import (
	"slices"
	"testing"
	"time"
)

// TestSeveralTriggersOfOneIncident: the end is due to a receiver that heard of any of the triggers before it, however the
// last one went; it is never left out, and what it needs is never trimmed.
func TestSeveralTriggersOfOneIncident(t *testing.T) {
	p := newProcessorForTest(nil)
	part := newPartition(0, &p.memory)
	trigger := func(atMS int64, s status, h heard) entry {
		return entry{firing: true, atMS: atMS, status: s, heard: h, unsent: h == nobody}
	}
	resolve := func(atMS int64, s status) entry { return entry{atMS: atMS, status: s} }
	of := func(es ...entry) *lane {
		l := &lane{part: part, receiver: "r", fingerprint: "f", entries: es}
		for i := range l.entries {
			l.entries[i].seq = int64(i + 1)
		}
		l.seq = int64(len(es))
		return l
	}
	accepted := of(trigger(1, submittedOK, surely), trigger(2, failedOff, nobody), resolve(3, pending))
	if why := accepted.unneeded(2, 4, 1000); why != "" {
		t.Errorf("the end of an accepted trigger is not sent: %s", why)
	}
	if e := accepted.triggerOf(2); e == nil || e.atMS != 1 {
		t.Errorf("the end is told in the words of %+v", e)
	}
	refused := of(trigger(1, failedOff, nobody), trigger(2, failedOff, nobody), resolve(3, pending))
	if why := refused.unneeded(2, 4, 1000); why == "" {
		t.Error("the end of a trigger that nobody heard of is sent")
	}
	open := of(trigger(1, pending, nobody), trigger(2, pending, nobody))
	if why := open.unneeded(0, 1_000_000, 1000); why != "" {
		t.Errorf("a trigger that another one follows is not sent: %s", why)
	}
	over := of(trigger(1, pending, nobody), trigger(2, pending, nobody), resolve(3, pending))
	if why := over.unneeded(0, 1_000_000, 1000); why == "" {
		t.Error("a trigger that is long over is sent")
	}

	var many []entry
	many = append(many, trigger(1, submittedOK, surely))
	for i := range int64(2 * maxWaiting) {
		many = append(many, trigger(i+2, pending, nobody))
	}
	l := of(append(many, resolve(100, pending))...)
	l.collapse()
	if n := len(l.entries); l.waiting() != maxWaiting || l.entries[n-1].status != pending || l.entries[n-2].status != pending || !l.heardOf(n-1) {
		t.Errorf("of what waits is left: %+v", l.entries)
	}
	l = of(trigger(1, submittedOK, surely), trigger(2, pending, nobody), resolve(3, pending))
	for i := range int64(maxWaiting) {
		l.entries = append(l.entries, trigger(4+2*i, pending, nobody), resolve(5+2*i, pending))
	}
	if l.collapse(); l.entries[2].status != pending || l.waiting() > maxWaiting {
		t.Errorf("%d wait, and the end of what was accepted is %v", l.waiting(), l.entries[2].status)
	}

	now := time.Now().UnixMilli()
	flaps := []entry{trigger(1, submittedOK, surely)}
	for i := range int64(3 * maxKnown) {
		flaps = append(flaps, trigger(i+2, failedOff, nobody))
	}
	for name, l := range map[string]*lane{"open": of(slices.Clone(flaps)...), "its end waits": of(append(slices.Clone(flaps), resolve(1000, pending))...)} {
		gone := len(l.trim(now, keepEntries.Milliseconds()))
		if gone == 0 || !l.entries[0].firing || l.entries[0].atMS != 1 || !l.heardOf(len(l.entries)-l.waiting()) {
			t.Errorf("%s: %d are gone, and what was accepted is not known: %+v", name, gone, l.entries)
		}
	}
	two := of(trigger(1, submittedOK, surely), resolve(2, pending), trigger(3, pending, nobody), resolve(4, pending))
	if two.trim(now, keepEntries.Milliseconds()); len(two.entries) != 4 {
		t.Errorf("what waits for its turn is gone: %+v", two.entries)
	}
	if e := two.endAfter(0); e == nil || e.atMS != 2 {
		t.Errorf("the first ends with %+v", e)
	}
}
