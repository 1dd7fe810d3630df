package pipelines

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// server is the one HTTP address of the process. Roles add their handlers to mux
// as they are made; health and metrics answer from the start.
type server struct {
	mux  *http.ServeMux
	addr string // that it listens on, port included
	http http.Server
	log  *slog.Logger
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
	s := &server{mux: http.NewServeMux(), addr: ln.Addr().String(), log: log}
	s.http = http.Server{
		Handler:           s.mux,
		ReadHeaderTimeout: headerWithin,
		IdleTimeout:       idleWithin,
		ErrorLog:          slog.NewLogLogger(log.With("part", "http").Handler(), slog.LevelWarn),
	}
	s.mux.HandleFunc("GET /healthz", serveHealthz)
	s.mux.Handle("GET /readyz", health)
	s.mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{Registry: reg}))
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
