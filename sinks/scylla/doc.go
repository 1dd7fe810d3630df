// Package scylla keeps the tiers in the CQL tables of package schemas/cql, on
// ScyllaDB or Apache Cassandra. It is the only package that imports gocqlx or gocql.
//
// Contract: that of sinks.TierStore. Open creates the keyspace and the tables if they are missing.
//
// Write time. A row is written USING TIMESTAMP window end in µs + revision, with a TTL of what is
// left of the tier's TTL since the window's end. So a write that is repeated, late or out of order
// can neither bring back an old value nor extend a row's life. Every column is written with one
// stamp, and two writes with one stamp carry the same values: otherwise columns would mix, as
// Cassandra settles each of them separately. The stamp leaves room for a million revisions before
// it would reach the stamp of a window that ends a second later, which is another row anyway.
//
// Batches. Rows of one partition, that is of one source, tier and bucket, go in unlogged batches of
// at most 60 rows and 5 KiB: a fifth of the cost of single inserts. A batch never spans partitions.
//
// Outages. The driver's retry policy tries one other host; after that every request is tried again,
// with backoff, until it is acknowledged or the caller's context ends. A timeout means "maybe
// written", and the write is repeated with the same stamp. At most Config.InFlight requests are in
// flight; further callers wait. Rows that the tables cannot take are refused beforehand. Should the
// cluster nevertheless call a request invalid although its table is as it should be, the row at
// fault is found and refused too, so that it does not hold up everything after it.
//
// Durability is the cluster's: replication 3 with LOCAL_QUORUM, or, on a single node,
// commitlog_sync batch or group. With periodic, a crash of the node loses rows that were
// acknowledged.
//
// The index of series. When a series first appears in this process, and about once a day after
// that, its row in series is rewritten, together with one row in label_index for each of its labels
// and its metric, and the values in label_values. They outlive the last window by two days.
//
// The tests against a real cluster are behind the build tag engines and expect its address in
// WEIR_TEST_CQL.
package scylla
