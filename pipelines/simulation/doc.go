// Package simulation plays the life of weir in one goroutine, from a seed: events and their order are
// random, but the same for the same seed. It finds what tests against a broker find only by luck.
//
// # What is real and what is not
//
// The code that decides is real: processors/window and processors/alert with everything
// they use (windows, alerts, the codecs of schemas), and from processors/writeback the
// partition, its entries, the producer's rules and recovery, through writeback.Drive.
// The broker (topics keep what is appended, producers keep their order, acknowledgements
// come late or never), the consumer groups, the disk below the local store, time, the
// clocks of hosts and machines, and the tables (rows by write stamp, as in CQL) are
// simulated. Three things are imitated in a few lines each: processors/route (its
// sections, chunks and commits), Goka's use of the local store, and the order of a
// checkpoint: note the offset, flush, wait for acknowledgements, commit.
//
// # What happens
//
// A run is a list of ops (ops.go), each a verb and its numbers, chosen by a planner
// that looks at the world (plan.go). In the rough part anything can happen: samples
// arrive late, early or twice; routers, machines and disks are lost at any point of any
// step; partitions move while the former owner carries on for a while; records of dead
// processes arrive later; produces time out; clocks are off by seconds or hours, and
// some ticks by more; metrics gains partitions; nothing happens for hours; changelogs
// are compacted; tables and inputs hold rubbish; local stores break; transactions are
// aborted. Some runs have more series and samples than the limits allow, or values that
// the broker refuses.
// In the calm part, after a long silence, faults continue, but everything that belongs to
// a second is finished before the next second begins.
//
// # What must hold
//
// See check.go, and docs/exactness.md for the promise. In short: whatever is emitted is,
// byte by byte and in the same order per key, what one process without faults emits from
// the same log; the tables match windowtest.Oracle; every sample is accounted for once;
// no two rows share a stamp; refused samples are in deadletter; overflow series have
// exact totals (limits.go); a key loses something only if the broker refused one of its
// values, and no other key suffers (oversize.go); and in the calm part alerts make the
// transitions of a batch evaluation (rules.go).
//
// A violation is shrunk to a few ops that still show it, and kept under testdata.
package simulation
