package notify

import (
	"math"
	"time"
)

// pace learns how fast a receiver accepts calls, and keeps to that. All alerts of a receiver share
// one budget, since its provider counts them together: calls wasted on refusals are missing
// elsewhere. It has no clock, and is not safe for concurrent use.
//
// Until a receiver says "later" there is no limit except that of calls in flight. The first "later"
// sets the rate to what was accepted in the last seconds. From there it doubles with every second
// of acceptance until the next "later". After that it grows by 5 % (at least by 0.1/s) a second and
// falls to 70 % at each "later".
//
// When several deliveries in a row fail, with no acceptance between them, the receiver is
// considered down: one call at a time asks whether it is back.
type pace struct {
	rate    float64   // calls/s; 0: no known limit
	next    time.Time // no call before this time, because of the rate
	holdTo  time.Time // no call before this time, because the receiver asked for that or is down
	cutAt   time.Time // when the rate fell last
	slow    bool      // the rate fell twice: it grows slowly
	laters  int       // in a row
	failing map[*lane]bool
	seen    float64 // acceptances/s, a mean over the last 10 s or so
	seenAt  time.Time
}

const (
	minRate   = 0.5  // calls/s: Retry-After holds longer
	maxRate   = 1000 // calls/s: beyond this there is no limit
	memoryOf  = 10.0 // s
	downAfter = 3    // deliveries that failed in a row
	maxProbe  = 15 * time.Second
)

// down reports whether the receiver is considered down.
func (p *pace) down() bool { return len(p.failing) >= downAfter }

// wait returns for how long no call may be made. inFlight is the number of calls in progress.
func (p *pace) wait(now time.Time, inFlight int) time.Duration {
	if inFlight > 0 && (p.down() || p.laters > 0) {
		return time.Hour // until the one in flight is answered
	}
	return max(p.holdTo.Sub(now), p.next.Sub(now), 0)
}

// called records that a call is being made.
func (p *pace) called(now time.Time) {
	if p.rate > 0 {
		p.next = now.Add(time.Duration(float64(time.Second) / p.rate))
	}
}

// answered records an answer that is neither "later" nor a failure of the receiver.
func (p *pace) answered(now time.Time) {
	p.laters, p.failing = 0, nil
	p.seen = p.recent(now) + 1/memoryOf
	p.seenAt = now
	if p.rate == 0 {
		return
	}
	if p.slow {
		p.rate += min(p.rate, max(0.1, 0.05*p.rate)/p.rate)
	} else {
		p.rate++
	}
	if p.rate > maxRate {
		p.rate, p.slow = 0, false
	}
}

func (p *pace) recent(now time.Time) float64 {
	if p.seenAt.IsZero() {
		return 0
	}
	return p.seen * math.Exp(-max(0, now.Sub(p.seenAt).Seconds())/memoryOf)
}

// later records that the receiver asked for a pause, in answer to a call that began at began. asked
// is its length, already bounded.
func (p *pace) later(now, began time.Time, asked time.Duration) {
	p.failing = nil
	p.laters++
	if t := now.Add(asked); t.After(p.holdTo) {
		p.holdTo = t
	}
	if began.Before(p.cutAt) {
		return // an answer to a call that was made before the rate fell
	}
	p.cutAt = now
	if p.rate == 0 {
		p.rate = max(p.recent(now), 1)
		return
	}
	p.slow = true
	p.rate = max(0.7*p.rate, minRate)
}

// failed records that the receiver failed a delivery.
func (p *pace) failed(now time.Time, l *lane, first, longest time.Duration) {
	if p.failing == nil {
		p.failing = map[*lane]bool{}
	}
	if len(p.failing) < 32 {
		p.failing[l] = true
	}
	if n := len(p.failing) - downAfter; n >= 0 {
		hold := min(first<<min(n, 20), longest, maxProbe)
		if t := now.Add(hold); t.After(p.holdTo) {
			p.holdTo = t
		}
	}
}
