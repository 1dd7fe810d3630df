// Package scylla keeps the tiers in the CQL tables of package schemas/cql, on
// ScyllaDB or Apache Cassandra. It is the only package that imports gocqlx or gocql.
//
// Contract: that of sinks.TierStore. Open creates the keyspace and the tables that
// are missing.
//
// Write time. A row is written USING TIMESTAMP window end in µs + revision, and
// with a TTL of what is left of the tier's since the window's end. So a write that
// is repeated, late or out of order can neither bring an old value back
// nor make a row live longer. Every column is written with one stamp, and two
// writes of one stamp carry the same values: otherwise columns would mix, as
// Cassandra settles them one by one. The stamp leaves room for a million revisions before it would reach the
// stamp of a window that ends a second later, which is another row anyway.
//
// Batches. Rows of one partition, that is of one source, tier and bucket, go
// in unlogged batches of at most 60 rows and 5 KiB: a fifth of the cost of single
// inserts. Several partitions are never in one batch.
//
// Outages. The driver's retry policy tries one other host; beyond that every
// request is tried again, with backoff, until it is acknowledged or the caller's
// context ends. A time-out means "maybe written", and is repeated with the same
// stamp. At most Config.InFlight requests are under way; callers beyond that wait.
// Rows that the tables cannot take are refused beforehand; should the cluster
// call a request invalid all the same, and its table be as it should, the row at
// fault is found and refused too, so that it does not hold up all that follow.
//
// Durability is the cluster's: replication 3 with LOCAL_QUORUM, or on a single
// node commitlog_sync batch or group. With periodic, a crash of the node loses
// rows that were acknowledged.
//
// The index of series. When a series first appears in this process, and about once
// a day from then on, its row in series is written again, with one row in
// label_index for each of its labels and its metric, and the values in
// label_values. They outlive the last window by two days.
//
// The tests against a real cluster are behind the build tag engines and want its
// address in WEIR_TEST_CQL.
package scylla
