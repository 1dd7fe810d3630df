// Package writeback runs a Goka processor whose state lives decoded in memory and is written back
// to the group table from time to time, so that a record costs a microsecond or two instead of ten
// to twenty, and still counts exactly once.
//
// # Contract
//
// Logic (supplied by the user of this package) has the domain: what a record does to the value of
// its key, and what a tick does to a value that is due. The Engine has the rest:
//
//   - A gate around the consumer group swallows the offsets that Goka marks. For a checkpoint, the
//     goroutine of each partition writes back every changed value to the group table, as SetValue
//     does, notes the offset up to which that is complete, waits until the changelog and everything
//     else that was produced is acknowledged, and only then marks that offset. It uses no Goka
//     visit: a visit that a rebalance cuts short races with its own acknowledgements (seen with the
//     race detector).
//   - Each value is stored with the offset of the last record applied to it. A record
//     at or below it is a replay and never reaches Logic.
//   - Whatever Logic emits is kept with the value until the broker has acknowledged it: a value
//     flushed in between carries it, and it is emitted again after a crash. So everything emitted
//     must have an identity by which a repeat is recognized. A value carries at most a MiB of that;
//     beyond it, the partition waits for the broker.
//   - Dead letters are not part of a value: the value is not written before they are acknowledged.
//     A partition has at most 4 MiB of them in flight, and then waits.
//   - Nothing in one key stops its neighbours. A value that cannot be written, or does not decode,
//     is lost for its key alone, which starts again: lost.go says what that means. If Logic emits
//     something that the broker will never accept, it becomes a dead letter. lane.go finds out
//     which record of a batch the broker refused. Only errors about the broker, a topic or the
//     caller's rights end Run.
//   - The values that a commit rests on stay in the changelog, whatever a process that was killed
//     or has lost the partition still writes, and whatever compaction removes: changelog.go
//     explains why.
//   - A partition belongs to the session in which it was opened. When that has ended, the partition
//     is given up, however far its recovery was.
//   - Wall time reaches Logic through the log. When a value is due, the owner of the partition
//     appends a tick, a record with its wall clock, to the input partition, and acts when it reads
//     the tick back. So everything that depends on the clock is done at an offset, and a replay
//     after a crash does the same again. Otherwise a window that the clock closed before a crash
//     would be closed with other samples after it, under the same revision. Ticks are not written
//     while Behind reports that samples are still held up upstream.
//   - A Table holds the local copy of a partition: in one Pebble store for all partitions, under a
//     prefix for each, or in the simulation's memory. It may be lost: the changelog rebuilds it.
//   - The loss of the broker, or a failed produce, ends Run with an error; a new Engine starts at
//     the last checkpoint. Engines are used once.
//
// The consumer group is joined statically (Options.Instance), and a rebalance joins again at once
// instead of after Goka's five seconds.
package writeback
