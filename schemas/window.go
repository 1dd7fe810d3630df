package schemas

import "time"

// Window is one closed window of one series: what a tier's row holds. The interval is half-open,
// [StartMS, StartMS+TierMS). Two windows with the same (Series, TierMS, StartMS, Part) are the same
// result; the higher Revision wins.
type Window struct {
	Series  Series
	TierMS  int64 // length of the window, ms
	StartMS int64 // a multiple of TierMS
	// Part is 0 for the window itself in generation 0. See NewPart.
	Part     int64
	Revision uint32 // 0 when first closed, +1 for each batch of late samples merged in

	Aggregate
}

// FirstMS is the event time of First, ms.
func (w *Window) FirstMS() int64 { return w.StartMS + int64(w.FirstOff) }

// LastMS is the event time of Last, ms.
func (w *Window) LastMS() int64 { return w.StartMS + int64(w.LastOff) }

// EndMS is the end of the window, ms, exclusive.
func (w *Window) EndMS() int64 { return w.StartMS + w.TierMS }

// Late reports whether the row is a late partial: it holds only samples that came too late for the
// window itself, and every reader merges it with the other parts.
func (w *Window) Late() bool { return w.Part&(1<<40-1) != 0 }

// NewPart makes the part of a window from the generation of samples in which it was kept, and 0,
// or, for a late partial, the offset+1 of the samples record that made it.
func NewPart(generation int, lateOffset int64) int64 {
	return int64(generation)<<40 | lateOffset&(1<<40-1)
}

// MergeParts adds the samples of o, another part of the same window, to w. It is exact except for
// the last bits of Sum, as it changes the order of addition.
func (w *Window) MergeParts(o *Window) {
	last, off := w.Last, w.LastOff
	w.Merge(&o.Aggregate, 0)
	if o.LastOff == off && o.Part <= w.Part {
		w.Last = last
	}
}

// WindowBatch is the value of a record of the windows topic: windows of one
// series group that closed together. Encode it with AppendWindowBatch.
type WindowBatch struct {
	Group    string // the record's key; not encoded in the value
	EmitMS   int64  // wall clock when the batch was emitted, ms
	NewestMS int64  // newest event time of the group then, ms
	Windows  []Window
}

// TierName writes a tier's length the way people do: 10s, 1m, 1h.
func TierName(tierMS int64) string {
	d := time.Duration(tierMS) * time.Millisecond
	for _, u := range []struct {
		d time.Duration
		s string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if d >= u.d && d%u.d == 0 {
			return itoa(int64(d/u.d)) + u.s
		}
	}
	return itoa(tierMS) + "ms"
}
