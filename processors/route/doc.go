// Package route hands the samples of the metrics topic on to the samples topic,
// keyed by series group: a stateless franz-go consumer group, weir-route.
//
// It decodes each record (schemas/formats), groups its samples by
// schemas.GroupOf, and writes one schemas.SampleBatch for each group of a poll, to
// partition schemas.Shard(group, shards). The shards are the number on record, never
// the live partition count (docs/scaling.md).
//
// Contract: every sample reaches the group's state exactly once (docs/exactness.md). A transaction
// over both topics would achieve that, too, but a process that dies with one open holds up every
// key until it comes back. So route itself is at-least-once with an idempotent producer, and its
// readers drop what they have applied from an origin. Therefore all of the following must hold:
//
//   - An origin's samples for a group are always cut into the same sections, however often the
//     record is read again and whatever was polled with it: the cut depends on the record alone,
//     and a line without a timestamp gets the record's. Therefore the constants in encoder.go that
//     decide it must not change, nor may group_labels, max_labels and the section samples while
//     records are between read and committed.
//   - The sections of one origin partition for a group reach samples in the order of (offset,
//     chunk), without a gap. A group has at most one batch in flight: a batch that fails is never
//     overtaken by a later one.
//   - The generation of samples follows from a sample's own time and the record of the generations,
//     which is read again before what was polled is handed on: a plan concerns only samples later
//     than any that somebody who had not read it has handed on (package generations). So a record
//     that is read again is cut as before.
//   - Sections of what had queued in metrics (backlog.go) are marked, and partitions that are
//     behind are merged by the records' times. Only when windows close depends on either, so it may
//     differ when a record is read again.
//   - Route reports how far it is in the topic progress, twice a second for each partition: by what
//     was read and handed on, including markers of transactions, never by commits. What was true of
//     a partition stays true, whoever owns it, so readers take the newest report.
//   - Offsets are committed only after everything up to them has been acknowledged. A produce error
//     ends Run; its caller calls it again, and it continues from the commit.
//   - Origin.Epoch is the first 8 bytes of the topic's id, big-endian. franz-go never follows a
//     topic to a new id, so the id is looked up before the client exists and again when it has its
//     first records: if both answers agree, it is the id of those records. A new id ends Run.
//
// A batch whose series are those of one of the last two of its group has their shape in the place of
// their IDs (schemas.SampleBatch.Shape): most senders send the same series again and again.
//
// What is refused (an entry of a record, a series, or the whole record) is counted by reason, and
// the record goes to deadletter, cut to size (package deadletter), each time it is read: the key
// (weir.topic, weir.partition, weir.offset) identifies copies. The good entries of such a record
// are handed on.
package route
