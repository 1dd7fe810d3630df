// Package enginetest is the test kit of tests that need real engines, those with the build tag
// engines: it kills and starts Kafka and Cassandra through the scripts of deploy/engines, runs weir's
// binary as processes that are killed and started again, and reads tables back with cqlsh.
//
// It expects the environment that deploy/engines/test.sh (make test-engines) sets
// up, and fails a test that runs without it. Everything that it starts ends with
// the test that started it. The engines are one set for all tests: Reset empties
// them, and such tests do not run in parallel.
package enginetest
