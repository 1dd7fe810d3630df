package listener

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
)

// clientOf is the address by which a client is counted: for IPv6 the network, as a single machine has
// a whole one.
func clientOf(ip netip.Addr) string {
	ip = ip.Unmap().WithZone("")
	if ip.Is6() {
		p, _ := ip.Prefix(64) // it is long enough
		return p.String()
	}
	return ip.String()
}

func addrOf(remote string) netip.Addr {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

// sendBytes bounds what the system buffers of an answer that a client does not read: by default, that
// is megabytes for each connection.
const sendBytes = 256 << 10

// guard is a listener that bounds its connections, in all and for each client. If all are taken, the
// oldest connection without a request in progress is closed, of the client that has the most.
type guard struct {
	net.Listener
	most, mostOfClient int
	free               func(netip.Addr) bool // from the bound for each client: proxies
	refused            func(reason string)

	mu      sync.Mutex
	open    map[*guarded]struct{}
	clients map[string]int
	number  uint64
}

// guarded is one connection of a guard.
type guarded struct {
	net.Conn
	guard  *guard
	client string
	number uint64 // in the order of acceptance
	busy   bool   // a request is in progress; guarded by guard.mu
	once   sync.Once
}

// Accept waits for a connection within the bounds; it closes others.
func (g *guard) Accept() (net.Conn, error) {
	for {
		conn, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		ip := addrOf(conn.RemoteAddr().String())
		c := &guarded{Conn: conn, guard: g, client: clientOf(ip)}
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetWriteBuffer(sendBytes) // best effort
		}
		giveWay, ok := g.admit(c, g.free(ip))
		if giveWay != nil {
			_ = giveWay.Close() // that tells its client
		}
		if ok {
			return c, nil
		}
		g.refused("connections")
		_ = conn.Close() // as above
	}
}

func (g *guard) admit(c *guarded, free bool) (giveWay *guarded, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !free && g.clients[c.client] >= g.mostOfClient {
		return nil, false
	}
	if len(g.open) >= g.most {
		if giveWay = g.idlest(g.clients[c.client]); giveWay == nil {
			return nil, false
		}
	}
	g.number++
	c.number = g.number
	g.open[c] = struct{}{}
	g.clients[c.client]++
	return giveWay, true
}

// idlest is the oldest idle connection of the client that has the most, if those are more than least.
func (g *guard) idlest(least int) (found *guarded) {
	for c := range g.open {
		n := g.clients[c.client]
		if c.busy || n <= least {
			continue
		}
		if found == nil || n > g.clients[found.client] || n == g.clients[found.client] && c.number < found.number {
			found = c
		}
	}
	return found
}

// Close closes the connection and gives its place back.
func (c *guarded) Close() error {
	c.once.Do(func() {
		c.guard.mu.Lock()
		defer c.guard.mu.Unlock()
		delete(c.guard.open, c)
		if c.guard.clients[c.client]--; c.guard.clients[c.client] == 0 {
			delete(c.guard.clients, c.client)
		}
	})
	return c.Conn.Close()
}

// state is called by the server when a connection's state changes.
func (g *guard) state(conn net.Conn, s http.ConnState) {
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok { // TLS
		conn = t.NetConn()
	}
	if c, ok := conn.(*guarded); ok {
		g.mu.Lock()
		c.busy = s == http.StateActive
		g.mu.Unlock()
	}
}

// count is how many connections are open.
func (g *guard) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.open)
}

// proxies are the networks whose X-Forwarded-For is believed.
type proxies []netip.Prefix

func (p proxies) trusted(ip netip.Addr) bool {
	return slices.ContainsFunc(p, func(n netip.Prefix) bool { return ip.IsValid() && n.Contains(ip) })
}

// from is the client's address: the connection's, or, behind trusted proxies, the last one of
// X-Forwarded-For that is not a proxy's.
func (p proxies) from(r *http.Request) netip.Addr {
	ip := addrOf(r.RemoteAddr)
	if !p.trusted(ip) {
		return ip
	}
	hops := forwarded(r.Header["X-Forwarded-For"])
	for _, hop := range slices.Backward(hops) {
		next, err := netip.ParseAddr(hop)
		if err != nil {
			return ip // whatever is before it cannot be trusted
		}
		if ip = next.Unmap(); !p.trusted(ip) {
			return ip
		}
	}
	return ip
}
