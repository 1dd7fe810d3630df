package notify

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/sinks"
	"github.com/weir-metrics/weir/sinks/sinktest"
)

// after returns the alert after another transition, at the time of the transition.
func after(a *schemas.Alert, to schemas.AlertState, atMS int64) *schemas.Alert {
	b := *a
	b.History = transitions(a)
	b.Last = schemas.Transition{From: a.State, To: to, AtMS: atMS, Reason: "test"}
	b.State, b.LastMS = to, atMS
	switch to {
	case schemas.Firing:
		b.FiredMS, b.LastTrueMS, b.ResolvedMS = atMS, atMS, 0
	case schemas.Resolved:
		b.ResolvedMS = atMS
	}
	return &b
}

func labelled(a *schemas.Alert, severity string) *schemas.Alert {
	b := *a
	b.Labels = map[string]string{"alertname": "HighCPU", "host": "web01", "severity": severity}
	return &b
}

func tombstoneOf(a *schemas.Alert) *kgo.Record {
	return &kgo.Record{Topic: topics.Alerts, Key: []byte(a.Fingerprint)}
}

// TestToldWhatWasCompacted: while notify is down, or reads, an alert that receivers know of makes transitions of which the topic
// alerts keeps only the newest record, or none. The receivers are told the end, once, and are told if it fires now.
func TestToldWhatWasCompacted(t *testing.T) {
	fire := func(n int) *schemas.Alert { return alertNow(n, time.Minute) }
	for name, c := range map[string]struct {
		then func(a *schemas.Alert) *schemas.Alert // the newest state; nil: a tombstone
		gone bool                                  // no record is left at all: the alert's own is deleted, too
		want string                                // events at PagerDuty after the first trigger
	}{
		"resolved": {then: func(a *schemas.Alert) *schemas.Alert { return after(a, schemas.Resolved, a.LastMS+1000) }, want: "resolve"},
		"resolved under other labels": {then: func(a *schemas.Alert) *schemas.Alert {
			return labelled(after(a, schemas.Resolved, a.LastMS+1000), "info")
		}, want: "resolve"},
		"pending again": {then: func(a *schemas.Alert) *schemas.Alert {
			return after(after(a, schemas.Resolved, a.LastMS+1000), schemas.Pending, a.LastMS+2000)
		}, want: "resolve"},
		"inactive again": {then: func(a *schemas.Alert) *schemas.Alert {
			return after(after(after(a, schemas.Resolved, a.LastMS+1000), schemas.Pending, a.LastMS+2000), schemas.Inactive, a.LastMS+3000)
		}, want: "resolve"},
		"pending, without its history": {then: func(a *schemas.Alert) *schemas.Alert {
			b := after(a, schemas.Pending, a.LastMS+2000)
			b.History = nil
			return b
		}, want: "resolve"},
		"fires again": {then: func(a *schemas.Alert) *schemas.Alert {
			return after(after(a, schemas.Resolved, a.LastMS+1000), schemas.Firing, a.LastMS+2000)
		}, want: "resolve trigger"},
		"fires again without history": {then: func(a *schemas.Alert) *schemas.Alert {
			b := after(a, schemas.Firing, a.LastMS+2000)
			b.History = nil
			return b
		}, want: "resolve trigger"},
		"fired again and is resolved": {then: func(a *schemas.Alert) *schemas.Alert {
			return after(after(after(a, schemas.Resolved, a.LastMS+1000), schemas.Firing, a.LastMS+2000), schemas.Resolved, a.LastMS+3000)
		}, want: "resolve trigger resolve"},
		"fires again for others": {then: func(a *schemas.Alert) *schemas.Alert {
			return labelled(after(after(a, schemas.Resolved, a.LastMS+1000), schemas.Firing, a.LastMS+2000), "info")
		}, want: "resolve"},
		"flapped for longer than its history": {then: func(a *schemas.Alert) *schemas.Alert {
			b := a
			for i := range int64(9) {
				b = after(after(b, schemas.Resolved, a.LastMS+2000*i+1000), schemas.Firing, a.LastMS+2000*i+2000)
			}
			b.History = b.History[len(b.History)-2:]
			return b
		}, want: "resolve trigger"},
		"deleted":                   {then: func(*schemas.Alert) *schemas.Alert { return nil }, want: "resolve"},
		"deleted without a trace":   {gone: true, want: "resolve"},
		"fires on":                  {then: func(a *schemas.Alert) *schemas.Alert { b := *a; b.Value++; return &b }, want: ""},
		"fires on, for others only": {then: func(a *schemas.Alert) *schemas.Alert { return labelled(a, "info") }, want: ""},
	} {
		for _, away := range []bool{true, false} {
			if c.gone && !away {
				continue
			}
			t.Run(fmt.Sprintf("%s, away %v", name, away), func(t *testing.T) {
				b := newBroker(t)
				pd := sinktest.NewPagerDuty(t, routingKey)
				critical := toPagerDuty(pd)
				critical.Match = map[string]string{"severity": "critical"}
				i := b.run(t, quick(), critical)
				a := fire(1)
				b.publish(t, a)
				b.awaitStatus(t, a, "pd", schemas.DeliverySubmitted)
				if away {
					i.stop(t)
				}
				switch {
				case c.gone:
					b.deleteAlerts(t)
				case c.then(a) == nil:
					b.produce(t, tombstoneOf(a))
				default:
					b.publish(t, c.then(a))
				}
				if away {
					i = b.run(t, quick(), critical)
				}
				kafkatest.Eventually(t, c.want+" is told", func() bool { return b.actions(pd, a) == strings.TrimSpace("trigger "+c.want) })
				kafkatest.Eventually(t, "the survey is over", func() bool { return i.surveyed() })
				if got := b.actions(pd, a); got != strings.TrimSpace("trigger "+c.want) {
					t.Errorf("events %q, want trigger %s", got, c.want)
				}
				checkViolations(t, pd)
			})
		}
	}
}

// surveyed reports whether the partitions are owned and all surveys have ended.
func (i *instance) surveyed() bool {
	parts := i.owned()
	for _, part := range parts {
		if len(unsureOf(part)) > 0 {
			return false
		}
	}
	return len(parts) == partitions
}

// actions lists what PagerDuty was told about an alert.
func (b *broker) actions(pd *sinktest.PagerDuty, a *schemas.Alert) string {
	var all []string
	for _, e := range pd.Events() {
		if e.DedupKey == a.DedupKey() {
			all = append(all, e.Action)
		}
	}
	return strings.Join(all, " ")
}

// deleteAlerts deletes every record of alerts, as compaction does long after a tombstone.
func (b *broker) deleteAlerts(t *testing.T) {
	t.Helper()
	adm := kadm.NewClient(b.client)
	ends, err := adm.ListEndOffsets(t.Context(), topics.Alerts)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := adm.DeleteRecords(t.Context(), ends.Offsets()); err != nil {
		t.Fatal(err)
	}
}

// TestTheEndIsToldInTheWordsOfTheTrigger: the resolve has the labels of the trigger, because receivers identify an alert by them.
func TestTheEndIsToldInTheWordsOfTheTrigger(t *testing.T) {
	for _, deleted := range []bool{false, true} {
		b := newBroker(t)
		hook := sinktest.NewWebhook(t, "")
		to := toWebhook(hook)
		to.Match = map[string]string{"severity": "critical"}
		i := b.run(t, quick(), to)
		a := alertNow(1, time.Minute)
		b.publish(t, a)
		b.awaitStatus(t, a, "hook", schemas.DeliverySubmitted)
		i.stop(t)
		b.run(t, quick(), to)
		if deleted {
			b.produce(t, tombstoneOf(a))
		} else {
			b.publish(t, labelled(resolvedNow(a), "warning"))
		}
		kafkatest.Eventually(t, "the end is told", func() bool { return len(hook.Payloads()) == 2 })
		ps := hook.Payloads()
		if ps[1].GroupKey != ps[0].GroupKey || ps[1].Status != "resolved" || !ps[1].Alerts[0].StartsAt.Equal(ps[0].Alerts[0].StartsAt) {
			t.Errorf("deleted %v: the resolve %+v lacks the key and the start of the trigger %+v", deleted, ps[1], ps[0])
		}
		checkViolations(t, hook)
	}
}

// TestReceiverWhoseConfigChanged: a receiver that was told is told the end, even if it no longer matches. If the receiver is
// gone, that is counted and named.
func TestReceiverWhoseConfigChanged(t *testing.T) {
	b := newBroker(t)
	pd, hook := sinktest.NewPagerDuty(t, routingKey), sinktest.NewWebhook(t, "")
	i := b.run(t, quick(), toPagerDuty(pd), toWebhook(hook))
	a := alertNow(1, time.Minute)
	b.publish(t, a)
	b.awaitStatus(t, a, "pd", schemas.DeliverySubmitted)
	b.awaitStatus(t, a, "hook", schemas.DeliverySubmitted)
	i.stop(t)
	to := toPagerDuty(pd)
	to.Match = map[string]string{"team": "db"}
	newcomer := sinktest.NewWebhook(t, "")
	other := toWebhook(newcomer)
	other.Name = "newcomer"
	i = b.run(t, quick(), to, other)
	over := resolvedNow(a)
	b.publish(t, over)
	b.awaitStatus(t, over, "pd", schemas.DeliverySubmitted)
	d := b.awaitStatus(t, over, "hook", schemas.DeliveryFailed)
	if !strings.Contains(d.Attempts[0].Result, "no longer in the config") {
		t.Errorf("attempts %+v", d.Attempts)
	}
	i.stop(t)
	if got := i.count("hook", "resolved", notSent); got != 1 {
		t.Errorf("counted %v unsent to the receiver that is gone, want 1", got)
	}
	if n := len(newcomer.Requests()); n != 0 {
		t.Errorf("%d requests to a receiver that never heard of the alert, want none", n)
	}
}

// TestFiringForLongIsNotForgotten: an alert that fires for longer than the ledger keeps ended alerts is neither told again nor
// left without its end. An alert that is over is forgotten.
func TestFiringForLongIsNotForgotten(t *testing.T) {
	b := newBroker(t)
	pd := sinktest.NewPagerDuty(t, routingKey)
	long := alertNow(1, 40*24*time.Hour)
	over := alertNow(2, 40*24*time.Hour)
	ended := sinktest.ResolvedAlert(over, over.FiredMS+1000)
	for _, a := range []*schemas.Alert{long, over, ended} {
		d := newDelivery(a, "pd")
		d.Status = schemas.DeliverySubmitted
		b.produce(t, ledgerRecord(d, schemas.Shard([]byte(a.Fingerprint), partitions)))
	}
	b.publish(t, long)
	i := b.run(t, quick(), toPagerDuty(pd))
	kafkatest.Eventually(t, "the survey is over", i.surveyed)
	for n := range 3 { // it keeps firing, and confirms that
		long.Value, long.LastMS, long.LastTrueMS = float64(n), time.Now().UnixMilli(), time.Now().UnixMilli()
		b.publish(t, long)
		i.prune(time.Now())
	}
	poke := alertNow(5, 0)
	b.publish(t, poke)
	b.awaitStatus(t, poke, "pd", schemas.DeliverySubmitted)
	b.publish(t, after(long, schemas.Resolved, time.Now().UnixMilli()))
	kafkatest.Eventually(t, "the end is told", func() bool { return b.actions(pd, long) == "resolve" })
	kafkatest.Eventually(t, "what is over is forgotten", func() bool {
		entries := b.ledger(t)
		return len(entries[newDelivery(over, "pd").Key()])+len(entries[newDelivery(ended, "pd").Key()]) == 0
	})
}

// TestReplayTellsNothing: reading alerts again from the start, with alerts that flapped and with a late write of a process that
// had lost its partition, sends no notifications.
func TestReplayTellsNothing(t *testing.T) {
	b := newBroker(t)
	pd := sinktest.NewPagerDuty(t, routingKey)
	i := b.run(t, quick(), toPagerDuty(pd))
	a := alertNow(1, time.Minute)
	life := []*schemas.Alert{a}
	for n := range int64(40) {
		life = append(life, after(life[len(life)-1], schemas.Resolved, a.LastMS+n*100+50), after(after(life[len(life)-1], schemas.Resolved, a.LastMS+n*100+50), schemas.Firing, a.LastMS+n*100+100))
	}
	for n := range life {
		life[n].History = life[n].History[max(0, len(life[n].History)-16):]
	}
	b.publish(t, life...)
	last := life[len(life)-1]
	b.awaitStatus(t, last, "pd", schemas.DeliverySubmitted)
	before := b.actions(pd, a)
	b.publish(t, life[len(life)-2], life[3]) // late writes
	i.stop(t)
	if _, err := kadm.NewClient(b.client).DeleteGroup(t.Context(), ConsumerGroup); err != nil {
		t.Fatal(err)
	}
	i = b.run(t, quick(), toPagerDuty(pd))
	kafkatest.Eventually(t, "the survey is over", i.surveyed)
	over := after(last, schemas.Resolved, last.LastMS+1)
	b.publish(t, over)
	b.awaitStatus(t, over, "pd", schemas.DeliverySubmitted)
	if got := b.actions(pd, a); got != before+" resolve" {
		t.Errorf("after a replay %d events more: …%q", len(strings.Fields(got))-len(strings.Fields(before))-1, got[max(0, len(got)-60):])
	}
	if n := strings.Count(before, "trigger"); n < 8 || pd.Alerts()[a.DedupKey()].Open {
		t.Errorf("%d triggers, want at least half of those that may wait; %+v", n, pd.Alerts()[a.DedupKey()])
	}
}

// TestOldPendingTriggerIsToldIfItStillFires: a trigger that has waited for longer than max_age, across a restart, is told if
// the alert still fires, but not if it is over.
func TestOldPendingTriggerIsToldIfItStillFires(t *testing.T) {
	b := newBroker(t)
	pd := sinktest.NewPagerDuty(t, routingKey)
	still, over, absent := alertNow(1, 5*time.Hour), alertNow(2, 5*time.Hour), alertNow(3, 5*time.Hour)
	for _, a := range []*schemas.Alert{still, over, absent} {
		b.produce(t, ledgerRecord(newDelivery(a, "pd"), schemas.Shard([]byte(a.Fingerprint), partitions)))
	}
	b.publish(t, still, sinktest.ResolvedAlert(over, over.FiredMS+1000))
	b.run(t, quick(), toPagerDuty(pd))
	b.awaitStatus(t, still, "pd", schemas.DeliverySubmitted)
	b.awaitStatus(t, over, "pd", schemas.DeliveryFailed)
	b.awaitStatus(t, absent, "pd", schemas.DeliveryFailed)
	if got := b.actions(pd, over) + b.actions(pd, absent); strings.Contains(got, "trigger") {
		t.Errorf("events %q of alerts that are over", got)
	}
}

// shadowed returns the alert, made by Step, after its rule became a shadow or was promoted.
func shadowed(t *testing.T, a *schemas.Alert, shadow bool) *schemas.Alert {
	t.Helper()
	b, changed := alerts.Step(a, &schemas.Condition{Rule: a.Rule, Fingerprint: a.Fingerprint, Group: a.Group, Labels: a.Labels, Annotations: a.Annotations,
		EndMS: a.LastMS, Revision: a.LastRev + 1, True: true, Value: a.Value, TierMS: a.TierMS, Shadow: shadow})
	if !changed || b.Shadow != shadow || b.State != schemas.Firing {
		t.Fatalf("shadow %v made %+v of %+v", shadow, b, a)
	}
	return b
}

// TestShadows: nobody is told of a shadow's alerts. A rule that becomes a shadow leaves no page open. A rule that is promoted
// while it fires pages, however long its series have been silent. All of that holds if notify is killed or down meanwhile,
// and if only the newest record is left.
func TestShadows(t *testing.T) {
	end := func(a *schemas.Alert) *schemas.Alert {
		b, _ := alerts.Step(a, &schemas.Condition{Rule: a.Rule, Fingerprint: a.Fingerprint, Labels: a.Labels, EndMS: a.LastMS + 10_000, Reason: "false", Shadow: a.Shadow})
		return b
	}
	begin := func(age time.Duration, shadow bool) *schemas.Alert {
		a := alertNow(1, age)
		a.Shadow, a.Last.Shadow, a.History = shadow, shadow, nil
		a.History = transitions(a)
		return a
	}
	for name, c := range map[string]struct {
		begins *schemas.Alert
		then   []func(a *schemas.Alert) *schemas.Alert
		want   string
	}{
		"a shadow fires and ends":          {begin(time.Minute, true), []func(a *schemas.Alert) *schemas.Alert{end}, ""},
		"a page becomes a shadow":          {begin(time.Minute, false), []func(a *schemas.Alert) *schemas.Alert{func(a *schemas.Alert) *schemas.Alert { return shadowed(t, a, true) }}, "trigger resolve"},
		"a page becomes a shadow and ends": {begin(time.Minute, false), []func(a *schemas.Alert) *schemas.Alert{func(a *schemas.Alert) *schemas.Alert { return shadowed(t, a, true) }, end}, "trigger resolve"},
		"a shadow is promoted":             {begin(time.Minute, true), []func(a *schemas.Alert) *schemas.Alert{func(a *schemas.Alert) *schemas.Alert { return shadowed(t, a, false) }}, "trigger"},
		"one silent for long is promoted":  {begin(30*time.Hour, true), []func(a *schemas.Alert) *schemas.Alert{func(a *schemas.Alert) *schemas.Alert { return shadowed(t, a, false) }}, "trigger"},
		"a shadow is promoted and ends":    {begin(time.Minute, true), []func(a *schemas.Alert) *schemas.Alert{func(a *schemas.Alert) *schemas.Alert { return shadowed(t, a, false) }, end}, "trigger resolve"},
		"there and back":                   {begin(time.Minute, false), []func(a *schemas.Alert) *schemas.Alert{func(a *schemas.Alert) *schemas.Alert { return shadowed(t, a, true) }, func(a *schemas.Alert) *schemas.Alert { return shadowed(t, a, false) }}, "trigger resolve trigger"},
		"there, and only the shadow is left": {begin(time.Minute, false), []func(a *schemas.Alert) *schemas.Alert{func(a *schemas.Alert) *schemas.Alert {
			b := shadowed(t, a, true)
			b.History = b.History[len(b.History)-1:]
			return b
		}}, "trigger resolve"},
	} {
		for _, restarted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restarted %v", name, restarted), func(t *testing.T) {
				b := newBroker(t)
				pd := sinktest.NewPagerDuty(t, routingKey)
				i := b.run(t, quick(), toPagerDuty(pd))
				a := c.begins
				b.publish(t, a)
				if first, _, _ := strings.Cut(c.want, " "); first == "trigger" && !a.Shadow {
					b.awaitStatus(t, a, "pd", schemas.DeliverySubmitted)
				}
				if restarted {
					i.stop(t)
				}
				for _, then := range c.then {
					a = then(a)
					b.publish(t, a)
				}
				other := alertNow(1000, time.Minute)
				other.Fingerprint = a.Fingerprint + "x" // an alert of the same rule; in the same partition it comes after them
				if restarted {
					i = b.run(t, quick(), toPagerDuty(pd))
				}
				b.publish(t, other, a)
				b.awaitStatus(t, other, "pd", schemas.DeliverySubmitted)
				kafkatest.Eventually(t, "told "+c.want, func() bool { return b.actions(pd, a) == c.want })
				kafkatest.Eventually(t, "everything is read and told", func() bool { return i.surveyed() && b.read(t) && b.idle(t) })
				if got := b.actions(pd, a); got != c.want {
					t.Errorf("events %q, want %q", got, c.want)
				}
				checkViolations(t, pd)
			})
		}
	}
}

// idle reports whether nothing in the ledger waits.
func (b *broker) idle(t *testing.T) bool {
	t.Helper()
	for _, ds := range b.ledger(t) {
		if ds[len(ds)-1].Status == schemas.DeliveryPending {
			return false
		}
	}
	return true
}

// read reports whether the group has committed all of alerts.
func (b *broker) read(t *testing.T) bool {
	t.Helper()
	adm := kadm.NewClient(b.client)
	ends, err := adm.ListEndOffsets(t.Context(), topics.Alerts)
	if err != nil {
		t.Fatal(err)
	}
	committed, err := adm.FetchOffsets(t.Context(), ConsumerGroup)
	if err != nil {
		t.Fatal(err)
	}
	all := true
	ends.Each(func(e kadm.ListedOffset) {
		at, ok := committed.Lookup(e.Topic, e.Partition)
		all = all && (e.Offset == 0 || ok && at.At >= e.Offset)
	})
	return all
}

// leveled is the alert after a window in which a level of its rule was true: 0 a warning, 1 critical; -1: none.
func leveled(a *schemas.Alert, level int) *schemas.Alert {
	c := &schemas.Condition{Rule: a.Rule, Fingerprint: a.Fingerprint, Group: a.Group, Labels: a.Labels, EndMS: a.LastMS + 1000, True: level >= 0, Value: 1, TierMS: a.TierMS}
	if level < 0 {
		c.Reason = "false"
	} else {
		c.Levels, c.Level = []schemas.Level{{Severity: "warning"}, {Severity: "critical"}}, level
	}
	b, _ := alerts.Step(a, c)
	return b
}

// TestSeverities: one incident is told whose severity changes, to those who take the new one; who takes only the severe
// ones is told the end when it is none any more. The end is told to whoever was told, also if notify was restarted in
// between, or saw only the last record.
func TestSeverities(t *testing.T) {
	const warning, critical, over = 0, 1, -1
	for name, c := range map[string]struct {
		levels            []int
		all, page, ticket string // what the receiver of all, of the critical ones and of the warnings is told
	}{
		"rises":             {[]int{warning, critical, over}, "trigger:warning trigger:critical resolve", "trigger:critical resolve", "trigger:warning resolve"},
		"falls":             {[]int{critical, warning, over}, "trigger:critical trigger:warning resolve", "trigger:critical resolve", "trigger:warning resolve"},
		"rises and falls":   {[]int{warning, critical, warning}, "trigger:warning trigger:critical trigger:warning", "trigger:critical resolve", "trigger:warning trigger:warning"},
		"falls and rises":   {[]int{critical, warning, critical, over}, "trigger:critical trigger:warning trigger:critical resolve", "trigger:critical resolve trigger:critical resolve", "trigger:warning resolve"},
		"critical and over": {[]int{critical, over}, "trigger:critical resolve", "trigger:critical resolve", ""},
	} {
		for how := range 3 { // each record as it comes; a restart after each; away until the last one
			t.Run(fmt.Sprintf("%s, %d", name, how), func(t *testing.T) {
				b := newBroker(t)
				var to []sinks.Receiver
				var mocks []*sinktest.PagerDuty
				for i, match := range []string{"", "critical", "warning"} {
					mocks = append(mocks, sinktest.NewPagerDuty(t, routingKey))
					r := toPagerDuty(mocks[i])
					if r.Name = "pd" + match; match != "" {
						r.Match = map[string]string{"severity": match}
					}
					to = append(to, r)
				}
				told := func(pd *sinktest.PagerDuty, a *schemas.Alert) string {
					var all []string
					for _, e := range pd.Events() {
						if e.DedupKey != a.DedupKey() {
							t.Errorf("another incident, %s", e.DedupKey)
						}
						if e.Action == "trigger" {
							all = append(all, e.Action+":"+e.Payload.Severity)
						} else {
							all = append(all, e.Action)
						}
					}
					return strings.Join(all, " ")
				}
				i := b.run(t, quick(), to...)
				a := &schemas.Alert{Fingerprint: fmt.Sprintf("%016x", 1), Rule: "g/a", Group: "web01", State: schemas.Inactive, LastMS: time.Now().Add(-time.Minute).UnixMilli(),
					Labels: map[string]string{"alertname": "a", "host": "web01"}, TierMS: 10_000}
				for k, level := range c.levels {
					a = leveled(a, level)
					if how == 2 && k > 0 && k < len(c.levels)-1 {
						continue
					}
					b.publish(t, a)
					if how == 2 && k > 0 {
						break
					}
					kafkatest.Eventually(t, "it is read and told", func() bool { return b.read(t) && b.idle(t) })
					if how > 0 {
						i.stop(t)
						i = b.run(t, quick(), to...)
					}
				}
				want := []string{c.all, c.page, c.ticket}
				for k, pd := range mocks {
					kafkatest.Eventually(t, want[k]+" is told", func() bool { return told(pd, a) == want[k] })
				}
				kafkatest.Eventually(t, "everything is read and told", func() bool { return i.surveyed() && b.read(t) && b.idle(t) })
				for k, pd := range mocks {
					if got := told(pd, a); got != want[k] {
						t.Errorf("receiver %d was told %q, want %q", k, got, want[k])
					}
					checkViolations(t, pd)
				}
			})
		}
	}
}
