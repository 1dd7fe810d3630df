package windows

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas"
)

// Version 3 has no hashes of series; it has IDs where version 2 had 64-bit hashes of sections and
// samples (those are not taken over), sections that were refused in part, samples whose times have
// a fraction of a ms, and senders.
const stateVersion = 3

// ErrState is wrapped by DecodeGroup when a state does not decode, and
// ErrTiers when it was kept for other tiers than the config's.
var (
	ErrState = errors.New("group state is corrupt")
	ErrTiers = errors.New("group state was kept for other tiers")
)

// The flags of a state.
const (
	stateStarted = 1 << iota // a sample was counted
	stateLearned             // the usual delay is known
	stateHealed              // the clock was led astray once
)

// AppendTo appends the encoded group to dst: all that DecodeGroup needs to go on as if nothing had
// happened.
func (g *Group) AppendTo(sh *Shard, dst []byte) []byte {
	dst = append(dst, stateVersion, byte(len(sh.sizes)))
	for _, s := range sh.sizes {
		dst = binary.AppendUvarint(dst, uint64(s))
	}
	flags := byte(0)
	if g.clock.started {
		flags |= stateStarted
	}
	if g.delay.learned {
		flags |= stateLearned
	}
	if g.clock.healed.part != 0 {
		flags |= stateHealed
	}
	dst = append(dst, flags)
	dst = g.clock.appendTo(dst)
	estimated := byte(0)
	if g.delay.estimated {
		estimated = 1
	}
	dst = append(dst, g.delay.next, g.repeats.next, estimated)
	dst = g.delay.appendTo(dst)
	dst = g.repeats.appendTo(dst)
	dst = g.origins.appendTo(dst)
	dst = g.series.appendTo(dst)
	return g.frames.appendTo(sh, dst)
}

// sizesText renders tier sizes, such as "10s, 1m".
func sizesText(sizesMS []int64) string {
	var all []string
	for _, ms := range sizesMS {
		all = append(all, conf.Duration(ms*int64(time.Millisecond)).String())
	}
	return strings.Join(all, ", ")
}

// DecodeGroup reads what AppendTo wrote. It returns an error that wraps ErrState
// or ErrTiers, or names an unknown version (schemas.ErrVersion).
func DecodeGroup(sh *Shard, state []byte) (*Group, error) {
	r := &reader{b: state}
	if r.version = r.byte(); r.version < 2 || r.version > stateVersion {
		return nil, fmt.Errorf("group state of %d bytes: version %d: %w", len(state), r.version, schemas.ErrVersion)
	}
	sizes := make([]int64, r.byte())
	for i := range sizes {
		sizes[i] = int64(r.uvarint())
	}
	if !r.bad && !slices.Equal(sizes, sh.sizes) {
		return nil, fmt.Errorf("%w: %s, the config has %s", ErrTiers, sizesText(sizes), sizesText(sh.sizes))
	}
	g := NewGroup(sh)
	flags := r.byte()
	g.clock.started, g.delay.learned = flags&stateStarted != 0, flags&stateLearned != 0
	if r.version < 3 {
		g.delay.learned = flags&(stateStarted|stateLearned) != 0
	}
	g.clock.decode(r, flags&stateHealed != 0)
	g.delay.next, g.repeats.next, g.delay.estimated = r.byte()%delaysKept, r.byte()%recentDigests, r.byte() == 1
	g.delay.decode(r)
	g.repeats.decode(r)
	g.origins.decode(r)
	if err := g.series.decode(sh, r); err != nil {
		return nil, err
	}
	if err := g.frames.decode(sh, r, g.Series()); err != nil {
		return nil, err
	}
	if r.bad || len(r.b) > 0 {
		return nil, fmt.Errorf("group state of %d bytes: %w", len(state), ErrState)
	}
	sh.total += g.Series()
	if g.clock.started {
		sh.groups++
	}
	return g, nil
}
