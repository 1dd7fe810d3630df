// Package generations reads and writes the record of the generations of samples (see
// schemas.Generation), and what the owners of shards report of them.
//
// Contract: the topic generations has one partition and one key; its last record is
// the truth, and an empty or missing topic means that weir was never resharded. A
// reader that may have to act on a plan refreshes its Log at least every Lease, and a
// plan is made for samples of no earlier than two Leases and max_future from then: so
// nobody who hands on a sample that the plan concerns has not read the plan.
package generations
