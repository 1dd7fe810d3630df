package pipelines

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/weir-metrics/weir/processors/writeback"
)

// supervisor runs roles, and builds those that fail anew.
type supervisor struct {
	log      *slog.Logger
	health   *Health
	reg      prometheus.Registerer
	restarts *prometheus.CounterVec
	// first and longest are the pauses before a role is built anew.
	first, longest time.Duration
	explain        func(error) error // what a role's error means; nil: itself
	// reach returns an error if Kafka cannot be reached. A pause ends when Kafka comes back. nil: it
	reach func(ctx context.Context) error
}

// reachEvery is how often reach is called during a pause.
const reachEvery = time.Second

// stopWithin bounds the stop of one role. After that the next one is stopped; what the first has not
// written is done again at the next start.
const stopWithin = 20 * time.Second

// steady is how long a role must have run for the next pause to be short again.
const steady = time.Minute

func newSupervisor(log *slog.Logger, health *Health, reg prometheus.Registerer) *supervisor {
	s := &supervisor{
		log: log, health: health, reg: reg, first: 200 * time.Millisecond, longest: 15 * time.Second,
		restarts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_pipelines_role_restarts_total", Help: "How often a role failed and was built anew.",
		}, []string{"role"}),
	}
	reg.MustRegister(s.restarts)
	return s
}

// role is one part of weir, built and ready to run.
type role struct {
	// run is called once. It returns soon after its context has ended, when it has written what it
	// must.
	run func(ctx context.Context) error
	// waiting returns what the role waits for before it is ready, such as its recovery, or "".
	waiting func() string
}

// build makes a role. What it registers with reg is unregistered when the role ends.
type build func(reg prometheus.Registerer) (role, error)

// start runs the role that newRole makes until stop is called, which waits at most stopWithin for its
// end. If newRole or the run fails, it is tried again, as a Goka processor ends for good when a
// broker is lost. But a role whose state was kept under other settings stays stopped, and says so.
func (s *supervisor) start(name string, health *roleHealth, newRole build) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	s.restarts.WithLabelValues(name)
	go func() {
		defer close(done)
		s.keep(ctx, name, health, newRole)
	}()
	return func() {
		began := time.Now()
		s.health.stopped(health, "stopping")
		cancel()
		select {
		case <-done:
			s.log.Info("stopped", "role", name, "took", time.Since(began).Round(time.Millisecond))
		case <-time.After(stopWithin):
			s.log.Error("did not stop in time, continuing", "role", name, "after", stopWithin)
		}
	}
}

func (s *supervisor) keep(ctx context.Context, name string, health *roleHealth, newRole build) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = s.first, s.longest
	for away := false; ; {
		began := time.Now()
		err := s.once(ctx, health, newRole)
		if ctx.Err() != nil {
			if err != nil && !errors.Is(err, context.Canceled) {
				s.log.Error("stopped with an error", "role", name, "err", err)
			}
			return
		}
		if err == nil {
			err = errors.New("ended by itself")
		}
		if errors.Is(err, writeback.ErrSettings) {
			s.log.Error("stopped: its state was kept under other settings, so trying again does not help", "role", name, "err", err)
			s.health.stopped(health, fmt.Sprintf("stopped: %v", err))
			<-ctx.Done()
			return
		}
		if s.explain != nil {
			err = s.explain(err)
		}
		if time.Since(began) > steady {
			pause.Reset()
		}
		wait := pause.NextBackOff()
		s.restarts.WithLabelValues(name).Inc()
		s.log.Error("failed, building it anew", "role", name, "err", err, "after", wait.Round(time.Millisecond))
		s.health.stopped(health, fmt.Sprintf("failed, starting again: %v", err))
		var back bool
		if back, away = s.rest(ctx, wait, away); back {
			pause.Reset()
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// rest returns after wait, when ctx ends, or, with back, as soon as Kafka can be reached again: after an outage nobody
// waits for the rest of a long pause. away and stillAway tell whether Kafka could not be reached at the last look, before
// the call and after it.
func (s *supervisor) rest(ctx context.Context, wait time.Duration, away bool) (back, stillAway bool) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	tick := time.NewTicker(reachEvery)
	defer tick.Stop()
	for {
		if s.reach != nil {
			err := s.reach(ctx)
			switch {
			case ctx.Err() != nil:
				return false, away
			case err == nil && away:
				return true, false
			}
			away = err != nil
		}
		select {
		case <-ctx.Done():
			return false, away
		case <-tick.C:
		}
	}
}

func (s *supervisor) once(ctx context.Context, health *roleHealth, newRole build) error {
	reg := &scope{Registerer: s.reg}
	defer reg.close()
	r, err := newRole(reg)
	if err != nil {
		return err
	}
	if ctx.Err() == nil {
		s.health.running(health, r.waiting)
	}
	return r.run(ctx)
}

// scope remembers what a role registers, so that the same names can be registered when it is built
// again.
type scope struct {
	prometheus.Registerer
	mu   sync.Mutex
	made []prometheus.Collector
}

func (s *scope) Register(c prometheus.Collector) error {
	if err := s.Registerer.Register(c); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made = append(s.made, c)
	return nil
}

func (s *scope) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		if err := s.Register(c); err != nil {
			panic(err)
		}
	}
}

func (s *scope) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.made {
		s.Unregister(c)
	}
}
