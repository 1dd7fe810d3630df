package formats

import (
	"fmt"
	"mime"
	"strings"
	"time"
)

// Precision is the unit of line protocol's timestamps.
type Precision uint8

// The precisions of line protocol; the default is Nanosecond.
const (
	Nanosecond Precision = iota
	Microsecond
	Millisecond
	Second
)

// precisions holds the name and length of each Precision.
var precisions = [...]struct {
	name string
	unit time.Duration
}{{"ns", time.Nanosecond}, {"us", time.Microsecond}, {"ms", time.Millisecond}, {"s", time.Second}}

// ParsePrecision reads ns or n, us, u or µs, ms, and s; "" is Nanosecond. It
// returns an error that quotes anything else.
func ParsePrecision(text string) (Precision, error) {
	switch text {
	case "", "n":
		return Nanosecond, nil
	case "u", "µ", "μ", "µs", "μs": // the micro sign and the Greek letter
		return Microsecond, nil
	}
	for p, d := range precisions {
		if text == d.name {
			return Precision(p), nil
		}
	}
	return 0, fmt.Errorf("precision %.20q: must be one of ns, us, ms, s", text)
}

// String is ns, us, ms or s: what ParsePrecision reads.
func (p Precision) String() string { return precisions[p].name }

// Duration is the length of one unit.
func (p Precision) Duration() time.Duration { return precisions[p].unit }

// PrecisionOf reads the precision parameter of a content type; without one it is Nanosecond. The
// error quotes a precision that is unknown, or a content type with a precision that does not parse.
func PrecisionOf(contentType string) (Precision, error) {
	if !strings.Contains(strings.ToLower(contentType), "precision") {
		return Nanosecond, nil
	}
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return 0, fmt.Errorf("content type %.100q: %w", contentType, err)
	}
	return ParsePrecision(params["precision"])
}
