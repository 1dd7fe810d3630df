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
	windowRole role = iota // the windows of generation 0
	alertRole
	nextRole // the windows of generation 1
	roles
)

// group is what the broker knows of a consumer group.
type group struct {
	input, table *topic
	owner        []int   // the machine that owns each partition
	committed    []int64 // committed offset of each partition
}

// machine runs one member of each group. Its disk outlives its process.
type machine struct {
	skewMS  int64
	clockMS int64 // see setClock
	members [roles]*member
}

// member is a process as a member of one group, with the processor of that group. It reads a
// partition from its assignment until it notices that it has lost it.
type member struct {
	w     *World
	role  role
	id    int // of the machine
	local *disk.Disk
	proc  writeback.Driven
	out   *outbox
	parts map[int32]*reading
}

// reading is a partition that a member believes it owns.
type reading struct {
	next    int64 // next offset to read
	noted   int64 // offset that the current checkpoint will commit
	running bool  // a checkpoint is in progress
	flushed bool  // the checkpoint has written back everything
}

func (m *member) skewMS() int64 {
	at := m.w.machines[m.id]
	return at.skewMS + at.clockMS
}

func (m *member) group() *group { return m.w.groups[m.role] }

// start starts a new process on the machine's disk, and opens its partitions.
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

// open recovers a partition and starts to read it at the committed offset.
func (m *member) open(p int32) {
	g := m.group()
	from, err := m.proc.Open(p)
	if isBroken(err) { // Open has thrown the broken store away
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

// opened returns the partitions that the member believes it owns, in order.
func (m *member) opened() []int32 {
	var ps []int32
	for p := range m.parts {
		ps = append(ps, p)
	}
	slices.Sort(ps)
	return ps
}

// zombie reports whether the member believes it owns a partition that it has lost.
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

// rejoin plays a rebalance that gives the member back the partitions that it owns.
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

// begin starts a checkpoint and notes the offset that it will commit.
func (m *member) begin(p int32) bool {
	rd := m.parts[p]
	if rd == nil || rd.running {
		return false
	}
	rd.noted, rd.running, rd.flushed = m.proc.Begin(p), true, false
	return true
}

// flush writes back the next n changed values.
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

// mark commits the noted offset, once everything that was sent is acknowledged. The broker
// accepts that only from the owner.
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
			m.w.violate("harm: a value of %q was refused, but the samples that it had applied are committed", key)
		}
	}
	return true
}

// kill ends the process at once. For the records that it had sent see outbox.die; the last lose
// writes to its disk are gone.
func (m *member) kill(keep, haunt, lose int) {
	if ghost := m.out.die(keep, haunt); ghost != nil {
		m.w.ghosts = append(m.w.ghosts, ghost)
	}
	m.local.Crash(lose)
}
