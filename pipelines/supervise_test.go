package pipelines

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func ready() string { return "" }

func counter() prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_test_total"})
}

// total returns the sum of a counter over its labels.
func total(t *testing.T, reg prometheus.Gatherer, name string) (sum float64) {
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// TestFailedRoleIsBuiltAnew: the pauses grow, and a role that ran for long starts
// again quickly. Each build registers the same metric.
func TestFailedRoleIsBuiltAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		s := newSupervisor(slog.New(slog.DiscardHandler), &Health{}, reg)
		var at []time.Duration
		began := time.Now()
		stop := s.start("window", s.health.add("window", "starting"), func(reg prometheus.Registerer) (role, error) {
			at = append(at, time.Since(began))
			if len(at) == 3 {
				return role{}, errors.New("cannot be built")
			}
			reg.MustRegister(counter())
			n := len(at)
			return role{func(ctx context.Context) error {
				if n == 6 {
					<-time.After(2 * steady) // of virtual time: it runs
				}
				if n < 8 {
					return errors.New("broker lost")
				}
				<-ctx.Done()
				return ctx.Err()
			}, ready}, nil
		})
		<-time.After(time.Hour) // of virtual time
		synctest.Wait()
		if len(at) != 8 {
			t.Fatalf("built %d times: %v", len(at), at)
		}
		// A pause is drawn from within half of 0.2 s × 1.5^n: 0.1 to 0.3 s, then, the
		// fifth, 0.5 to 1.5 s.
		if first, fifth := at[1]-at[0], at[5]-at[4]; first < 100*time.Millisecond || first > 300*time.Millisecond ||
			fifth < 500*time.Millisecond || fifth > 1600*time.Millisecond {
			t.Errorf("pauses %v", at)
		}
		if again := at[6] - at[5] - 2*steady; again > 300*time.Millisecond {
			t.Errorf("after a long run the pause was %v", again)
		}
		if got := total(t, reg, "weir_pipelines_role_restarts_total"); got != 7 {
			t.Errorf("%v restarts", got)
		}
		if not := s.health.NotReady(); len(not) != 0 {
			t.Errorf("not ready: %v", not)
		}
		stop()
		if not := s.health.NotReady(); not["window"] != "stopping" {
			t.Errorf("not ready: %v", not)
		}
		if err := reg.Register(counter()); err != nil {
			t.Errorf("the role's metrics are still there: %v", err)
		}
	})
}

// TestRolesAreBackWhenKafkaIs: however long Kafka was down and the pauses have become, roles are built anew within
// a second or two of its return, and again soon if it does not serve yet. While it is away, or was there all the
// time, the pauses are those of any failure.
func TestRolesAreBackWhenKafkaIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const outage, serves = 10*time.Minute + 300*time.Millisecond, 3 * time.Second
		began := time.Now()
		s := newSupervisor(slog.New(slog.DiscardHandler), &Health{}, prometheus.NewRegistry())
		s.reach = func(context.Context) error {
			if time.Since(began) < outage {
				return errors.New("nothing listens there")
			}
			return nil
		}
		var at []time.Duration
		stop := s.start("route", s.health.add("route", "starting"), func(prometheus.Registerer) (role, error) {
			at = append(at, time.Since(began))
			return role{func(ctx context.Context) error {
				if time.Since(began) < outage+serves {
					return errors.New("broken")
				}
				<-ctx.Done()
				return nil
			}, ready}, nil
		})
		defer stop()
		<-time.After(outage + time.Minute) // of virtual time
		synctest.Wait()
		var after []time.Duration
		for _, d := range at {
			if d > outage {
				after = append(after, d-outage)
			}
		}
		if n := len(at) - len(after); n > 90 {
			t.Errorf("built %d times while Kafka was away", n)
		}
		if len(after) < 2 || after[0] > reachEvery || after[len(after)-1] > serves+3*time.Second {
			t.Errorf("Kafka was back after %v and served %v later; the role was built anew %v after its return", outage, serves, after)
		}
		there := newSupervisor(slog.New(slog.DiscardHandler), &Health{}, prometheus.NewRegistry())
		there.reach = func(context.Context) error { return nil }
		began = time.Now()
		if back, away := there.rest(t.Context(), time.Minute, false); back || away || time.Since(began) != time.Minute {
			t.Errorf("a pause with Kafka there took %v", time.Since(began))
		}
	})
}

func TestStopDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSupervisor(slog.New(slog.DiscardHandler), &Health{}, prometheus.NewRegistry())
		release := make(chan struct{})
		stop := s.start("store", s.health.add("store", "starting"), func(prometheus.Registerer) (role, error) {
			return role{func(context.Context) error { <-release; return nil }, ready}, nil
		})
		synctest.Wait()
		began := time.Now()
		stop()
		if took := time.Since(began); took != stopWithin {
			t.Errorf("took %v", took)
		}
		close(release)
	})
}

// TestStopDuringPause: a role that waits to be built anew stops at once.
func TestStopDuringPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSupervisor(slog.New(slog.DiscardHandler), &Health{}, prometheus.NewRegistry())
		stop := s.start("store", s.health.add("store", "starting"), func(prometheus.Registerer) (role, error) { return role{}, errors.New("no") })
		synctest.Wait()
		if not := s.health.NotReady(); not["store"] != "failed, starting again: no" {
			t.Error(not)
		}
		began := time.Now()
		stop()
		if took := time.Since(began); took != 0 {
			t.Errorf("took %v", took)
		}
	})
}

func TestReadyzSaysWhoAndWhy(t *testing.T) {
	h := &Health{}
	get := func() (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
		return w.Code, strings.TrimSpace(w.Body.String())
	}
	window, store := h.add("window", "starting"), h.add("store", "starting")
	recovering := "recovering partition 3"
	h.running(window, func() string { return recovering })
	h.running(store, ready)
	if code, body := get(); code != http.StatusServiceUnavailable || body != `{"ready":false,"not_ready":{"window":"recovering partition 3"}}` {
		t.Error(code, body)
	}
	recovering = ""
	if code, body := get(); code != http.StatusOK || body != `{"ready":true}` {
		t.Error(code, body)
	}
	h.stopped(store, "failed")
	if code, body := get(); code != http.StatusServiceUnavailable || body != `{"ready":false,"not_ready":{"store":"failed"}}` {
		t.Error(code, body)
	}
}

func TestServer(t *testing.T) {
	reg := newRegistry()
	c := Default()
	c.HTTP = "127.0.0.1:0"
	s, err := listen(&c, "web01", reg, &Health{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c.HTTP = s.Addr()
	if _, err := listen(&c, "web01", reg, &Health{}, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), s.Addr()) {
		t.Errorf("second listen on %s: %v", s.Addr(), err)
	}
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 200, "/": 503, "/nothing": 503} {
		resp, err := http.Get("http://" + s.Addr() + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	s.Close()
	if _, err := http.Get("http://" + s.Addr() + "/healthz"); err == nil {
		t.Error("still answers")
	}
}
