package formats

import (
	"errors"
	"fmt"

	"github.com/weir-metrics/weir/schemas"
)

// Reason tells why an entry was refused. The set is closed: reasons are metric labels and dead
// letter headers.
type Reason string

// The reasons.
const (
	Undecodable    Reason = "undecodable"     // does not parse
	WrongType      Reason = "wrong_type"      // a field of JSON has the wrong type, or an entry is not an object
	MissingField   Reason = "missing_field"   // a required field of JSON is missing
	UnknownField   Reason = "unknown_field"   // a field of JSON that weir does not know, such as tag for tags
	NotFinite      Reason = "not_finite"      // NaN, Inf, or a number too large for a float64
	BadTimestamp   Reason = "bad_timestamp"   // not a whole number, or not between MinTimeMS and MaxTimeMS
	EmptyName      Reason = "empty_name"      // of the metric or of a label
	DuplicateLabel Reason = "duplicate_label" // a tag that appears twice
	InvalidUTF8    Reason = "invalid_utf8"    // in a name or a value
	TooLong        Reason = "too_long"        // a name, a value or a series over its bound in Config
)

// Reasons lists all reasons, so that counters can start at zero.
var Reasons = []Reason{Undecodable, WrongType, MissingField, UnknownField, NotFinite, BadTimestamp, EmptyName, DuplicateLabel, InvalidUTF8, TooLong}

// Fault tells why an entry was refused. It is an error.
type Fault struct {
	Line   int // line of the body on which the entry starts, from 1
	Entry  int // number of the entry in the body, from 1
	Reason Reason
	Err    error // what exactly; its text is bounded and quotes the culprit
}

// Error gives the place, the reason and the cause.
func (f *Fault) Error() string { return fmt.Sprintf("line %d: %s: %v", f.Line, f.Reason, f.Err) }

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.Err }

// ReasonOf returns the reason of a fault that Series.Validate or ParseNumber found.
func ReasonOf(err error) Reason {
	switch {
	case errors.Is(err, schemas.ErrEmptyName):
		return EmptyName
	case errors.Is(err, schemas.ErrDuplicateLabel):
		return DuplicateLabel
	case errors.Is(err, schemas.ErrInvalidUTF8):
		return InvalidUTF8
	case errors.Is(err, schemas.ErrTooLong):
		return TooLong
	case errors.Is(err, errRange):
		return NotFinite
	}
	return Undecodable
}
