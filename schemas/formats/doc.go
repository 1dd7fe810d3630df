// Package formats decodes the foreign bytes that samples arrive in: weir's JSON
// (the seed API's), Influx line protocol, and CSV. Each format is one file (json.go, line.go with
// point.go, csv.go) and one entry of All: its name, its media types, how it is recognised, how entries are joined
// to a body, and its decoder. Gateway, route, replay, fold and agent ask All, and name no format but the
// one that they write.
//
// Contract: a leaf beside schemas. A Decoder
// walks a body entry by entry: a line of line protocol, an object of JSON. Each
// entry is either decoded whole or refused whole, with one of a closed set of
// reasons; a refused entry never spoils the ones around it, and costs no more than one that
// is decoded: beyond the first 100 of a body, faults have their reasons and no texts. A byte order
// mark of UTF-8 is skipped, and a body in UTF-16 refused. Nothing panics, and
// every byte of a body is either in an entry that was decoded or in one that was
// refused, or is white space or a comment.
//
// # JSON
//
// A sample is an object
//
//	{"metricName": "cpu.usage", "tags": {"host": "web01"}, "timestamp": 1767225600000, "value": 42.5}
//
// A body holds one object, an array of objects, or several of either with white
// space between them (JSON lines). The timestamp is in milliseconds since the
// Unix epoch, always: a number in seconds, µs or ns is taken for ms and found far
// in the past or future by those who judge that; the unit is never guessed. It must be
// a whole number in [MinTimeMS, MaxTimeMS]. metricName, timestamp and value are
// required; tags may be left out or null. Field names match exactly; an unknown
// field is refused, since "tag" for "tags" would make another series, or counted and ignored
// if the Config says so; a field that stands twice is refused. A tag with an empty
// value is a tag that is not there. The tokens NaN, Infinity and -Infinity, which
// some writers print although JSON has none, are read as values and refused as
// not finite. An optional subNs, 0 to 999999, is what of the time is finer than a ms.
// After a syntax error inside an array the rest of the body is one
// refused entry, since nothing says where the next object starts; outside an
// array reading goes on at the next line.
//
// # CSV
//
// In recordings alone, below a header or without one:
//
//   - series,timestamp_ms,value, in that order. The series is metric{name="value",…}, quoted as in CSV or not.
//   - timestamp,value, as the Numenta Anomaly Benchmark has it, of the series in the Options: the time is
//     2006-01-02 15:04:05 in UTC, RFC 3339, or a number of ms.
//
// # Influx line protocol
//
// Each numeric field of a line is a sample of the metric measurement.field, or
// just measurement for a field named value. Booleans count as 1 and 0. String
// fields are skipped and counted (Entry.Skipped). A line without a timestamp gets
// the caller's now. A tag that stands twice is refused; a field that stands twice
// gives two samples. The timestamp's unit is the caller's or the content type's
// parameter precision (s, ms, us, ns), by default ns; what is finer than a ms is in SubNS.
// Numbers are those of line protocol's grammar, not of Go's strconv. A line ends at a line feed outside of a quoted string field.
package formats
