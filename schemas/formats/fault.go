package formats

import (
	"errors"
	"fmt"

	"github.com/weir-metrics/weir/schemas"
)

// Reason says why an entry was refused. The set is closed: reasons are metric
// labels and deadletter headers.
type Reason string

// The reasons.
const (
	Undecodable    Reason = "undecodable"     // does not parse
	WrongType      Reason = "wrong_type"      // a field of JSON has another type, or an entry is no object
	MissingField   Reason = "missing_field"   // a required field of JSON is not there
	UnknownField   Reason = "unknown_field"   // a field of JSON that weir does not know, as tag for tags
	NotFinite      Reason = "not_finite"      // NaN, Inf, or a number too large for a float64
	BadTimestamp   Reason = "bad_timestamp"   // no whole number, or outside MinTimeMS and MaxTimeMS
	EmptyName      Reason = "empty_name"      // of the metric or of a label
	DuplicateLabel Reason = "duplicate_label" // a tag that stands twice
	InvalidUTF8    Reason = "invalid_utf8"    // in a name or a value
	TooLong        Reason = "too_long"        // a name, a value or a series over its bound in Config
)

// Reasons are all reasons, so that counters can start at zero.
var Reasons = []Reason{Undecodable, WrongType, MissingField, UnknownField, NotFinite, BadTimestamp, EmptyName, DuplicateLabel, InvalidUTF8, TooLong}

// Fault says why an entry was refused. It is an error.
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

// ReasonOf names the reason of a fault that Series.Validate or ParseNumber found.
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
