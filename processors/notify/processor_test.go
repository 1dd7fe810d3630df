package notify

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/sinks"
	"github.com/weir-metrics/weir/sinks/sinktest"
)

func TestEveryMatchingReceiverIsToldOnce(t *testing.T) {
	b := newBroker(t)
	pd, hook, sms := sinktest.NewPagerDuty(t, routingKey), sinktest.NewWebhook(t, ""), sinktest.NewTwilio(t, account, authToken)
	critical := toPhone(sms, phone)
	critical.Match = map[string]string{"severity": "critical"}
	nobody := toPhone(sms, "+14155550000")
	nobody.Match = map[string]string{"severity": "critical", "team": "db"}
	i := b.run(t, quick(), toPagerDuty(pd), toWebhook(hook), critical, nobody)

	a := alertNow(1, 0)
	mild := alertNow(2, 0)
	mild.Labels["severity"] = "warning"
	pending := alertNow(3, 0)
	pending.Last = schemas.Transition{From: schemas.Inactive, To: schemas.Pending, AtMS: a.Last.AtMS}
	over := alertNow(4, 0) // was pending and is over: no receiver was told
	over.Last = schemas.Transition{From: schemas.Pending, To: schemas.Resolved, AtMS: a.Last.AtMS}
	b.publish(t, pending, over, a, mild, resolvedNow(a))
	var resolved sinktest.PagerDutyAlert
	kafkatest.Eventually(t, "both alerts are told", func() bool {
		resolved = pd.Alerts()[a.DedupKey()]
		return len(pd.Requests()) == 3 && len(hook.Payloads()) == 3 && len(sms.Messages()) == 2 && resolved.Resolves == 1
	})
	i.stop(t)

	if resolved.Open || resolved.Opened != 1 || resolved.Triggers != 1 {
		t.Errorf("%+v, want opened once and resolved", resolved)
	}
	if m := pd.Alerts()[mild.DedupKey()]; !m.Open || m.Triggers != 1 || m.Last.Payload.Severity != "warning" {
		t.Errorf("%+v, want open as a warning", m)
	}
	for j, m := range sms.Messages() {
		if want := []string{"FIRING ", "RESOLVED "}[j]; !strings.HasPrefix(m.Body, want) || m.To != phone {
			t.Errorf("message %d is %+v, want %s… to %s", j, m, want, phone)
		}
	}
	entries := b.ledger(t)
	delete(entries, barrierKey)
	if len(entries) != 8 { // 2 alerts fire and 1 resolves at two receivers, and twice by SMS
		t.Errorf("%d entries in the ledger, want 8", len(entries))
	}
	for key, ds := range entries {
		if got := statuses(ds); got != "PENDING SUBMITTED" {
			t.Errorf("%s: %s, want PENDING SUBMITTED", key, got)
		}
		if ds[0].Alert == nil || len(ds[0].Alert.History) != 0 || ds[1].Alert != nil {
			t.Errorf("%s: alert %v in PENDING, %v in SUBMITTED, want it in PENDING only, without its history", key, ds[0].Alert, ds[1].Alert)
		}
	}
	if got := i.count("sms", "firing", submitted); got != 1 {
		t.Errorf("counted %v, want 1", got)
	}
	checkViolations(t, pd, hook, sms)
}

func TestReplayedAlertsAreNotToldAgain(t *testing.T) {
	b := newBroker(t)
	pd, sms := sinktest.NewPagerDuty(t, routingKey), sinktest.NewTwilio(t, account, authToken)
	a := alertNow(1, 0)
	first := b.run(t, quick(), toPagerDuty(pd), toPhone(sms, phone))
	b.publish(t, a, a)
	b.awaitStatus(t, a, "pd", schemas.DeliverySubmitted)
	b.awaitStatus(t, a, "sms/"+phone, schemas.DeliverySubmitted)
	b.publish(t, a)
	first.stop(t)

	if _, err := kadm.NewClient(b.client).DeleteGroup(t.Context(), ConsumerGroup); err != nil { // all is read again
		t.Fatal(err)
	}
	b.run(t, quick(), toPagerDuty(pd), toPhone(sms, phone))
	later := resolvedNow(a)
	b.publish(t, a, later)
	b.awaitStatus(t, later, "pd", schemas.DeliverySubmitted)
	b.awaitStatus(t, later, "sms/"+phone, schemas.DeliverySubmitted)
	if got := pd.Alerts()[a.DedupKey()]; got.Triggers != 1 || got.Resolves != 1 {
		t.Errorf("%+v, want one trigger and one resolve", got)
	}
	if got := len(sms.Messages()); got != 2 {
		t.Errorf("%d messages, want 2", got)
	}
}

// TestKilledBetweenCallAndEntry kills an instance after PagerDuty has taken the call and before the ledger has the entry. The
// next instance finds the offset committed, or not.
func TestKilledBetweenCallAndEntry(t *testing.T) {
	for name, forget := range map[string]bool{"committed": false, "not committed": true} {
		t.Run(name, func(t *testing.T) { killBetweenCallAndEntry(t, forget) })
	}
}

func killBetweenCallAndEntry(t *testing.T, forgetOffset bool) {
	b := newBroker(t)
	pd := sinktest.NewPagerDuty(t, routingKey)
	real := toPagerDuty(pd)
	called := make(chan struct{})
	dies := real
	dies.Notifier = notifierFunc(func(ctx context.Context, n *sinks.Notification) (string, error) {
		if _, err := real.Notifier.Notify(ctx, n); err != nil {
			return "", err
		}
		close(called)
		<-ctx.Done() // the answer never reaches the processor
		return "", &sinks.DeliveryError{Retryable: true, Err: ctx.Err()}
	})
	a := alertNow(1, 0)
	i := b.run(t, quick(), dies)
	b.publish(t, a)
	<-called
	i.stop(t)
	if d := b.newest(t, a, "pd"); d.Status != schemas.DeliveryPending || d.Alert == nil || d.Alert.Labels["host"] != "web01" {
		t.Fatalf("the ledger has %+v, want PENDING with the alert", d)
	}
	if forgetOffset {
		if _, err := kadm.NewClient(b.client).DeleteGroup(t.Context(), ConsumerGroup); err != nil {
			t.Fatal(err)
		}
	}

	b.run(t, quick(), real)
	b.awaitStatus(t, a, "pd", schemas.DeliverySubmitted)
	later := resolvedNow(a)
	b.publish(t, later)
	b.awaitStatus(t, later, "pd", schemas.DeliverySubmitted)
	if got := pd.Alerts()[a.DedupKey()]; got.Opened != 1 || got.Triggers != 2 || got.Resolves != 1 {
		t.Errorf("%+v, want triggered twice, opened once and resolved", got)
	}
	checkViolations(t, pd)
}

// TestPendingIsAcknowledgedBeforeTheCall: while the broker acknowledges no entries, no receiver is called and no offset is
// committed.
func TestPendingIsAcknowledgedBeforeTheCall(t *testing.T) {
	b := newBroker(t)
	pd := sinktest.NewPagerDuty(t, routingKey)
	i := b.run(t, quick(), toPagerDuty(pd))
	warmUp := alertNow(1, 0)
	b.publish(t, warmUp)
	b.awaitStatus(t, warmUp, "pd", schemas.DeliverySubmitted)

	release, held := b.holdLedger(t)
	a := alertNow(2, 0)
	b.publish(t, a)
	<-held
	if got := len(pd.Requests()); got != 1 {
		t.Errorf("%d calls while the entry is not acknowledged, want 1 of the first alert", got)
	}
	if got := b.committed(t); got != 1 {
		t.Errorf("offsets committed for %d records, want 1", got)
	}
	release()
	b.awaitStatus(t, a, "pd", schemas.DeliverySubmitted)
	kafkatest.Eventually(t, "the second offset is committed", func() bool { return b.committed(t) == 2 })
	i.stop(t)
}

func (b *broker) committed(t *testing.T) (sum int64) {
	t.Helper()
	offsets, err := kadm.NewClient(b.client).FetchOffsets(t.Context(), ConsumerGroup)
	if err != nil {
		t.Fatal(err)
	}
	offsets.Each(func(o kadm.OffsetResponse) { sum += o.At })
	return sum
}

func TestOldDataPagesNobody(t *testing.T) {
	b := newBroker(t)
	pd := sinktest.NewPagerDuty(t, routingKey)
	i := b.run(t, quick(), toPagerDuty(pd))
	old, resolvedOld, confirmed := alertNow(1, 2*time.Hour), alertNow(2, 3*time.Hour), alertNow(3, 2*time.Hour)
	confirmed.LastTrueMS = time.Now().UnixMilli() // has fired for two hours, and still does
	afterOutage := sinktest.ResolvedAlert(resolvedOld, time.Now().Add(-2*time.Hour).UnixMilli())
	b.publish(t, old, resolvedNow(old), afterOutage, confirmed)
	b.awaitStatus(t, confirmed, "pd", schemas.DeliverySubmitted)
	for what, a := range map[string]*schemas.Alert{"too old": old, "its trigger was not sent": resolvedNow(old), "too old: resolved": afterOutage} {
		var d *schemas.Delivery
		for _, ds := range b.ledger(t) {
			if last := ds[len(ds)-1]; last.Fingerprint == a.Fingerprint && last.To == a.Last.To {
				d = last
			}
		}
		if d == nil || d.Status != schemas.DeliveryFailed || len(d.Attempts) != 1 || !strings.HasPrefix(d.Attempts[0].Result, "not sent: "+what) {
			t.Errorf("%s: %+v, want FAILED", what, d)
		}
	}
	if got := len(pd.Requests()); got != 1 {
		t.Errorf("%d requests, want 1", got)
	}
	i.stop(t)
	if got := i.count("pd", "firing", notSent) + i.count("pd", "resolved", notSent); got != 3 {
		t.Errorf("counted %v unsent, want 3", got)
	}
}

// TestHandover: a second instance joins while alerts are told, and then the first one leaves. Each alert is told once and
// resolved once, whichever instance tells it.
func TestHandover(t *testing.T) {
	b := newBroker(t)
	pd, sms := sinktest.NewPagerDuty(t, routingKey), sinktest.NewTwilio(t, account, authToken)
	const alerts = 60
	var all []*schemas.Alert
	for n := range alerts {
		all = append(all, alertNow(n, 0))
	}
	first := b.run(t, quick(), toPagerDuty(pd), toPhone(sms, phone))
	b.publish(t, all[:alerts/2]...)
	second := b.run(t, quick(), toPagerDuty(pd), toPhone(sms, phone))
	b.publish(t, all[alerts/2:]...)
	kafkatest.Eventually(t, "both own partitions", func() bool { return len(first.owned()) > 0 && len(second.owned()) > 0 })
	for _, a := range all[:alerts/2] {
		b.publish(t, resolvedNow(a))
	}
	first.stop(t)
	for _, a := range all[alerts/2:] {
		b.publish(t, resolvedNow(a))
	}
	kafkatest.Eventually(t, "all are told", func() bool { return len(sms.Messages()) >= 2*alerts && len(pd.Requests()) >= 2*alerts })
	second.stop(t)
	for _, a := range all {
		if got := pd.Alerts()[a.DedupKey()]; got.Triggers != 1 || got.Resolves != 1 || got.Open {
			t.Errorf("%s: %+v, want one trigger, then one resolve", a.Fingerprint, got)
		}
	}
	if got := len(sms.Messages()); got != 2*alerts {
		t.Errorf("%d messages, want %d", got, 2*alerts)
	}
	checkViolations(t, pd, sms)
}

func TestUndecodableAlertIsDeadLettered(t *testing.T) {
	b := newBroker(t)
	pd := sinktest.NewPagerDuty(t, routingKey)
	i := b.run(t, quick(), toPagerDuty(pd))
	a := alertNow(1, 0)
	b.produce(t,
		&kgo.Record{Topic: topics.Alerts, Key: []byte(a.Fingerprint), Value: []byte("\x01{rubbish")},
		&kgo.Record{Topic: topics.Alerts, Key: []byte(a.Fingerprint)}) // a tombstone
	b.publish(t, a)
	b.awaitStatus(t, a, "pd", schemas.DeliverySubmitted)
	dead := b.records(t, topics.DeadLetter)
	if len(dead) != 1 || string(dead[0].Value) != "\x01{rubbish" || string(dead[0].Key) != a.Fingerprint {
		t.Fatalf("deadletter holds %v, want the record", dead)
	}
	headers := map[string]string{}
	for _, h := range dead[0].Headers {
		headers[h.Key] = string(h.Value)
	}
	at := schemas.Shard([]byte(a.Fingerprint), partitions)
	if headers["weir.topic"] != topics.Alerts || headers["weir.partition"] != fmt.Sprint(at) || headers["weir.offset"] != "0" ||
		headers["weir.stage"] != "notify" || headers["weir.reason"] != "undecodable" || !strings.Contains(headers["weir.error"], "corrupt") {
		t.Errorf("headers %v", headers)
	}
	i.stop(t)
}

// TestLedgerAtStart: an instance starts with a ledger that others have left.
func TestLedgerAtStart(t *testing.T) {
	b := newBroker(t)
	pd := sinktest.NewPagerDuty(t, routingKey)
	write := func(a *schemas.Alert, receiver string, status schemas.DeliveryStatus) *schemas.Alert {
		d := newDelivery(a, receiver)
		d.Status = status
		b.produce(t, ledgerRecord(d, schemas.Shard([]byte(a.Fingerprint), partitions)))
		return a
	}
	fire := alertNow(1, time.Minute)
	resolve := sinktest.ResolvedAlert(fire, fire.Last.AtMS+1000)
	again := sinktest.FiringAlert(fire.Fingerprint, fire.Last.AtMS+2000)
	for _, a := range []*schemas.Alert{resolve, again, fire} { // in any order: time decides
		write(a, "pd", schemas.DeliveryPending)
	}
	tooOld := write(alertNow(2, 24*time.Hour), "pd", schemas.DeliveryPending)
	gone := write(alertNow(3, 0), "removed", schemas.DeliveryPending)
	ancient := write(alertNow(4, 31*24*time.Hour), "pd", schemas.DeliverySubmitted)
	b.produce(t, &kgo.Record{Topic: topics.NotificationLog, Key: []byte("rubbish"), Value: []byte("rubbish")})

	i := b.run(t, quick(), toPagerDuty(pd))
	b.awaitStatus(t, again, "pd", schemas.DeliverySubmitted)
	var actions []string
	for _, e := range pd.Events() {
		actions = append(actions, e.Action)
	}
	if want := []string{"trigger", "resolve", "trigger"}; !slices.Equal(actions, want) {
		t.Errorf("events %q, want %q", actions, want)
	}
	if d := b.awaitStatus(t, tooOld, "pd", schemas.DeliveryFailed); !strings.Contains(d.Attempts[0].Result, "too old") {
		t.Errorf("attempts %+v", d.Attempts)
	}
	if d := b.awaitStatus(t, gone, "removed", schemas.DeliveryFailed); !strings.Contains(d.Attempts[0].Result, "no longer in the config") {
		t.Errorf("attempts %+v", d.Attempts)
	}
	poke := alertNow(5, 0)
	b.publish(t, poke) // pruning comes with work
	b.awaitStatus(t, poke, "pd", schemas.DeliverySubmitted)
	kafkatest.Eventually(t, "the ancient entry is deleted", func() bool {
		return len(b.ledger(t)[newDelivery(ancient, "pd").Key()]) == 0
	})
	i.stop(t)
}

func TestPartitionCountsMustAgree(t *testing.T) {
	b := newBroker(t)
	if _, err := kadm.NewClient(b.client).CreatePartitions(t.Context(), 1, topics.Alerts); err != nil {
		t.Fatal(err)
	}
	i := b.run(t, quick())
	err := <-i.ended
	i.ended = nil
	if err == nil || !strings.Contains(err.Error(), "alerts has 5 partitions and notification-log has 4") {
		t.Errorf("error %v, want one that names both counts", err)
	}
}

func TestUnmatchedIsCounted(t *testing.T) {
	b := newBroker(t)
	var calls atomic.Int64
	i := b.run(t, quick(), sinks.Receiver{Name: "db", Match: map[string]string{"team": "db"},
		Notifier: notifierFunc(func(context.Context, *sinks.Notification) (string, error) { calls.Add(1); return "ok", nil })})
	b.publish(t, alertNow(1, 0))
	kafkatest.Eventually(t, "it is counted", func() bool { return counted(i.metrics.unmatched) == 1 })
	i.stop(t)
	if calls.Load() != 0 {
		t.Errorf("%d calls, want none", calls.Load())
	}
}
