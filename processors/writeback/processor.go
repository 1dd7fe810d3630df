package writeback

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Processor is a role that keeps state: what its Engine, one for each run, can tell between, before
// and after the runs. The processors of the domain embed it and add what is their own. All methods
// are safe for concurrent use.
type Processor[T, L any] struct {
	options func() Options
	logic   Logic[T, L]
	engine  atomic.Pointer[Engine[T, L]] // of the current run, or nil
}

// NewProcessor returns a Processor of logic; options is called at the beginning of each run.
func NewProcessor[T, L any](options func() Options, logic Logic[T, L]) *Processor[T, L] {
	return &Processor[T, L]{options: options, logic: logic}
}

// Run processes until ctx ends; see Engine.Run. It may be called again after it has returned.
func (p *Processor[T, L]) Run(ctx context.Context) error {
	e := New(p.options(), p.logic)
	p.engine.Store(e)
	defer p.engine.Store(nil)
	return e.Run(ctx)
}

// Drive returns the processor for a caller that stands in for Goka, the broker and the clock.
func (p *Processor[T, L]) Drive(h Host) Driven { return Drive(p.options(), p.logic, h) }

// Engine returns that of the current run, or nil.
func (p *Processor[T, L]) Engine() *Engine[T, L] { return p.engine.Load() }

// Ready reports whether the partitions of this process have recovered.
func (p *Processor[T, L]) Ready() bool {
	e := p.engine.Load()
	return e != nil && e.Ready()
}

// Waiting tells what the processor waits for before it is ready, in words; "" if nothing.
func (p *Processor[T, L]) Waiting() string {
	if e := p.engine.Load(); e != nil {
		return e.Waiting()
	}
	return "starting"
}

// Warning names the keys whose state was lost (Engine.Warning); "" if none.
func (p *Processor[T, L]) Warning() string {
	if e := p.engine.Load(); e != nil {
		return e.Warning()
	}
	return ""
}

// Recovery is how far the partitions of this process have recovered.
func (p *Processor[T, L]) Recovery() Recovery {
	if e := p.engine.Load(); e != nil {
		return e.Recovery()
	}
	return Recovery{}
}

// Register registers c, or returns the collector of that name from an earlier run: what one run
// counts continues in the next.
func Register[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	var already prometheus.AlreadyRegisteredError
	if err := reg.Register(c); errors.As(err, &already) {
		return already.ExistingCollector.(C)
	}
	return c
}
