package notify

import (
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/sinks/sinktest"
)

func unsureOf(part *partition) []string {
	unsure, _ := part.asked()
	return unsure
}

// TestTerms: each owner's term is higher than all in the ledger, whatever the generation is by then.
func TestTerms(t *testing.T) {
	for _, c := range []struct {
		newest     int64
		generation int32
		want       int64
	}{{0, 1, 1}, {1, 2, 2}, {2, 7, 7}, {7, 7, 1<<32 + 7}, {7, 1, 1<<32 + 1}, {1<<32 + 7, 8, 1<<32 + 8}, {1<<32 + 7, 2, 2<<32 + 2}, {0, -1, 1}} {
		if got := nextTerm(c.newest, c.generation); got != c.want || got <= c.newest {
			t.Errorf("after %d in generation %d: %d, want %d", c.newest, c.generation, got, c.want)
		}
	}
}

// TestTermsOfRubbish: a header that is not a term is ignored, and no valid term makes the next one overflow.
func TestTermsOfRubbish(t *testing.T) {
	for text, want := range map[string]int64{"": 0, "x": 0, "-1": 0, "0": 0, "7": 7, "9223372036854775807": 0, "99999999999999999999": 0, "4611686018427387903": maxTerm - 1} {
		r := &kgo.Record{Headers: []kgo.RecordHeader{{Key: "other", Value: []byte("5")}, {Key: termHeader, Value: []byte(text)}}}
		got := termOf(r)
		if got != want {
			t.Errorf("%q: term %d, want %d", text, got, want)
		}
		if next := nextTerm(got, 3); next <= got {
			t.Errorf("%q: the next term is %d", text, next)
		}
	}
}

// toldTo lists what PagerDuty was told about an alert, such as "trigger resolve".
func toldTo(mock *sinktest.PagerDuty, a *schemas.Alert) (text string) {
	for _, e := range mock.Events() {
		if e.DedupKey == "weir/"+a.Fingerprint {
			text += e.Action[:1]
		}
	}
	return text
}

// late writes an entry to the ledger, as a former owner does after it was suspended.
func (b *broker) late(t *testing.T, a *schemas.Alert, d *schemas.Delivery) {
	t.Helper()
	term := int64(0)
	for _, r := range b.records(t, topics.NotificationLog) {
		term = max(term, termOf(r))
	}
	if term < 2 {
		t.Fatalf("the newest term is %d", term)
	}
	r := ledgerRecord(d, schemas.Shard([]byte(a.Fingerprint), partitions))
	r.Headers = []kgo.RecordHeader{{Key: termHeader, Value: strconv.AppendInt(nil, term-1, 10)}}
	b.produce(t, r)
}

// owner runs an instance that is not the first owner of its partitions.
func (b *broker) owner(t *testing.T, mock *sinktest.PagerDuty) *instance {
	t.Helper()
	first := b.run(t, quick(), toPagerDuty(mock))
	a := alertNow(99, time.Second)
	b.publish(t, a)
	b.awaitStatus(t, a, "pd", schemas.DeliverySubmitted)
	first.stop(t)
	return b.run(t, quick(), toPagerDuty(mock))
}

// seenTo waits until no key's newest entry is one that a former owner wrote after its successor.
func (b *broker) seenTo(t *testing.T) {
	t.Helper()
	kafkatest.Eventually(t, "the newest entry of each key is an owner's", func() bool {
		newest, late := map[int32]int64{}, map[string]bool{}
		for _, r := range b.records(t, topics.NotificationLog) {
			late[string(r.Key)] = string(r.Key) != barrierKey && termOf(r) < newest[r.Partition]
			newest[r.Partition] = max(newest[r.Partition], termOf(r))
		}
		for _, is := range late {
			if is {
				return false
			}
		}
		return true
	})
}

// TestFormerOwnerEntersLate: a process that was taken for dead continues and enters outdated decisions. Nobody tells
// these: neither its successor, nor the owner after that, in whose ledger they are the newest entries.
func TestFormerOwnerEntersLate(t *testing.T) {
	for _, live := range []bool{true, false} {
		b := newBroker(t)
		mock := sinktest.NewPagerDuty(t, routingKey)
		i := b.owner(t, mock)
		fires := alertNow(1, time.Second)
		over := resolvedNow(fires)
		b.publish(t, fires, over)
		b.awaitStatus(t, over, "pd", schemas.DeliverySubmitted)
		if !live {
			i.stop(t)
		}
		for _, a := range []*schemas.Alert{fires, over} {
			d := newDelivery(a, "pd")
			if d.Seq = 1; a == over {
				d.Seq = 2
			}
			b.late(t, a, d)
		}
		if live {
			b.seenTo(t)
			i.stop(t)
		}
		next := b.run(t, quick(), toPagerDuty(mock))
		b.seenTo(t)
		other := alertNow(2, time.Second)
		b.publish(t, other)
		b.awaitStatus(t, other, "pd", schemas.DeliverySubmitted)
		next.stop(t)
		if got := toldTo(mock, fires); got != "tr" {
			t.Errorf("live %v: PagerDuty was told %q, want a trigger and a resolve", live, got)
		}
		checkViolations(t, mock)
	}
}

// TestLastWordIsRight: if a former owner tells something late, after its successor, the owner of the partition tells the current
// state again, once; later owners do not.
func TestLastWordIsRight(t *testing.T) {
	for _, c := range []struct {
		name         string
		transitions  int // fires, resolves, fires again …
		late         int // the transition that a former owner tells once more
		status       schemas.DeliveryStatus
		heard        schemas.Heard
		before, want string
	}{
		{"that it fires, when it is over", 2, 0, schemas.DeliverySubmitted, schemas.HeardYes, "tr", "trr"},
		{"maybe, that it fires, when it is over", 2, 0, schemas.DeliveryPending, schemas.HeardMaybe, "tr", "trr"},
		{"that it is over, when it fires again", 3, 1, schemas.DeliverySubmitted, schemas.HeardYes, "trt", "trtt"},
		{"that it fires, when it was over, and fires again", 3, 0, schemas.DeliverySubmitted, schemas.HeardYes, "trt", "trtt"},
		{"that it fires, which is so", 1, 0, schemas.DeliverySubmitted, schemas.HeardYes, "t", "t"},
		{"that it is over, which is so", 2, 1, schemas.DeliverySubmitted, schemas.HeardYes, "tr", "tr"},
		{"nothing: it was refused", 2, 0, schemas.DeliveryFailed, schemas.HeardNo, "tr", "tr"},
	} {
		for _, live := range []bool{true, false} {
			b := newBroker(t)
			mock := sinktest.NewPagerDuty(t, routingKey)
			i := b.owner(t, mock)
			all := []*schemas.Alert{alertNow(1, 10*time.Second)}
			for n := 1; n < c.transitions; n++ {
				before := all[n-1]
				at := before.Last.AtMS + 1000
				next := *sinktest.ResolvedAlert(before, at)
				if n%2 == 0 {
					next = *before
					next.State, next.Last = schemas.Firing, schemas.Transition{From: schemas.Inactive, To: schemas.Firing, AtMS: at}
					next.FiredMS, next.LastTrueMS, next.LastMS, next.ResolvedMS = at, at, at, 0
				}
				all = append(all, &next)
			}
			for _, a := range all {
				b.publish(t, a)
				b.awaitStatus(t, a, "pd", schemas.DeliverySubmitted)
			}
			if !live {
				i.stop(t)
			}
			d := newDelivery(all[c.late], "pd")
			d.Status, d.Heard, d.Seq = c.status, c.heard, int64(c.late+1)
			b.late(t, all[c.late], d)
			var after *instance
			if !live {
				after = b.run(t, quick(), toPagerDuty(mock))
			}
			b.seenTo(t)
			kafkatest.Eventually(t, c.name, func() bool { return toldTo(mock, all[0]) == c.want })
			for range 2 { // later owners find nothing to do
				if after == nil {
					after = i
				}
				after.stop(t)
				after = b.run(t, quick(), toPagerDuty(mock))
				other := alertNow(2, time.Second)
				b.publish(t, other)
				b.awaitStatus(t, other, "pd", schemas.DeliverySubmitted)
				b.seenTo(t)
			}
			after.stop(t)
			if got := toldTo(mock, all[0]); got != c.want {
				t.Errorf("live %v: a former owner told %s: PagerDuty was told %q, want %q", live, c.name, got, c.want)
			}
			checkViolations(t, mock)
		}
	}
}

// TestGivenUpCallIsNoted: if a partition is given up during a call, and nobody waits for the call any more, the ledger notes that
// it may have arrived.
func TestGivenUpCallIsNoted(t *testing.T) {
	b := newBroker(t)
	g := gatedNotifier{make(chan struct{}, 10), make(chan struct{})}
	i := b.run(t, quick(), gatedReceiver(g))
	a := alertNow(1, 0)
	b.publish(t, a)
	<-g.calls
	i.stop(t)
	if d := b.newest(t, a, "gated"); d.Status != schemas.DeliveryPending || d.Heard != schemas.HeardMaybe || len(d.Attempts) != 1 {
		t.Errorf("%s, heard %s, %d attempts, want PENDING, maybe, 1", d.Status, d.Heard, len(d.Attempts))
	}
}
