// Package disk is a disk in memory with tables on it, for those who stand in for weir's
// environment: the simulation and tests.
//
// Contract: a Disk outlives the process that uses it. A crash undoes the last writes since Sync, as
// many as requested, in the order in which they were made. A Disk is not safe for concurrent use.
package disk
