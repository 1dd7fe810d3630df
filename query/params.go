package query

import (
	"fmt"
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/windows"
)

const (
	maxQueryBytes = 256 << 10 // of a request's query string: a cursor holds a whole series
	maxMatchers   = 32        // label matchers of a request
	maxTimeMS     = 253402300799999
	maxEchoBytes  = 200 // of a bad value that an error quotes
)

// fault is what is wrong with a request: the parameter, its value, and the bound that it breaks.
type fault struct {
	Parameter string `json:"parameter"`
	Value     string `json:"value"`
	Bound     string `json:"bound"`
}

func (f *fault) Error() string {
	return fmt.Sprintf("%s: %q: %s", f.Parameter, f.Value, f.Bound)
}

func newFault(parameter, value, bound string) *fault {
	if len(value) > maxEchoBytes {
		value = value[:maxEchoBytes] + "…"
	}
	return &fault{parameter, strings.ToValidUTF8(value, "\uFFFD"), bound}
}

// params reads the parameters of one request and keeps the first fault; after it, every reader
// returns its default.
type params struct {
	values url.Values
	fault  *fault
}

// parseParams splits a raw query string. Unknown names are faults, as a misspelt parameter must not
// silently widen a query. So are names that appear twice, unless the allowed name ends with *,
// which makes it repeatable.
func parseParams(raw string, allowed ...string) *params {
	p := &params{}
	if len(raw) > maxQueryBytes {
		p.fail("query", raw, fmt.Sprintf("is %d bytes, at most %d", len(raw), maxQueryBytes))
		return p
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		p.fail("query", raw, "is not a query string: "+err.Error())
		return p
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		vs := values[name]
		switch {
		case name == "":
			p.fail("query", raw, "has a value without a parameter name")
		case slices.Contains(allowed, name+"*"):
		case !slices.Contains(allowed, name):
			p.fail(name, vs[0], "is not a parameter of this address; it takes "+strings.ReplaceAll(strings.Join(allowed, ", "), "*", ""))
		case len(vs) > 1:
			p.fail(name, vs[1], "must appear only once")
		}
		for _, v := range vs {
			if !utf8.ValidString(v) {
				p.fail(name, v, "must be valid UTF-8")
			}
		}
	}
	p.values = values
	return p
}

func (p *params) fail(parameter, value, bound string) {
	if p.fault == nil {
		p.fault = newFault(parameter, value, bound)
	}
}

// text returns the parameter or "".
func (p *params) text(name string) string {
	if p.fault != nil {
		return ""
	}
	return p.values.Get(name)
}

// limit reads a whole number from 1 to most.
func (p *params) limit(name string, byDefault, most int) int {
	v := p.text(name)
	if v == "" {
		return byDefault
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > most {
		p.fail(name, v, fmt.Sprintf("must be a whole number from 1 to %d", most))
		return byDefault
	}
	return n
}

// timeMS reads a time in ms since the epoch, or in RFC 3339.
func (p *params) timeMS(name string, byDefault int64) int64 {
	v := p.text(name)
	if v == "" {
		return byDefault
	}
	ms, err := strconv.ParseInt(v, 10, 64)
	if hint := unitHint(v); hint != "" {
		p.fail(name, v, hint)
		return byDefault
	}
	if err != nil {
		t, rfcErr := time.Parse(time.RFC3339Nano, v)
		if rfcErr != nil {
			p.fail(name, v, "must be milliseconds since 1970 or an RFC 3339 time")
			return byDefault
		}
		ms = t.UnixMilli()
	}
	if ms < 0 || ms > maxTimeMS {
		p.fail(name, v, fmt.Sprintf("must be from 0 to %d ms (year 9999)", int64(maxTimeMS)))
		return byDefault
	}
	return ms
}

// Numbers between these are seconds of the years 1973 to 5138. As milliseconds they would be in the
// first weeks of 1970: anybody who means those writes RFC 3339.
const leastSeconds, mostSeconds = 1e8, 1e11

// unitHint tells what a time that is not in milliseconds looks like, or returns "": an empty list
// would suggest that there is no data.
func unitHint(text string) string {
	v, err := strconv.ParseFloat(text, 64)
	const bound = "must be milliseconds since 1970 or an RFC 3339 time, and looks like "
	switch {
	case err != nil || math.IsNaN(v) || math.IsInf(v, 0):
		return ""
	case v >= leastSeconds && v < mostSeconds:
		return fmt.Sprintf("%sseconds: %.0f would be the milliseconds", bound, math.Floor(v*1000))
	case v > maxTimeMS && v/1e3 <= maxTimeMS:
		return fmt.Sprintf("%smicroseconds: %.0f would be the milliseconds", bound, math.Floor(v/1e3))
	case v > maxTimeMS && v/1e6 <= maxTimeMS:
		return fmt.Sprintf("%snanoseconds: %.0f would be the milliseconds", bound, math.Floor(v/1e6))
	}
	return ""
}

// timeRange reads a half-open range of window starts, ms: by default the hour before now.
func (p *params) timeRange(fromName, toName string, nowMS int64) (fromMS, toMS int64) {
	toMS = p.timeMS(toName, nowMS)
	fromMS = p.timeMS(fromName, max(0, toMS-time.Hour.Milliseconds()))
	if fromMS >= toMS {
		p.fail(fromName, p.text(fromName), fmt.Sprintf("must be before %s, which is %d", toName, toMS))
	}
	return fromMS, toMS
}

// tier reads the name of a tier (10s, 1m, 1h) and returns its length, ms; 0 if it is not given.
func (p *params) tier(name string, tiers []windows.Tier) (sizeMS int64) {
	v := p.text(name)
	if v == "" {
		return 0
	}
	names := make([]string, len(tiers))
	for i, t := range tiers {
		names[i] = schemas.TierName(t.Size.MS())
		if v == names[i] {
			return t.Size.MS()
		}
	}
	p.fail(name, v, "must be one of "+strings.Join(names, ", "))
	return 0
}

// series reads the canonical text of a series.
func (p *params) series(name string) schemas.Series {
	v := p.text(name)
	if p.fault != nil {
		return schemas.Series{}
	}
	s, err := schemas.ParseSeries(v)
	if err != nil {
		p.fail(name, v, "must be a series such as cpu.usage{host=\"web01\"}: "+err.Error())
	}
	return s
}

// matchers reads every value of the parameter as comma-separated label:value pairs. A value that
// contains a comma or a quote is written as a quoted string.
func (p *params) matchers(name string) map[string]string {
	match := map[string]string{}
	if p.fault != nil {
		return match
	}
	for _, text := range p.values[name] {
		for rest := text; rest != ""; {
			label, value, after, bound := cutMatcher(rest)
			old, twice := match[label]
			switch {
			case bound != "":
				p.fail(name, text, bound)
				return match
			case twice && old != value:
				p.fail(name, text, fmt.Sprintf("asks label %.100q to equal two values", label))
				return match
			case len(match) == maxMatchers && !twice:
				p.fail(name, text, fmt.Sprintf("has more than %d labels", maxMatchers))
				return match
			}
			match[label] = value
			rest = after
		}
	}
	return match
}

// cutMatcher reads one label:value from the front of text and returns what follows its comma, or
// the bound that it breaks.
func cutMatcher(text string) (label, value, after, bound string) {
	label, rest, found := strings.Cut(text, ":")
	if !found || label == "" || strings.Contains(label, ",") {
		return "", "", "", "must be comma-separated label:value pairs, such as host:web01,cpu:0"
	}
	if quoted, err := strconv.QuotedPrefix(rest); err == nil && quoted[0] == '"' {
		value, err = strconv.Unquote(quoted)
		after = rest[len(quoted):]
		if err != nil || after != "" && after[0] != ',' {
			return "", "", "", fmt.Sprintf("label %.100q has text after its quoted value", label)
		}
		after = strings.TrimPrefix(after, ",")
	} else {
		value, after, _ = strings.Cut(rest, ",")
	}
	switch {
	case value == "":
		bound = fmt.Sprintf("label %.100q has an empty value", label)
	case !utf8.ValidString(value):
		bound = fmt.Sprintf("label %.100q has a value that is not UTF-8", label)
	case len(label) > schemas.MaxNameBytes || len(value) > schemas.MaxNameBytes:
		bound = fmt.Sprintf("label %.40q or its value is longer than %d bytes", label, schemas.MaxNameBytes)
	}
	return label, value, after, bound
}
