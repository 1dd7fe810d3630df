// Package kafkatest is what tests need of Kafka: a broker in the test's process, clients of it, and
// a way to wait. Only tests import it.
//
// Contract: whatever it starts ends with the test. Nothing sleeps for a fixed time: Eventually
// polls, and fails the test if what it waits for does not come.
package kafkatest
