package notify

import (
	"errors"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"

	"weir/schemas"
	"weir/sinks"
)

// receiver is a sinks.Receiver with its bounds.
type receiver struct {
	sinks.Receiver
	slots   chan struct{} // one for each call in flight
	gauge   prometheus.Gauge
	mu      sync.Mutex
	pending int
	holdTo  time.Time // Retry-After: no call before
}

func newReceiver(r sinks.Receiver, concurrency int, gauge prometheus.Gauge) *receiver {
	return &receiver{Receiver: r, slots: make(chan struct{}, concurrency), gauge: gauge}
}

// reserve counts one more pending delivery, unless there are limit.
func (r *receiver) reserve(limit int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pending >= limit {
		return false
	}
	r.pending++
	r.gauge.Inc()
	return true
}

// force counts one more pending delivery, which the ledger already has.
func (r *receiver) force() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending++
	r.gauge.Inc()
}

func (r *receiver) release(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending -= n
	r.gauge.Sub(float64(n))
}

// hold keeps every call to the receiver back until t.
func (r *receiver) hold(t time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t.After(r.holdTo) {
		r.holdTo = t
	}
}

func (r *receiver) heldFor() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Until(r.holdTo)
}

// turn waits until a call may be made, and takes a slot, which the caller gives
// back. It is false, without a slot, if stop came first.
func (r *receiver) turn(stop <-chan struct{}) bool {
	select {
	case <-stop: // before a free slot, if both are there
		return false
	default:
	}
	select {
	case <-stop:
		return false
	case r.slots <- struct{}{}:
	}
	for held := r.heldFor(); held > 0; held = r.heldFor() {
		if !wait(held, stop) {
			<-r.slots
			return false
		}
	}
	return true
}

// wait returns true after d, or false when stop came first.
func wait(d time.Duration, stop <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-stop:
		return false
	case <-timer.C:
		return true
	}
}

// deliver makes d until it ends, and writes how. It is false when the partition
// stopped first: d is PENDING in the ledger still.
func (p *Processor) deliver(part *partition, r *receiver, d *schemas.Delivery) bool {
	n := &sinks.Notification{
		Alert: d.Alert, Receiver: r.Name, To: d.To, AtMS: d.AtMS, ExternalURL: p.cfg.ExternalURL,
	}
	waits := backoff.ExponentialBackOff{
		InitialInterval: p.cfg.Retry.Initial.Std(), MaxInterval: p.cfg.Retry.Max.Std(),
		Multiplier: 2, RandomizationFactor: 0.5,
	}
	var first time.Time
	for {
		if !r.turn(part.stopping) {
			return false
		}
		if first.IsZero() {
			first = time.Now()
		}
		result, err := r.Notifier.Notify(part.calls, n)
		<-r.slots
		if err != nil && part.calls.Err() != nil {
			return false // nobody knows whether it arrived
		}
		again := p.judge(r, d, result, err, waits.NextBackOff(), time.Since(first))
		if !p.write(part, d) {
			return false
		}
		if again == 0 {
			return true
		}
		if !wait(again, part.stopping) {
			return false
		}
	}
}

// judge notes an attempt in d and returns how long to wait for the next, or 0
// when d ended.
func (p *Processor) judge(r *receiver, d *schemas.Delivery, result string, err error, next, elapsed time.Duration) time.Duration {
	now := time.Now()
	if err == nil {
		d.Status = schemas.DeliverySubmitted
		addAttempt(d, now.UnixMilli(), result)
		p.metrics.attempts.WithLabelValues(r.Name, "accepted").Inc()
		p.metrics.delay.WithLabelValues(r.Name).Observe(float64(now.UnixMilli()-d.AtMS) / 1000)
		return 0
	}
	addAttempt(d, now.UnixMilli(), err.Error())
	var de *sinks.DeliveryError
	if !errors.As(err, &de) || !de.Retryable {
		d.Status = schemas.DeliveryFailed
		p.metrics.attempts.WithLabelValues(r.Name, "refused").Inc()
		return 0
	}
	p.metrics.attempts.WithLabelValues(r.Name, "retry").Inc()
	if de.RetryAfter > 0 {
		r.hold(now.Add(min(de.RetryAfter, p.cfg.Retry.MaxElapsed.Std())))
		next = max(next, de.RetryAfter)
	}
	if elapsed+next > p.cfg.Retry.MaxElapsed.Std() {
		d.Status = schemas.DeliveryFailed
		return 0
	}
	p.log.Warn("delivery will be retried", "receiver", d.Receiver, "fingerprint", d.Fingerprint, "to", d.To,
		"attempts", len(d.Attempts), "wait", next, "error", err)
	return next
}

// write enters d in the ledger and is false when the partition was given up
// before that was acknowledged. Other errors are tried again: an entry that is
// missing would be told twice.
func (p *Processor) write(part *partition, d *schemas.Delivery) bool {
	for {
		err := p.out.ProduceSync(part.calls, ledgerRecord(d, part.id)).FirstErr()
		if err == nil {
			break
		}
		if part.calls.Err() != nil {
			return false
		}
		p.log.Error("ledger entry not written, trying again", "delivery", d.Key(), "status", d.Status, "error", err)
		if !wait(p.cfg.Retry.Initial.Std(), part.calls.Done()) {
			return false
		}
	}
	part.mu.Lock()
	part.entries[d.Key()] = entryOf(d)
	part.mu.Unlock()
	if d.Status != schemas.DeliveryPending {
		p.report(d)
	}
	return true
}

// report counts and logs a delivery that ended.
func (p *Processor) report(d *schemas.Delivery) {
	name := d.Receiver
	if r := p.receivers[d.Receiver]; r != nil {
		name = r.Name
	}
	outcome := failed
	switch {
	case d.Status == schemas.DeliverySubmitted:
		outcome = submitted
	case entryOf(d).unsent:
		outcome = notSent
	}
	p.metrics.deliveries.WithLabelValues(name, string(d.To), outcome).Inc()
	level := p.log.Error
	if outcome == submitted {
		level = p.log.Info
	}
	level("delivery "+outcome, "receiver", d.Receiver, "rule", d.Alert.Rule, "fingerprint", d.Fingerprint, "to", d.To,
		"result", d.Attempts[len(d.Attempts)-1].Result)
}
