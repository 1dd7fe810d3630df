package sinks

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/weir-metrics/weir/schemas"
)

// ErrRefused is wrapped by WriteWindows when windows of the batch can never be kept: a tier without
// a table, a name that is invalid or too long for a key, a start too far ahead. The other windows
// of the batch are durable.
var ErrRefused = errors.New("refused")

// ErrNoTier is wrapped by ReadWindows when there is no tier of that size.
var ErrNoTier = errors.New("no such tier")

// SeriesInfo is what the index knows about a series.
type SeriesInfo struct {
	Series schemas.Series
	Source string // key of the series group that its windows are filed under
	// FirstMS is the earliest start and LastMS the latest end of its windows, ms. LastMS may lag
	// behind by as long as a store waits between two renewals.
	FirstMS, LastMS int64
}

// TierStore keeps the windows of all tiers; see the package's contract.
type TierStore interface {
	// WriteWindows makes the windows durable, and returns when they are acknowledged. It bridges
	// outages itself. Its error wraps ErrRefused, or the context's error if that ends first, in
	// which case any part of the batch may have been written.
	WriteWindows(ctx context.Context, b *schemas.WindowBatch) error

	// ReadWindows returns the windows of one series and tier with fromMS <= StartMS < toMS,
	// ascending, at most limit. All parts of a window are merged into one, with Part 0 and the
	// highest Revision among them. No windows are not an error. The next page starts at the last
	// StartMS + 1. For an unknown tier it returns ErrNoTier, wrapped.
	ReadWindows(ctx context.Context, source string, s schemas.Series, tierMS, fromMS, toMS int64, limit int) ([]schemas.Window, error)

	// ListSeries returns the series of the metric ("" = any) whose labels include match and whose
	// String() is greater than after, sorted by String(), at most limit. A series that moved to
	// another source is listed with the last one.
	ListSeries(ctx context.Context, metric string, match map[string]string, after string, limit int) ([]SeriesInfo, error)

	Close() error
}

// AppendPart adds a row to the windows read so far, in ascending order of start and part: it
// becomes a window, or is merged into the last one.
func AppendPart(ws []schemas.Window, row schemas.Window) []schemas.Window {
	if n := len(ws); n > 0 && ws[n-1].StartMS == row.StartMS {
		ws[n-1].MergeParts(&row)
		ws[n-1].Revision = max(ws[n-1].Revision, row.Revision)
		return ws
	}
	row.Part = 0
	return append(ws, row)
}

// Matches reports whether the series has every label of match, with that value.
func Matches(s schemas.Series, match map[string]string) bool {
	for name, value := range match {
		if s.Labels.Get(name) != value {
			return false
		}
	}
	return true
}

// IndexLabel chooses the label of match for which an index is asked; the others are checked on the
// result. It prefers a label that names series groups, because few series share it, and otherwise
// takes the first by name. It returns false if match is empty.
func IndexLabel(match map[string]string) (schemas.Label, bool) {
	for _, name := range append(slices.Clip(schemas.GroupLabels), slices.Sorted(maps.Keys(match))...) {
		if value := match[name]; value != "" {
			return schemas.Label{Name: name, Value: value}, true
		}
	}
	return schemas.Label{}, false
}
