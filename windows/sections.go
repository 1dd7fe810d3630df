package windows

import (
	"encoding/binary"
	"math"
	"slices"

	"weir/schemas"
)

// recentDigests is how many sections of a group are remembered to drop one that a
// sender repeats under another origin.
const recentDigests = 32

// originMark is the last section applied from one partition of an origin topic.
type originMark struct {
	epoch     uint64
	offset    int64
	newest    int64 // event time of the newest sample applied from there, ms, at most the time of arrival
	partition int32
	chunk     uint32
	behind    bool // the section had waited there
}

// maxOrigins bounds the partitions that a group remembers; the one from which it has
// had nothing for the longest time is forgotten: what route hands on again is recent.
const maxOrigins = 256

// partialSection is a section of which some samples were refused. Sent again, those are new,
// and the others are repeats.
type partialSection struct {
	digest  schemas.ID
	refused []uint32 // their places in the section, in runs: from, and one past the last, ascending
}

const (
	maxPartial     = 8   // sections of a group that were refused in part and are remembered
	maxPartialRuns = 128 // of places in one; of a section with more, each sample tells whether it is a repeat
)

// replayed says whether the section was applied before, by its origin; if not, the origin
// is noted.
func (g *Group) replayed(s *schemas.Section) bool {
	o := s.Origin
	mark := -1
	newest := int64(none)
	for i := range g.origins {
		if m := &g.origins[i]; m.partition == o.Partition && m.epoch == o.Epoch {
			if o.Offset < m.offset || o.Offset == m.offset && s.Chunk <= m.chunk {
				return true
			}
			mark, newest = i, m.newest
			break
		}
	}
	switch {
	case mark >= 0:
		g.origins = append(g.origins[:mark], g.origins[mark+1:]...)
	case len(g.origins) == maxOrigins:
		g.origins = append(g.origins[:0], g.origins[1:]...)
	}
	g.origins = append(g.origins, originMark{epoch: o.Epoch, partition: o.Partition, offset: o.Offset, chunk: s.Chunk, newest: newest, behind: s.Behind})
	return false
}

// repeats says whether the section came before under another origin: all of it, or, if
// refused is not nil, all but the samples at these places.
func (g *Group) repeats(s *schemas.Section) (all bool, refused []uint32) {
	if s.Digest == (schemas.ID{}) {
		return false, nil
	}
	for i := range g.partial {
		if g.partial[i].digest == s.Digest {
			return false, g.partial[i].refused
		}
	}
	for _, d := range g.recent {
		if d == s.Digest {
			return true, nil
		}
	}
	return false, nil
}

// inRuns says whether the place is in one of the runs.
func inRuns(runs []uint32, at uint32) bool {
	i, found := slices.BinarySearch(runs, at)
	if found {
		return i%2 == 0
	}
	return i%2 == 1
}

// remember notes the sections that were applied, but for what was refused of them: that was
// not counted, so it is no repeat when it is sent again. applied are their numbers in b.
func (g *Group) remember(co *Core, b *schemas.SampleBatch) {
	slices.Sort(co.refused)
	rest := co.refused
	for _, i := range co.applied {
		s := &b.Sections[i]
		for len(rest) > 0 && int(rest[0]) < s.From {
			rest = rest[1:]
		}
		n := 0
		for n < len(rest) && int(rest[n]) < s.To {
			n++
		}
		g.rememberSection(s, rest[:n])
	}
}

func (g *Group) rememberSection(s *schemas.Section, refused []uint32) {
	if s.Digest == (schemas.ID{}) {
		return
	}
	g.partial = slices.DeleteFunc(g.partial, func(p partialSection) bool { return p.digest == s.Digest })
	switch {
	case len(refused) == 0:
		g.recent[g.recentN%recentDigests] = s.Digest
		g.recentN = (g.recentN + 1) % recentDigests
		return
	case len(refused) == s.To-s.From:
		return
	}
	var runs []uint32
	for _, at := range refused {
		at -= uint32(s.From)
		if n := len(runs); n > 0 && runs[n-1] == at {
			runs[n-1]++
			continue
		}
		if len(runs) == 2*maxPartialRuns {
			return
		}
		runs = append(runs, at, at+1)
	}
	if len(g.partial) == maxPartial {
		g.partial = append(g.partial[:0], g.partial[1:]...)
	}
	g.partial = append(g.partial, partialSection{s.Digest, runs})
}

func (p *partialSection) appendTo(dst []byte) []byte {
	dst = appendID(dst, p.digest)
	dst = binary.AppendUvarint(dst, uint64(len(p.refused)))
	before := uint32(0)
	for _, at := range p.refused {
		dst = binary.AppendUvarint(dst, uint64(at-before))
		before = at
	}
	return dst
}

// decodePartial reads the sections that were refused in part.
func (g *Group) decodePartial(r *reader) {
	n := r.count(19)
	if n > maxPartial {
		r.bad = true
	}
	for ; n > 0 && !r.bad; n-- {
		p := partialSection{digest: r.id()}
		runs := r.count(1)
		if runs == 0 || runs%2 == 1 || runs > 2*maxPartialRuns {
			r.bad = true
			return
		}
		before := uint64(0)
		for i := range runs {
			d := r.uvarint()
			if i > 0 && d == 0 || before+d > math.MaxUint32 || d > math.MaxUint32 {
				r.bad = true
				return
			}
			before += d
			p.refused = append(p.refused, uint32(before))
		}
		g.partial = append(g.partial, p)
	}
}
