package simulation

import (
	"math/rand/v2"

	"github.com/weir-metrics/weir/schemas/topics"
)

// planner chooses the ops of a run from a seed. It looks at the world, so that most of the
// ops that it chooses do something.
type planner struct {
	rnd *rand.Rand
	w   *World
	ops []Op

	haunted int64 // when a process was last killed whose records may still arrive, ms

	// What may happen in this run. A run with few kinds of faults is easier to read, and
	// finds what many kinds at once would hide.
	late, future, skew, zombies, ghosts, timeouts, wipes, repeats, growth, jumps, compacts, clocks, breaks, aborts, rubbish, poison bool

	weights [faultKinds]int // how often each kind of fault is chosen
	share   int             // percentage of faults among the steps of the rough part
}

// faultKinds is the number of cases in fault.
const faultKinds = 18

// newPlanner makes the world of a seed.
func newPlanner(seed uint64) *planner {
	rnd := rand.New(rand.NewPCG(seed, 0x5eed))
	some := func() bool { return rnd.IntN(2) == 0 }
	p := &planner{rnd: rnd, late: some(), future: some(), skew: some(), zombies: some(), ghosts: some(), timeouts: some(),
		wipes: some(), repeats: some(), growth: some(), jumps: some(), compacts: some(), clocks: some(), breaks: some(), aborts: some(), rubbish: some(), poison: some()}
	for i := range p.weights {
		p.weights[i] = []int{0, 1, 1, 2, 8}[rnd.IntN(5)]
	}
	p.weights[0]++ // the sum must not be 0
	p.share = 2 + rnd.IntN(16)
	params := Params{Seed: int(seed % 1_000_000_007), Hosts: 1 + rnd.IntN(3), Metrics: 1 + rnd.IntN(3), Shards: 1 + rnd.IntN(2), Reshard: []int{0, 0, 1, 2, 3}[rnd.IntN(5)], Alerts: 1 + rnd.IntN(2),
		Routers: 1 + rnd.IntN(2), Machines: 1 + rnd.IntN(3), Chunk: []int{2, 5, 1000}[rnd.IntN(3)], Tiers: rnd.IntN(len(tierSets)),
		MaxAge: []int{60, 300, 3600, 86400}[rnd.IntN(4)], Future: []int{0, 20, 60}[rnd.IntN(3)]}
	if rnd.IntN(3) == 0 { // each limit in some of these runs
		params.Paths = rnd.IntN(7)
		params.MaxSeries = []int{0, 0, 2, 4, 6, 8}[rnd.IntN(6)]
		params.PerMetric = []int{0, 0, 1, 2, 3, 4}[rnd.IntN(6)]
		params.Total = []int{0, 0, 0, 4, 8, 14}[rnd.IntN(6)]
		params.Rate = []int{0, 0, 1, 2, 4, 8}[rnd.IntN(6)]
	}
	if params.Total == 0 && rnd.IntN(6) == 0 {
		params.MaxValue = []int{650, 700, 900, 1200, 2000}[rnd.IntN(5)] // a new value has 574 bytes
	}
	if rnd.IntN(8) == 0 {
		params.MaxAlert = []int{300, 500, 700, 900, 1200}[rnd.IntN(5)]
	}
	if params.MaxValue == 0 { // MaxValue is chosen for values with the first set of rules
		params.Rules = rnd.IntN(3)
	}
	p.w = newWorld(params)
	return p
}

// do runs an op and adds it to the run if it did something.
func (p *planner) do(verb string, args ...int) bool {
	op := Op{Verb: verb}
	copy(op.Args[:], args)
	if !p.w.do(op) {
		return false
	}
	p.ops = append(p.ops, op)
	return true
}

func (p *planner) n(n int) int { return p.rnd.IntN(n) }

// oneIn returns true once in n calls, on average.
func (p *planner) oneIn(n int) bool { return p.rnd.IntN(n) == 0 }

// run plays the whole run: a rough part, in which anything may be late, and a calm part,
// in which each second is finished before the next begins, whatever fails in it.
func (p *planner) run() {
	if !p.oneIn(3) {
		for n := 50 + p.n(500); n > 0 && p.w.fault == nil; n-- {
			p.rough()
		}
	}
	if p.oneIn(4) {
		return
	}
	p.calm()
}

// rough is one step of the rough part.
func (p *planner) rough() {
	w := p.w
	switch k := p.n(100); {
	case k < 14:
		switch {
		case p.jumps && p.oneIn(12):
			p.jump(1000 * (30 + p.n(1200)))
		case p.jumps && p.oneIn(60) && w.now < epochMS+forgetMS/2:
			p.jump(3600_000 * (1 + p.n(20)))
		default:
			p.do("wait", 1+p.n(4000))
		}
	case k < 30:
		p.send()
	case k < 34:
		for id := range w.machines {
			p.do("tick", p.n(int(roles)), id)
		}
	case k < 38:
		p.checkpoint()
	case k == 38 && p.oneIn(3):
		p.do("reshard")
	case k < 100-p.share:
		p.progress()
	default:
		p.fault()
	}
}

// checkpoint plays a whole checkpoint of a partition that some member believes it owns, or,
// now and then, breaks off in the middle.
func (p *planner) checkpoint() {
	w := p.w
	r, id := p.n(int(roles)), p.n(len(w.machines))
	mem := w.member(role(r), id)
	parts := mem.opened()
	if len(parts) == 0 {
		return
	}
	part := int(parts[p.n(len(parts))])
	if p.oneIn(2) {
		p.do("read", r, id, part, 1+p.n(8))
	}
	p.do("begin", r, id, part)
	for mem.parts[int32(part)].running && !mem.parts[int32(part)].flushed {
		if p.oneIn(20) || !p.do("flush", r, id, part, 1+p.n(3)) {
			return
		}
		for _, queue := range mem.out.queues { // values are only sent after their letters
			if n := len(queue.items); n > 0 && queue.topic.name == topics.DeadLetter && p.oneIn(3) {
				p.do("put", p.actorOf(r, id), queue.id, n, n)
			}
		}
	}
	for _, queue := range mem.out.queues {
		if p.oneIn(20) {
			return
		}
		if n := len(queue.items); n > 0 {
			p.do("put", p.actorOf(r, id), queue.id, n, n)
		}
	}
	p.do("mark", r, id, part)
}

// jump lets a long time pass. Before it, members leave the partitions that they have lost,
// everything in the network is delivered, and routers commit what they have read: none of
// that stays open for hours, and nothing is routed a second time hours later.
func (p *planner) jump(ms int) {
	for id, m := range p.w.machines {
		for r := range roles {
			for _, part := range m.members[r].opened() {
				p.do("leave", int(r), id, int(part))
			}
		}
	}
	p.haunted = 0
	p.deliver()
	for i, r := range p.w.routers {
		for part := range p.w.metrics {
			for at, owns := r.at[part]; owns && at < p.w.polled[part]; at = r.at[part] {
				p.do("poll", i, 4)
				p.deliver()
			}
		}
		p.do("commit", i)
	}
	p.do("wait", ms)
}

// deliver stores and acknowledges everything that was sent.
func (p *planner) deliver() {
	for _, a := range p.w.actors() {
		for _, queue := range p.w.actor(a).queues {
			if n := len(queue.items); n > 0 && a < ghostActors {
				p.do("put", a, queue.id, n, n)
			}
		}
	}
}

// send makes a host send, mostly new samples.
func (p *planner) send() {
	w := p.w
	host := p.n(len(w.hosts))
	part := host % len(w.metrics) // most senders keep to one partition
	if p.oneIn(3) {
		part = p.n(len(w.metrics))
	}
	shift := 0
	switch k := p.n(20); {
	case p.repeats && k == 0:
		if p.oneIn(3) {
			p.do("some", host, part, 1+p.n(4))
		} else {
			p.do("again", host, part)
		}
		return
	case p.late && k < 3:
		shift = -p.n(15_000)
	case p.late && k < 5:
		shift = -p.n(200_000)
	case p.late && k == 5:
		shift = -p.n(4_000_000)
	case p.future && k == 6:
		shift = p.n(90_000) // beyond any max_future, so that some are refused
	}
	count := 1
	if p.oneIn(6) {
		count += p.n(20)
	}
	p.do("send", host, part, shift, count)
}

// progress takes one step, chosen at random among those that are possible.
func (p *planner) progress() bool {
	type choice struct {
		verb string
		args []int
	}
	var can []choice
	add := func(verb string, args ...int) { can = append(can, choice{verb, args}) }
	w := p.w
	for i, r := range w.routers {
		if r.out.empty() && r.unread() {
			add("poll", i, 1+p.n(4))
		}
		if p.oneIn(4) {
			add("commit", i)
		}
	}
	for _, a := range w.actors() {
		for _, queue := range w.actor(a).queues {
			if n := len(queue.items); n > 0 && (a < ghostActors || w.now < p.haunted+60_000 && p.oneIn(2)) {
				put := 1 + p.n(n)
				acks := put
				if p.oneIn(4) {
					acks = p.n(put + 1)
				}
				add("put", a, queue.id, put, acks)
			}
		}
	}
	p.members(add)
	for part, at := range w.store.next {
		if at < int64(len(w.topics["windows"].parts[part])) && p.oneIn(3) {
			add("store", part, 1+p.n(8))
		}
	}
	if len(can) == 0 {
		return false
	}
	c := can[p.n(len(can))]
	return p.do(c.verb, c.args...)
}

// members adds the steps that members of the groups can take.
func (p *planner) members(add func(verb string, args ...int)) {
	for id, m := range p.w.machines {
		for r := range roles {
			mem := m.members[r]
			for _, part := range mem.opened() {
				rd := mem.parts[part]
				if left := len(mem.group().input.parts[part]) - int(rd.next); left > 0 {
					add("read", int(r), id, int(part), 1+p.n(min(left, 6)))
				}
				switch {
				case !rd.running && p.oneIn(6):
					add("begin", int(r), id, int(part))
				case rd.running && !rd.flushed:
					add("flush", int(r), id, int(part), 1+p.n(3))
				case rd.flushed && mem.out.empty():
					add("mark", int(r), id, int(part))
				}
				if mem.zombie(part) && p.oneIn(20) {
					add("leave", int(r), id, int(part))
				}
			}
		}
	}
}

// fault makes something fail, or change.
func (p *planner) fault() {
	w := p.w
	for r := range int(roles) { // whoever recovers next must not miss the compacted records
		for part := range w.groups[r].owner {
			if p.compacts && p.oneIn(3) {
				p.do("compact", r, part)
			}
		}
	}
	machine, router := p.n(len(w.machines)), p.n(len(w.routers))
	r := p.n(int(roles))
	haunt := 0
	if p.ghosts && !w.calm {
		haunt = p.n(6)
		p.haunted = w.now
	}
	switch p.kind() {
	case 0:
		p.do("kill", machine, p.n(4), haunt, p.n(12))
	case 1:
		if p.wipes {
			p.do("wipe", machine, p.n(4), haunt)
		}
	case 2:
		p.do("rejoin", r, machine)
	case 3:
		if len(w.groups[r].owner) == 0 {
			return
		}
		part := p.n(len(w.groups[r].owner))
		was := w.groups[r].owner[part]
		if p.do("move", r, machine, part) && (!p.zombies || w.calm) {
			p.do("leave", r, was, part)
		}
	case 4:
		p.do("rkill", router, p.n(4), haunt)
	case 5:
		p.do("assign", p.n(len(w.metrics)), router)
	case 6:
		if p.timeouts {
			p.timeOut(r, machine, haunt)
		}
	case 7:
		if p.skew && !w.calm {
			p.do("skew", machine, p.n(80_000)-40_000)
		}
	case 8:
		if p.skew && !w.calm {
			p.do("hskew", p.n(len(w.hosts)), p.n(80_000)-40_000)
		}
	case 9:
		if p.skew && !w.calm {
			p.do("rskew", router, p.n(20_000)-10_000)
		}
	case 10:
		if p.growth && len(w.metrics) < 6 {
			p.do("grow")
		}
	case 12:
		if p.compacts && len(w.groups[r].owner) > 0 {
			p.do("compact", r, p.n(len(w.groups[r].owner)))
		}
	case 14:
		if p.breaks {
			p.breakStore(machine)
		}
	case 15:
		if p.aborts {
			p.do("abort", p.n(len(w.hosts)+1), p.n(len(w.metrics)))
		}
	case 16:
		if n := len(w.groups[r].owner); p.rubbish && n > 0 {
			part := p.n(n)
			p.do("rubbish", r, part, p.n(len(rubbish)), p.n(len(w.groups[r].input.parts[part])+1))
		}
	case 17:
		if n := len(w.groups[r].owner); p.poison && n > 0 {
			p.do("poison", r, p.n(n))
		}
	case 13:
		if p.clocks {
			p.wrongClock(r)
		}
	case 11:
		p.do("rewind", p.n(w.params.Shards), 1+p.n(20))
	}
}

// kind chooses a case of fault by the weights of this run.
func (p *planner) kind() int {
	sum := 0
	for _, n := range p.weights {
		sum += n
	}
	at := p.n(sum)
	for i, n := range p.weights {
		if at -= n; at < 0 {
			return i
		}
	}
	return 0
}

// timeOut makes a queue of a machine time out. The process carries on for a few steps and
// then ends.
func (p *planner) timeOut(r, machine, haunt int) {
	w := p.w
	queues := w.member(role(r), machine).out.queues
	if !p.do("fail", r, machine, queues[p.n(len(queues))].id, p.n(3)) {
		return
	}
	mem := w.member(role(r), machine)
	for n := p.n(6); n > 0; n-- {
		for _, part := range mem.opened() {
			p.do("read", r, machine, int(part), 1)
		}
		for _, queue := range mem.out.queues {
			p.do("put", p.actorOf(r, machine), queue.id, 1, 1)
		}
	}
	p.do("kill", machine, p.n(3), haunt, p.n(6))
}

func (p *planner) actorOf(r, machine int) int {
	return len(p.w.routers) + r*len(p.w.machines) + machine
}
