// Package lag keeps the gauge that says how far a member of a franz-go consumer group
// is behind.
//
// Contract: the gauge, by partition, is the number of records that the group has not
// committed: the end of the partition less the committed offset, or less its start if
// nothing was committed. So it moves while the member reads nothing, as when its sink is
// away, and is never less than what would be read again after a crash. Each process has
// the partitions that it owns and no others, so that the sum over the processes is
// the group's. It is up to 2 s old; while brokers do not answer, or the group
// rebalances, it stays as it was.
package lag
