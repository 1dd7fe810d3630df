// Package embedded keeps the tiers in a Pebble database in one directory: the tier store of a weir
// that runs as one process, with nothing else to install.
//
// Contract: that of sinks.TierStore. WriteWindows returns once the batch is in the write-ahead log
// and the log is synced to disk; batches that arrive together share one sync. The clock is passed
// in, and used only for expiry.
//
// A row's key starts with tier and bucket (see package cql), followed by what names the series,
// then the start, the part and the revision:
//
//	'w' tier bucket source metric labels start part ^revision
//
// So a series is one slice, as in CQL. What has expired is a few whole ranges, which a sweep
// deletes and Pebble then drops file by file, without rewriting live rows. And since each revision
// has a key of its own, highest first, writes need no read, in whatever order they come. Readers
// never see an expired row, but its space is freed only when the whole bucket has expired: up to a
// day later in the 10s tier, a week in 1m, a quarter in 1h.
//
// The index has one row for each series, and one for each of its labels, including the metric
// (under the name __name__):
//
//	's' name             → source, metric, labels, first and last
//	'l' label value name
//
// where name is the series' text.
package embedded
