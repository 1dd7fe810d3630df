// Package windows keeps tumbling windows of the series of a series group and says
// when they close. It is pure: no clock, no goroutine, no I/O; wall time and
// offsets come in as arguments, closed windows go out as values.
//
// # Contract
//
//   - Windows are half-open [start, end), aligned to the epoch. Tiers cascade: a
//     closed window is merged into the window of the next tier that holds it, so a
//     sample is applied once.
//   - The watermark belongs to the group. A window of a tier closes when the group's
//     clock has passed its end by the tier's grace. The clock is the newest event
//     time seen, or the wall clock less the delay at which this group's samples
//     usually arrive, when the caller says that it has caught up with the log. It never
//     runs ahead of arrival: a sample that is ahead moves it no further than the wall
//     clock does, so a sender with a fast clock makes nobody late, and its own windows
//     close when the wall clock gets there. What is ahead does not hide how late others are.
//   - A section that had waited in its origin topic (schemas.Section.Behind) does not
//     close windows alone: the clock then is that of the slowest partition of that topic
//     from which the group gets samples, up to maxBehind behind, until the caller says by
//     Advance that nothing waits any more. How late it came is not taken for the usual delay.
//   - A closed window stays until the next one of its tier has closed too. A sample
//     for it revises it: the result is emitted again with the next revision. A
//     sample for an older one is emitted as a late partial, a part of its own that
//     readers merge. Either way it still counts once in each larger tier.
//   - The same samples give the same windows, whatever the split into batches: every
//     batch is applied in order of time. In any order, count, sum, min and max of a
//     window and its late partials together are those of a batch recompute; first
//     and last too, ties in time going to the first and the last that arrived.
//   - A sample with the series, time (to the ns) and value of one already in its window of the
//     smallest tier counts once, while that window is open or still kept, and for
//     older windows within one batch. A whole section that repeats one of the last 32 of its group is dropped too.
//     What was refused was not counted, so sending it again is no repeat; of the last 8 sections that
//     were refused in part it is known which samples were. The same origin stays a replay, whatever became of it.
//   - 0 and -0 are one value, and windows hold 0. Windows go by the ms: of several samples of one ms
//     the first and the last are those that arrived first and last.
//   - A series is known by its schemas.ID, a cryptographic hash of its name, and never by a hash
//     that somebody who chooses labels can hit.
//   - A group that has no window left must be remembered until Group.ForgetMS. What it
//     may have counted, the one that takes its place refuses as too old. One that has never
//     counted anything (Group.Fresh) need not be kept: the next record finds a new one the same.
//   - Times may be anything that an int64 holds; 0 and below are times like others. Wall times
//     at which something is due are at least 1, and 0 says never.
//   - A group that is decoded goes on as the one that was encoded would have, to the
//     byte of what it emits: a replay after a crash must not make other rows.
//   - Every sample that Apply does not count is counted in Result: Refused by its
//     reason, Replayed or Duplicates.
//   - Series beyond the group's limits are collapsed into overflow series with exact
//     totals (Overflow). Which they are, and which samples are beyond the rate, depends
//     on the order of arrival, and on the group's state alone: a replay decides the same.
//     The rate is counted in event time, so that a backlog does not exceed it, and by sender: what
//     one sends beyond a share of it leaves the others theirs. The limit
//     of series in all depends on the whole Shard, so a series that it refused begins with
//     a window of the largest tier. A repeat of a sample whose series was collapsed, and has just got
//     a place of its own, is not known as one.
//
// # Reading order
//
// The package is the specification of weir's windowing; read it in this order:
//
//	config.go     the tiers and limits, and why a sample is not counted
//	group.go      Group: the state of one series group, in parts
//	clock.go      its event time: how far a sample, or the wall clock, moves it, and what follows from that
//	delay.go      how late its samples usually arrive
//	origins.go    what it has applied of each input partition: replays, and waiting for the slowest
//	repeats.go    what its senders may send again
//	apply.go      Apply: a batch of samples, from the checks to the windows that it closes
//	frames.go     which windows there are; close.go: when they close, and what they hand to the next tier
//	frame.go      the windows of one tier and start; aggregate.go, rows.go, samples.go: what is in it
//	late.go       samples whose window has closed: revisions and late partials
//	result.go     what comes out
//	series.go     the names; evict.go: when they are forgotten
//	limits.go     who gets in; overflow.go, senders.go, bytes.go: what becomes of the others
//	heal.go       a clock that was led astray
//	state.go      the encoding; each part encodes itself
//	shard.go      what the groups of a partition share; pool.go: memory
//	fold.go       all of it over a file, and how readers merge parts
//
// # Memory
//
// Windows of a group that share tier and start form a frame. The smallest tier's holds
// the samples themselves, in rows of 8 bytes a series for each time at which a sender
// read its series, and aggregates them when it closes; those of the larger tiers hold an
// array of 56 bytes a series. Memory for both is taken from and given back to the Shard.
// Closed frames, and open ones that are merged into rarely, are encoded: up to 40 bytes
// a series and tier, and the rows. A series costs two frames a tier (the open and the
// kept one) and its labels, as 16-bit references into the group's dictionary of interned
// pairs. A sender whose series each have times of their own makes no rows: its samples
// cost 56 bytes a series, and 8 bytes each in the smallest tier's frames (to know
// repeats), some 40 if the series is collapsed or the time is within a ms. So max_rate bounds what a group costs as
// max_series does, and max_group_bytes all of it together, as it is encoded (bytes.go): of that at most
// a quarter is names, which states repeat. BenchmarkState measures it.
package windows
