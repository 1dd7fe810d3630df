package simulation

import (
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/processors/writeback"
	"github.com/weir-metrics/weir/processors/writeback/disk"
)

// role is one of the processors that keep state.
type role int

const (
	windowRole role = iota // of generation 0
	alertRole
	nextRole // the windows of generation 1
	roles
)

// group is a consumer group: what the broker knows of it.
type group struct {
	input, table *topic
	owner        []int   // machine, by partition
	committed    []int64 // by partition
}

// machine runs one member of each group. Its disk outlives its process.
type machine struct {
	skewMS  int64
	clockMS int64 // see setClock
	members [roles]*member
}

// member is a process' part in one group, and the processor that runs in it. It reads
// a partition from when it was given it until it notices that it has lost it.
type member struct {
	w     *World
	role  role
	id    int // of the machine
	local *disk.Disk
	proc  writeback.Driven
	out   *outbox
	parts map[int32]*reading
}

// reading is a partition that a member believes to own.
type reading struct {
	next    int64 // offset to read
	noted   int64 // of the checkpoint under way
	running bool  // a checkpoint is under way
	flushed bool  // and has written back everything
}

func (m *member) skewMS() int64 {
	at := m.w.machines[m.id]
	return at.skewMS + at.clockMS
}

func (m *member) group() *group { return m.w.groups[m.role] }

// start makes a new process on the machine's disk, and gives it its partitions.
func (m *member) start() {
	m.out = newOutbox(m.w)
	out, local := m.out, m.local
	m.parts = map[int32]*reading{}
	m.proc = m.w.drive(m.role, writeback.Host{Table: func(id int32) writeback.Table { return local.Table(id) }, Produce: func(r *kgo.Record, done func(*kgo.Record, error)) {
		out.produce(m.w.now+m.skewMS(), r, done)
	}, Writer: m.w.nextWriter, NowMS: func() int64 { return m.w.now + m.skewMS() }})
	for p, owner := range m.group().owner {
		if owner == m.id {
			m.open(int32(p))
		}
	}
	m.proc.Joined()
}

// open recovers a partition and begins to read it at the commit.
func (m *member) open(p int32) {
	g := m.group()
	from, err := m.proc.Open(p)
	if isBroken(err) { // it is thrown away
		from, err = m.proc.Open(p)
	}
	table := g.table.parts[p]
	if from > int64(len(table)) {
		err = errors.Join(err, fmt.Errorf("the local store of machine %d is at %d of a changelog of %d", m.id, from, len(table)))
		from = int64(len(table))
	}
	for _, r := range table[from:] {
		if !g.table.compacted[r] {
			err = errors.Join(err, m.proc.Load(p, r))
		}
	}
	m.out.forgetRead(p, table[from:])
	err = errors.Join(err, m.proc.Recovered(p))
	m.w.must(err)
	m.parts[p] = &reading{next: g.committed[p]}
}

// shut closes a partition.
func (m *member) shut(p int32) {
	if err := m.proc.Close(p); !isBroken(err) {
		m.w.must(err)
	}
	delete(m.parts, p)
	delete(m.out.refused, p)
}

// opened are the partitions that it believes to own, in order.
func (m *member) opened() []int32 {
	var ps []int32
	for p := range m.parts {
		ps = append(ps, p)
	}
	slices.Sort(ps)
	return ps
}

// zombie reports whether it believes to own a partition that it does not own.
func (m *member) zombie(p int32) bool { return m.parts[p] != nil && m.group().owner[p] != m.id }

// read processes the next n records of a partition.
func (m *member) read(p int32, n int) bool {
	rd := m.parts[p]
	if rd == nil {
		return false
	}
	log := m.group().input.parts[p]
	n = min(n, len(log)-int(rd.next))
	for range n {
		m.proc.Record(p, log[rd.next])
		rd.next++
	}
	if m.zombie(p) {
		m.w.stats.ZombieReads += max(n, 0)
	}
	return n > 0
}

// rejoin is a rebalance that gives it back what it still owns.
func (m *member) rejoin() {
	before := m.opened()
	for _, p := range before {
		m.shut(p)
	}
	for p, owner := range m.group().owner {
		if owner == m.id {
			m.open(int32(p))
		}
	}
	m.proc.Joined()
}

// begin notes the offset of a checkpoint; flush writes back the next n changed values;
// mark commits the offset when all that was sent is acknowledged, which the broker
// takes from the owner only.
func (m *member) begin(p int32) bool {
	rd := m.parts[p]
	if rd == nil || rd.running {
		return false
	}
	rd.noted, rd.running, rd.flushed = m.proc.Begin(p), true, false
	return true
}

func (m *member) flush(p int32, n int) bool {
	rd := m.parts[p]
	if rd == nil || !rd.running || rd.flushed {
		return false
	}
	for range n {
		if !m.proc.Flush(p) {
			rd.flushed = true
			break
		}
	}
	return true
}

func (m *member) mark(p int32) bool {
	rd := m.parts[p]
	if rd == nil || !rd.flushed || !m.out.empty() || m.proc.Failed() != nil {
		return false
	}
	rd.running, rd.flushed = false, false
	if g := m.group(); g.owner[p] == m.id && rd.noted > 0 && !m.proc.Refused(p) {
		g.committed[p] = rd.noted
		m.proc.Marked(p, rd.noted)
		m.w.stats.Checkpoints++
		for key := range m.out.refused[p] {
			m.w.violate("harm: a value of %q was refused, and what it had applied is committed", key)
		}
	}
	return true
}

// kill ends the process without a word: see outbox.die for what it had sent; of its
// disk the last lose writes are gone.
func (m *member) kill(keep, haunt, lose int) {
	if ghost := m.out.die(keep, haunt); ghost != nil {
		m.w.ghosts = append(m.w.ghosts, ghost)
	}
	m.local.Crash(lose)
}
