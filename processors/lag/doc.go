// Package lag keeps the gauge of how far a member of a franz-go consumer group is behind.
//
// Contract: the gauge, by partition, is the number of records that the group has not committed: the
// end of the partition minus the committed offset, or minus its start if nothing was committed. So
// it moves even while the member reads nothing, as when its sink is down, and is never less than
// what would be read again after a crash. Each process covers only the partitions that it owns, so
// that the sum over the processes is the group's. The gauge is up to 2 s old; while brokers do not
// answer, or the group rebalances, it stays as it was.
package lag
