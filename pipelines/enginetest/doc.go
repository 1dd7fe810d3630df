// Package enginetest is the kit for tests on real engines, which have the build tag engines. It kills
// and starts Kafka and Cassandra through the scripts of deploy/engines, runs weir's binary as processes
// that tests can kill and restart, and reads tables back with cqlsh.
//
// It expects the environment that deploy/engines/test.sh (make test-engines) sets up, and fails tests
// that run without it. Everything that it starts ends with the test that started it. All tests share
// one Kafka and one Cassandra: Reset empties them, and these tests must not run in parallel.
package enginetest
