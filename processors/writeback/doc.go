// Package writeback runs a Goka processor whose state lives decoded in memory and is
// written back to the group table now and then, so that a record costs a microsecond
// or two instead of ten to twenty, and still counts exactly once.
//
// # Contract
//
// Logic (the user of this package) holds the domain: what a record does to the value
// of its key, what a tick does to a value that is due. The Engine holds the rest:
//
//   - Offsets that Goka marks are swallowed by a gate round the consumer group. A
//     checkpoint has the goroutine of each partition write back every changed value to
//     the group table, as SetValue does, notes the offset up to which that is complete,
//     waits until the changelog and everything else that was produced is acknowledged,
//     and only then marks that offset. It uses no Goka visit: one that is cut short by a
//     rebalance races with its own acknowledgements (seen with the race detector).
//   - Each value is stored with the offset of the last record applied to it. A record
//     at or below it is a replay and never reaches Logic.
//   - What Logic emits is kept with the value until the broker has acknowledged it:
//     a value flushed in between carries it, and it is emitted again after a crash.
//     So everything emitted must have an identity by which a repeat is known. Of that a value
//     holds a MiB at most; beyond, its partition waits for the broker.
//   - Dead letters have no place in a value: it is not written before they are acknowledged.
//     A partition has 4 MiB of them on their way at most, and then waits.
//   - Nothing that one key holds stops its neighbours. A value that cannot be written, or does
//     not decode, is lost for its key alone, which begins anew: lost.go says what that means.
//     What Logic emits and the broker will never take becomes a dead letter. Which record of
//     a batch it was that the broker refused, lane.go finds out. Only what is about the
//     broker, a topic or who asks ends Run.
//   - The values that a commit rests on stay in the changelog, whatever a process that was
//     killed or has lost the partition still writes, and whatever compaction takes:
//     changelog.go says why.
//   - A partition belongs to the session that it was opened in. When that has ended, it is given
//     up, wherever its recovery was.
//   - Wall time comes to Logic through the log. When a value is due, the owner of the
//     partition appends a tick, a record that holds its wall clock, to the input
//     partition, and acts when it reads it back. Whatever is done by the clock is so
//     done at an offset, and a replay after a crash does the same again: without it,
//     a window closed by the clock before a crash would be closed with other samples
//     after it, under the same revision. Ticks are not written while Behind says that
//     samples are still held up upstream.
//   - The storage below is one Pebble for all partitions, under a prefix for each. It
//     may be lost: the changelog rebuilds it.
//   - A lost broker or a failed produce ends Run with an error; a new
//     Engine starts where the last checkpoint was. Engines are used once.
//
// The consumer group is joined statically (Options.Instance), and a rebalance joins
// again at once instead of after Goka's five seconds.
package writeback
