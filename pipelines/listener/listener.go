package listener

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Deps are what a Listener works with beside its Config. ExternalURL and Hostname may be "".
type Deps struct {
	Addr        string // host:port to listen on
	ExternalURL string // where people reach the page, notify.external_url
	Hostname    string // another name of this machine, which links of other processes use
	Registerer  prometheus.Registerer
	Log         *slog.Logger
}

// Listener is the address and its doors.
type Listener struct {
	addr  string
	doors *doors
	guard *guard
	certs *certificates // nil: plain HTTP
	http  http.Server
	log   *slog.Logger
}

// Listen listens on the address and serves h behind the doors. The error names the address, if that is
// taken or invalid, or the setting that cannot be used.
func Listen(cfg Config, deps Deps, h http.Handler) (*Listener, error) {
	l := &Listener{log: deps.Log}
	var err error
	if cfg.TLS.CertFile != "" {
		if l.certs, err = newCertificates(cfg.TLS, deps.Log); err != nil {
			return nil, err
		}
	}
	l.doors = &doors{cfg: cfg, next: h, log: deps.Log, origins: newOrigins(deps.ExternalURL),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_web_refused_total",
			Help: "Requests and connections that the listener refused, by reason."}, []string{"reason"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_web_panics_total",
			Help: "Handlers that panicked: a bug in weir."}),
	}
	for _, reason := range []string{"connections", "host", "origin", "credentials", "role", "busy", "body"} {
		l.doors.refused.WithLabelValues(reason)
	}
	for _, text := range cfg.TrustedProxies {
		p, err := parsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("web.trusted_proxies: %q: %w", text, err)
		}
		l.doors.proxies = append(l.doors.proxies, p)
	}
	if cfg.guarded() {
		if l.doors.who, err = newCredentials(cfg, deps.Log); err != nil {
			return nil, err
		}
	}
	ln, err := net.Listen("tcp", deps.Addr)
	if err != nil {
		return nil, fmt.Errorf("http: %w", err)
	}
	l.addr = ln.Addr().String()
	machine, _ := os.Hostname() // it has no name, by which nobody asks then
	l.doors.hosts = newHosts(l.addr, cfg.AllowedHosts, deps.ExternalURL, deps.Hostname, machine)
	l.guard = &guard{Listener: ln, most: cfg.MaxConnections, mostOfClient: cfg.MaxConnectionsPerClient,
		free: l.doors.proxies.trusted, open: map[*guarded]struct{}{}, clients: map[string]int{},
		refused: func(reason string) { l.doors.refused.WithLabelValues(reason).Inc() }}
	deps.Registerer.MustRegister(l.doors.refused, l.doors.panics, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_web_connections", Help: "Open connections."}, func() float64 { return float64(l.guard.count()) }))
	l.http = http.Server{
		Handler:           l.doors,
		ReadHeaderTimeout: cfg.HeaderTimeout.Std(),
		IdleTimeout:       cfg.IdleTimeout.Std(),
		MaxHeaderBytes:    cfg.MaxHeaderBytes,
		ConnState:         l.guard.state,
		ErrorLog:          log.New(&sparse{to: deps.Log.With("part", "http")}, "", 0),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: 64, MaxReceiveBufferPerConnection: 1 << 20, MaxReceiveBufferPerStream: 256 << 10,
			SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second, WriteByteTimeout: 30 * time.Second,
		},
	}
	go l.serve()
	return l, nil
}

func (l *Listener) serve() {
	var err error
	if l.certs != nil {
		l.http.TLSConfig = l.certs.serving()
		err = l.http.ServeTLS(l.guard, "", "")
	} else {
		err = l.http.Serve(l.guard)
	}
	if !errors.Is(err, http.ErrServerClosed) {
		l.log.Error("http ended", "err", err)
	}
}

// Addr is the address that it listens on, with its port.
func (l *Listener) Addr() string { return l.addr }

// URL is the address of the page.
func (l *Listener) URL() string {
	if l.certs != nil {
		return "https://" + l.addr + "/"
	}
	return "http://" + l.addr + "/"
}

// Warning tells that the address is open to a network without credentials or encryption; "" if it is not.
func (l *Listener) Warning() string {
	host, _, _ := net.SplitHostPort(l.addr) // it is ours
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsLoopback() {
		return ""
	}
	switch {
	case l.doors.who == nil && (l.certs == nil || l.doors.cfg.TLS.ClientAuthType != "RequireAndVerifyClientCert"):
		return "anybody who can reach " + l.addr + " may read everything, write samples and reload rules: set web.basic_auth_users, web.bearer_tokens or client certificates"
	case l.certs == nil && l.doors.who != nil:
		return "passwords and tokens cross the network in the clear: set web.tls_server_config"
	}
	return ""
}

// Reload reads certificates and secrets again.
func (l *Listener) Reload() {
	if l.certs != nil {
		l.certs.reload()
	}
	if l.doors.who != nil {
		if err := l.doors.who.reread(time.Now()); err != nil {
			l.log.Error("secrets not read again, keeping the old ones", "err", err)
		}
	}
}

// sparse logs at most one line a second of what the server complains about, which clients can cause at
// will, and how many lines it has left out.
type sparse struct {
	to *slog.Logger

	mu      sync.Mutex
	last    time.Time
	leftOut int
}

func (s *sparse) Write(line []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.last) < time.Second {
		s.leftOut++
		return len(line), nil
	}
	s.to.Warn(strings.TrimSpace(string(line)), "left_out", s.leftOut)
	s.last, s.leftOut = time.Now(), 0
	return len(line), nil
}

// drainWithin is how long requests may take to end at a stop.
const drainWithin = 5 * time.Second

// Close lets requests end and cuts off those that do not.
func (l *Listener) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), drainWithin)
	defer cancel()
	if err := l.http.Shutdown(ctx); err != nil {
		l.log.Warn("http: requests cut off", "err", err)
		_ = l.http.Close() // the listener is closed already
	}
}
