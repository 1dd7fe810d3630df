package notify

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/sinks"
)

// deliverAlone makes the calls of a processor without brokers: entries for the ledger are only noted in the lanes. It
// returns a function that makes the processor see an alert.
func deliverAlone(ctx context.Context, p *Processor) (see func(a *schemas.Alert)) {
	part := newPartition(0, &p.memory)
	for _, c := range p.channels {
		go c.run(ctx, func(l *lane) {
			go func() {
				e, reason, ok := l.take(time.Now().UnixMilli(), p.cfg.MaxAge.MS())
				if !ok || reason != "" {
					c.done(nil)
					return
				}
				began := time.Now()
				n := &sinks.Notification{Alert: e.inMemory.Alert, Receiver: l.receiver, To: e.inMemory.To, AtMS: e.atMS}
				result, err := l.r.Notifier.Notify(ctx, n)
				now := time.Now()
				wait, learn := p.judge(l, e.inMemory, result, err, began, now)
				l.part.mu.Lock()
				head, i := l.head()
				if after := entryOf(e.inMemory); after.status != pending {
					l.drop(head)
					after.offset = head.offset
					l.entries[i] = after
					l.tries, l.spent, l.failedAt = 0, 0, time.Time{}
				}
				l.part.mu.Unlock()
				c.done(learn)
				p.schedule(l, now.Add(wait))
			}()
		})
	}
	offset := int64(0)
	return func(a *schemas.Alert) {
		for _, pl := range p.observe(part, a.Fingerprint, a, time.Now().UnixMilli()) {
			offset++
			p.entered(pl, &kgo.Record{Offset: offset})
		}
	}
}

// TestTwoCallsASecond: there are 601 alerts, and a provider that accepts 2 calls a second and refuses more. However long it
// takes, no trigger or resolve is given up or lost, the critical alert comes first, and most calls are accepted. Time is virtual.
func TestTwoCallsASecond(t *testing.T) {
	for name, retryAfter := range map[string]time.Duration{"Retry-After: 1": time.Second, "Retry-After: 7200": 2 * time.Hour, "without Retry-After": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const n, perSecond = 600, 2
				receiver := newProvider(perSecond)
				receiver.retryAfter, receiver.takes = retryAfter, 50*time.Millisecond
				cfg := Default()
				cfg.Retry.MaxElapsed = cfg.Retry.Initial // "later" must not count
				p := New(cfg, Deps{Receivers: []sinks.Receiver{receiver.receiver("slow")}, Registry: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				see := deliverAlone(ctx, p)
				began := time.Now()
				all := make([]*schemas.Alert, 0, n+1)
				for k := range n {
					all = append(all, labelled(alertNow(k, 0), "warning"))
					see(all[k])
				}
				<-time.After(20 * time.Second) // of virtual time
				critical := labelled(alertNow(n, 0), "critical")
				all = append(all, critical)
				sent := time.Now()
				see(critical)
				longest := 6 * time.Second
				if retryAfter > cfg.Retry.RetryAfter.Std() { // the provider keeps asking for long pauses
					longest = 2 * cfg.Retry.RetryAfter.Std()
				}
				<-time.After(longest)
				synctest.Wait()
				receiver.mu.Lock()
				at, opened := receiver.at[critical.Fingerprint], len(receiver.opened)
				receiver.mu.Unlock()
				if at.IsZero() || opened == n+1 {
					t.Errorf("after %v, the critical alert has not been told, but %d others have", longest, opened)
				}
				most := 2 * (n + 1) / perSecond * time.Second
				if retryAfter > cfg.Retry.RetryAfter.Std() {
					most = 100 * time.Hour
				}
				for time.Since(began) < most {
					<-time.After(time.Second)
					synctest.Wait()
					if opened, _, _, _ := receiver.count(); opened == n+1 {
						break
					}
				}
				opened, _, open, refused := receiver.count()
				took := time.Since(began)
				t.Logf("%d of %d told in %v, the critical one after %v, %d calls refused", opened, n+1, took, at.Sub(sent), refused)
				if opened != n+1 || open != n+1 {
					t.Fatalf("%d triggers told, %d open, want %d", opened, open, n+1)
				}
				if refused > n/2 {
					t.Errorf("%d calls refused: the rate is not learned", refused)
				}
				for _, a := range all {
					see(resolvedNow(a))
				}
				<-time.After(took + most)
				synctest.Wait()
				_, ended, open, _ := receiver.count()
				if ended != n+1 || open != 0 || receiver.stray > 0 {
					t.Errorf("%d of %d ends told, %d alerts are open, %d ends of nothing", ended, n+1, open, receiver.stray)
				}
				given := counted(p.metrics.attempts.WithLabelValues("slow", "refused"))
				if waiting := p.receivers["slow"].inMemory.Load(); given > 0 || waiting != 0 || p.memory.bytes.Load() != 0 {
					t.Errorf("%v given up, %d alerts and %d bytes left in memory", given, waiting, p.memory.bytes.Load())
				}
			})
		})
	}
}
