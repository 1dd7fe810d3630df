package windows

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"
)

// frames are the windows that a group keeps: those that are open, the last of each tier that
// closed, and those ahead of the clock.
type frames struct {
	tiers     [][]*frame // by tier, then by start, ascending
	nextClose int64      // the clock, ms, at which the next frame closes or is dropped; math.MaxInt64 if there is none
	evictable bool       // the largest tier has dropped a frame since evict last ran
}

func newFrames(tiers int) frames {
	return frames{tiers: make([][]*frame, tiers), nextClose: math.MaxInt64}
}

// open returns the open frame of tier t that holds ts, making it if need be, or nil if that window
// has closed.
func (g *Group) open(sh *Shard, t int, ts int64) *frame {
	start := floor(ts, sh.sizes[t])
	if end := start + sh.sizes[t]; end <= g.clock.at-sh.graces[t] || end <= g.clock.doubt {
		return nil
	}
	return g.frameAt(sh, t, start)
}

// frameAt returns the frame of tier t and start, making an open one if need be.
func (g *Group) frameAt(sh *Shard, t int, start int64) *frame {
	fs := g.frames.tiers[t]
	i := len(fs)
	for i > 0 && fs[i-1].start > start {
		i--
	}
	if i > 0 && fs[i-1].start == start {
		return fs[i-1]
	}
	f := &frame{start: start, flat: t > 0}
	g.frames.tiers[t] = slices.Insert(fs, i, f)
	// A decoded state knows nothing but its frames, so nextClose must follow from them. A frame
	// made for a late sample is closed, and dropped a window later; a frame that closes as soon as
	// it is made (see handOn) is the next that close looks at.
	next := start + sh.sizes[t] + sh.graces[t]
	if next <= g.clock.at {
		next += sh.sizes[t]
	}
	if next > g.clock.at {
		g.frames.nextClose = min(g.frames.nextClose, next)
	}
	return f
}

// floor is the start of the window of the given size that holds ts.
func floor(ts, size int64) int64 {
	m := ts % size
	if m < 0 {
		m += size
	}
	return ts - m
}

// maxFrames bounds the frames of a tier in a state: with a grace of at most the tier's size a group
// has five, more while its clock is held back, and those ahead of the clock.
const maxFrames = maxBehind/1000 + int(maxAhead/time.Second) + 64

func (fs *frames) appendTo(sh *Shard, dst []byte) []byte {
	for t, tier := range fs.tiers {
		dst = binary.AppendUvarint(dst, uint64(len(tier)))
		for _, f := range tier {
			dst = f.appendTo(dst, t, sh.sizes[t])
		}
	}
	return dst
}

// decode reads what appendTo wrote, for a group of n series; the caller checks r.bad.
func (fs *frames) decode(sh *Shard, r *reader, n int) error {
	for t := range fs.tiers {
		k := r.count(3)
		if k > maxFrames {
			return fmt.Errorf("%d frames in tier %d: %w", k, t, ErrState)
		}
		for ; k > 0; k-- {
			f := decodeFrame(sh, r, t, n)
			if tier := fs.tiers[t]; r.bad || len(tier) > 0 && tier[len(tier)-1].start >= f.start {
				r.bad = true
				break
			}
			fs.tiers[t] = append(fs.tiers[t], f)
			at := f.start + sh.sizes[t] + sh.graces[t]
			if f.closed {
				at += sh.sizes[t]
			}
			fs.nextClose = min(fs.nextClose, at)
		}
	}
	return nil
}
