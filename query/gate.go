package query

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// maxQueued bounds the queries that wait for their turn.
const maxQueued = 256

// errBusy is wrapped when a query cannot be worked on now.
var errBusy = errors.New("busy")

// gate bounds the queries that are worked on at once, in total and for each client. Of those that
// wait, the one whose client has the fewest in progress goes first, then the one that came first.
type gate struct {
	most, mostOfClient int
	wait               time.Duration

	mu      sync.Mutex
	running map[string]int // by client
	all     int
	queue   []*waiter
}

type waiter struct {
	client string
	turn   chan struct{} // closed when the query is let in
}

func newGate(cfg *Config) *gate {
	return &gate{most: cfg.MaxScans, mostOfClient: cfg.MaxScansPerClient, wait: cfg.QueueTimeout.Std(), running: map[string]int{}}
}

// enter returns when the client's query may be worked on; call leave afterwards. It returns the
// context's error, or errBusy, wrapped.
func (g *gate) enter(ctx context.Context, client string) (leave func(), err error) {
	w := &waiter{client, make(chan struct{})}
	if err := g.join(w); err != nil {
		return nil, err
	}
	timeout := time.NewTimer(g.wait)
	defer timeout.Stop()
	select {
	case <-w.turn:
		return func() { g.left(client) }, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-timeout.C:
		err = fmt.Errorf("%w: %d queries are in progress (query.max_scans, query.max_scans_per_client) and none ended within %s", errBusy, g.most, g.wait)
	}
	if g.giveUp(w) {
		return nil, err
	}
	return func() { g.left(client) }, nil // its turn has come meanwhile
}

func (g *gate) join(w *waiter) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.queue) >= maxQueued {
		return fmt.Errorf("%w: %d queries are waiting", errBusy, len(g.queue))
	}
	g.queue = append(g.queue, w)
	g.letIn()
	return nil
}

func (g *gate) left(client string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all--
	if g.running[client]--; g.running[client] == 0 {
		delete(g.running, client)
	}
	g.letIn()
}

// giveUp reports whether w was still waiting, and takes it out of the queue.
func (g *gate) giveUp(w *waiter) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.queue, w)
	if i < 0 {
		return false
	}
	g.queue = slices.Delete(g.queue, i, i+1)
	return true
}

// letIn gives turns while there are places. mu is held.
func (g *gate) letIn() {
	for g.all < g.most {
		next := -1
		for i, w := range g.queue {
			n := g.running[w.client]
			if n < g.mostOfClient && (next < 0 || n < g.running[g.queue[next].client]) {
				next = i
			}
		}
		if next < 0 {
			return
		}
		w := g.queue[next]
		g.queue = slices.Delete(g.queue, next, next+1)
		g.all++
		g.running[w.client]++
		close(w.turn)
	}
}

// clientOf is what a request's address is counted under: for IPv6 the network, as one machine has a
// whole network.
func clientOf(remote string) string {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return remote
	}
	ip := ap.Addr().Unmap().WithZone("")
	if ip.Is6() {
		p, _ := ip.Prefix(64) // cannot fail: the address is long enough
		return p.String()
	}
	return ip.String()
}
