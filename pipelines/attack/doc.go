// Package attack is the suite of make attack: bad inputs and attacks on a running weir, each with
// what refuses it.
//
// Contract: an Attack is one thing that a sender, a page, a client of the broker, a record or a file can do. It
// is bounded, stays on loopback, and ends by itself; Do returns how it was refused, or an
// error when it was not. The attacks share one process, which must serve an honest sender meanwhile: the
// test sees to that, and to its memory. What only tests with a view of the inside can show is tested
// beside the code (docs/faults.md).
package attack
