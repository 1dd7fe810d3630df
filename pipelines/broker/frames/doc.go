// Package frames stands between the embedded broker and its clients, and lets only harmless requests
// pass: the broker is a fake made for tests, which believes what clients announce, and panics at some
// of what it does not expect.
//
// Contract, for each connection:
//
//   - A request reaches the broker when it is complete and known to be sane: its length is within
//     bounds, its API key and version are allowed (Versions), its header and body decode to the last
//     byte, its arrays, names, counts and settings are within bounds, and its batches of records
//     unpack and decode record by record (records.go).
//   - Any other request closes its connection, and no other. It is counted by reason in
//     weir_broker_refused_total and logged, at most once in 10 s.
//   - A frame costs no more memory than has arrived of it, and what all connections hold is
//     bounded: beyond that, the connection whose frame or answer is the oldest is closed. The
//     number of connections is bounded, too: beyond Config.Connections, the one that has been idle
//     for longest is closed, and first those that never sent a complete request.
//   - Deadlines end a frame that stalls, a connection without a first request, and an answer that
//     is not read (Config).
//   - What a fetch asks for is cut to what a broker would give (sense.go). Fetch sessions, which
//     the broker would remember without bound, are never begun.
package frames
