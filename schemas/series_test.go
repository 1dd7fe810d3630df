package schemas

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestSeriesString(t *testing.T) {
	for _, c := range []struct {
		want   string
		series Series
	}{
		{"up", Series{Metric: "up"}},
		{`cpu.usage{cpu="0",host="web01"}`, Series{"cpu.usage", NewLabels(map[string]string{"host": "web01", "cpu": "0"})}},
		{`disk{path="C:\\a \"b\"\n"}`, Series{"disk", Labels{{"path", "C:\\a \"b\"\n"}}}},
		{`{"cpu usage"}`, Series{Metric: "cpu usage"}},
		{`{"a{b=\"c\"}"}`, Series{Metric: `a{b="c"}`}},
		{`a{b="c"}`, Series{"a", Labels{{"b", "c"}}}},
		{`{"a,b","c=\"1\",d"="2"}`, Series{"a,b", Labels{{`c="1",d`, "2"}}}},
		{`größe{straße="Köln"}`, Series{"größe", Labels{{"straße", "Köln"}}}},
	} {
		if got := c.series.String(); got != c.want {
			t.Errorf("String is %s, want %s", got, c.want)
		}
		got, err := ParseSeries(c.want)
		if err != nil || !reflect.DeepEqual(got, c.series) {
			t.Errorf("ParseSeries(%s) = %#v, %v", c.want, got, err)
		}
	}
}

func TestParseSeriesIsLenientAboutSpacesAndOrder(t *testing.T) {
	want := Series{"m", Labels{{"a", "1"}, {"b", "2"}}}
	for _, text := range []string{` m { b = "2" , a="1", } `, `m{b="2",c="",a="1"}`, `{"m",b="2",a="1"}`, `{b="2","a"="1","m"}`} {
		if got, err := ParseSeries(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("ParseSeries(%s) = %#v, %v", text, got, err)
		}
	}
}

func TestParseSeriesRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "empty name",
		"{}":                                "empty name",
		"m{":                                `expected name="value" or }`,
		"m{a}":                              `expected name="value" or }`,
		"m{a=}":                             "expected a quoted value",
		"m{a=1}":                            "expected a quoted value",
		`m{a="1`:                            "expected a quoted value",
		`m{a="1"}x`:                         "text after the closing brace",
		`m{="1"}`:                           "empty name",
		`m{a="1",a="2"}`:                    "duplicate label",
		`m{"n"}`:                            "expected =",
		`{"m","n"}`:                         "expected =",
		"m{a=\"\xff\"}":                     "invalid UTF-8",
		"\xff":                              "invalid UTF-8",
		`m{a="\xff"}`:                       "invalid UTF-8",
		strings.Repeat("m", MaxNameBytes+1): "too long",
	} {
		_, err := ParseSeries(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseSeries(%.40q): %v, want %q", text, err, want)
		}
		if err != nil && len(err.Error()) > 1000 {
			t.Errorf("ParseSeries(%.40q): an error of %d bytes", text, len(err.Error()))
		}
	}
}

func TestValidateBounds(t *testing.T) {
	longest := strings.Repeat("n", MaxNameBytes)
	if err := (Series{longest, Labels{{longest, longest}}}).Validate(); err != nil {
		t.Errorf("names of %d bytes: %v", MaxNameBytes, err)
	}
	for _, c := range []struct {
		series Series
		want   error
	}{
		{Series{}, ErrEmptyName},
		{Series{"m", Labels{{"", "v"}}}, ErrEmptyName},
		{Series{"m", Labels{{"a", "1"}, {"a", "2"}}}, ErrDuplicateLabel},
		{Series{"m", Labels{{"b", "1"}, {"a", "2"}}}, ErrDuplicateLabel},
		{Series{longest + "n", nil}, ErrTooLong},
		{Series{"m", Labels{{longest + "n", "v"}}}, ErrTooLong},
		{Series{"m", Labels{{"a", longest + "n"}}}, ErrTooLong},
		{Series{"m\xff", nil}, ErrInvalidUTF8},
		{Series{"m", Labels{{"a\xff", "v"}}}, ErrInvalidUTF8},
		{Series{"m", Labels{{"a", "\xff"}}}, ErrInvalidUTF8},
	} {
		if err := c.series.Validate(); !errors.Is(err, c.want) {
			t.Errorf("Validate: %v, want %v", err, c.want)
		}
	}
}

func TestGroupOf(t *testing.T) {
	for want, labels := range map[string]Labels{
		"i:9100":    {{"host", "h"}, {"instance", "i:9100"}},
		"h":         {{"host", "h"}, {"hostname", "n"}},
		"m":         nil,
		`m{a="1"}`:  {{"a", "1"}},
		"service-1": {{"service.instance.id", "service-1"}},
	} {
		if got := GroupOf(Series{"m", labels}, GroupLabels); got != want {
			t.Errorf("GroupOf(%v) = %s, want %s", labels, got, want)
		}
	}
}

func TestHashTellsNamesFromValues(t *testing.T) {
	seen := map[uint64]Series{}
	for _, s := range []Series{
		{"ab", nil}, {"a", Labels{{"b", "c"}}}, {"a", Labels{{"bc", "d"}}}, {"a", Labels{{"b", "cd"}}},
		{"ab", Labels{{"c", "d"}}}, {"a", Labels{{"b", "c"}, {"d", "e"}}}, {"a", Labels{{"b", "cde"}}},
		{strings.Repeat("x", 600), nil}, {strings.Repeat("x", 601), nil},
	} {
		if old, twice := seen[s.Hash()]; twice {
			t.Errorf("%s and %s have the same hash", s, old)
		}
		seen[s.Hash()] = s
	}
	if h := (Series{"cpu.usage", Labels{{"host", "web01"}}}).Hash(); h != 0x510bfe69211fd05a {
		t.Errorf("the hash of a series on record changed to %#x", h)
	}
}

// FuzzParseSeries: the text of a parsed series parses to the same series.
func FuzzParseSeries(f *testing.F) {
	for _, seed := range []string{"up", `cpu{host="a",x="\n\""}`, `{"a b","c d"="e"}`, `m{="1"}`, "m{a='x',b=`y`}", "\u00a0m", `m{a="\u2028"}`, "{", `{"`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSeries(text)
		if err != nil {
			return
		}
		back, err := ParseSeries(s.String())
		if err != nil || back.Metric != s.Metric || !reflect.DeepEqual(append(Labels{}, back.Labels...), append(Labels{}, s.Labels...)) {
			t.Fatalf("%q is %#v, whose text %s is %#v, %v", text, s, s, back, err)
		}
	})
}

// FuzzSeriesText: every valid series can be parsed from its text, whatever its names contain.
func FuzzSeriesText(f *testing.F) {
	f.Add("m", "a", "1", "b", "2")
	f.Add(`m{a="1"}`, `b="1",c`, "\x00", " b ", "}")
	f.Add(" m ", `"`, `\`, "=", "`")
	f.Fuzz(func(t *testing.T, metric, n1, v1, n2, v2 string) {
		s := Series{metric, NewLabels(map[string]string{n1: v1, n2: v2})}
		if s.Validate() != nil {
			return
		}
		back, err := ParseSeries(s.String())
		if err != nil || back.Hash() != s.Hash() || back.String() != s.String() {
			t.Fatalf("%#v has the text %s, which is %#v, %v", s, s, back, err)
		}
	})
}
