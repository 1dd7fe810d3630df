// Package endtoend tests the whole of weir, in one process and, with the build tag engines, in many on Apache Kafka and Apache
// Cassandra. It has nothing but tests.
package endtoend
