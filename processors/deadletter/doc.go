// Package deadletter is how refused records and samples get into the topic deadletter: what a
// letter says, that it always fits, and how many there may be.
//
// # A letter
//
// Of quotes a refused record; OfSamples holds refused samples as JSON that the gateway accepts, so
// that they can be sent again. Each letter is below topics.MaxLetterBytes, whatever it quotes:
// anything too long is cut, and the header weir.cut tells what was cut and how long it was. So a
// letter is never the reason why a processor stops. Samples are never cut: they are spread over
// several letters.
//
// All letters have the headers weir.stage, weir.reason (a code, never free text) and weir.error;
// letters about a record of a topic have weir.topic, weir.partition and weir.offset, by which
// copies can be recognized, as a record that is read again is refused again. See topics.Letter.
//
// Write waits for the acknowledgement, and cuts a letter further if the broker's limit is lower
// than Kafka's own.
//
// # How many
//
// A Limiter bounds what is written, in bytes, for each source (the sender, or the key) and in
// total, so that a flood of rubbish neither fills a disk nor pushes out others' letters. Letters
// beyond the bound are not written, but counted by stage and reason (weir_deadletter_dropped_total)
// and logged once a minute. One Limiter serves a process. The topic itself is bounded by
// retention.deadletter and retention.deadletter_bytes.
package deadletter
