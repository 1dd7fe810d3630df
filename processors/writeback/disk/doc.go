// Package disk is a disk in memory with tables on it, for those who stand in for weir's world: the simulation and tests.
//
// Contract: a Disk outlives the process that uses it. A crash takes the last writes since Sync, as many as asked, in the order in
// which they were made. It is not safe for concurrent use.
package disk
