package pipelines

import (
	"log/slog"
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/weir-metrics/weir/pipelines/listener"
)

// server is the one HTTP address of the process. Health and metrics are always answered, the rest
// while its role runs.
type server struct {
	*listener.Listener
	writes *slot // the gateway's
	pages  *slot // the query role's
	top    *slot // the window role's
	rules  *slot // the window role's, too
	reload *slot // of the rules, where the window role is
}

// slot is where a role puts its handler while it runs.
type slot struct {
	role    string
	handler atomic.Pointer[http.Handler]
}

// serve makes h answer from now on; nil: 503.
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

// maxReloadBytes bounds the body of a reload, which is not used.
const maxReloadBytes = 4 << 10

// maxScrapes bounds the concurrent answers about weir's own metrics.
const maxScrapes = 32

// newRegistry is the registry of weir's own metrics, with those of the process.
func newRegistry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}

// listen serves on the config's address, to whom the listener lets in. It returns an error if the
// address is taken or invalid, or if a setting of web cannot be used.
func listen(c *Config, host string, reg *prometheus.Registry, health *Health, log *slog.Logger) (*server, error) {
	s := &server{writes: &slot{role: "gateway"}, pages: &slot{role: "query"}, top: &slot{role: "window"}, rules: &slot{role: "window"}, reload: &slot{role: "window"}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", serveHealthz)
	mux.HandleFunc("GET /-/healthy", serveHealthz)
	mux.Handle("GET /readyz", health)
	mux.Handle("GET /-/ready", health)
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{Registry: reg, MaxRequestsInFlight: maxScrapes}))
	mux.Handle("POST /", s.writes)
	mux.Handle("POST /-/reload", http.MaxBytesHandler(s.reload, maxReloadBytes))
	mux.Handle("GET /api/v1/top", s.top)
	mux.Handle("GET /api/v1/rules", s.rules)
	mux.Handle("/", s.pages)
	deps := listener.Deps{Addr: c.HTTP, ExternalURL: c.Notify.Delivery.ExternalURL, Hostname: host, Registerer: reg, Log: log}
	var err error
	if s.Listener, err = listener.Listen(c.Web, deps, mux); err != nil {
		return nil, err
	}
	if warning := s.Warning(); warning != "" {
		log.Warn("THE DOORS ARE OPEN: " + warning)
		health.warn("listener", s.Warning)
	}
	return s, nil
}
