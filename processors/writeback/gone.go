package writeback

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// # Keys that are gone
//
// A key that Logic lets go of no longer has a value. But a record that a former owner wrote late
// may still reach the changelog, or be there without the owner having read it. If the key were
// deleted, that would be its only value, and come back at the next recovery. So its offset stays in
// the table, as the value of a key that is *gone*: any older value loses to it, and is then
// deleted. A later record of the key begins a new value.
//
// The last maxGone keys of a partition stay; earlier ones are deleted.

// maxGone bounds the keys of a partition that are gone and stay in the table. Each takes some 200
// bytes of memory.
const maxGone = 4096

// gone is a key that was let go of.
type gone struct {
	key     string
	offset  int64    // of the last record applied to its value
	writers []writer // as in Entry
}

// goneVersion begins the stored form of a key that is gone; the offset follows.
const goneVersion = 4

// isGone reports whether b is exactly the stored form of a key that is gone.
func isGone(b []byte) bool {
	if len(b) == 0 || b[0] != goneVersion {
		return false
	}
	offset, n := binary.Varint(b[1:])
	return n > 0 && n == len(b)-1 && offset >= 0
}

// letGo forgets the entry, which has nothing pending, and leaves its offset in the table.
func (p *Partition[T, L]) letGo(e *Entry[T, L]) {
	p.drop(e)
	if len(e.writers) == 0 {
		return // the table has nothing of it
	}
	p.writeGone(&gone{e.Key, e.offset, e.writers})
}

// writeGone writes the key's offset, and keeps it.
func (p *Partition[T, L]) writeGone(g *gone) {
	raw := tableKey(g.key, p.writer)
	value := binary.AppendVarint([]byte{goneVersion}, g.offset)
	if err := p.put(string(raw), value); err != nil {
		p.eng.fail(fmt.Errorf("write state of %q to partition %d: %w", g.key, p.ID, err))
		return
	}
	if !slices.Contains(g.writers, p.writer) {
		g.writers = append(slices.Clip(g.writers), p.writer)
	}
	others := len(g.writers) > 1
	p.keepGone(g)
	p.log(raw, value, func(err error) {
		if err == nil && others {
			p.mu.Lock()
			p.sweepsGone = append(p.sweepsGone, g)
			p.mu.Unlock()
		}
	})
}

// readGone reads a key that is gone from its stored form.
func (p *Partition[T, L]) readGone(key string, writers []writer, value []byte) {
	g := &gone{key, storedOffset(value), writers}
	if len(writers) > 1 { // the others have older values, late or not yet deleted: write it under this writer's name, and then delete theirs
		p.writeGone(g)
		return
	}
	p.keepGone(g)
}

// keepGone remembers a key that is gone, and deletes those for which there is no more room.
func (p *Partition[T, L]) keepGone(g *gone) {
	if p.gone == nil {
		p.gone = map[string]*gone{}
	}
	p.gone[g.key] = g
	p.goneOrder = append(p.goneOrder, g)
	if p.recovered {
		p.limitGone()
	}
}

// orderGone sorts the keys that a recovery has found, in the order of the store, into the order in
// which they were let go.
func (p *Partition[T, L]) orderGone() {
	slices.SortStableFunc(p.goneOrder, func(a, b *gone) int { return cmp.Compare(a.offset, b.offset) })
	p.limitGone()
}

func (p *Partition[T, L]) limitGone() {
	if len(p.goneOrder) > 2*maxGone { // most have come back, or are gone again
		p.goneOrder = slices.DeleteFunc(p.goneOrder, func(g *gone) bool { return p.gone[g.key] != g })
	}
	for len(p.gone) > maxGone {
		first := p.goneOrder[0]
		p.goneOrder[0] = nil
		p.goneOrder = p.goneOrder[1:]
		if p.gone[first.key] == first {
			delete(p.gone, first.key)
			p.delete(first.key, first.writers)
		}
	}
}

// sweepGone deletes the records of other writers for keys that are gone and whose own record is
// acknowledged.
func (p *Partition[T, L]) sweepGone(gs []*gone) {
	for _, g := range gs {
		if p.gone[g.key] != g {
			continue
		}
		for _, w := range g.writers {
			if w != p.writer {
				p.deleteOf(g.key, w)
			}
		}
		g.writers = []writer{p.writer}
	}
}
