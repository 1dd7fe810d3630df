// Package collect makes samples and takes them in: the HTTP gateway, the agent that reads this
// machine, and the replay of recorded files. All of them write to the topic metrics through a
// Publisher.
//
// Contract: no sample is reported as taken before the broker has acknowledged it, with acks=all.
// What is refused or dropped is counted by reason (weir_collect_*), and what the gateway refuses
// goes to the deadletter topic, within its limits. Buffers are bounded, and whoever sends too much
// is told to wait.
//
// # The gateway's answers
//
//	POST /write?precision=ns|us|ms|s   line protocol, ns by default     204
//	POST /api/v1/samples               JSON, see package formats        204
//
// A partly bad body is a partial write, as in InfluxDB: the good lines (or objects of JSON) are
// kept, and the answer is 400 with the line and the reason of each bad one, for the first 100, and
// how many there were of each kind. There is no use in sending it again. The bad entries are
// written to deadletter, joined by line feeds, one record for each reason, with the headers
// weir.reason, weir.error, weir.stage (gateway), weir.remote and content-type.
//
//	400  partial write, nothing that parses, a bad gzip stream, an unknown precision
//	408  the body comes more slowly than min_body_bytes_per_second, or takes longer than body_timeout
//	413  the body is longer than max_body_bytes, before or after gzip, or unpacks to 200 times its length
//	415  a content encoding other than gzip (in any case, x-gzip, or in a list with identity)
//	429  too many bytes of bodies are held at once, of this client or of all: Retry-After says when to come back
//	503  Kafka did not acknowledge within ack_timeout: Retry-After likewise
//
// A client is a user that the listener knows, or otherwise an address (of IPv6 its first 64 bits).
// Each client has a share of all the bytes that are held, charged as bytes come. Records carry the
// client as weir.sender, an opaque hash. The unit of times is the URL's precision, or otherwise the
// content type's, or otherwise ns.
//
// After 429 nothing of the body was written. After 503 some or all of it may have been: sending it
// again is right, and at worst makes the same samples twice. The samples of a series group (by
// schemas.GroupLabels) always have the same key, so that a repeat lands in the partition of what it
// repeats, in order, and the windows drop it.
//
// Lines without a timestamp get the gateway's time before they are written, so that it does not
// matter when they are read. The gateway does not judge whether a time is too far in the past or
// future.
package collect
