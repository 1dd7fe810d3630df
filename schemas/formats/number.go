package formats

import (
	"errors"
	"fmt"
	"math"
	"strconv"
)

// errNumber is what ParseNumber's error wraps for a text that is not a number at all.
var errNumber = errors.New("must be a decimal number, such as 42, -0.5 or 1e-3")

// errRange is what it wraps for a number too large for a float64.
var errRange = errors.New("must be a finite number")

// ParseNumber reads a decimal number: an optional minus, digits with at most one point among,
// before or after them, and an optional exponent. What Go's strconv accepts besides (0x1p4, 1_000,
// +1, Inf, nan) is refused. The error quotes text; ReasonOf tells the two kinds apart: not a number
// is Undecodable, too large is NotFinite.
func ParseNumber(text string) (float64, error) {
	if !decimal(text) {
		return 0, fmt.Errorf("value %.40q: %w", text, errNumber)
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(v, 0) {
		return 0, fmt.Errorf("value %.40s: %w", text, errRange)
	}
	return v, nil
}

// decimal reports whether b is a float in line protocol's grammar: digits, digits with a point, or
// a point followed by digits, and then an optional exponent.
func decimal[T string | []byte](b T) bool {
	i := 0
	if len(b) > 0 && b[0] == '-' {
		i++
	}
	whole := digits(b, i)
	i += whole
	if i < len(b) && b[i] == '.' {
		part := digits(b, i+1)
		if whole == 0 && part == 0 {
			return false
		}
		i += 1 + part
	} else if whole == 0 {
		return false
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		n := digits(b, i)
		if n == 0 {
			return false
		}
		i += n
	}
	return i == len(b)
}

// digits returns how many decimal digits b has from i on.
func digits[T string | []byte](b T, i int) (n int) {
	for i+n < len(b) && '0' <= b[i+n] && b[i+n] <= '9' {
		n++
	}
	return n
}

// Hint returns a remark about a time that should be in ms, µs or whatever unit is, if its number
// would be a time of this century in another unit: "it looks like seconds". Otherwise it returns
// "". unit is a name that ParsePrecision reads.
func Hint(n int64, unit Precision) string {
	const from, to = 946684800, 4102444800 // 2000 to 2100, s
	if n < 0 {
		n = -n
	}
	for _, p := range []Precision{Second, Millisecond, Microsecond, Nanosecond} {
		perSecond := int64(precisions[Second].unit / precisions[p].unit)
		if s := n / perSecond; p != unit && s >= from && s < to {
			return "it looks like " + p.words()
		}
	}
	return ""
}

func (p Precision) words() string {
	return [...]string{"nanoseconds", "microseconds", "milliseconds", "seconds"}[p]
}
