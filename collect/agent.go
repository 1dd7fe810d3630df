package collect

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-metrics/weir/schemas"
)

// Agent reads a machine at an interval and sends what it has read, in order. While nobody takes the
// samples, it keeps as much as AgentConfig.BufferBytes, and then drops the oldest readings first,
// counted.
type Agent struct {
	cfg   AgentConfig
	deps  AgentDeps
	count *agentCounters

	mu    sync.Mutex
	queue [][]schemas.Sample // readings, oldest first
	bytes int                // of queue
	added chan struct{}      // holds one when the queue may have grown
}

// AgentDeps are what an agent works with. All are required.
type AgentDeps struct {
	// Read reads the machine, as Machine.Read does: samples, and an error about what could not be
	// read; both may come at once.
	Read     func(ctx context.Context, now time.Time) ([]schemas.Sample, error)
	Send     Sender
	Registry prometheus.Registerer // of metrics named weir_collect_agent_…, once
	Log      *slog.Logger
}

// NewAgent returns an agent that sends what d.Read returns. cfg is valid.
func NewAgent(cfg AgentConfig, d AgentDeps) *Agent {
	a := &Agent{cfg: cfg, deps: d, added: make(chan struct{}, 1)}
	a.count = newAgentCounters(d.Registry, func() float64 {
		a.mu.Lock()
		defer a.mu.Unlock()
		return float64(a.bytes)
	})
	return a
}

// Run reads and sends until ctx ends, and returns nil. What has not been sent by then is dropped
// and counted.
func (a *Agent) Run(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.readAll(ctx)
	}()
	a.sendAll(ctx)
	<-done
	for reading := a.take(); reading != nil; reading = a.take() {
		a.count.dropped.WithLabelValues(dropStopped).Add(float64(len(reading)))
	}
	return nil
}

func (a *Agent) readAll(ctx context.Context) {
	ticks := time.NewTicker(a.cfg.Interval.Std())
	defer ticks.Stop()
	warned := ""
	for now := time.Now(); ; {
		samples, err := a.deps.Read(ctx, now)
		if err != nil {
			a.count.readErrors.Inc()
			if err.Error() != warned && ctx.Err() == nil { // once, rather than at each reading
				warned = err.Error()
				a.deps.Log.Warn("some metrics of this machine cannot be read", "err", err)
			}
		}
		a.add(samples)
		select {
		case <-ctx.Done():
			return
		case now = <-ticks.C:
		}
	}
}

// The reasons for which samples are dropped.
const (
	dropBufferFull = "buffer_full"
	dropRefused    = "refused" // by the gateway, for good
	dropStopped    = "stopped" // the agent ended before it could send them
)

// add queues a reading, and drops the oldest ones if it does not fit.
func (a *Agent) add(samples []schemas.Sample) {
	if len(samples) == 0 {
		return
	}
	a.count.read.Add(float64(len(samples)))
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queue = append(a.queue, samples)
	a.bytes += sizeOf(samples)
	for a.bytes > a.cfg.BufferBytes {
		a.count.dropped.WithLabelValues(dropBufferFull).Add(float64(len(a.takeLocked())))
	}
	select {
	case a.added <- struct{}{}:
	default:
	}
}

// sizeOf estimates the memory that the samples take, bytes.
func sizeOf(samples []schemas.Sample) (n int) {
	for _, s := range samples {
		n += 64 + len(s.Series.Metric)
		for _, l := range s.Series.Labels {
			n += 32 + len(l.Name) + len(l.Value)
		}
	}
	return n
}

// take removes the oldest reading from the queue and returns it, or nil.
func (a *Agent) take() []schemas.Sample {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.queue) == 0 {
		return nil
	}
	return a.takeLocked()
}

func (a *Agent) takeLocked() []schemas.Sample {
	oldest := a.queue[0]
	a.bytes -= sizeOf(oldest)
	a.queue[0] = nil
	a.queue = a.queue[1:]
	return oldest
}

// sendAll sends readings as they come, each until it is taken or refused for good.
func (a *Agent) sendAll(ctx context.Context) {
	for {
		reading := a.take()
		if reading == nil {
			select {
			case <-ctx.Done():
				return
			case <-a.added:
			}
			continue
		}
		if !a.deliver(ctx, reading) {
			a.count.dropped.WithLabelValues(dropStopped).Add(float64(len(reading)))
			return
		}
	}
}

// How long to wait before a reading is sent again: as long as the gateway asks, or otherwise longer
// each time, but never so long that a gateway that is back has to wait for its agents.
const (
	firstBackoff, maxBackoff = time.Second, 5 * time.Second
	maxRetryAfter            = time.Minute
)

// pause returns how long to wait after err. It is random, so that agents do not all come back at
// once.
func pause(err error, backoff time.Duration) time.Duration {
	var later *LaterError
	if errors.As(err, &later) {
		after := min(max(later.After, firstBackoff/2), maxRetryAfter)
		return after + rand.N(after/4)
	}
	return backoff/2 + rand.N(backoff/2)
}

// deliver sends one reading until it is taken or refused; it returns false if ctx ended first.
func (a *Agent) deliver(ctx context.Context, reading []schemas.Sample) bool {
	for backoff := firstBackoff; ; backoff = min(2*backoff, maxBackoff) {
		err := a.deps.Send.Send(ctx, reading)
		var refused *RefusedError
		switch {
		case err == nil:
			a.count.sent.Add(float64(len(reading)))
			return true
		case errors.As(err, &refused):
			a.count.sent.Add(float64(len(reading) - refused.Refused))
			a.count.dropped.WithLabelValues(dropRefused).Add(float64(refused.Refused))
			a.deps.Log.Error("samples refused", "samples", refused.Refused, "err", err)
			return true
		case ctx.Err() != nil:
			return false
		}
		a.count.retries.Inc()
		wait := pause(err, backoff)
		a.deps.Log.Warn("samples not sent", "samples", len(reading), "retry_in", wait, "err", err)
		select {
		case <-ctx.Done():
			return false
		case <-time.After(wait):
		}
	}
}

// agentCounters are the agent's own metrics.
type agentCounters struct {
	read, sent, readErrors, retries prometheus.Counter
	dropped                         *prometheus.CounterVec
}

func newAgentCounters(reg prometheus.Registerer, buffered func() float64) *agentCounters {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_collect_agent_" + name, Help: help})
		reg.MustRegister(c)
		return c
	}
	c := &agentCounters{
		read:       counter("read_samples_total", "Samples read from this machine."),
		sent:       counter("sent_samples_total", "Samples taken by the gateway or by Kafka."),
		readErrors: counter("read_errors_total", "Incomplete readings."),
		retries:    counter("retries_total", "Attempts to send that failed and were repeated."),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_collect_agent_dropped_samples_total",
			Help: "Samples that were never sent."}, []string{"reason"}),
	}
	for _, reason := range []string{dropBufferFull, dropRefused, dropStopped} {
		c.dropped.WithLabelValues(reason)
	}
	reg.MustRegister(c.dropped, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_collect_agent_buffered_bytes", Help: "Approximate memory of the samples waiting to be sent."}, buffered))
	return c
}
