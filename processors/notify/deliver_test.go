package notify

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/sinks"
	"github.com/weir-metrics/weir/sinks/sinktest"
)

func TestRetriesInOrder(t *testing.T) {
	b := newBroker(t)
	pd := sinktest.NewPagerDuty(t, routingKey)
	pd.Script(sinktest.Refusal(500), sinktest.Throttle("1"), sinktest.Fault{Do: sinktest.Reset}, sinktest.Fault{Do: sinktest.AcceptLost})
	i := b.run(t, quick(), toPagerDuty(pd))
	a := alertNow(1, 0)
	later := resolvedNow(a)
	b.publish(t, a, later) // resolved while its trigger is retried
	d := b.awaitStatus(t, later, "pd", schemas.DeliverySubmitted)
	if len(d.Attempts) != 1 || !strings.HasPrefix(d.Attempts[0].Result, "202 accepted") {
		t.Errorf("attempts of the resolve: %+v, want one", d.Attempts)
	}
	rs := pd.Requests()
	var got []string
	for j, r := range rs {
		got = append(got, fmt.Sprint(r.Status, " ", r.Taken, " ", strings.Contains(string(r.Body), `"trigger"`)))
		if j == 2 && r.At.Sub(rs[1].At) < time.Second {
			t.Errorf("called again %v after a 429 that asks for 1s", r.At.Sub(rs[1].At))
		}
	}
	want := []string{"500 false true", "429 false true", "0 false true", "0 true true", "202 true true", "202 true false"}
	if !slices.Equal(got, want) {
		t.Errorf("requests (status, taken, trigger)\n%q, want\n%q", got, want)
	}
	if pda := pd.Alerts()[a.DedupKey()]; pda.Open || pda.Opened != 1 {
		t.Errorf("%+v, want opened once, and closed", pda)
	}
	history := b.ledger(t)[newDelivery(a, "pd").Key()]
	if got := statuses(history); got != "PENDING PENDING PENDING PENDING PENDING SUBMITTED" {
		t.Errorf("history %s, want PENDING at first and after each of 4 attempts, then SUBMITTED", got)
	}
	last := history[len(history)-1]
	if len(last.Attempts) != 5 || !strings.Contains(last.Attempts[0].Result, "500") || !strings.Contains(last.Attempts[1].Result, "retry after 1s") {
		t.Errorf("attempts %+v", last.Attempts)
	}
	i.stop(t)
	checkViolations(t, pd)
}

func TestRefusedIsNotRetried(t *testing.T) {
	b := newBroker(t)
	sms := sinktest.NewTwilio(t, account, authToken)
	sms.Script(sinktest.Refusal(http.StatusBadRequest))
	i := b.run(t, quick(), toPhone(sms, phone))
	bad, good := alertNow(1, 0), alertNow(2, 0)
	b.publish(t, bad)
	d := b.awaitStatus(t, bad, "sms/"+phone, schemas.DeliveryFailed)
	b.publish(t, good)
	b.awaitStatus(t, good, "sms/"+phone, schemas.DeliverySubmitted)
	if len(d.Attempts) != 1 || !strings.Contains(d.Attempts[0].Result, "400") || len(sms.Requests()) != 2 {
		t.Errorf("attempts %+v, %d requests, want one attempt with 400, 2 requests", d.Attempts, len(sms.Requests()))
	}
	i.stop(t)
	if got := i.count("sms", "firing", failed); got != 1 {
		t.Errorf("counted %v failed, want 1", got)
	}
}

func TestGivesUpAfterMaxElapsed(t *testing.T) {
	b := newBroker(t)
	pd := sinktest.NewPagerDuty(t, routingKey)
	pd.Script(slices.Repeat([]sinktest.Fault{sinktest.Refusal(503)}, 10_000)...)
	cfg := quick()
	cfg.Retry.MaxElapsed = conf.Duration(300 * time.Millisecond)
	i := b.run(t, cfg, toPagerDuty(pd))
	a := alertNow(1, 0)
	b.publish(t, a)
	d := b.awaitStatus(t, a, "pd", schemas.DeliveryFailed)
	if len(d.Attempts) < 3 || len(d.Attempts) > maxAttempts {
		t.Errorf("%d attempts in the ledger, want 3 to %d", len(d.Attempts), maxAttempts)
	}
	i.stop(t)
	rs := pd.Requests()
	if took := rs[len(rs)-1].At.Sub(rs[0].At); took > 400*time.Millisecond {
		t.Errorf("tried for %v, but max_elapsed is 300ms", took)
	}
}

// TestLongRetryAfterIsBounded: a provider that asks for a pause of two hours is called again after the bound, and nothing
// is lost.
func TestLongRetryAfterIsBounded(t *testing.T) {
	b := newBroker(t)
	pd := sinktest.NewPagerDuty(t, routingKey)
	pd.Script(sinktest.Throttle("7200"), sinktest.Throttle("Fri, 31 Dec 9999 23:59:59 GMT"), sinktest.Throttle("-5"), sinktest.Throttle("soon"))
	cfg := quick()
	cfg.Retry.RetryAfter = conf.Duration(200 * time.Millisecond)
	cfg.Retry.MaxElapsed = conf.Duration(10 * time.Millisecond) // a pause does not count
	b.run(t, cfg, toPagerDuty(pd))
	first, second := alertNow(1, 0), alertNow(2, 0)
	b.publish(t, first)
	kafkatest.Eventually(t, "the 429 is in the ledger", func() bool { return len(b.newest(t, first, "pd").Attempts) >= 1 })
	b.publish(t, second)
	for _, a := range []*schemas.Alert{first, second} {
		b.awaitStatus(t, a, "pd", schemas.DeliverySubmitted)
	}
	rs := pd.Requests()
	for i := 1; i <= 2; i++ {
		if got := rs[i].At.Sub(rs[i-1].At); got < 200*time.Millisecond || got > 10*time.Second {
			t.Errorf("call %d came %v after the one before, the bound is 200ms", i, got)
		}
	}
	if len(rs) != 6 {
		t.Errorf("%d requests, want 4 that were throttled and 2", len(rs))
	}
}

// TestRetryAfterHoldsTheWholeReceiver: while one alert is throttled, another one comes and waits as well.
func TestRetryAfterHoldsTheWholeReceiver(t *testing.T) {
	b := newBroker(t)
	pd := sinktest.NewPagerDuty(t, routingKey)
	pd.Script(sinktest.Throttle("1"))
	b.run(t, quick(), toPagerDuty(pd))
	first, second := alertNow(1, 0), alertNow(2, 0)
	b.publish(t, first)
	kafkatest.Eventually(t, "the 429 is in the ledger", func() bool { return len(b.newest(t, first, "pd").Attempts) == 1 })
	b.publish(t, second)
	b.awaitStatus(t, second, "pd", schemas.DeliverySubmitted)
	b.awaitStatus(t, first, "pd", schemas.DeliverySubmitted)
	rs := pd.Requests()
	if len(rs) != 3 || rs[1].At.Sub(rs[0].At) < time.Second {
		t.Errorf("%d requests, the second %v after a 429 that asks for 1s, want 3 and 1s", len(rs), rs[1].At.Sub(rs[0].At))
	}
}

// TestStopLetsACallEnd stops an instance during a call: the result of the call is written, and the next instance does not
// call again.
func TestStopLetsACallEnd(t *testing.T) {
	b := newBroker(t)
	sms := sinktest.NewTwilio(t, account, authToken)
	real := toPhone(sms, phone)
	slow := real
	called, release := make(chan struct{}), make(chan struct{})
	slow.Notifier = notifierFunc(func(ctx context.Context, n *sinks.Notification) (string, error) {
		close(called)
		<-release
		return real.Notifier.Notify(ctx, n)
	})
	i := b.runDraining(t, drain, quick(), slow)
	i.drain = 10 * time.Second
	a := alertNow(1, 0)
	b.publish(t, a)
	<-called
	i.cancel()
	kafkatest.Eventually(t, "the partitions are given up", func() bool { return len(i.owned()) == 0 })
	close(release)
	i.stop(t)
	if got := statuses(b.ledger(t)[newDelivery(a, real.ID()).Key()]); got != "PENDING SUBMITTED" || len(sms.Messages()) != 1 {
		t.Errorf("ledger %q, %d messages, want PENDING SUBMITTED, 1", got, len(sms.Messages()))
	}
}

// TestStopDoesNotWaitForRetries stops an instance while a delivery waits for its next attempt, an hour later.
func TestStopDoesNotWaitForRetries(t *testing.T) {
	b := newBroker(t)
	pd := sinktest.NewPagerDuty(t, routingKey)
	pd.Script(sinktest.Refusal(500))
	cfg := quick()
	cfg.Retry = Retry{Initial: conf.Duration(time.Hour), Max: conf.Duration(time.Hour), MaxElapsed: 10 * conf.Duration(time.Hour)}
	i := b.run(t, cfg, toPagerDuty(pd))
	a := alertNow(1, 0)
	b.publish(t, a)
	kafkatest.Eventually(t, "the 500 is in the ledger", func() bool { return len(b.newest(t, a, "pd").Attempts) == 1 })
	i.stop(t) // fails after 20 s
	b.run(t, cfg, toPagerDuty(pd))
	if d := b.awaitStatus(t, a, "pd", schemas.DeliverySubmitted); len(d.Attempts) != 2 {
		t.Errorf("attempts %+v, want those of both instances", d.Attempts)
	}
}

func TestOneSlowReceiverHoldsUpNoOther(t *testing.T) {
	b := newBroker(t)
	pd, hook := sinktest.NewPagerDuty(t, routingKey), sinktest.NewWebhook(t, "")
	hook.Script(slices.Repeat([]sinktest.Fault{{Do: sinktest.Hang}}, 100)...)
	cfg := quick()
	cfg.Queue, cfg.Concurrency = 3, 2
	i := b.run(t, cfg, toPagerDuty(pd), toWebhook(hook))
	for n := range 8 {
		b.publish(t, alertNow(n, 0))
	}
	kafkatest.Eventually(t, "all are told to pd", func() bool { return len(pd.Alerts()) == 8 && i.pendingOf("pd") == 0 })
	hook.AwaitRequests(t, 2)
	if len(hook.Requests()) != 2 || i.pendingOf("hook") != 8 {
		t.Errorf("%d calls, %d pending: want 2, 8", len(hook.Requests()), i.pendingOf("hook"))
	}
	if got := counted(i.metrics.attempts.WithLabelValues("pd", "accepted")); got != 8 {
		t.Errorf("counted %v accepted, want 8", got)
	}
	i.stop(t)
	if i.pendingOf("hook") != 0 || i.memory.bytes.Load() != 0 {
		t.Errorf("%d pending, %d bytes held after the end, want 0", i.pendingOf("hook"), i.memory.bytes.Load())
	}
	b.run(t, cfg, toPagerDuty(pd), toWebhook(sinktest.NewWebhook(t, "")))
	for n := range 8 {
		b.awaitStatus(t, alertOf(b, t, n), "hook", schemas.DeliverySubmitted)
	}
}

func (i *instance) pendingOf(id string) int { return int(i.receivers[id].waiting.Load()) }

// alertOf reads back the alert that was published as number n.
func alertOf(b *broker, t *testing.T, n int) *schemas.Alert {
	t.Helper()
	for _, r := range b.records(t, topics.Alerts) {
		if string(r.Key) == fmt.Sprintf("%016x", n) {
			a, err := schemas.DecodeDoc[schemas.Alert](r.Value)
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
	}
	t.Fatalf("alert %d was not published", n)
	return nil
}
