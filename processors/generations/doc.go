// Package generations reads and writes the record of the generations of samples (see
// schemas.Generation), and the reports of the owners of shards.
//
// Contract: the topic generations has one partition and one key. Its last record is the truth, and
// an empty or missing topic means that weir was never resharded. A reader that may have to act on a
// plan refreshes its Log at least every Lease, and a plan begins at least two Leases and max_future
// after it is made: so whoever hands on a sample that the plan concerns has read the plan.
package generations
