// Package formats decodes the foreign bytes in which samples arrive: weir's JSON (the seed API's),
// Influx line protocol, and CSV. Each format is one file (json.go, line.go with point.go, csv.go)
// and one entry of All: its name, its media types, how to recognize it, how to join entries to a
// body, and its decoder. Gateway, route, replay, fold and agent ask All, and name no format but the
// one that they write.
//
// Contract: a leaf beside schemas. A Decoder walks a body entry by entry: a line of line protocol,
// an object of JSON. Each entry is either decoded whole or refused whole, with one of a closed set
// of reasons. A refused entry never spoils the ones around it, and costs no more than one that is
// decoded: beyond the first 100 of a body, faults have reasons but no texts. A UTF-8 byte order
// mark is skipped, and a body in UTF-16 refused. Nothing panics, and every byte of a body is in an
// entry that was decoded, in one that was refused, or is white space or a comment.
//
// # JSON
//
// A sample is an object
//
//	{"metricName": "cpu.usage", "tags": {"host": "web01"}, "timestamp": 1767225600000, "value": 42.5}
//
// A body holds one object, an array of objects, or several of either with white space between them
// (JSON lines). The timestamp is always in milliseconds since the Unix epoch, a whole number in
// [MinTimeMS, MaxTimeMS]. The unit is never guessed: a number in seconds, µs or ns is read as ms,
// and those who judge times find it far in the past or future. metricName, timestamp and value are
// required; tags may be left out or null. Field names match exactly. An unknown field is refused,
// since "tag" for "tags" would make another series, or counted and ignored if the Config says so; a
// field that appears twice is refused. A tag with an empty value counts as absent. The tokens NaN,
// Infinity and -Infinity, which some writers print although JSON does not have them, are read as
// values and refused as not finite. An optional subNs, 0 to 999999, is the part of the time below a
// ms, in ns. After a syntax error inside an array the rest of the body is one refused entry, since
// nothing tells where the next object starts; outside an array, decoding continues at the next
// line.
//
// # CSV
//
// Only in recordings, with or without a header:
//
//   - series,timestamp_ms,value, in that order. The series is metric{name="value",…}, CSV-quoted or
//     not.
//   - timestamp,value, as in the Numenta Anomaly Benchmark, of the series in the Options. The time
//     is 2006-01-02 15:04:05 in UTC, RFC 3339, or a number of ms.
//
// # Influx line protocol
//
// Each numeric field of a line is a sample of the metric measurement.field, or just measurement for
// a field named value. Booleans count as 1 and 0. String fields are skipped and counted
// (Entry.Skipped). A line without a timestamp gets the caller's now. A tag that appears twice is
// refused; a field that appears twice gives two samples. The timestamp's unit is the caller's, or
// the content type's parameter precision (s, ms, us, ns), by default ns; the part below a ms is in
// SubNS. Numbers follow line protocol's grammar, not Go's strconv. A line ends at a line feed
// outside a quoted string field.
package formats
