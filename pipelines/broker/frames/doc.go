// Package frames stands between the embedded broker and its clients, and lets pass only
// what the broker can stand: the broker is a fake for tests, which believes what a client
// announces and panics at some of what it does not expect.
//
// Contract, for each connection:
//
//   - A request reaches the broker when it is whole and known to be sane: its length within
//     bounds, its API key and version of those that the broker may be asked (Versions), its
//     header and body decoded to the last byte, its arrays, names, counts and settings within
//     bounds, its batches of records unpacked and decoded record by record (records.go).
//   - What is not closes its connection, and no other; it is counted by reason in
//     weir_broker_refused_total and logged, at most once in 10 s.
//   - A frame costs no more memory than has arrived of it, and what all connections hold is
//     bounded: beyond that, the connection closes whose frame or answer has been under way
//     for longest. So are the connections: beyond Config.Connections, the one closes
//     that has been idle for longest, those first that never sent a whole request.
//   - A frame that does not go on, a first request that does not come, an answer that is not
//     read: deadlines end them (Config).
//   - What a fetch may ask for is cut to what a broker would give (fetch.go); fetch
//     sessions, which the broker would remember without bound, are never begun.
package frames
