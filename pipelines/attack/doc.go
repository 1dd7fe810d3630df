// Package attack is the suite of make attack: bad inputs and attacks on a running weir, each with
// what refuses it.
//
// Contract: an Attack is one thing that a sender, a page, a client of the broker, a record or a file can do. It
// is bounded, stays on loopback, and ends by itself; Do returns how it was refused, or an error if it
// was not. The attacks share one process, which must meanwhile serve an honest sender: the test checks
// that, and the process's memory. What only a look inside can show is tested beside the code
// (docs/faults.md).
package attack
