package windows

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/weir-metrics/weir/schemas"
)

// recentDigests is how many sections a group remembers, to drop one that a sender repeats under
// another origin.
const recentDigests = 32

// repeats is what a group remembers of the last sections that it applied, so that a section that
// its sender sends again counts once, whatever origin it then has.
type repeats struct {
	recent  [recentDigests]schemas.ID // digests; a ring
	next    uint8                     // in recent
	partial []partialSection          // sections of which some samples were refused
}

// partialSection is a section of which some samples were refused. When it is sent again, those are
// new and the others are repeats.
type partialSection struct {
	digest  schemas.ID
	refused []uint32 // their places in the section, as ascending runs: the first, and one past the last
}

const (
	maxPartial     = 8   // sections refused in part that a group remembers
	maxPartialRuns = 128 // runs of places in one; in a section with more, each sample tells whether it is a repeat
)

// find reports whether the section came before under another origin: all of it, or, if refused is
// not nil, all but the samples at these places.
func (p *repeats) find(s *schemas.Section) (all bool, refused []uint32) {
	if s.Digest == (schemas.ID{}) {
		return false, nil
	}
	for i := range p.partial {
		if p.partial[i].digest == s.Digest {
			return false, p.partial[i].refused
		}
	}
	for i := range p.recent {
		if p.recent[i] == s.Digest {
			return true, nil
		}
	}
	return false, nil
}

// inRuns reports whether the place is in one of the runs.
func inRuns(runs []uint32, at uint32) bool {
	i, found := slices.BinarySearch(runs, at)
	if found {
		return i%2 == 0
	}
	return i%2 == 1
}

// remember records the sections that were applied, without what was refused of them: that was not
// counted, so it is no repeat when it is sent again. applied are the numbers of the sections in b,
// and refused the places of points in b, which remember sorts.
func (p *repeats) remember(b *schemas.SampleBatch, applied []int, refused []uint32) {
	if len(refused) > 1 {
		slices.Sort(refused)
	}
	rest := refused
	for _, i := range applied {
		s := &b.Sections[i]
		for len(rest) > 0 && int(rest[0]) < s.From {
			rest = rest[1:]
		}
		n := 0
		for n < len(rest) && int(rest[n]) < s.To {
			n++
		}
		p.rememberSection(s, rest[:n], len(applied) > 1)
	}
}

// rememberSection records a section; among tells that it is one of several in its batch.
func (p *repeats) rememberSection(s *schemas.Section, refused []uint32, among bool) {
	if s.Digest == (schemas.ID{}) {
		return
	}
	if len(p.partial) > 0 {
		p.partial = slices.DeleteFunc(p.partial, func(old partialSection) bool { return old.digest == s.Digest })
	}
	switch {
	case len(refused) == 0:
		if among && slices.Contains(p.recent[:], s.Digest) {
			return // a second copy in the same batch: whole sections are known from one batch to the next
		}
		p.recent[p.next%recentDigests] = s.Digest
		p.next = (p.next + 1) % recentDigests
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
	if len(p.partial) == maxPartial {
		p.partial = append(p.partial[:0], p.partial[1:]...)
	}
	p.partial = append(p.partial, partialSection{s.Digest, runs})
}

func (s *partialSection) appendTo(dst []byte) []byte {
	dst = appendID(dst, s.digest)
	dst = binary.AppendUvarint(dst, uint64(len(s.refused)))
	before := uint32(0)
	for _, at := range s.refused {
		dst = binary.AppendUvarint(dst, uint64(at-before))
		before = at
	}
	return dst
}

func (p *repeats) appendTo(dst []byte) []byte {
	for _, d := range p.recent {
		dst = appendID(dst, d)
	}
	dst = binary.AppendUvarint(dst, uint64(len(p.partial)))
	for i := range p.partial {
		dst = p.partial[i].appendTo(dst)
	}
	return dst
}

// decode reads what appendTo wrote. The digests of version 2 are hashes of 64 bits, and are not
// taken over.
func (p *repeats) decode(r *reader) {
	for i := range p.recent {
		if p.recent[i] = r.id(); r.version < 3 {
			p.recent[i] = schemas.ID{}
		}
	}
	if r.version < 3 {
		return
	}
	n := r.count(19)
	if n > maxPartial {
		r.bad = true
	}
	for ; n > 0 && !r.bad; n-- {
		s := partialSection{digest: r.id()}
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
			s.refused = append(s.refused, uint32(before))
		}
		p.partial = append(p.partial, s)
	}
}
