package notify

import (
	"context"
	"testing"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/sinks"
)

// gatedNotifier reports each call, and lets the test decide when it ends.
type gatedNotifier struct{ calls, end chan struct{} }

func (g gatedNotifier) Notify(ctx context.Context, _ *sinks.Notification) (string, error) {
	g.calls <- struct{}{}
	select {
	case <-g.end:
	case <-ctx.Done():
	}
	return "taken", ctx.Err()
}

// TestLaneIsDeliveredOnce: if a lane is queued again just as its call starts, there is only that one call, also after it
// has ended.
func TestLaneIsDeliveredOnce(t *testing.T) {
	b := newBroker(t)
	g := gatedNotifier{make(chan struct{}, 10), make(chan struct{})}
	i := b.run(t, quick(), gatedReceiver(g))
	a := alertNow(1, 0)
	b.publish(t, a)
	<-g.calls // the first call is under way
	var l *lane
	for id := range int32(partitions) {
		if part := i.partition(id); part != nil {
			part.mu.Lock()
			for _, lanes := range part.alerts {
				l = lanes[0]
			}
			part.mu.Unlock()
		}
	}
	if l == nil {
		t.Fatal("the alert has no lane")
	}
	c := i.channels["gated"]
	for range 5 {
		c.mu.Lock()
		c.inFlight++ // as next does
		c.mu.Unlock()
		i.begin(c, l)
	}
	c.mu.Lock()
	inFlight := c.inFlight
	c.mu.Unlock()
	if inFlight != 1 { // begin gives back a lane that is already claimed before it returns
		t.Errorf("%d calls in flight for one delivery", inFlight)
	}
	close(g.end)
	b.awaitStatus(t, a, "gated", schemas.DeliverySubmitted)
	if n := len(g.calls); n > 0 {
		t.Errorf("%d further calls", n)
	}
}

func gatedReceiver(g gatedNotifier) sinks.Receiver { return sinks.Receiver{Name: "gated", Notifier: g} }
