// Package store writes closed windows to the tier store: a franz-go consumer group,
// weir-store, on the topic windows.
//
// Contract:
//
//   - An offset is committed only when every record up to it is acknowledged: its windows by the
//     store, or, if it cannot be decoded or the store refuses it, the record by the topic
//     deadletter, cut to size, with headers that tell why (weir.reason: undecodable or refused) and
//     where it came from. Records are read again after a crash; writing windows twice is a no-op.
//   - Records are written concurrently, at most Config.InFlight at a time, including those after
//     one that is not acknowledged. When that many wait, nothing more is polled: memory stays
//     bounded however long the store is down, which is for the store to bridge (sinks.TierStore),
//     and the lag grows in Kafka.
//   - Order within a partition is not kept, and need not be: revisions decide which is newer.
//   - The store never holds up a rebalance: when a partition is taken away, its writes have 5 s to
//     be acknowledged; those that are by then get committed, and the rest is abandoned, and written
//     by the new owner. Stopping works the same.
package store
