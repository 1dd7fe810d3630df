package pipelines

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// server is the one HTTP address of the process. Health and metrics answer from
// the start to the end, the rest while its role runs.
type server struct {
	addr   string // that it listens on, port included
	writes *slot  // the gateway's
	pages  *slot  // the query role's
	top    *slot  // the window role's
	reload *slot  // of the rules, where the window role is
	http   http.Server
	log    *slog.Logger
}

// slot is where a role puts its handler while it runs.
type slot struct {
	role    string
	handler atomic.Pointer[http.Handler]
}

// serve has h answer from now on; nil: 503.
func (s *slot) serve(h http.Handler) {
	if h == nil {
		s.handler.Store(nil)
		return
	}
	s.handler.Store(&h)
}

func (s *slot) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := s.handler.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	w.Header().Set("Retry-After", "1")
	http.Error(w, "the role "+s.role+" does not run in this process, or not now; see /readyz", http.StatusServiceUnavailable)
}

const (
	headerWithin = 10 * time.Second
	idleWithin   = 2 * time.Minute
	// drainWithin is how long requests may take to end at a stop.
	drainWithin = 5 * time.Second
)

// newRegistry is the registry of weir's own metrics, with those of the process.
func newRegistry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}

// listen serves on addr, host:port. It returns an error when the address is
// taken or is none.
func listen(addr string, reg *prometheus.Registry, health *Health, log *slog.Logger) (*server, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("http: %w", err)
	}
	s := &server{addr: ln.Addr().String(), writes: &slot{role: "gateway"}, pages: &slot{role: "query"}, top: &slot{role: "window"}, reload: &slot{role: "window"}, log: log}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", serveHealthz)
	mux.Handle("GET /readyz", health)
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{Registry: reg}))
	mux.Handle("POST /", s.writes)
	mux.Handle("POST /-/reload", s.reload)
	mux.Handle("GET /api/v1/top", s.top)
	mux.Handle("/", s.pages)
	s.http = http.Server{
		Handler:           mux,
		ReadHeaderTimeout: headerWithin,
		IdleTimeout:       idleWithin,
		ErrorLog:          slog.NewLogLogger(log.With("part", "http").Handler(), slog.LevelWarn),
	}
	go func() {
		if err := s.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			log.Error("http ended", "error", err)
		}
	}()
	return s, nil
}

// close lets requests end and cuts off those that do not.
func (s *server) close() {
	ctx, cancel := context.WithTimeout(context.Background(), drainWithin)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		s.log.Warn("http: requests cut off", "error", err)
		_ = s.http.Close() // the listener is closed already
	}
}
