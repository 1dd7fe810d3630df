// Package connect is how weir reaches Kafka: every client, franz-go's and sarama's, gets its
// options here, so that all of them have the same TLS and SASL.
//
// Contract: certificates and passwords are read from their files for each new connection (package
// dial; sarama's clients with PLAIN read the password when their role starts, which happens again
// when it is refused). Warnings lists what is allowed but dangerous. Probe tells within seconds why
// Kafka cannot be used.
package connect
