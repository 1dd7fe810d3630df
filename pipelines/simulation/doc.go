// Package simulation plays the life of weir in one goroutine, from a seed: what happens, and in which
// order, is random, but the same for the same seed. It looks for what tests on a broker find only by
// luck.
//
// # What is real and what is not
//
// Real is the code that decides: processors/window and processors/alert with all that
// they use (windows, alerts, the codecs of schemas), and of processors/writeback the
// partition, its entries, the producer's rules and recovery, through writeback.Drive.
// Simulated are the broker (topics that keep what is appended, producers that keep
// their order, acknowledgements that are late or never come), the consumer groups, the
// disk below the local store, time, the clocks of hosts and machines, and the tables
// (rows by write stamp, as in CQL). Mirrored in a few lines are processors/route (its
// sections, chunks and commits), Goka's use of the local store, and the order of a
// checkpoint: note the offset, flush, wait for acknowledgements, commit.
//
// # What happens
//
// A run is a list of ops (ops.go), each a verb and its numbers, chosen by a planner
// that looks at the world (plan.go). In the rough part anything goes: samples late, in
// the future, sent again; routers, machines and disks lost at any point of any step;
// partitions moved, with the former owner going on for a while; records of dead
// processes that arrive later; time-outs; clocks that are off; metrics growing; hours
// in which nothing happens; compaction; rubbish in tables and inputs; local stores that
// break; aborted transactions; clocks of machines that are hours off, and ticks of worse ones;
// in some runs more series and samples than the limits allow, or values that the broker does
// not take.
// In the calm part, after a long silence, faults go on, but each second is brought to
// its end before the next begins.
//
// # What must hold
//
// See check.go, and docs/exactness.md for the promise. In short: everything emitted is,
// byte by byte and key by key in the same order, what one process without faults emits
// from the same log; the tables are what windowtest.Oracle says of the samples; every
// sample is accounted for once; no two rows share a stamp; refused samples are in
// deadletter; overflow series have exact totals (limits.go); a key loses something only if a
// value of it was refused, and harms no other (oversize.go); and in the calm part the
// transitions of alerts are those of a batch evaluation (rules.go).
//
// A violation is shrunk to as few ops as still show it, and kept under testdata.
package simulation
