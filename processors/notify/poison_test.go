package notify

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/sinks"
	"github.com/weir-metrics/weir/sinks/sinktest"
)

// poison returns values that do not decode, and one that is too large to be quoted whole in a letter or an entry.
func poison() map[string][]byte {
	whole := schemas.EncodeDoc(alertNow(99, 0))
	return map[string][]byte{
		"rubbish": []byte("\x01{rubbish"), "empty": {}, "cut": whole[:len(whole)/2], "later version": append([]byte{9}, whole[1:]...),
		"null": []byte("\x01null"), "another's": whole, "number": []byte("\x011e999"), "control": []byte("\x01\x00\x1b[31m"),
		"huge": append([]byte{1}, []byte(strings.Repeat("x", 900<<10))...),
	}
}

// TestPoisonInAlerts: a record that does not decode, or is huge, affects only its own alert: before the start, while notify
// runs, and after a restart.
func TestPoisonInAlerts(t *testing.T) {
	b := newBroker(t)
	pd := sinktest.NewPagerDuty(t, routingKey)
	told := alertNow(1, time.Minute)
	b.publish(t, told)
	put := func() {
		for _, value := range poison() {
			b.produce(t, &kgo.Record{Topic: topics.Alerts, Key: []byte(told.Fingerprint), Value: value}, &kgo.Record{Topic: topics.Alerts, Value: value})
		}
	}
	put()
	large := alertNow(2, 0) // decodes, and is larger than an entry may be
	large.Labels["big"] = strings.Repeat("\x01", 60<<10)
	large.Annotations["big"] = strings.Repeat("é<\"", 42<<10)
	b.publish(t, large)
	i := b.run(t, quick(), toPagerDuty(pd))
	b.awaitStatus(t, told, "pd", schemas.DeliverySubmitted)
	b.awaitStatus(t, large, "pd", schemas.DeliverySubmitted)
	put()
	next := alertNow(3, 0)
	b.publish(t, next)
	b.awaitStatus(t, next, "pd", schemas.DeliverySubmitted)
	if got, want := counted(i.metrics.undecodable.WithLabelValues(topics.Alerts)), float64(4*len(poison())); got != want {
		t.Errorf("counted %v undecodable, want %v", got, want)
	}
	i.stop(t)
	i = b.run(t, quick(), toPagerDuty(pd))
	kafkatest.Eventually(t, "the survey is over", i.surveyed)
	over := []*schemas.Alert{resolvedNow(told), resolvedNow(large), resolvedNow(next)}
	b.publish(t, over...)
	for _, a := range over {
		b.awaitStatus(t, a, "pd", schemas.DeliverySubmitted)
		if got := b.actions(pd, a); got != "trigger resolve" {
			t.Errorf("%s: events %q, want one trigger and, when it was over, one resolve", a.Fingerprint, got)
		}
	}
	letters := 0
	for _, r := range b.records(t, topics.DeadLetter) {
		letters++
		if len(r.Value) > topics.MaxLetterBytes {
			t.Errorf("a letter of %d bytes", len(r.Value))
		}
	}
	if want := 4 * len(poison()); letters < want {
		t.Errorf("%d letters, want %d", letters, want)
	}
	checkViolations(t, pd)
}

// TestPoisonInTheLedger: because of an entry that does not decode, a receiver is at most told again; it is never left
// untold, or untold of the end.
func TestPoisonInTheLedger(t *testing.T) {
	for name, value := range poison() {
		t.Run(name, func(t *testing.T) {
			b := newBroker(t)
			pd := sinktest.NewPagerDuty(t, routingKey)
			i := b.run(t, quick(), toPagerDuty(pd))
			fires, ends, other := alertNow(1, time.Minute), alertNow(2, time.Minute), alertNow(3, time.Minute)
			all := []*schemas.Alert{fires, ends, other}
			b.publish(t, all...)
			for _, a := range all {
				b.awaitStatus(t, a, "pd", schemas.DeliverySubmitted)
			}
			i.stop(t)
			for _, a := range all[:2] {
				at := schemas.Shard([]byte(a.Fingerprint), partitions)
				for _, key := range []string{newDelivery(a, "pd").Key(), "no/key", ""} {
					b.produceRaw(t, topics.NotificationLog, at, key, value)
				}
			}
			over := resolvedNow(ends)
			b.publish(t, over)
			b.run(t, quick(), toPagerDuty(pd))
			kafkatest.Eventually(t, "what fires is told again", func() bool { return b.actions(pd, fires) == "trigger trigger" })
			kafkatest.Eventually(t, "what is over is ended", func() bool { return !pd.Alerts()[ends.DedupKey()].Open })
			b.publish(t, resolvedNow(fires), resolvedNow(other))
			kafkatest.Eventually(t, "the others are ended", func() bool { return !pd.Alerts()[fires.DedupKey()].Open && !pd.Alerts()[other.DedupKey()].Open })
			if got := pd.Alerts()[other.DedupKey()]; got.Triggers != 1 || got.Resolves != 1 {
				t.Errorf("a neighbour is told %d triggers, %d resolves, want one each", got.Triggers, got.Resolves)
			}
		})
	}
}

// produceRaw writes a record to a partition.
func (b *broker) produceRaw(t *testing.T, topic string, partition int32, key string, value []byte) {
	t.Helper()
	b.produce(t, &kgo.Record{Topic: topic, Partition: partition, Key: []byte(key), Value: value})
}

// TestWrongAddress: a 404 or a redirect loses no trigger, and raises an alarm while it lasts. The end is told only to
// receivers that may know of the beginning.
func TestWrongAddress(t *testing.T) {
	for _, fault := range []sinktest.Fault{
		sinktest.Refusal(http.StatusNotFound), sinktest.Refusal(http.StatusUnauthorized), sinktest.Refusal(http.StatusForbidden), sinktest.Refusal(http.StatusGone),
		{Do: sinktest.Refuse, Status: http.StatusPermanentRedirect, Location: "https://example.org/moved"},
	} {
		t.Run(fmt.Sprint(fault.Status), func(t *testing.T) {
			b := newBroker(t)
			pd, hook := sinktest.NewPagerDuty(t, routingKey), sinktest.NewWebhook(t, "")
			pd.Script(fault)
			hook.Script(slices.Repeat([]sinktest.Fault{fault}, 10_000)...)
			cfg := quick()
			cfg.Retry.MaxElapsed = 300_000_000 // 300 ms
			i := b.run(t, cfg, toPagerDuty(pd), toWebhook(hook))
			a := alertNow(1, 0)
			b.publish(t, a)
			d := b.awaitStatus(t, a, "pd", schemas.DeliverySubmitted)
			if len(d.Attempts) != 2 || fault.Location != "" && !strings.Contains(d.Attempts[0].Result, fault.Location) {
				t.Errorf("attempts %+v, want two, the first of which names the target", d.Attempts)
			}
			refused := b.awaitStatus(t, a, "hook", schemas.DeliveryFailed)
			if refused.Heard != schemas.HeardNo || len(refused.Attempts) < 3 {
				t.Errorf("heard %q, %d attempts: want no, several", refused.Heard, len(refused.Attempts))
			}
			if got := gauged(i.metrics.misconfigured.WithLabelValues("hook")) - gauged(i.metrics.misconfigured.WithLabelValues("pd")); got != 1 {
				t.Error("weir_notify_misconfigured is not 1 for the hook and 0 for pd")
			}
			if w := i.Warning(); !strings.HasPrefix(w, "receiver hook has been refusing its address or credentials since 20") || !strings.Contains(w, fmt.Sprintf(": status %d", fault.Status)) || strings.Contains(w, "pd") {
				t.Errorf("warning %q", w)
			}
			calls := len(hook.Requests())
			over := resolvedNow(a)
			b.publish(t, over)
			b.awaitStatus(t, over, "pd", schemas.DeliverySubmitted)
			if d := b.awaitStatus(t, over, "hook", schemas.DeliveryFailed); !strings.Contains(d.Attempts[0].Result, "not accepted") {
				t.Errorf("attempts %+v, want not sent", d.Attempts)
			}
			if got := len(hook.Requests()); got != calls {
				t.Errorf("%d calls for the end of what was never told", got-calls)
			}
			hook.Mend()
			b.publish(t, alertNow(2, 0))
			kafkatest.Eventually(t, "the warning ends", func() bool { return i.Warning() == "" })
		})
	}
}

// TestEchoIsNotInTheLedger: if a receiver's answer repeats its credentials, they do not get into the ledger.
func TestEchoIsNotInTheLedger(t *testing.T) {
	b := newBroker(t)
	pd := sinktest.NewPagerDuty(t, routingKey)
	pd.Script(sinktest.Fault{Do: sinktest.Refuse, Status: 500, Body: "bad key " + routingKey + " \x1b[31m"})
	b.run(t, quick(), toPagerDuty(pd))
	a := alertNow(1, 0)
	b.publish(t, a)
	d := b.awaitStatus(t, a, "pd", schemas.DeliverySubmitted)
	if len(d.Attempts) != 2 || !strings.Contains(d.Attempts[0].Result, "bad key <secret>") {
		t.Errorf("attempts %+v", d.Attempts)
	}
	for _, r := range b.records(t, topics.NotificationLog) {
		if strings.Contains(string(r.Value), routingKey) || strings.Contains(string(r.Value), "\x1b") {
			t.Errorf("the ledger holds %q", r.Value)
		}
	}
}

// FuzzLoadRecord: no record of the ledger, and no state of an alert after it, makes notify fail.
func FuzzLoadRecord(f *testing.F) {
	for _, value := range poison() {
		f.Add("pd/0000000000000001/firing/1", value, value)
	}
	d := newDelivery(alertNow(1, 0), "pd")
	f.Add(d.Key(), ledgerRecord(d, 0).Value, schemas.EncodeDoc(resolvedNow(alertNow(1, 0))))
	p := newProcessorForTest([]sinks.Receiver{{Name: "pd"}})
	f.Fuzz(func(t *testing.T, key string, entry, state []byte) {
		part := newPartition(0, &memory{})
		now := time.Now()
		p.loadRecord(part, &kgo.Record{Topic: topics.NotificationLog, Key: []byte(key), Value: entry}, now)
		for _, lanes := range part.alerts {
			for _, l := range lanes {
				l.order()
				l.trim(now.UnixMilli(), p.keepMS())
			}
		}
		if a, err := schemas.DecodeDoc[schemas.Alert](state); err == nil {
			for range 2 {
				for _, pl := range p.observe(part, a.Fingerprint, a, now.UnixMilli()) {
					ledgerRecord(pl.d, 0)
				}
			}
			p.observe(part, a.Fingerprint, nil, now.UnixMilli())
		}
	})
}
