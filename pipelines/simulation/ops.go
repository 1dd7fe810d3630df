package simulation

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/weir-metrics/weir/processors/writeback"
	"github.com/weir-metrics/weir/processors/writeback/disk"
	"github.com/weir-metrics/weir/schemas"
)

// Op is one step of a run: a verb and its numbers. It leaves nothing to chance, so a run can
// be repeated from its list of ops, and shortened, and read.
type Op struct {
	Verb string
	Args [5]int
}

// verbs lists the verbs and names their numbers.
var verbs = []struct {
	name string
	args string
	do   func(w *World, a [5]int) bool // returns false if there was nothing to do
}{
	{"wait", "ms", func(w *World, a [5]int) bool { return w.wait(a[0]) }},
	{"send", "host partition shift_ms count", func(w *World, a [5]int) bool {
		if !in(a[0], len(w.hosts)) || !in(a[1], len(w.metrics)) {
			return false
		}
		w.hosts[a[0]].send(a[1], int64(a[2]), a[3])
		return true
	}},
	{"again", "host partition", func(w *World, a [5]int) bool {
		return in(a[0], len(w.hosts)) && in(a[1], len(w.metrics)) && w.hosts[a[0]].again(a[1])
	}},
	{"some", "host partition samples", func(w *World, a [5]int) bool {
		return in(a[0], len(w.hosts)) && in(a[1], len(w.metrics)) && w.hosts[a[0]].some(a[1], a[2])
	}},
	{"mood", "host low", func(w *World, a [5]int) bool {
		if in(a[0], len(w.hosts)) {
			w.hosts[a[0]].low = a[1] == 1
		}
		return in(a[0], len(w.hosts))
	}},
	{"grow", "", func(w *World, _ [5]int) bool { w.grow(); return true }},
	{"assign", "partition router", func(w *World, a [5]int) bool {
		if !in(a[0], len(w.metrics)) || !in(a[1], len(w.routers)) || w.routerOf[a[0]] == a[1] {
			return false
		}
		w.routers[w.routerOf[a[0]]].drop(a[0])
		w.routerOf[a[0]] = a[1]
		w.routers[a[1]].take(a[0])
		return true
	}},
	{"poll", "router records", func(w *World, a [5]int) bool { return in(a[0], len(w.routers)) && w.routers[a[0]].poll(a[1]) }},
	{"commit", "router", func(w *World, a [5]int) bool { return in(a[0], len(w.routers)) && w.routers[a[0]].commit() }},
	{"rkill", "router keep haunt", func(w *World, a [5]int) bool { return in(a[0], len(w.routers)) && w.killRouter(a[0], a[1], a[2]) }},
	{"put", "actor queue store ack", func(w *World, a [5]int) bool {
		o := w.actor(a[0])
		if o == nil || !o.queue(a[1]).put(a[2], a[3]) {
			return false
		}
		if a[0] >= ghostActors {
			w.stats.Haunts += a[2]
		}
		return true
	}},
	{"read", "role machine partition records", func(w *World, a [5]int) bool {
		m := w.at(a)
		return m != nil && m.read(int32(a[2]), a[3])
	}},
	{"tick", "role machine", func(w *World, a [5]int) bool {
		m := w.at(a)
		if m != nil {
			m.tick()
		}
		return m != nil
	}},
	{"begin", "role machine partition", func(w *World, a [5]int) bool { m := w.at(a); return m != nil && m.begin(int32(a[2])) }},
	{"flush", "role machine partition values", func(w *World, a [5]int) bool {
		m := w.at(a)
		return m != nil && m.flush(int32(a[2]), a[3])
	}},
	{"mark", "role machine partition", func(w *World, a [5]int) bool { m := w.at(a); return m != nil && m.mark(int32(a[2])) }},
	{"move", "role machine partition", func(w *World, a [5]int) bool { return w.move(a) }},
	{"leave", "role machine partition", func(w *World, a [5]int) bool {
		m := w.at(a)
		if m == nil || !m.zombie(int32(a[2])) {
			return false
		}
		m.shut(int32(a[2]))
		m.out.forget(int32(a[2]))
		m.proc.Joined()
		return true
	}},
	{"rejoin", "role machine", func(w *World, a [5]int) bool {
		m := w.at(a)
		if m != nil {
			w.stats.Rejoins++
			m.rejoin()
		}
		return m != nil
	}},
	{"kill", "machine keep haunt lose", func(w *World, a [5]int) bool {
		return in(a[0], len(w.machines)) && w.kill(a[0], a[1], a[2], a[3])
	}},
	{"wipe", "machine keep haunt", func(w *World, a [5]int) bool {
		return in(a[0], len(w.machines)) && w.wipe(a[0], a[1], a[2])
	}},
	{"fail", "role machine queue stored", func(w *World, a [5]int) bool {
		m := w.at(a)
		if m == nil || !m.out.queue(a[2]).fail(a[3]) {
			return false
		}
		w.stats.Timeouts++
		return true
	}},
	{"skew", "machine ms", func(w *World, a [5]int) bool {
		if in(a[0], len(w.machines)) {
			w.machines[a[0]].skewMS = int64(a[1])
		}
		return in(a[0], len(w.machines))
	}},
	{"clock", "machine ms", func(w *World, a [5]int) bool { return w.setClock(a[0], a[1]) }},
	{"strange", "role partition tick", func(w *World, a [5]int) bool { return w.strange(a) }},
	{"rubbish", "role partition value at", func(w *World, a [5]int) bool { return w.spoil(a) }},
	{"abort", "host partition", func(w *World, a [5]int) bool { return w.transact(a[0], a[1]) }},
	{"break", "machine", func(w *World, a [5]int) bool { return in(a[0], len(w.machines)) && w.breakStore(a[0]) }},
	{"restart", "machine", func(w *World, a [5]int) bool { return in(a[0], len(w.machines)) && w.failed(a[0]) }},
	{"rskew", "router ms", func(w *World, a [5]int) bool {
		if in(a[0], len(w.routers)) {
			w.routers[a[0]].skewMS = int64(a[1])
		}
		return in(a[0], len(w.routers))
	}},
	{"hskew", "host ms", func(w *World, a [5]int) bool {
		if in(a[0], len(w.hosts)) {
			w.hosts[a[0]].skewMS = int64(a[1])
		}
		return in(a[0], len(w.hosts))
	}},
	{"store", "partition records", func(w *World, a [5]int) bool { return in(a[0], w.params.Shards) && w.store.read(a[0], a[1]) }},
	{"rewind", "partition records", func(w *World, a [5]int) bool { return in(a[0], w.params.Shards) && w.store.rewind(a[0], a[1]) }},
	{"compact", "role partition", func(w *World, a [5]int) bool {
		if !in(a[0], int(roles)) || !in(a[1], len(w.groups[a[0]].owner)) {
			return false
		}
		n := w.groups[a[0]].table.compact(a[1])
		w.stats.Compacted += n
		return n > 0
	}},
	{"poison", "role partition", func(w *World, a [5]int) bool {
		if !in(a[0], int(roles)) || !in(a[1], len(w.groups[a[0]].owner)) {
			return false
		}
		n := w.groups[a[0]].table.poison(a[1])
		w.stats.Poisoned += n
		return n > 0
	}},
	{"reshard", "", func(w *World, _ [5]int) bool { return w.reshard() }},
	{"calm", "", func(w *World, _ [5]int) bool { w.beCalm(); return true }},
	{"reset", "", func(w *World, _ [5]int) bool { w.reset = w.now; return true }},
}

var verbAt = func() map[string]int {
	m := map[string]int{}
	for i, v := range verbs {
		m[v.name] = i
	}
	return m
}()

func in(i, n int) bool { return i >= 0 && i < n }

// do runs an op and reports whether it did anything.
func (w *World) do(op Op) bool {
	i, ok := verbAt[op.Verb]
	if !ok {
		w.violate("no such op: %q", op.Verb)
		return false
	}
	did := verbs[i].do(w, op.Args)
	if did {
		w.stats.Ops++
	}
	return did
}

// at returns the member that the first two numbers name, or nil.
func (w *World) at(a [5]int) *member {
	if !in(a[0], int(roles)) || !in(a[1], len(w.machines)) {
		return nil
	}
	return w.member(role(a[0]), a[1])
}

// actor returns an outbox by its number, or nil: first come the routers, then the members of
// all machines, role by role, and from ghostActors on the ghosts.
func (w *World) actor(i int) *outbox {
	if g := i - ghostActors; in(g, len(w.ghosts)) {
		return w.ghosts[g].expire()
	}
	if in(i, len(w.routers)) {
		return w.routers[i].out
	}
	i -= len(w.routers)
	if n := len(w.machines); in(i, n*int(roles)) {
		return w.member(role(i/n), i%n).out
	}
	return nil
}

// ghostActors is the number of the first ghost.
const ghostActors = 100

// actors returns the numbers that actor knows.
func (w *World) actors() []int {
	var all []int
	for i := range len(w.routers) + len(w.machines)*int(roles) {
		all = append(all, i)
	}
	for i := range w.ghosts {
		all = append(all, ghostActors+i)
	}
	return all
}

// wait lets time pass. In the calm part it notes whether that delays anything.
func (w *World) wait(ms int) bool {
	if ms <= 0 {
		return false
	}
	if w.calm && !w.drained() {
		w.prompt = false
	}
	w.now += int64(ms)
	return true
}

// drained reports whether everything that was sent has been processed by the owners of its partitions.
func (w *World) drained() bool {
	for _, r := range w.routers {
		if r.unread() || !r.out.empty() {
			return false
		}
	}
	for _, m := range w.machines {
		for r := range roles {
			if m.members[r].proc.Failed() != nil || !m.members[r].out.empty() {
				return false
			}
		}
	}
	for r := range roles {
		g := w.groups[r]
		for p, id := range g.owner {
			rd := w.member(r, id).parts[int32(p)]
			if rd == nil || rd.next < int64(len(g.input.parts[p])) {
				return false
			}
		}
	}
	return true
}

func (w *World) killRouter(i, keep, haunt int) bool {
	old := w.routers[i]
	if ghost := old.out.die(keep, haunt); ghost != nil {
		w.ghosts = append(w.ghosts, ghost)
	}
	w.stats.Kills++
	w.routers[i] = newRouter(w, old.skewMS)
	for p, owner := range w.routerOf {
		if owner == i {
			w.routers[i].take(p)
		}
	}
	return true
}

func (w *World) kill(id, keep, haunt, lose int) bool {
	w.stats.Kills++
	for _, m := range w.machines[id].members {
		m.kill(keep, haunt, lose)
	}
	for _, m := range w.machines[id].members {
		m.start()
	}
	return true
}

func (w *World) wipe(id, keep, haunt int) bool {
	w.stats.Wipes++
	for _, m := range w.machines[id].members {
		m.local = disk.New(writeback.ErrBroken)
	}
	return w.kill(id, keep, haunt, 0)
}

// move gives a partition to a machine. The machine that had it does not know yet.
func (w *World) move(a [5]int) bool {
	m := w.at(a)
	if m == nil || !in(a[2], len(m.group().owner)) || m.group().owner[a[2]] == m.id {
		return false
	}
	p := int32(a[2])
	if m.parts[p] != nil {
		m.shut(p)
	}
	m.group().owner[p] = m.id
	m.open(p)
	m.proc.Joined()
	w.stats.Moves++
	return true
}

// lead is how far ahead of now a reshard must be cut, in addition to max_future, ms: two
// leases, in which every route learns of it, and an allowance for clocks.
const lead = 35_000

// reshard plans generation 1, which takes over at the next end of a window of the largest
// tier. No sample that was sent so far is as new as that; weir's max_future refuses such.
func (w *World) reshard() bool {
	if w.params.Reshard == 0 || len(w.generations.List) > 1 {
		return false
	}
	from := w.now + lead + w.windowsCfg.MaxFuture.MS()
	for _, h := range w.hosts {
		from = max(from, h.newest+1)
	}
	largest := w.tiers[len(w.tiers)-1]
	from = (from + largest - 1) / largest * largest
	w.generations = &schemas.Generations{Version: 1, List: append(slices.Clone(w.generations.List),
		schemas.Generation{Gen: 1, Shards: int32(w.params.Reshard), FromMS: from, State: schemas.Planned})}
	w.lagging = w.reset == 0
	w.stats.Reshards++
	return true
}

// beCalm corrects the clocks, makes members leave the partitions that they have lost, and begins to watch for delays.
func (w *World) beCalm() {
	for _, h := range w.hosts {
		h.skewMS = 0
	}
	for _, r := range w.routers {
		r.skewMS = 0
	}
	for _, m := range w.machines {
		m.skewMS, m.clockMS = 0, 0
		for r := range roles {
			for _, p := range m.members[r].opened() {
				if m.members[r].zombie(p) {
					m.members[r].shut(p)
					m.members[r].out.forget(p)
					m.members[r].proc.Joined()
				}
			}
		}
	}
	w.calm, w.prompt = true, true
	if w.calmMS == 0 {
		w.calmMS = w.now
	}
}

// String returns the op as a line of a trace.
func (op Op) String() string {
	var b strings.Builder
	b.WriteString(op.Verb)
	for i := range strings.Fields(verbs[verbAt[op.Verb]].args) {
		fmt.Fprintf(&b, " %d", op.Args[i])
	}
	return b.String()
}

// ParseOp reads what String wrote. Its error quotes the line.
func ParseOp(line string) (Op, error) {
	f := strings.Fields(line)
	if len(f) == 0 {
		return Op{}, fmt.Errorf("op %q: empty", line)
	}
	i, ok := verbAt[f[0]]
	if !ok {
		return Op{}, fmt.Errorf("op %q: no such verb", line)
	}
	if want := strings.Fields(verbs[i].args); len(f)-1 != len(want) {
		return Op{}, fmt.Errorf("op %q: wants %s", line, strings.Join(append([]string{f[0]}, want...), " "))
	}
	op := Op{Verb: f[0]}
	for k, text := range f[1:] {
		n, err := strconv.Atoi(text)
		if err != nil {
			return op, fmt.Errorf("op %q: %w", line, err)
		}
		op.Args[k] = n
	}
	return op, nil
}

// String returns the params as a line of a trace.
func (p Params) String() string {
	var b strings.Builder
	b.WriteString("world")
	for i, v := range p.fields() {
		fmt.Fprintf(&b, " %s=%d", paramNames[i], *v)
	}
	return b.String()
}

var paramNames = []string{"seed", "hosts", "metrics", "shards", "reshard", "alerts", "routers", "machines", "chunk", "tiers", "max_age_s", "max_future_s",
	"paths", "max_series", "per_metric", "total", "rate", "max_value", "max_alert", "rules"}

func (p *Params) fields() []*int {
	return []*int{&p.Seed, &p.Hosts, &p.Metrics, &p.Shards, &p.Reshard, &p.Alerts, &p.Routers, &p.Machines, &p.Chunk, &p.Tiers, &p.MaxAge, &p.Future,
		&p.Paths, &p.MaxSeries, &p.PerMetric, &p.Total, &p.Rate, &p.MaxValue, &p.MaxAlert, &p.Rules}
}

// ParseParams reads what String wrote. Its error quotes the line.
func ParseParams(line string) (Params, error) {
	var p Params
	f := strings.Fields(line)
	if n := len(paramNames); len(f) < n-2 || len(f) > n+1 || len(f) == 0 || f[0] != "world" {
		return p, fmt.Errorf("%q: wants world and %s", line, strings.Join(paramNames, " "))
	}
	for _, kv := range f[1:] {
		name, text, _ := strings.Cut(kv, "=")
		i := slices.Index(paramNames, name)
		n, err := strconv.Atoi(text)
		if i < 0 || err != nil {
			return p, fmt.Errorf("%q: %q is not NAME=NUMBER", line, kv)
		}
		*p.fields()[i] = n
	}
	if p.Tiers < 0 || p.Tiers >= len(tierSets) || min(p.Reshard, p.Paths, p.MaxSeries, p.PerMetric, p.Total, p.Rate) < 0 || max(p.Shards, p.Reshard, p.Alerts) > 16 || min(p.Hosts, p.Metrics, p.Shards, p.Alerts, p.Routers, p.Machines, p.Chunk) < 1 {
		return p, fmt.Errorf("%q: out of bounds", line)
	}
	return p, nil
}
