package simulation

import (
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/windows"
)

// store stands for weir-store and the tables of the tiers: rows by (series, tier, start, part),
// each with a write stamp. The higher stamp wins, as in CQL.
type store struct {
	w    *World
	next []int64 // next offset to read, by partition of windows
	rows map[rowKey]row
}

type rowKey struct {
	series  string
	tierMS  int64
	startMS int64
	part    int64
}

type row struct {
	stamp  int64 // µs
	window schemas.Window
}

func newStore(w *World, partitions int) *store {
	return &store{w: w, next: make([]int64, partitions), rows: map[rowKey]row{}}
}

// read writes the windows of the next n records.
func (s *store) read(p, n int) bool {
	log := s.w.topics[topics.Windows].parts[p]
	n = min(n, len(log)-int(s.next[p]))
	for range n {
		b, err := schemas.DecodeWindowBatch(log[s.next[p]].Value)
		if err != nil {
			s.w.violate("windows/%d offset %d: %w", p, s.next[p], err)
			return true
		}
		for i := range b.Windows {
			s.write(&b.Windows[i])
		}
		s.next[p]++
	}
	return n > 0
}

// rewind plays a restart: the last n records are read again.
func (s *store) rewind(p, n int) bool {
	n = min(n, int(s.next[p]))
	s.next[p] -= int64(n)
	return n > 0
}

// write is an upsert USING TIMESTAMP. Two writes with one stamp must be equal, because a real
// table would mix their columns.
func (s *store) write(w *schemas.Window) {
	k := rowKey{w.Series.String(), w.TierMS, w.StartMS, w.Part}
	r := row{stamp: w.EndMS()*1000 + int64(w.Revision), window: *w}
	old, known := s.rows[k]
	switch {
	case !known || old.stamp != r.stamp || sameRow(&old.window, w):
	case s.w.params.Total > 0 && s.w.turned[schemas.GroupOf(w.Series, schemas.GroupLabels)]:
		s.w.stats.Unlike++
	default:
		s.w.violate("one stamp, two rows: %s %s start %d part %d revision %d: count %d sum %v last %v, and count %d sum %v last %v",
			k.series, schemas.TierName(k.tierMS), k.startMS-epochMS, k.part, w.Revision,
			old.window.Count, old.window.Sum, old.window.Last, w.Count, w.Sum, w.Last)
	}
	if !known || r.stamp > old.stamp {
		s.rows[k] = r
	}
}

func sameRow(a, b *schemas.Window) bool {
	return a.Count == b.Count && a.Sum == b.Sum && a.Min == b.Min && a.Max == b.Max &&
		a.First == b.First && a.Last == b.Last && a.FirstOff == b.FirstOff && a.LastOff == b.LastOff
}

// merged returns what a reader of the tables sees.
func (s *store) merged() []schemas.Window {
	m := windows.Merger{}
	for _, r := range s.rows {
		m.Add(r.window)
	}
	return m.Windows()
}
