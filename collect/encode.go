package collect

import (
	"strconv"
	"unicode/utf8"

	"github.com/weir-metrics/weir/schemas"
)

// appendJSON appends the sample as an object of package formats' JSON. Like every sample's, its
// names are valid UTF-8 and its value is finite.
func appendJSON(dst []byte, s *schemas.Sample) []byte {
	dst = append(dst, `{"metricName":`...)
	dst = appendQuoted(dst, s.Series.Metric)
	dst = append(dst, `,"tags":{`...)
	for i, l := range s.Series.Labels {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendQuoted(dst, l.Name), ':')
		dst = appendQuoted(dst, l.Value)
	}
	dst = append(dst, `},"timestamp":`...)
	dst = strconv.AppendInt(dst, s.TimeMS, 10)
	if s.SubNS != 0 {
		dst = append(dst, `,"subNs":`...)
		dst = strconv.AppendUint(dst, uint64(s.SubNS), 10)
	}
	dst = append(dst, `,"value":`...)
	dst = strconv.AppendFloat(dst, s.Value, 'g', -1, 64)
	return append(dst, '}')
}

// appendQuoted appends a JSON string.
func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ':
			const digits = "0123456789abcdef"
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&0xf])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// cut returns at most n bytes of s, without cutting a rune.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
