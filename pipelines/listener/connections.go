package listener

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
)

// clientOf is the address that a client is counted by: of IPv6 the network, as one machine
// has a whole one.
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

// sendBytes is what the system may hold of an answer that a client does not take: left to
// itself, it takes megabytes for each.
const sendBytes = 256 << 10

// guard is a listener that bounds its connections, in all and for each client. When all
// are taken, the client that has the most gives way: its oldest connection that has no
// request under way is closed.
type guard struct {
	net.Listener
	most, mostOfClient int
	free               func(netip.Addr) bool // of the bound of a client: proxies
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
	number uint64 // in the order that they were accepted
	busy   bool   // a request is under way; guard.mu is held
	once   sync.Once
}

// Accept waits for a connection that is within the bounds; others are closed.
func (g *guard) Accept() (net.Conn, error) {
	for {
		conn, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		ip := addrOf(conn.RemoteAddr().String())
		c := &guarded{Conn: conn, guard: g, client: clientOf(ip)}
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetWriteBuffer(sendBytes) // a wish: the system may have its own mind
		}
		giveWay, ok := g.admit(c, g.free(ip))
		if giveWay != nil {
			_ = giveWay.Close() // its client is told by that
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

// idlest is the oldest idle connection of the client that has the most, more than least.
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

// state is told by the server what a connection does.
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

// from is the address that asks: the connection's, or, behind proxies that are trusted,
// the last one of X-Forwarded-For that is none of theirs.
func (p proxies) from(r *http.Request) netip.Addr {
	ip := addrOf(r.RemoteAddr)
	if !p.trusted(ip) {
		return ip
	}
	hops := forwarded(r.Header["X-Forwarded-For"])
	for _, hop := range slices.Backward(hops) {
		next, err := netip.ParseAddr(hop)
		if err != nil {
			return ip // what stands before it is nobody's word
		}
		if ip = next.Unmap(); !p.trusted(ip) {
			return ip
		}
	}
	return ip
}
