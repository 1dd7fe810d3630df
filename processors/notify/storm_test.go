package notify

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/sinks"
)

// provider is a receiver that accepts a limited number of calls a second, and needs some time for each. It knows which
// alerts are open.
type provider struct {
	perSecond  int // 0: any
	takes      time.Duration
	retryAfter time.Duration // pause that a 429 asks for; 0: it asks for none

	mu       sync.Mutex
	down     bool
	second   int64
	inSecond int
	open     map[string]bool
	opened   map[string]int
	ended    map[string]int
	at       map[string]time.Time // of the last trigger
	refused  int
	stray    int // resolves of alerts that were not open
}

func newProvider(perSecond int) *provider {
	return &provider{perSecond: perSecond, open: map[string]bool{}, opened: map[string]int{}, ended: map[string]int{}, at: map[string]time.Time{}}
}

// Notify implements sinks.Notifier.
func (p *provider) Notify(ctx context.Context, n *sinks.Notification) (string, error) {
	if p.takes > 0 {
		wait(p.takes, ctx.Done())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.down {
		return "", &sinks.DeliveryError{Retryable: true, Err: fmt.Errorf("connection refused")}
	}
	if s := now.Unix(); s != p.second {
		p.second, p.inSecond = s, 0
	}
	if p.inSecond++; p.perSecond > 0 && p.inSecond > p.perSecond {
		p.refused++
		return "", &sinks.DeliveryError{Status: http.StatusTooManyRequests, Retryable: true, RetryAfter: p.retryAfter}
	}
	fp := n.Alert.Fingerprint
	if n.Firing() {
		p.open[fp] = true
		p.opened[fp]++
		p.at[fp] = now
		return "ok", nil
	}
	if !p.open[fp] {
		p.stray++
	}
	delete(p.open, fp)
	p.ended[fp]++
	return "ok", nil
}

func (p *provider) count() (opened, ended, open, refused int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.opened), len(p.ended), len(p.open), p.refused
}

func (p *provider) setDown(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

func (p *provider) receiver(name string) sinks.Receiver {
	return sinks.Receiver{Name: name, Notifier: p}
}

// flood publishes all alerts at once.
func (b *broker) flood(t testing.TB, alerts []*schemas.Alert) {
	t.Helper()
	var rs []*kgo.Record
	for _, a := range alerts {
		rs = append(rs, &kgo.Record{Topic: topics.Alerts, Key: []byte(a.Fingerprint), Value: schemas.EncodeDoc(a)})
	}
	if err := b.client.ProduceSync(t.Context(), rs...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// goesOn polls until until is true. It fails the test if done does not grow for a minute, as a slow machine may take its
// time, or if memory exceeds its bound meanwhile.
func (i *instance) goesOn(t testing.TB, what string, done func() int, is func() bool) {
	t.Helper()
	at, since := done(), time.Now()
	for !is() {
		if now := done(); now != at {
			at, since = now, time.Now()
		}
		if time.Since(since) > time.Minute {
			t.Fatalf("%s: nothing for a minute, at %d", what, at)
		}
		held := int64(0)
		for _, r := range i.receivers {
			held += r.inMemory.Load()
		}
		if bytes := i.memory.bytes.Load(); held > int64(len(i.receivers)*(i.cfg.Queue+readAhead)) || bytes > maxHeldBytes {
			t.Fatalf("%s: %d alerts, %d bytes in memory, want at most %d and what is read ahead for each receiver", what, held, bytes, i.cfg.Queue)
		}
		wait(20*time.Millisecond, t.Context().Done())
	}
}

// told returns how many triggers and resolves were told.
func (p *provider) told() int { opened, ended, _, _ := p.count(); return opened + ended }

// TestStorm: 2,500 alerts (or as many as WEIR_STORM says) fire at once. One receiver is slow and another is down; notify is
// restarted in the middle, and half of the alerts are resolved meanwhile. Nothing is lost, memory is bounded, and the
// receiver that is down holds up nobody.
func TestStorm(t *testing.T) {
	t.Parallel()
	n := 2500
	if text := os.Getenv("WEIR_STORM"); text != "" {
		n, _ = strconv.Atoi(text)
	} else if testing.Short() || raceEnabled {
		n = 1500
	}
	b := newBroker(t)
	slow, away := newProvider(0), newProvider(0)
	slow.takes = time.Millisecond
	away.setDown(true)
	cfg := quick()
	cfg.Queue = 500
	cfg.Retry.Max = conf.Duration(time.Second)
	cfg.MaxAge = conf.Duration(2 * time.Hour)
	i := b.run(t, cfg, slow.receiver("slow"), away.receiver("away"))
	firing, resolved := make([]*schemas.Alert, n), make([]*schemas.Alert, 0, n/2)
	for k := range firing {
		firing[k] = alertNow(k, time.Minute)
		if k%2 == 0 {
			resolved = append(resolved, resolvedNow(firing[k]))
		}
	}
	began := time.Now()
	b.flood(t, firing)
	i.goesOn(t, "a part is told", slow.told, func() bool { opened, _, _, _ := slow.count(); return opened > n/4 })
	b.flood(t, resolved)
	i.stop(t)
	i = b.run(t, cfg, slow.receiver("slow"), away.receiver("away"))
	i.goesOn(t, "all is told to the slow receiver", slow.told, func() bool {
		opened, ended, open, _ := slow.count()
		return opened == n && ended == len(resolved) && open == n-len(resolved)
	})
	t.Logf("%d triggers and %d resolves told after %v, with a receiver away", n, len(resolved), time.Since(began).Round(time.Second))
	away.setDown(false)
	i.goesOn(t, "all is told to the receiver that was away", away.told, func() bool {
		opened, ended, open, _ := away.count()
		return opened == n && ended == len(resolved) && open == n-len(resolved)
	})
	t.Logf("and to that after %v", time.Since(began).Round(time.Second))
	i.stop(t)
	for _, p := range []*provider{slow, away} {
		again := 0
		for _, times := range p.opened {
			again += times - 1
		}
		if again > 4*4 || p.stray > 0 { // those in flight when notify was stopped
			t.Errorf("%d triggers were told again, %d resolves of nothing: want those in flight at the restart, 0", again, p.stray)
		}
	}
}

// TestSlowProvider: a provider accepts a few calls a second, and answers 429 to others. None of many alerts is given up, a
// critical one does not wait, and a resolve is told while triggers wait.
func TestSlowProvider(t *testing.T) {
	const n, perSecond = 60, 5
	for name, retryAfter := range map[string]time.Duration{"Retry-After: 1": time.Second, "without Retry-After": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBroker(t)
			p := newProvider(perSecond)
			p.retryAfter = retryAfter
			cfg := Default()
			cfg.Retry.MaxElapsed = conf.Duration(time.Second) // "later" must not count
			i := b.run(t, cfg, p.receiver("slow"))
			var storm []*schemas.Alert
			for k := range n {
				storm = append(storm, labelled(alertNow(k, 0), "warning"))
			}
			told := labelled(alertNow(n, 0), "warning")
			b.publish(t, told)
			kafkatest.Within(t, time.Minute, "the first is told", func() bool { opened, _, _, _ := p.count(); return opened == 1 })
			began := time.Now()
			b.flood(t, storm)
			kafkatest.Within(t, time.Minute, "the storm is on", func() bool { opened, _, _, _ := p.count(); return opened > 5 })
			critical := alertNow(n+1, 0)
			sent := time.Now()
			b.publish(t, critical, resolvedNow(told))
			has := func(of map[string]int, a *schemas.Alert) bool {
				p.mu.Lock()
				defer p.mu.Unlock()
				return of[a.Fingerprint] > 0
			}
			kafkatest.Within(t, time.Minute, "the critical one is told", func() bool { return has(p.opened, critical) })
			if took, opened := time.Since(sent), len(p.opened); took > 6*time.Second || opened == n+2 {
				t.Errorf("the critical alert waited %v, behind %d of %d", took, opened, n)
			}
			kafkatest.Within(t, time.Minute, "the end is told", func() bool { return has(p.ended, told) })
			if opened, _, _, _ := p.count(); opened == n+2 {
				t.Error("the end was told after all triggers")
			}
			kafkatest.Within(t, 3*time.Minute, "all are told", func() bool { opened, _, _, _ := p.count(); return opened == n+2 })
			took := time.Since(began)
			i.stop(t)
			_, _, _, refused := p.count()
			t.Logf("%d told in %v (%.1f/s of %d/s), %d calls refused", n+1, took.Round(time.Second), float64(n+1)/took.Seconds(), perSecond, refused)
			if refused > n/2 || took > 4*n/perSecond*time.Second {
				t.Errorf("%d calls refused, %v: the rate is not learned", refused, took)
			}
			if got := i.count("slow", "firing", failed) + i.count("slow", "firing", notSent); got != 0 {
				t.Errorf("%v were given up, want none", got)
			}
		})
	}
}
