package frames

import (
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config bounds what clients may take.
type Config struct {
	// Connections is the highest number of connections at once.
	Connections int
	// FirstWithin is how long a connection may take to send its first request.
	FirstWithin time.Duration
	// FrameWithin is how long each MiB of a request may take, and the whole of it, to which a second is
	// added for each MiB.
	FrameWithin time.Duration
	// WriteWithin is how long each 256 KiB of an answer may take.
	WriteWithin time.Duration
	// Held bounds the bytes of incomplete or unserved frames, and of answers not yet taken, of all
	// connections together. Frames of up to smallFrame are not counted.
	Held int64
	// Partitions bounds how many partitions clients may make while the process runs.
	Partitions int
}

// Default is the embedded broker's config. Held has room for two of the largest requests.
func Default() Config {
	return Config{
		Connections: 512, FirstWithin: 15 * time.Second, FrameWithin: 15 * time.Second,
		WriteWithin: 15 * time.Second, Held: 2*maxProduce + 32<<20, Partitions: 100_000,
	}
}

// Gate checks all connections of a broker. It is safe for concurrent use.
type Gate struct {
	cfg      Config
	log      *slog.Logger
	refused  *prometheus.CounterVec
	unpacked unpacker

	mu         sync.Mutex
	conns      map[*conn]struct{}
	held       int64
	partitions int // made so far
	told       time.Time
	untold     int // refusals since then
}

// New returns a Gate, and registers weir_broker_refused_total and
// weir_broker_connections with reg.
func New(cfg Config, reg prometheus.Registerer, log *slog.Logger) *Gate {
	g := &Gate{cfg: cfg, log: log, conns: map[*conn]struct{}{}, unpacked: newUnpacker(),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_broker_refused_total", Help: "Connections to the embedded broker that were closed, by reason.",
		}, []string{"reason"})}
	reg.MustRegister(g.refused, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_broker_connections", Help: "Open connections to the embedded broker.",
	}, func() float64 {
		g.mu.Lock()
		defer g.mu.Unlock()
		return float64(len(g.conns))
	}))
	return g
}

// Listen is net.Listen for the broker. It returns an error unless the address is reachable only from
// this machine: the broker knows no passwords.
func (g *Gate) Listen(network, address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("the embedded broker listens on 127.0.0.1 only, not on %s", address)
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		return nil, err
	}
	return &listener{ln, g}, nil
}

type listener struct {
	net.Listener
	gate *Gate
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err == nil {
			return l.gate.admit(c), nil
		}
		// Perhaps there are no file descriptors left. At an error the broker would stop listening for good.
		if t, ok := err.(interface{ Temporary() bool }); !ok || !t.Temporary() {
			return nil, err
		}
		l.gate.log.Warn("embedded broker: cannot accept a connection", "err", err)
		time.Sleep(100 * time.Millisecond)
	}
}

// admit wraps a connection; if there are too many, it closes the one that has been idle for longest.
func (g *Gate) admit(c net.Conn) *conn {
	now := time.Now()
	in := &conn{Conn: c, gate: g, accepted: now, since: now}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.conns) >= g.cfg.Connections {
		g.evict(func(a, b *conn) bool {
			if a.requests > 0 != (b.requests > 0) {
				return a.requests == 0
			}
			return a.since.Before(b.since)
		}, "connections")
	}
	g.conns[in] = struct{}{}
	return in
}

// evict closes the connection that sorts first. It is called with g.mu held.
func (g *Gate) evict(before func(a, b *conn) bool, reason string) bool {
	var first *conn
	for c := range g.conns {
		if first == nil || before(c, first) {
			first = c
		}
	}
	if first == nil {
		return false
	}
	g.count(reason, first, nil)
	g.forget(first)
	_ = first.Conn.Close() // its reader and writer find out
	return true
}

// forget gives back the bytes that c held. It is called with g.mu held.
func (g *Gate) forget(c *conn) {
	if _, ok := g.conns[c]; ok {
		delete(g.conns, c)
		g.held -= c.held
		c.held, c.unserved = 0, 0
	}
}

// hold counts n more bytes, or fewer, that c holds. Beyond Config.Held it closes connections, first
// those that have held something for longest. It returns false if c is closed.
func (g *Gate) hold(c *conn, n int64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.conns[c]; !ok {
		return false
	}
	if c.held == 0 {
		c.holds = time.Now()
	}
	c.held += n
	g.held += n
	for g.held > g.cfg.Held {
		if !g.evict(func(a, b *conn) bool {
			if a.held > 0 != (b.held > 0) {
				return a.held > 0
			}
			return a.holds.Before(b.holds)
		}, "memory") {
			break
		}
	}
	_, open := g.conns[c]
	return open
}

// makes reports whether n more partitions may be made, and counts them.
func (g *Gate) makes(n int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.partitions+n > g.cfg.Partitions {
		return false
	}
	g.partitions += n
	return true
}

// tellEvery is the least time between two log lines about refusals.
const tellEvery = 10 * time.Second

// count counts a connection that is closed, and logs it. It is called with g.mu held.
func (g *Gate) count(reason string, c *conn, err error) {
	g.refused.WithLabelValues(reason).Inc()
	g.untold++
	if now := time.Now(); now.Sub(g.told) >= tellEvery {
		g.log.Warn("embedded broker: connection closed", "reason", reason, "err", err,
			"client", c.RemoteAddr().String(), "closed_since_last_told", g.untold)
		g.told, g.untold = now, 0
	}
}
