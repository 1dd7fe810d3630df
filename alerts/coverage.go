package alerts

import (
	"errors"
	"math"
	"strconv"
)

// defaultCoverage is the share of a range's windows that must have data, unless a rule says another.
const defaultCoverage = 0.5

// share is a rule's coverage.
type share struct {
	given bool
	value float64
}

var errShare = errors.New("must be a number from 0 to 1")

// UnmarshalText reads a number from 0 to 1.
func (s *share) UnmarshalText(text []byte) error {
	v, err := strconv.ParseFloat(string(text), 64)
	if err != nil || !(v >= 0 && v <= 1) {
		return errShare
	}
	s.given, s.value = true, v
	return nil
}

// coverage is the share that the rule goes by.
func (s share) coverage() float64 {
	if s.given {
		return s.value
	}
	return defaultCoverage
}

// olderWindows is how many windows from before its span a ring keeps: the newest two. The first
// tells whether a series is older than a range, and both how often it sends.
const olderWindows = 2

// brokenMS is the silence, ms, after which a series is new to a range of an input.
func (r *rule) brokenMS(in *input) int64 { return max(in.rangeMS, r.noDataMS) }

// remembersMS is how long after its newest window a series is remembered for the sake of an input,
// ms. The next window closes up to a grace after its end, and until then nothing is forgotten.
func (r *rule) remembersMS(in *input) int64 {
	if r.coverage == 0 || in.rangeMS == 0 {
		return in.backMS() + r.beforeMS()
	}
	return max(in.backMS()+r.beforeMS(), r.brokenMS(in)) + r.tierMS + r.graceMS
}

// longestMS is the longest range that must be covered, with its offset, ms; 0 if there is none.
func (r *rule) longestMS() int64 {
	longest := int64(0)
	for i := range r.inputs {
		if in := &r.inputs[i]; r.coverage > 0 && in.rangeMS > 0 {
			longest = max(longest, in.backMS()+r.beforeMS())
		}
	}
	return longest
}

// covers reports whether the windows of a ring tell enough about an input's range for the rule to
// be judged at a window's end:
//
//   - the series has been there for the whole range: it has a window at its beginning, or one before
//     it that no silence longer than the range and no_data separates from it;
//   - at least the rule's coverage of the range's windows have data. A series that sends more rarely
//     than there are windows has all that it can have: each of its windows counts for as many as are
//     usual, in the median, from one to the next. count is excepted, as few samples are its result.
//
// It depends on the windows only, so it is the same after a restart, and for a batch.
func (r *rule) covers(ring *ring, in *input, end int64) bool {
	if r.coverage == 0 || in.rangeMS <= r.tierMS {
		return true
	}
	switch in.fn.extra {
	case anOffset:
		return r.coversRange(ring, in, end-in.beforeMS)
	case earlier:
		return r.coversRange(ring, in, end) && r.coversRange(ring, in, end-in.beforeMS)
	}
	return r.coversRange(ring, in, end)
}

func (r *rule) coversRange(ring *ring, in *input, end int64) bool {
	from, to := ring.ending(end, in.rangeMS)
	if from == to {
		return false
	}
	broken := r.brokenMS(in)
	if begins := ring.at[from].endMS; begins > end-in.rangeMS+r.tierMS && (from == 0 || begins-ring.at[from-1].endMS > broken) {
		return false
	}
	if in.fn == fnCount {
		return true
	}
	have := int64(to - from)
	if need := r.coverage * float64(in.rangeMS); float64(have*r.tierMS) < need {
		return float64(have*ring.rhythmMS(from, to, broken)) >= need
	}
	return true
}

// rhythmMS is the median distance of the windows from index from to before to, and of up to
// olderWindows before them that no silence longer than broken separates, ms: the lower one of two
// in the middle. It is 0 if there is one window only.
func (r *ring) rhythmMS(from, to int, brokenMS int64) int64 {
	for older := 0; older < olderWindows && from > 0 && r.at[from].endMS-r.at[from-1].endMS <= brokenMS; older++ {
		from--
	}
	n := to - from - 1
	if n < 1 {
		return 0
	}
	// The distance that at least half of them do not exceed, found without memory of its own: there
	// are few different ones.
	below, median := 0, int64(math.MinInt64)
	for below < (n+1)/2 {
		next := int64(math.MaxInt64)
		for i := from + 1; i < to; i++ {
			if d := r.at[i].endMS - r.at[i-1].endMS; d > median {
				next = min(next, d)
			}
		}
		median = next
		for i := from + 1; i < to; i++ {
			if r.at[i].endMS-r.at[i-1].endMS == median {
				below++
			}
		}
	}
	return median
}

// putOlder adds a window from before the span, of which only that it is there matters. It reports
// whether it is one of the newest olderWindows of these, and was not there.
func (r *ring) putOlder(endMS int64, revision uint32, newest int64) bool {
	r.trim()
	older := 0
	for older < len(r.at) && r.at[older].endMS <= newest-r.span {
		older++
	}
	i := older
	for i > 0 && r.at[i-1].endMS >= endMS {
		if i--; r.at[i].endMS == endMS {
			return false
		}
	}
	if older == olderWindows && i == 0 {
		return false
	}
	r.insert(i, slot{endMS, revision})
	if older == olderWindows {
		r.drop(1)
	}
	return true
}
