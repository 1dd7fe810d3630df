// Package route hands the samples of the metrics topic on to the samples topic,
// keyed by series group: a stateless franz-go consumer group, weir-route.
//
// It decodes each record (schemas/formats), groups its samples by
// schemas.GroupOf, and writes one schemas.SampleBatch for each group of a poll, to
// partition schemas.Shard(group, shards). The shards are the number on record, never
// the live partition count (docs/scaling.md).
//
// Contract: every sample reaches the group's state exactly once
// (docs/exactness.md). A transaction over both topics would do it too, but a process that
// dies with one open holds up every key until it comes back. So route itself is at-least-once with an idempotent
// producer, and its readers drop what they have applied from an origin, so all of
// the following must hold:
//
//   - An origin's samples for a group are always cut into the same sections,
//     however often the record is read again and whatever was polled with it: the cut
//     looks at the record alone, and a line without a timestamp gets the record's.
//     The constants in encoder.go that decide it must therefore not change, nor may
//     group_labels, max_labels and the section samples while records are between read and committed.
//   - The sections that one origin partition has for a group reach samples in the
//     order of (offset, chunk), without a gap. A group has at most one batch on its
//     way at a time: a batch that fails is never overtaken by a later one.
//   - The generation of samples follows from a sample's own time and the record of the
//     generations, which is read anew before what was polled is handed on: a plan is
//     made for later samples than any that was handed on by somebody who had not
//     read it (package generations). So a record that is read again is cut as before.
//   - What waited in metrics (backlog.go) says so in its sections, and partitions that are behind
//     are merged by the records' times. Nothing but when windows close depends on either, so
//     it may differ when a record is read again.
//   - How far it is stands in the topic progress, for each partition twice a second: by
//     what was read and handed on, markers of transactions included, never by commits. What
//     was true of a partition stays true, whoever owns it, so that readers take the newest.
//   - Offsets are committed only after everything up to them was acknowledged. A
//     produce error ends Run; whoever calls Run calls it again, and reading goes on
//     at the commit.
//   - Origin.Epoch is the first 8 bytes of the topic's id, big-endian. franz-go never
//     follows a topic to a new id, so the id is asked for before the client exists
//     and again when it has its first records: if both answers agree, it is the id
//     that those records have. A new id ends Run.
//
// What is refused (an entry of a record, a series, or the whole record) is counted
// by reason, and the record goes to deadletter, cut to size (package deadletter), once for
// each time it is read: a key of (weir.topic, weir.partition, weir.offset) tells copies
// apart. The good entries of such a record are handed on.
package route
