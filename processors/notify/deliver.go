package notify

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/sinks"
)

// readAgain is how long to wait if an alert could not be read back from the ledger.
const readAgain = time.Second

// probeApart is how long a delivery that found its receiver down leaves further questions to
// others.
const probeApart = time.Minute

// excused is how late an attempt may be before the excess no longer counts against max_elapsed:
// then it waited because the receiver is down, or slow, for everybody.
const excused = time.Second

// begin delivers the lane's first pending entry, in a goroutine of its own. A lane that came out of
// the queue may have been put back before it was claimed: it is delivered once.
func (p *Processor) begin(c *channel, l *lane) {
	if !l.part.join() {
		c.done(nil)
		return
	}
	if !l.claim() {
		l.part.running.Done()
		c.done(nil)
		return
	}
	go func() {
		defer l.part.running.Done()
		learn, due, again := p.attempt(c, l)
		c.done(learn)
		if again {
			p.schedule(l, due)
		}
	}()
}

// attempt ends entries that the lane need not send, and makes one call for the one that it must. It
// returns what the call showed about the receiver, and whether and when the lane has to come again.
func (p *Processor) attempt(c *channel, l *lane) (learn func(*pace, time.Time), due time.Time, again bool) {
	for {
		e, reason, ok := l.take(time.Now().UnixMilli(), p.cfg.MaxAge.MS())
		switch {
		case !ok:
			return nil, due, false
		case reason == "":
			return p.send(c, l, e)
		case e.heard == nobody:
			reason = unsent + reason
		}
		d := l.bare(&e)
		fail(d, time.Now().UnixMilli(), reason)
		if !p.finish(l, d) {
			return nil, due, false
		}
	}
}

// claim makes the lane the caller's, unless somebody else has it. take and schedule give it back.
func (l *lane) claim() bool {
	l.part.mu.Lock()
	defer l.part.mu.Unlock()
	if l.calling {
		return false
	}
	l.calling = true
	return true
}

// take returns the lane's first pending entry, if it is in the ledger, and makes the lane the
// caller's until schedule. reason tells why the entry need not be sent, or is "".
func (l *lane) take(nowMS, maxAgeMS int64) (e entry, reason string, ok bool) {
	l.part.mu.Lock()
	defer l.part.mu.Unlock()
	head, i := l.head()
	l.calling = head != nil && head.offset != unwritten
	if !l.calling {
		return e, "", false
	}
	return *head, l.unneeded(i, nowMS, maxAgeMS), true
}

// send makes one call for the lane's first pending entry e.
func (p *Processor) send(c *channel, l *lane, e entry) (learn func(*pace, time.Time), due time.Time, again bool) {
	d, err := p.whole(l, e)
	if err != nil {
		if l.part.calls.Err() != nil {
			return nil, due, false
		}
		p.log.Error("cannot read an alert back from the ledger, will try again", "receiver", l.receiver, "fingerprint", l.fingerprint, "err", err)
		return nil, time.Now().Add(readAgain), true
	}
	n := &sinks.Notification{
		Alert: d.Alert, Receiver: l.r.Name, To: d.To, AtMS: d.AtMS, ExternalURL: p.cfg.ExternalURL,
	}
	if !p.fence.pass(l.part.stopping) { // the last check before a call
		return nil, due, false
	}
	began := time.Now()
	result, err := l.r.Notifier.Notify(sinks.WithGuard(l.part.calls, func() bool { return p.fence.recent() && !l.part.lost.Load() }), n)
	now := time.Now()
	if err != nil && l.part.calls.Err() != nil {
		p.unheard(l, d, err, now)
		return nil, due, false
	}
	wait, learn := p.judge(l, d, result, err, began, now)
	if !p.finish(l, d) {
		return learn, due, false
	}
	return learn, now.Add(wait), true
}

// unheard records a call whose end nobody waits for any more, if it may have arrived.
func (p *Processor) unheard(l *lane, d *schemas.Delivery, err error, now time.Time) {
	var de *sinks.DeliveryError
	if errors.As(err, &de) && !de.MaybeTaken {
		return
	}
	d.Heard = schemas.HeardMaybe
	addAttempt(d, now.UnixMilli(), err.Error())
	p.lastly(l, d)
}

// judge records an attempt in d. It returns how long to wait for the next, if d did not end, and
// what the attempt shows about the receiver.
func (p *Processor) judge(l *lane, d *schemas.Delivery, result string, err error, began, now time.Time) (time.Duration, func(*pace, time.Time)) {
	answered := func(c *pace, now time.Time) { c.answered(now) }
	name := l.r.Name
	if err == nil {
		p.taken(l, d, result, now)
		return 0, answered
	}
	addAttempt(d, now.UnixMilli(), err.Error())
	var de *sinks.DeliveryError
	if !errors.As(err, &de) {
		de = &sinks.DeliveryError{MaybeTaken: true, Err: err}
	}
	if de.MaybeTaken {
		d.Heard = schemas.HeardMaybe
	}
	retry := p.cfg.Retry
	switch {
	case de.Later():
		// The receiver means all calls, not this one: nothing counts against it.
		p.metrics.attempts.WithLabelValues(name, "later").Inc()
		asked := min(de.RetryAfter, retry.RetryAfter.Std())
		if asked <= 0 {
			asked = min(retry.Initial.Std()<<min(l.tries, 20), retry.Max.Std())
		}
		l.tries++
		l.failedAt = time.Time{}
		p.log.Warn("receiver asks for a pause", "receiver", d.Receiver, "fingerprint", d.Fingerprint, "pause", asked, "err", err)
		return 0, func(c *pace, now time.Time) { c.later(now, began, asked) }
	case !de.Retryable && !de.Misconfigured:
		d.Status = schemas.DeliveryFailed
		p.metrics.attempts.WithLabelValues(name, "refused").Inc()
		return 0, answered
	}
	outcome, level := "retry", p.log.Warn
	if de.Misconfigured {
		outcome, level = "misconfigured", p.log.Error
		p.metrics.misconfigured.WithLabelValues(name).Set(1)
		p.refusing.refused(d.Receiver, now, err.Error())
	}
	p.metrics.attempts.WithLabelValues(name, outcome).Inc()
	wait := p.waitAfter(l, began, now)
	failed := func(c *pace, now time.Time) { c.failed(now, l, retry.Initial.Std(), retry.Max.Std()) }
	if l.spent+wait > retry.MaxElapsed.Std() {
		d.Status = schemas.DeliveryFailed
		return 0, failed
	}
	level("delivery will be retried", "receiver", d.Receiver, "fingerprint", d.Fingerprint, "to", d.To,
		"outcome", outcome, "attempts", len(d.Attempts), "wait", wait, "err", err)
	return wait, failed
}

// taken records that the receiver accepted a delivery.
func (p *Processor) taken(l *lane, d *schemas.Delivery, result string, now time.Time) {
	name := l.r.Name
	d.Status, d.Heard = schemas.DeliverySubmitted, schemas.HeardYes
	addAttempt(d, now.UnixMilli(), result)
	p.metrics.attempts.WithLabelValues(name, "accepted").Inc()
	p.metrics.delay.WithLabelValues(name).Observe(float64(now.UnixMilli()-d.AtMS) / 1000)
	p.metrics.misconfigured.WithLabelValues(name).Set(0)
	p.refusing.took(d.Receiver)
}

// waitAfter is how long the lane waits after a failed attempt. It depends on what the delivery has
// spent, unless the receiver fails for everybody.
func (p *Processor) waitAfter(l *lane, began, now time.Time) time.Duration {
	retry := p.cfg.Retry
	wait := spread(min(retry.Initial.Std()<<min(l.tries, 20), retry.Max.Std()))
	l.tries++
	if l.r.channel.down() {
		// This is not the delivery's fault. Others ask next.
		l.failedAt = time.Time{}
		return max(wait, spread(min(probeApart, retry.Max.Std())))
	}
	if !l.failedAt.IsZero() {
		l.spent += min(began.Sub(l.failedAt), l.waits+excused)
	}
	l.spent += now.Sub(began)
	l.failedAt, l.waits = now, wait
	return wait
}

// spread returns d, spread by half of itself in both directions.
func spread(d time.Duration) time.Duration {
	return d/2 + time.Duration(rand.Int64N(int64(d)+1))
}

// finish enters d, the lane's first pending entry, in the ledger as it is now. It returns false if
// the partition was given up before that was acknowledged.
func (p *Processor) finish(l *lane, d *schemas.Delivery) bool {
	if d.Status != schemas.DeliveryPending && d.To == schemas.Firing && d.Heard != schemas.HeardNo {
		d.Told = d.Alert
	}
	r := l.part.stamp(ledgerRecord(d, l.part.id))
	for {
		err := p.writeOne(l.part.calls, r, d)
		if err == nil {
			break
		}
		if l.part.calls.Err() == nil {
			p.log.Error("ledger entry not written, will try again", "delivery", d.Key(), "status", d.Status, "err", err)
		}
		if !wait(p.cfg.Retry.Initial.Std(), l.part.calls.Done()) {
			if d.Heard != schemas.HeardNo {
				p.lastly(l, d)
			}
			return false
		}
	}
	l.part.mu.Lock()
	head, i := l.head()
	fresh := entryOf(d)
	if fresh.status == pending {
		l.hold(head, d, len(r.Value), p.cfg.Queue+readAhead)
		head.heard, head.offset, head.labels = fresh.heard, r.Offset, fresh.labels
	} else {
		l.drop(head)
		fresh.offset, fresh.unseen = r.Offset, head.unseen
		if fresh.labels == 0 {
			fresh.labels = head.labels
		}
		l.entries[i] = fresh
		l.tries, l.spent, l.failedAt = 0, 0, time.Time{}
		if l.repeat {
			l.repeat = false
			l.again()
		}
	}
	unsure := l.part.unsure[l.fingerprint]
	keys := l.trim(time.Now().UnixMilli(), p.keepMS())
	l.part.mu.Unlock()
	p.forget(l.part, keys)
	if unsure {
		p.tend(l.part)
	}
	if d.Status != schemas.DeliveryPending {
		l.r.waiting.Add(-1)
		l.r.channel.gauge.Dec()
		p.report(d)
	}
	return true
}

// schedule queues the lane's first pending entry for delivery at due, if that is in the ledger and
// its alert is known to fire.
func (p *Processor) schedule(l *lane, due time.Time) {
	l.part.mu.Lock()
	defer l.part.mu.Unlock()
	l.calling = false
	p.scheduleLocked(l, due)
}

// scheduleLocked is schedule for a lane that nobody has claimed, with the lock of its partition
// held.
func (p *Processor) scheduleLocked(l *lane, due time.Time) {
	e, i := l.head()
	if e == nil || l.calling || l.r == nil || e.offset == unwritten || l.part.stopped {
		return
	}
	end := l.endAfter(i)
	if e.doubtful && end == nil {
		return
	}
	l.r.channel.put(l, e.firing, end != nil, l.urgency, due)
}

// wait returns true after d, or false if stop came first.
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
	switch outcome {
	case submitted:
		level = p.log.Info
	case notSent:
		level = p.log.Warn
	}
	rule := ""
	if d.Alert != nil {
		rule = d.Alert.Rule
	}
	level("delivery "+outcome, "receiver", d.Receiver, "rule", rule, "fingerprint", d.Fingerprint, "to", d.To,
		"result", d.Attempts[len(d.Attempts)-1].Result)
}

// whole returns the delivery of an entry with the alert to send. A resolve gets the labels that its
// trigger had, as receivers know the alert by them.
func (p *Processor) whole(l *lane, e entry) (*schemas.Delivery, error) {
	d := e.inMemory
	if d == nil {
		var err error
		if d, err = p.readBack(l.part, e.offset, l.bare(&e)); err != nil {
			return nil, err
		}
	}
	if d.Alert == nil {
		d.Alert = &schemas.Alert{Fingerprint: l.fingerprint}
	}
	d.Heard = heardNames[e.heard]
	if d.To == schemas.Firing {
		return d, nil
	}
	l.part.mu.Lock()
	var trigger entry
	if _, i := l.head(); l.triggerOf(i) != nil {
		trigger = *l.triggerOf(i)
	}
	l.part.mu.Unlock()
	if trigger.labels != 0 && trigger.labels != hashLabels(d.Alert.Labels) && trigger.offset != unwritten {
		t, err := p.readBack(l.part, trigger.offset, l.bare(&trigger))
		if err != nil {
			return nil, err
		}
		asTold(d.Alert, t.Told)
	}
	if d.Alert.Rule == "" {
		d.Alert.Rule = "unknown" // the alert no longer exists, and was told by a version that did not record what it told
	}
	return d, nil
}

// asTold makes the alert of a resolve say what its trigger said, which is all that is left of an
// alert that no longer exists.
func asTold(a, told *schemas.Alert) {
	if told == nil {
		return
	}
	if a.Rule == "" {
		last, resolved := a.Last, a.ResolvedMS
		*a = *told
		a.State, a.Last, a.ResolvedMS = last.To, last, resolved
		return
	}
	a.Labels = told.Labels
}

// forget deletes entries from the ledger. An entry that remains after a failure is deleted again
// when the ledger is next read.
func (p *Processor) forget(part *partition, keys []string) {
	for _, key := range keys {
		p.out.Produce(context.Background(), part.stamp(tombstone(part.id, key)), nil)
	}
}
