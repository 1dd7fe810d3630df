// Package consume makes every Kafka client of weir that reads, or what it reads with, so that
// what holds for one reader holds for all.
//
// Contract:
//
//   - Only committed records are read. Those of aborted transactions, and markers, never
//     arrive, unless the caller keeps control records to see how far it is.
//   - A batch that does not unpack, or unpacks to more than maxUnpacked bytes or
//     maxRecords records, stops nothing and takes no more memory than that: in its place
//     comes one record, at its last offset, whose Value says in words what was skipped and
//     why, and which SkippedBatch knows. Whoever does not ask takes that record for one
//     that does not decode, which it is. All codecs are meant, and unknown ones.
//   - What one poll can unpack is bounded, too: what is beyond pollBudget comes with a
//     later poll.
//   - What Kafka's ACLs deny is an error of every poll, four times a second and not as often as the
//     broker answers.
//   - Records that retention took before they were read are told to Watch.Lost: offsets
//     that are missing below the start of the log. Those that are missing above it are of
//     aborted transactions, markers, or compacted, and none of them is lost.
//
// What another library reads with (sarama, for Goka) has its connections opened by a Dialer:
// it gets the same, but that what is unreadable is bounded tighter (mostUnpacked,
// mostRecords) and that the record in its place is an ordinary one, without a key.
//
// TestEveryConsumerIsMadeHere, of the arch suite, sees to it that there is no other.
package consume
