package alerts

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// humanize writes a number with an SI prefix, as Prometheus does: 12.35k, 80.5.
func humanize(v float64) string {
	if v == 0 || !finite(v) {
		return fmt.Sprintf("%.4g", v)
	}
	prefix := ""
	if math.Abs(v) >= 1 {
		for _, p := range []string{"k", "M", "G", "T", "P", "E", "Z", "Y"} {
			if math.Abs(v) < 1000 {
				break
			}
			prefix, v = p, v/1000
		}
		return fmt.Sprintf("%.4g%s", v, prefix)
	}
	for _, p := range []string{"m", "u", "n", "p", "f", "a", "z", "y"} {
		if math.Abs(v) >= 1 {
			break
		}
		prefix, v = p, v*1000
	}
	return fmt.Sprintf("%.4g%s", v, prefix)
}

// humanize1024 is humanize by powers of 1024: bytes.
func humanize1024(v float64) string {
	if math.Abs(v) <= 1 || !finite(v) {
		return fmt.Sprintf("%.4g", v)
	}
	prefix := ""
	for _, p := range []string{"ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"} {
		if math.Abs(v) < 1024 {
			break
		}
		prefix, v = p, v/1024
	}
	return fmt.Sprintf("%.4g%s", v, prefix)
}

// humanizeDuration writes seconds as 1h 2m 3s.
func humanizeDuration(v float64) string {
	if !finite(v) || math.Abs(v) > 1e9 {
		return strconv.FormatFloat(v, 'g', 4, 64) + "s"
	}
	if math.Abs(v) < 1 {
		return humanize(v) + "s"
	}
	d := time.Duration(math.Round(v)) * time.Second
	var parts []string
	for _, unit := range []struct {
		d    time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if n := d.Abs() / unit.d % map[string]time.Duration{"d": math.MaxInt32, "h": 24, "m": 60, "s": 60}[unit.name]; n > 0 {
			parts = append(parts, strconv.Itoa(int(n))+unit.name)
		}
	}
	text := strings.Join(parts, " ")
	if v < 0 {
		return "-" + text
	}
	return text
}
