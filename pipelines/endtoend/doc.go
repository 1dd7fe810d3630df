// Package endtoend tests the whole of weir: in one process and, with the build tag engines, in several processes on Apache Kafka
// and Apache Cassandra. It contains only tests.
package endtoend
