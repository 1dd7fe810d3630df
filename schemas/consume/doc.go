// Package consume makes every Kafka client in weir that reads, or the connections that other
// readers use, so that what holds for one reader holds for all.
//
// Contract:
//
//   - Only committed records are read. Records of aborted transactions, and markers, never arrive,
//     unless the caller keeps control records to see how far it is.
//   - A batch that does not unpack, or unpacks to more than maxUnpacked bytes or maxRecords
//     records, stops nothing and takes no more memory than that. In its place comes one record, at
//     its last offset, whose Value says in words what was skipped and why, and which SkippedBatch
//     recognizes. A caller that does not ask sees a record that does not decode, which is what it
//     is. This holds for all codecs, known and unknown.
//   - What one poll can unpack is bounded, too: whatever exceeds pollBudget comes with a later
//     poll.
//   - If Kafka's ACLs deny something, every poll returns the error, but only four times a second
//     rather than as often as the broker answers.
//   - Records that retention took before they were read are reported to Watch.Lost: the missing
//     offsets below the start of the log. Offsets missing above it belong to aborted transactions,
//     markers or compacted records, none of which is lost.
//
// Another library that reads (sarama, for Goka) has its connections opened by a Dialer. It gets the
// same, except that batches have tighter bounds (mostUnpacked, mostRecords), and that the record in
// place of a skipped batch is an ordinary one, without a key.
//
// TestEveryConsumerIsMadeHere, in the arch suite, checks that there is no other reader.
package consume
