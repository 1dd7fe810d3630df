package schemas

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
)

// Label is one name and value of a series.
type Label struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Labels is sorted by name and has no name twice (see NewLabels).
type Labels []Label

// Series names one time series: a metric and its labels.
type Series struct {
	Metric string
	Labels Labels
}

// Faults of a series; wrapped with the offending value.
var (
	ErrEmptyName      = errors.New("empty name")
	ErrDuplicateLabel = errors.New("duplicate label")
	ErrInvalidUTF8    = errors.New("invalid UTF-8")
	ErrTooLong        = errors.New("name or value too long")
)

// MaxNameBytes bounds a metric name, a label name and a label value, in bytes.
const MaxNameBytes = 4096

// NewLabels returns the labels of m, sorted. Empty values are dropped, as in
// Prometheus: a label with an empty value is a label that is not there.
func NewLabels(m map[string]string) Labels {
	ls := make(Labels, 0, len(m))
	for n, v := range m {
		if v != "" {
			ls = append(ls, Label{n, v})
		}
	}
	ls.Sort()
	return ls
}

// Sort orders the labels by name.
func (ls Labels) Sort() {
	slices.SortFunc(ls, func(a, b Label) int { return strings.Compare(a.Name, b.Name) })
}

// Get returns the value of the label, or "".
func (ls Labels) Get(name string) string {
	for _, l := range ls {
		if l.Name == name {
			return l.Value
		}
	}
	return ""
}

// String writes the labels as a series has them, in braces; "" if there are none.
func (ls Labels) String() string {
	return strings.TrimPrefix(Series{Metric: "x", Labels: ls}.String(), "x")
}

// Map returns the labels as a map.
func (ls Labels) Map() map[string]string {
	m := make(map[string]string, len(ls))
	for _, l := range ls {
		m[l.Name] = l.Value
	}
	return m
}

// Validate returns an error for an empty or over-long name, a label that appears twice or is out of
// order, or invalid UTF-8. The error wraps one of the Err values above and quotes the culprit.
func (s Series) Validate() error {
	if s.Metric == "" {
		return fmt.Errorf("metric: %w", ErrEmptyName)
	}
	if err := checkName("metric", s.Metric); err != nil {
		return err
	}
	for i, l := range s.Labels {
		if l.Name == "" {
			return fmt.Errorf("label %d of %.100q: %w", i, s.Metric, ErrEmptyName)
		}
		if err := checkName("label name", l.Name); err != nil {
			return err
		}
		if err := checkName("value of label", l.Value); err != nil {
			return fmt.Errorf("label %q: %w", l.Name, err)
		}
		if i > 0 && s.Labels[i-1].Name >= l.Name {
			return fmt.Errorf("label %q of %.100q: %w", l.Name, s.Metric, ErrDuplicateLabel)
		}
	}
	return nil
}

func checkName(what, s string) error {
	if len(s) > MaxNameBytes {
		return fmt.Errorf("%s %.40q…: %w: %d bytes, at most %d", what, s, ErrTooLong, len(s), MaxNameBytes)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("%s %.100q: %w", what, s, ErrInvalidUTF8)
	}
	return nil
}

// Hash is a 64-bit hash of the series, to find it by; it is not its identity, as somebody who
// chooses labels can make two series hash alike. ID is the identity.
func (s Series) Hash() uint64 {
	var buf [512]byte
	return xxhash.Sum64(s.appendKey(buf[:0]))
}

// appendKey appends the metric and the sorted labels, separated by the byte 0xff, which valid UTF-8
// never contains.
func (s Series) appendKey(dst []byte) []byte {
	dst = append(dst, s.Metric...)
	for _, l := range s.Labels {
		dst = append(append(append(append(dst, 0xff), l.Name...), 0xff), l.Value...)
	}
	return dst
}

// String is the canonical text of the series, as Prometheus writes it:
// cpu.usage{cpu="0",host="web01"}. Names that contain characters of the syntax are quoted, a
// metric's inside the braces: {"cpu usage","my host"="web01"}. Two valid series have the same text
// only if they are the same. ParseSeries reads it back.
func (s Series) String() string {
	var b []byte
	separator := byte('{')
	if bare(s.Metric) {
		if len(s.Labels) == 0 {
			return s.Metric
		}
		b = append(b, s.Metric...)
	} else {
		b = strconv.AppendQuote(append(b, '{'), s.Metric)
		separator = ','
	}
	for _, l := range s.Labels {
		b = append(b, separator)
		separator = ','
		if bare(l.Name) {
			b = append(b, l.Name...)
		} else {
			b = strconv.AppendQuote(b, l.Name)
		}
		b = strconv.AppendQuote(append(b, '='), l.Value)
	}
	return string(append(b, '}'))
}

// bare reports whether a name appears in a series' text without quotes.
func bare(name string) bool {
	for _, r := range name {
		if strings.ContainsRune(`{}=,"\`, r) || unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return false
		}
	}
	return name != ""
}

// ParseSeries reads what String wrote. Spaces around names are allowed, and the labels may come in
// any order. It returns an error that tells where it stopped, or Validate's.
func ParseSeries(text string) (Series, error) {
	if !utf8.ValidString(text) { // strconv would put U+FFFD in its place
		return Series{}, fmt.Errorf("series %.200q: %w", text, ErrInvalidUTF8)
	}
	metric, rest, found := strings.Cut(text, "{")
	s := Series{Metric: strings.TrimSpace(metric)}
	if !found {
		return s, s.Validate()
	}
	for {
		rest = strings.TrimLeft(rest, " ,")
		if strings.HasPrefix(rest, "}") {
			if strings.TrimSpace(rest[1:]) != "" {
				return s, fmt.Errorf("series %.200q: text after the closing brace: %.100q", text, rest[1:])
			}
			break
		}
		name, quoted, r, err := parseName(rest)
		if err != nil {
			return s, fmt.Errorf("series %.200q: expected name=\"value\" or } at %.100q", text, rest)
		}
		r = strings.TrimLeft(r, " ")
		if quoted && s.Metric == "" && !strings.HasPrefix(r, "=") {
			s.Metric, rest = name, r
			continue
		}
		if !strings.HasPrefix(r, "=") {
			return s, fmt.Errorf("series %.200q: expected = at %.100q", text, r)
		}
		r = strings.TrimLeft(r[1:], " ")
		q, err := strconv.QuotedPrefix(r)
		if err != nil {
			return s, fmt.Errorf("series %.200q: expected a quoted value at %.100q", text, r)
		}
		v, err := strconv.Unquote(q)
		if err != nil {
			return s, fmt.Errorf("series %.200q: value %.100s: %w", text, q, err)
		}
		if v != "" {
			s.Labels = append(s.Labels, Label{name, v})
		}
		rest = r[len(q):]
	}
	s.Labels.Sort()
	return s, s.Validate()
}

// parseName takes a name, quoted or bare, off the front of text.
func parseName(text string) (name string, quoted bool, rest string, err error) {
	if strings.HasPrefix(text, `"`) {
		q, err := strconv.QuotedPrefix(text)
		if err != nil {
			return "", true, text, err
		}
		name, err = strconv.Unquote(q)
		return name, true, text[len(q):], err
	}
	end := strings.IndexAny(text, `{}=,"`)
	if end < 0 || text[end] != '=' {
		return "", false, text, strconv.ErrSyntax
	}
	return strings.TrimSpace(text[:end]), false, text[end:], nil
}
