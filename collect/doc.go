// Package collect makes samples and takes them in: the HTTP gateway, the agent
// that reads this machine, and the replay of recorded files. All of them write
// to the topic metrics through a Publisher.
//
// Contract: nobody is told that a sample was taken before the broker has
// acknowledged it, with acks=all. What is refused or dropped is counted by reason
// (weir_collect_*), and what the gateway refuses goes to the deadletter topic, within its
// limits. Buffers are bounded, and whoever sends too much is told to wait.
//
// # The gateway's answers
//
//	POST /write?precision=ns|us|ms|s   line protocol, ns by default     204
//	POST /api/v1/samples               JSON, see package formats        204
//
// A partly bad body is a partial write, as in InfluxDB: the good lines (or objects
// of JSON) are kept, and the answer is 400 with the line and the reason of each
// bad one, the first 100 of them, and how many of each kind there were. Sending
// it again is of no use. The bad ones are written to deadletter, joined by line
// feeds, a record for each reason, with the headers weir.reason, weir.error,
// weir.stage (gateway), weir.remote and content-type.
//
//	400  partial write, nothing that parses, a bad gzip stream, an unknown precision
//	408  the body comes more slowly than min_body_bytes_per_second, or takes longer than body_timeout
//	413  the body is longer than max_body_bytes, before or after gzip, or unpacks to 200 times its length
//	415  a content encoding other than gzip (in any case, x-gzip, or in a list with identity)
//	429  too many bytes of bodies are held at once, of this client or of all: Retry-After says when to come back
//	503  Kafka did not acknowledge within ack_timeout: Retry-After likewise
//
// A client is a user that the listener knows, or else an address (of IPv6 its first 64 bits). Its bodies
// are a share of all that are held, taken as bytes come. Records carry the client as weir.sender, an opaque
// hash. The unit of times is the URL's precision, or else that of the content type, or else ns.
//
// After 429 nothing of the body was written. After 503 it may have been, in part or whole:
// sending it again is right, and makes the same samples twice at worst. The samples of a
// series group (by schemas.GroupLabels) have the same key whenever they come, so that a repeat is
// in the partition of what it repeats, in order, and is dropped by the windows.
//
// Lines without a timestamp get the gateway's time before they are written, so that
// it does not matter when they are read. Whether a time is too far in the past
// or future is not judged here.
package collect
