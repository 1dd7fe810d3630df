package pipelines

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weir-metrics/weir/pipelines/terminal"
	"github.com/weir-metrics/weir/processors/writeback"
)

// recoveries tells how far the roles that keep state have recovered it.
type recoveries struct {
	mu     sync.Mutex
	byRole map[string]func() writeback.Recovery
}

// of sets what tells how far the role is.
func (r *recoveries) of(role string, recovery func() writeback.Recovery) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byRole == nil {
		r.byRole = map[string]func() writeback.Recovery{}
	}
	r.byRole[role] = recovery
}

// now returns the roles that are recovering, and their recoveries as one.
func (r *recoveries) now() (of []string, all writeback.Recovery) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, role := range slices.Sorted(maps.Keys(r.byRole)) {
		if one := r.byRole[role](); !one.Done() {
			of, all = append(of, role), all.And(one)
		}
	}
	return of, all
}

const (
	drawEvery = 200 * time.Millisecond
	logEvery  = 2 * time.Second
)

// tellRecovery draws one bar for all that is recovering, or, without a terminal, logs how far it is,
// until ctx ends.
func (p *Process) tellRecovery(ctx context.Context) {
	tell, every := p.logRecovery, logEvery
	if p.Terminal != nil {
		tell, every = p.drawRecovery, drawEvery
		defer p.Terminal.Draw("")
	}
	again := time.NewTicker(every)
	defer again.Stop()
	for ctx.Err() == nil {
		tell()
		select {
		case <-ctx.Done():
		case <-again.C:
		}
	}
}

func (p *Process) logRecovery() {
	if of, r := p.recovery.now(); len(of) > 0 {
		p.Log.Info("recovering", "roles", of, "partitions", r.Partitions, "recovered", r.Recovered,
			"records", r.Records, "read", r.Read, "percent", int(100*r.Fraction()), "left", left(r, time.Now()))
	}
}

func (p *Process) drawRecovery() {
	of, r := p.recovery.now()
	if len(of) == 0 {
		p.Terminal.Draw("")
		return
	}
	p.Terminal.Draw(recoveryLine(of, r, time.Now()))
}

// recoveryLine has at its end what a narrow terminal may cut off.
func recoveryLine(of []string, r writeback.Recovery, now time.Time) string {
	return fmt.Sprintf("%s %3.0f %%  %s left  %s: %s", terminal.Bar(r.Fraction()), 100*r.Fraction(), left(r, now), strings.Join(of, ", "), r)
}

// left is how long the rest takes at the speed so far, or "?".
func left(r writeback.Recovery, now time.Time) string {
	done := r.Fraction()
	if done == 0 {
		return "?"
	}
	return time.Duration(float64(now.Sub(r.Began)) * (1 - done) / done).Round(time.Second).String()
}
