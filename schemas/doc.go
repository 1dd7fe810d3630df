// Package schemas is what weir's parts agree on: samples, closed windows, conditions and alerts on
// the wire, the topics that carry them (subpackage topics), the tables that keep them (subpackage
// cql), and the foreign formats in which samples arrive (subpackage formats).
//
// Contract: a leaf. Neither it nor its subpackages import any other package of weir but
// deploy/conf; it holds no state and starts no goroutine. Every encoded value starts with a version
// byte, and bytes that were valid once decode for ever (testdata holds them). Decoders never panic
// and never allocate more than a small multiple of their input.
//
// Times are milliseconds since the Unix epoch (ms) unless a name says otherwise.
package schemas
