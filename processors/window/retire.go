package window

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/weir-metrics/weir/processors/deadletter"
	"github.com/weir-metrics/weir/processors/writeback"
	"github.com/weir-metrics/weir/schemas"
)

// Series that somebody has retired (schemas.Retire) are forgotten by the rules. Some of their windows
// may still be open, up to an hour: when they close they are stored like all windows, but rules do not
// see them, or the series would be known again, and then missed. Windows that begin later count again.

// retirement is what a group remembers of a Retire.
type retirement struct {
	atMS   int64 // of the record; windows that began by then are not judged
	record schemas.Retire
}

// maxRetirements bounds those of a group. With one more, the oldest is forgotten.
const maxRetirements = 64

// retire applies a Retire.
func (l *logic) retire(p *partition, e *entry, r writeback.Record) {
	record, err := schemas.DecodeRetire(r.Value)
	if err != nil {
		l.corrupt.Inc()
		l.log.Warn("retire refused", "group", e.Key, "partition", p.ID, "offset", r.Offset, "err", err)
		l.write(p, e, deadletter.Of(l.source(p, e.Key, r.Offset, r.Value), "window", "undecodable", err))
		return
	}
	loc, g := p.Local, e.V
	if g.fresh() {
		return // nothing is known of it
	}
	loc.conds = loc.eval.Retire(&g.rules, e.Key, r.TimeMS, record.Of, loc.conds[:0])
	l.emitConditions(p, e)
	if len(g.retired) == maxRetirements {
		g.retired = slices.Delete(g.retired, 0, 1)
	}
	g.retired = append(g.retired, retirement{r.TimeMS, *record})
}

// judged returns those of the windows, which have the same bounds, that rules may see.
func (g *group) judged(ws []schemas.Window) []schemas.Window {
	if len(g.retired) == 0 || len(ws) == 0 {
		return ws
	}
	startMS := ws[0].StartMS
	return slices.DeleteFunc(slices.Clone(ws), func(w schemas.Window) bool {
		return slices.ContainsFunc(g.retired, func(r retirement) bool { return startMS <= r.atMS && r.record.Of(w.Series.Labels) })
	})
}

// forgetRetired forgets retirements that are so old that no window from before them can close.
func (g *group) forgetRetired(nowMS, keepMS int64) {
	g.retired = slices.DeleteFunc(g.retired, func(r retirement) bool { return r.atMS+keepMS <= nowMS })
}

// appendRetired follows passed if there is something to tell.
func (g *group) appendRetired(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(g.retired)))
	for _, r := range g.retired {
		record := r.record.AppendTo(nil)
		dst = binary.AppendVarint(dst, r.atMS)
		dst = append(binary.AppendUvarint(dst, uint64(len(record))), record...)
	}
	return dst
}

// decodeRetired reads what appendRetired wrote, and returns what follows.
func decodeRetired(b []byte) (all []retirement, rest []byte, err error) {
	corrupt := func(what string) ([]retirement, []byte, error) {
		return nil, nil, fmt.Errorf("retired series: %s: %w", what, schemas.ErrCorrupt)
	}
	n, k := binary.Uvarint(b)
	if k <= 0 || n == 0 || n > maxRetirements {
		return corrupt("count")
	}
	b = b[k:]
	for range n {
		at, k := binary.Varint(b)
		if k <= 0 {
			return corrupt("time")
		}
		b = b[k:]
		size, k := binary.Uvarint(b)
		if k <= 0 || size > uint64(len(b)-k) {
			return corrupt("length")
		}
		record, err := schemas.DecodeRetire(b[k : k+int(size)])
		if err != nil {
			return nil, nil, err
		}
		all = append(all, retirement{at, *record})
		b = b[k+int(size):]
	}
	return all, b, nil
}
