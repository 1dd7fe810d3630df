package conf

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time in ns, written as people do: 10s, 5m, 1h30m, 7d, 1w. A day is 24 h,
// a week 7 days; 365d is a year. A bare number has no unit and is refused, except 0.
type Duration int64

// The units that files use beyond those of package time.
const (
	Day  = Duration(24 * time.Hour)
	Week = 7 * Day
)

// units are those that ParseDuration reads and, except for the week, those that String writes,
// largest first.
var units = []struct {
	name string
	size Duration
}{
	{"w", Week}, {"d", Day}, {"h", Duration(time.Hour)}, {"m", Duration(time.Minute)},
	{"s", Duration(time.Second)}, {"ms", Duration(time.Millisecond)}, {"us", Duration(time.Microsecond)}, {"ns", 1},
}

var errDuration = errors.New("must be a duration with its unit: 250ms, 10s, 5m, 1h30m, 7d, 1w")

// ParseDuration reads numbers with units, added up: 1h30m. A leading minus negates the whole. Its
// error tells what a duration looks like.
func ParseDuration(text string) (Duration, error) {
	rest, negative := strings.CutPrefix(text, "-")
	if rest == "0" {
		return 0, nil
	}
	var sum Duration
	for first := true; first || rest != ""; first = false {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		if err != nil {
			return 0, errDuration
		}
		rest = rest[digits:]
		name := rest[:len(rest)-len(strings.TrimLeft(rest, "abcdefghijklmnopqrstuvwxyz"))]
		rest = rest[len(name):]
		size := sizeOf(name)
		if size == 0 || n > int64((math.MaxInt64-sum)/size) {
			return 0, errDuration
		}
		sum += Duration(n) * size
	}
	if negative {
		sum = -sum
	}
	return sum, nil
}

func sizeOf(unit string) Duration {
	for _, u := range units {
		if u.name == unit {
			return u.size
		}
	}
	return 0
}

// Std is the duration as package time's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// MS is the duration in whole milliseconds, rounded towards 0.
func (d Duration) MS() int64 { return int64(d) / int64(time.Millisecond) }

// String writes what ParseDuration reads: 7d, 1h30m, 0s.
func (d Duration) String() string {
	if d == 0 {
		return "0s"
	}
	var b strings.Builder
	rest := uint64(d)
	if d < 0 {
		b.WriteByte('-')
		rest = -rest
	}
	for _, u := range units[1:] {
		if n := rest / uint64(u.size); n > 0 {
			b.WriteString(strconv.FormatUint(n, 10) + u.name)
			rest %= uint64(u.size)
		}
	}
	return b.String()
}

// MarshalText writes String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what ParseDuration reads, with its error.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := ParseDuration(string(text))
	if err != nil {
		return err
	}
	*d = v
	return nil
}
