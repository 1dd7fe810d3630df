package window

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/weir-metrics/weir/processors/deadletter"
	"github.com/weir-metrics/weir/processors/writeback"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/topics"
)

// When another generation (schemas.Generation) takes over samples from a certain time on, the cut,
// windows stay where they are: each has all its samples before or after the cut. What the rules
// remember moves along: once a tier's windows up to the cut have closed, the group sends what its
// rules remember of that tier, through the samples topic, to itself in the next generation, which
// continues from there. The old generation then reports nothing more about that tier, and nothing
// at all about times past the cut: whether a series got no window after it is for the next
// generation to say.

// handoverVersion and the byte before it distinguish a handover from a schemas.SampleBatch.
const (
	handoverMark    = 'H'
	handoverVersion = 1
)

// handover is what the rules hand over for one tier.
type handover struct {
	tierMS  int64
	delayMS int64 // the group's usual delay
	rules   []byte
}

func (h *handover) append(dst []byte) []byte {
	dst = append(dst, handoverMark, handoverVersion)
	dst = binary.AppendUvarint(dst, uint64(h.tierMS))
	dst = binary.AppendVarint(dst, h.delayMS)
	return append(dst, h.rules...)
}

func isHandover(b []byte) bool { return len(b) > 0 && b[0] == handoverMark }

// decodeHandover reads what append wrote; the rules in h alias b.
func decodeHandover(b []byte) (h handover, err error) {
	if len(b) < 2 || !isHandover(b) {
		return h, fmt.Errorf("handover: %w", schemas.ErrCorrupt)
	}
	if b[1] != handoverVersion {
		return h, fmt.Errorf("handover: version %d: %w", b[1], schemas.ErrVersion)
	}
	b = b[2:]
	tier, n := binary.Uvarint(b)
	if n <= 0 || tier > math.MaxInt64 {
		return h, fmt.Errorf("handover: tier: %w", schemas.ErrCorrupt)
	}
	b = b[n:]
	delay, n := binary.Varint(b)
	if n <= 0 {
		return h, fmt.Errorf("handover: delay: %w", schemas.ErrCorrupt)
	}
	return handover{int64(tier), delay, b[n:]}, nil
}

// passed tells which tiers of a group, by their place, were handed over to the next generation, and
// taken over from the previous one.
type passed struct{ handed, taken uint8 }

// appendPassed precedes the group's value if there is something to tell, also of retired series;
// otherwise a value begins with the length of the rules, which is never 0.
func (g *group) appendPassed(dst []byte) []byte {
	if g.passed == (passed{}) && len(g.retired) == 0 {
		return dst
	}
	dst = append(dst, 0, g.handed, g.taken)
	if len(g.retired) > 0 {
		dst = g.appendRetired(append(dst, 0))
	}
	return dst
}

// decodePassed reads what appendPassed wrote, and returns what follows.
func decodePassed(b []byte) (done passed, retired []retirement, rest []byte, err error) {
	if len(b) < 3 || b[0] != 0 {
		return passed{}, nil, b, nil
	}
	done, rest = passed{b[1], b[2]}, b[3:]
	if len(rest) > 0 && rest[0] == 0 {
		retired, rest, err = decodeRetired(rest[1:])
	}
	return done, retired, rest, err
}

// cutMS is the time from which another generation has the samples.
func (l *logic) cutMS() int64 {
	if n := l.next(); n != nil {
		return n.FromMS
	}
	return math.MaxInt64
}

// tierBit is the tier's bit in passed, or 0 for a tier that is not in the config.
func (l *logic) tierBit(tierMS int64) uint8 {
	for i := range l.windows.Tiers {
		if l.windows.Tiers[i].Size.MS() == tierMS {
			return 1 << i
		}
	}
	return 0
}

// rulesDue is when the group's rules have something to do, in event time; 0: never.
func (l *logic) rulesDue(g *group) int64 {
	due := g.rules.DueMS()
	n := l.next()
	if due == 0 || n == nil || due <= n.FromMS {
		return due
	}
	at := int64(0)
	for i, t := range l.windows.Tiers {
		if by := n.FromMS + t.Grace.MS(); g.handed&(1<<i) == 0 && (at == 0 || by < at) {
			at = by
		}
	}
	return at
}

// handOver hands over the tiers whose windows up to the cut have closed.
func (l *logic) handOver(p *partition, e *entry, nowMS int64) {
	n := l.next()
	if n == nil {
		return
	}
	g, loc := e.V, p.Local
	at := g.windows.EventTimeAt(nowMS)
	for i, t := range l.windows.Tiers {
		if g.handed&(1<<i) != 0 || at < n.FromMS+t.Grace.MS() {
			continue
		}
		loc.conds = loc.eval.Advance(&g.rules, e.Key, n.FromMS, loc.conds[:0])
		l.emitConditions(p, e)
		g.handed |= 1 << i
		if rules := loc.eval.HandOver(&g.rules, t.Size.MS(), nil); rules != nil {
			h := handover{t.Size.MS(), g.windows.DelayMS(), rules}
			e.Emit(p, topics.SamplesOf(n.Gen), []byte(e.Key), h.append(nil))
		}
	}
}

// inherit takes over what the previous generation handed over. It may come more than once.
func (l *logic) inherit(p *partition, e *entry, r writeback.Record) {
	h, err := decodeHandover(r.Value)
	bit := l.tierBit(h.tierMS)
	if err == nil && bit != 0 && e.V.taken&bit == 0 { // only once, and for a tier that still exists
		err = p.Local.eval.Inherit(&e.V.rules, h.rules)
	}
	if err != nil {
		l.corrupt.Inc()
		l.log.Warn("handover refused", "group", e.Key, "partition", p.ID, "offset", r.Offset, "err", err)
		l.write(p, e, deadletter.Of(l.source(p, e.Key, r.Offset, r.Value), "window", "undecodable", err))
		return
	}
	e.V.taken |= bit
	e.V.windows.InheritDelay(p.Local.core, h.delayMS, r.TimeMS)
}

// note counts the groups that have a window, or something that rules wait for: a generation without
// any has drained. Forget undoes the count.
func (loc *local) note(g *group) {
	busy := g.windows.DueMS() != 0 || g.rules.DueMS() != 0
	if busy == g.busy {
		return
	}
	g.busy = busy
	if busy {
		loc.open.Add(1)
	} else {
		loc.open.Add(-1)
	}
}
