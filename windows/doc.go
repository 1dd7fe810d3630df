// Package windows keeps tumbling windows of the series of a series group, and decides
// when they close. It is pure: no clock, no goroutine, no I/O. Wall time and offsets
// come in as arguments, closed windows go out as values.
//
// # Contract
//
//   - Windows are half-open, [start, end), and aligned to the epoch. Tiers cascade: a
//     closed window is merged into the window of the next tier that contains it, so a
//     sample is applied once.
//   - The watermark belongs to the group. A window of a tier closes when the group's
//     clock has passed its end by the tier's grace. The clock is the newest event time
//     seen; or, when the caller says that it has caught up with the log, the wall clock
//     less the delay with which this group's samples usually arrive. It never runs ahead
//     of arrival: a sample that is ahead moves it no further than the wall clock does, so
//     a sender with a fast clock makes nobody late, and its own windows close when the
//     wall clock gets there. Samples that are ahead do not hide how late the others are.
//   - A section that had queued in its origin topic (schemas.Section.Behind) does not
//     close windows alone. Until the caller says through Advance that nothing queues any
//     more, the clock is that of the slowest partition of that topic from which the group
//     gets samples, but at most maxBehind behind. How late such a section came is not
//     taken for the usual delay.
//   - A closed window is kept until the next one of its tier has closed too. A sample for
//     a window that is kept revises it: the result is emitted again with the next
//     revision. A sample for an older window is emitted as a late partial, a part of its
//     own that readers merge. Either way it still counts once in each larger tier.
//   - The same samples give the same windows, however they are split into batches: every
//     batch is applied in order of time. In any order of arrival, count, sum, min and max
//     of a window and its late partials together equal those of a batch recompute. So do
//     first and last; ties in time go to the first and the last to arrive.
//   - A sample whose series, time (to the ns) and value equal those of one already in its
//     window of the smallest tier counts once, while that window is open or kept; for
//     older windows, within one batch. A whole section that repeats one of the last 32 of
//     its group is dropped too. What was refused was not counted, so sending it again is
//     no repeat; for the last 8 sections that were refused in part, the group remembers
//     which samples those were. The same origin always stays a replay, whatever became of
//     its samples.
//   - 0 and -0 are one value, and windows hold 0. Windows distinguish times by the ms: of
//     several samples in one ms, first and last are those that arrived first and last.
//   - A series is known by its schemas.ID, a cryptographic hash of its name, never by a
//     hash that somebody who chooses labels could make collide.
//   - A group without a window must be remembered until Group.ForgetMS. The group that
//     takes its place then refuses as too old whatever the first may have counted. A
//     group that has never counted anything (Group.Fresh) need not be kept: to the next
//     record a new one is the same.
//   - Times may be anything that an int64 holds; 0 and below are times like any other.
//     Wall times at which something is due are at least 1, and 0 means never.
//   - A decoded group goes on exactly as the encoded one would have, to the byte of what
//     it emits: a replay after a crash must not produce different rows.
//   - Every sample that Apply does not count is counted in Result: under Refused with its
//     reason, Replayed or Duplicates.
//   - Series beyond the group's limits are collapsed into overflow series with exact
//     totals (Overflow). Which series are collapsed, and which samples exceed the rate,
//     depends on the order of arrival and on nothing but the group's own state: a replay
//     decides the same. The rate is counted in event time, so that a backlog does not
//     exceed it, and by sender: one sender's excess leaves the others their share. The
//     limit on the total number of series depends on the whole Shard, so a series that it
//     refused begins with a window of the largest tier. When a collapsed series gets a
//     place of its own, a repeat of a sample from before is not recognized.
//
// # Reading order
//
// The package is the specification of weir's windowing; read it in this order:
//
//	config.go     the tiers and limits, and why a sample is not counted
//	group.go      Group: the state of one series group, in parts
//	clock.go      its event time: how far a sample, or the wall clock, moves it, and what follows
//	delay.go      how late its samples usually arrive
//	origins.go    how far each input partition was applied: replays, and waiting for the slowest
//	repeats.go    what its senders may send again
//	apply.go      Apply: a batch of samples, from the checks to the windows that it closes
//	frames.go     which windows exist; close.go: when they close, and what they hand to the next tier
//	frame.go      the windows of one tier and start; aggregate.go, rows.go, samples.go: what is in it
//	late.go       samples whose window has closed: revisions and late partials
//	result.go     what comes out
//	series.go     the names; evict.go: when they are forgotten
//	limits.go     which series get in; overflow.go, senders.go, bytes.go: what becomes of the rest
//	heal.go       a clock that was led astray
//	state.go      the encoding; each part encodes itself
//	shard.go      what the groups of a partition share; pool.go: memory
//	fold.go       all of this over a file, and how readers merge parts
//
// # Memory
//
// Windows of a group with the same tier and start form a frame. A frame of the smallest tier
// holds the samples themselves, in rows of 8 bytes a series, one row for each time at which a
// sender read its series, and aggregates them when it closes. Frames of the larger tiers hold
// an array of 56 bytes a series. Memory for both is taken from the Shard and given back to it.
// Closed frames, and open ones that are rarely merged into, are encoded: up to 40 bytes a
// series and tier, plus the rows. A series costs two frames a tier (the open and the kept one)
// and its labels, as 16-bit references into the group's dictionary of interned pairs.
//
// A sender whose series each have times of their own makes no rows. Its samples cost 56 bytes
// a series, plus, in the frames of the smallest tier, 8 bytes each (to recognize repeats), or
// some 40 if the series is collapsed or the time has a fraction of a ms. So max_rate bounds
// the cost of a group as max_series does. max_group_bytes bounds all of it together, as it is
// encoded (bytes.go); at most a quarter of that is names, which every state repeats.
// BenchmarkState measures it.
package windows
