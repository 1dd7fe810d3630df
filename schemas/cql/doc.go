// Package cql is weir's tables in CQL: their names, how rows are spread over
// partitions, and the statements that create them, generated from the tiers.
//
// Contract: pure. The same text runs on Cassandra 5 and on ScyllaDB, so it holds
// only what both accept: no compression map, no secondary index, no materialized
// view, no lightweight transaction. Every statement may be run again.
//
// The schema is public: users read it with cqlsh. A window is found in the
// partition (source, bucket), source being the key of its series group:
//
//	SELECT ts, count, sum, max FROM weir.metrics_10s
//	 WHERE source = 'web01' AND bucket = 20679
//	   AND metric = 'cpu.usage' AND series = '{cpu="0",host="web01"}';
//
// Rows of one ts that differ in part are parts of one window, which a reader merges: generations of
// samples, and partials of samples that came too late.
package cql
