package formats_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas/formats"
)

// TestNumbersGoByTheGrammar: text that only Go's strconv accepts as a number is refused in every format.
func TestNumbersGoByTheGrammar(t *testing.T) {
	for text, want := range map[string]struct{ line, json, number bool }{
		"1": {true, true, true}, "-1.5e-3": {true, true, true}, "1E+2": {true, true, true}, "0": {true, true, true}, "-0": {true, true, true},
		".5": {true, false, true}, "5.": {true, false, true}, "5.e3": {true, false, true}, "01": {true, false, true}, "-.5": {true, false, true},
		"1i": {true, false, false}, "1u": {true, false, false}, "t": {true, false, false}, "true": {true, false, false},
		"1_000": {}, "0x1p4": {}, "0x10": {}, "0b1": {}, "0o7": {}, "+1": {}, "+Inf": {}, "-Inf": {}, "Inf": {}, "infinity": {}, "-infinity": {}, "nan": {},
		"NaN": {}, "1e": {}, "1e+": {}, "e1": {}, ".": {}, "-": {}, "-.": {}, "--1": {}, "1.2.3": {}, "1,5": {}, "": {}, "１": {}, "1 ": {json: true},
		"1e999": {}, "-1e999": {}, "1i1": {}, "1.5i": {}, "-1u": {}, "9223372036854775808i": {}, "tRUE": {}, "0x": {}, "1f": {}, "1d": {}, "1_0i": {}, "0x1i": {},
	} {
		if _, err := formats.ParseNumber(text); (err == nil) != want.number {
			t.Errorf("ParseNumber(%q): %v", text, err)
		}
		d := formats.NewDecoder()
		d.Reset([]byte("a v="+text+" 1"), formats.Options{Format: formats.Line, Precision: formats.Millisecond, NowMS: now})
		if e := d.Next(); text != "1 " && (e.Fault == nil && len(e.Samples) == 1) != want.line {
			t.Errorf("line protocol: %q: %v", text, e.Fault)
		}
		d.Reset([]byte(`{"metricName":"a","timestamp":1,"value":`+text+`}`), formats.Options{Format: formats.JSON})
		if e := d.Next(); (e.Fault == nil) != want.json {
			t.Errorf("JSON: %q: %v", text, e.Fault)
		}
		d.Reset([]byte(`{"metricName":"a","timestamp":`+text+`,"value":1}`), formats.Options{Format: formats.JSON})
		if e := d.Next(); e.Fault == nil && (!want.json || strings.ContainsAny(text, "e.") && text != "1E+2") {
			t.Errorf("JSON's time: %q: %v", text, e.Samples)
		}
	}
}

// TestUnknownFieldsAreRefused: a sample with the field tag instead of tags would have no host, and raise the wrong alert.
func TestUnknownFieldsAreRefused(t *testing.T) {
	for field, hint := range map[string]string{"tag": "tags", "Tags": "tags", "labels": "tags", "metric": "metricName", "MetricName": "metricName",
		"time": "timestamp", "Timestamp": "timestamp", "val": "value", "VALUE": "value", "x": "a sample has metricName"} {
		body := fmt.Appendf(nil, `[{"metricName":"a","timestamp":1,"value":1,%q:{"host":"a"}},{"metricName":"b","timestamp":1,"value":1}]`, field)
		d := formats.NewDecoder()
		d.Reset(body, formats.Options{Format: formats.JSON})
		e := d.Next()
		if e.Fault == nil || e.Fault.Reason != formats.UnknownField || !strings.Contains(e.Fault.Error(), `"`+field+`"`) || !strings.Contains(e.Fault.Error(), hint) {
			t.Errorf("%s: %v", field, e.Fault)
		}
		if e = d.Next(); e == nil || e.Fault != nil {
			t.Errorf("%s: the next sample: %v", field, e)
		}
		c := formats.Default()
		c.IgnoreUnknownFields = true
		d = formats.NewDecoderOf(c)
		d.Reset(body, formats.Options{Format: formats.JSON})
		if e = d.Next(); e.Fault != nil || e.Unknown != 1 || len(e.Samples) != 1 {
			t.Errorf("%s: ignored: %v, %d unknown", field, e.Fault, e.Unknown)
		}
	}
}

// TestHintsOfUnits: the fault for a time in another unit names the unit.
func TestHintsOfUnits(t *testing.T) {
	for _, c := range []struct {
		body, want string
		line       bool
	}{
		{`{"metricName":"a","timestamp":1700000000000000,"value":1}`, "looks like microseconds", false},
		{`{"metricName":"a","timestamp":1700000000000000000,"value":1}`, "looks like nanoseconds", false},
		{`{"metricName":"a","timestamp":1700000000.5,"value":1}`, "whole number of ms", false},
		{"a v=1 1700000000000000000", "looks like nanoseconds", true},
	} {
		d := formats.NewDecoder()
		if d.Reset([]byte(c.body), formats.Options{Format: formats.JSON}); c.line {
			d.Reset([]byte(c.body), formats.Options{Format: formats.Line, Precision: formats.Second, NowMS: now})
		}
		if e := d.Next(); e.Fault == nil || !strings.Contains(e.Fault.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.body, e.Fault, c.want)
		}
	}
	for n, want := range map[int64]string{1_700_000_000: "it looks like seconds", 1_700_000_000_000: "", 1_700_000_000_000_000: "it looks like microseconds", 0: "", 5: ""} {
		if got := formats.Hint(n, formats.Millisecond); got != want {
			t.Errorf("Hint(%d) = %q, want %q", n, got, want)
		}
	}
}

// TestByteOrderMarks: byte order marks are not part of a name, and the fault for UTF-16 names it.
func TestByteOrderMarks(t *testing.T) {
	d := formats.NewDecoder()
	for _, body := range []string{"a value=1 1000000", "\n# x\na value=1 1000000", `{"metricName":"a","timestamp":1,"value":1}`} {
		d.ResetBy("", []byte("\xef\xbb\xbf"+body), now)
		if got := dump(d); !strings.Contains(got, ": a 1 1\n") {
			t.Errorf("%q: %s", body, got)
		}
	}
	for _, body := range []string{ // joined files, and marks that were written twice
		"b value=1 1000000\n\xef\xbb\xbfa value=1 1000000\n", "b value=1 1000000\n \xef\xbb\xbf\xef\xbb\xbfa value=1 1000000", "\xef\xbb\xbf\xef\xbb\xbfa value=1 1000000",
		"\xef\xbb\xbf# x\n\xef\xbb\xbf# y\n\xef\xbb\xbf\na value=1 1000000\n\xef\xbb\xbf",
		"{\"metricName\":\"b\",\"timestamp\":1,\"value\":1}\n\xef\xbb\xbf{\"metricName\":\"a\",\"timestamp\":1,\"value\":1}\n\xef\xbb\xbf",
		"\xef\xbb\xbf\xef\xbb\xbf[{\"metricName\":\"a\",\"timestamp\":1,\"value\":1}]\xef\xbb\xbf\n\xef\xbb\xbf[{\"metricName\":\"a\",\"timestamp\":1,\"value\":1}]",
	} {
		d.ResetBy("", []byte(body), now)
		if got := dump(d); !strings.Contains(got, ": a 1 1\n") || strings.Contains(got, "\ufeff") || strings.Contains(got, "undecodable") {
			t.Errorf("%q: %s", body, got)
		}
	}
	d.ResetBy("application/json", []byte("[\xef\xbb\xbf{\"metricName\":\"a\",\"timestamp\":1,\"value\":1}]"), now) // inside a value it is rubbish
	if e := d.Next(); e == nil || e.Fault == nil {
		t.Errorf("a mark in an array: %v", e)
	}
	for _, body := range []string{"\xff\xfea\x00 \x00v\x00=\x001\x00", "\xfe\xff\x00a"} {
		for _, contentType := range []string{"text/plain", "application/json"} {
			d.ResetBy(contentType, []byte(body), now)
			e := d.Next()
			if e == nil || e.Fault == nil || !strings.Contains(e.Fault.Error(), "UTF-16") || len(e.Raw) != len(body) || d.Next() != nil {
				t.Errorf("%q: %v", body, e)
			}
		}
	}
}

// TestNamesAreBounded: both sides of each bound, in both formats, by default and by config.
func TestNamesAreBounded(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	wide := formats.Config{MaxMetric: 4096, MaxLabelName: 4096, MaxLabelValue: 4096, MaxSeries: 16 << 10}
	for _, c := range []struct {
		what                string
		config              formats.Config
		metric, name, value int
		more                int // tags of 100 bytes
		ok                  bool
	}{
		{"metric", formats.Default(), 256, 1, 1, 0, true}, {"metric", formats.Default(), 257, 1, 1, 0, false},
		{"name", formats.Default(), 1, 128, 1, 0, true}, {"name", formats.Default(), 1, 129, 1, 0, false},
		{"value", formats.Default(), 1, 1, 1024, 0, true}, {"value", formats.Default(), 1, 1, 1025, 0, false},
		{"series", formats.Default(), 94, 1, 1, 40, true}, {"series", formats.Default(), 95, 1, 1, 40, false},
		{"metric", wide, 4096, 1, 1, 0, true}, {"metric", wide, 4097, 1, 1, 0, false},
		{"name", wide, 1, 4096, 1, 0, true}, {"name", wide, 1, 4097, 1, 0, false},
		{"value", wide, 1, 1, 4096, 0, true}, {"value", wide, 1, 1, 4097, 0, false},
		{"series", wide, 16<<10 - 16_002, 1, 1, 160, true}, {"series", wide, 16<<10 - 16_001, 1, 1, 160, false},
	} {
		tags := map[string]string{x(c.name): x(c.value)}
		line := x(c.metric) + "," + x(c.name) + "=" + x(c.value)
		for i := range c.more {
			name := fmt.Sprintf("n%04d", i)
			tags[name] = x(95)
			line += "," + name + "=" + x(95)
		}
		object, err := json.Marshal(map[string]any{"metricName": x(c.metric), "tags": tags, "timestamp": 1, "value": 1})
		if err != nil {
			t.Fatal(err)
		}
		d := formats.NewDecoderOf(c.config)
		for range 2 { // the second time from the caches
			for _, body := range []string{line + " value=1 1", string(object)} {
				d.ResetBy("", []byte(body), now)
				e := d.Next()
				if (e.Fault == nil) != c.ok || !c.ok && (e.Fault.Reason != formats.TooLong || !strings.Contains(e.Fault.Error(), "at most")) {
					t.Errorf("%s of %s: ok is %v, want %v: %.200v", c.what, d.Options().Format, e.Fault == nil, c.ok, e.Fault)
				}
			}
		}
	}
	f := struct{ Samples formats.Config }{formats.Default()}
	cd := conf.Parse("c", []byte("samples: {max_metric_bytes: 4097, max_label_name_bytes: 15, max_label_value_bytes: 0, max_series_bytes: 16385}"), &f)
	if f.Samples.Validate("samples", cd); cd.Err() == nil || strings.Count(cd.Err().Error(), "must be") != 4 {
		t.Errorf("%v", cd.Err())
	}
}

// TestSubMilliseconds: the part of a time below a ms is kept.
func TestSubMilliseconds(t *testing.T) {
	for _, c := range []struct {
		contentType, body string
		ms                int64
		sub               uint32
	}{
		{"text/plain; precision=ns", "a value=1 1700000000000123456", 1700000000000, 123456},
		{"text/plain; precision=us", "a value=1 1700000000000123", 1700000000000, 123000},
		{"text/plain; precision=ns", "a value=1 -1", -1, 999999},
		{"text/plain; precision=us", "a value=1 -1", -1, 999000},
		{"application/json", `{"metricName":"a","timestamp":5,"subNs":999999,"value":1}`, 5, 999999},
	} {
		d := formats.NewDecoder()
		d.ResetBy(c.contentType, []byte(c.body), now)
		if e := d.Next(); e.Fault != nil || e.Samples[0].TimeMS != c.ms || e.Samples[0].SubNS != c.sub {
			t.Errorf("%s: %+v %v", c.body, e.Samples, e.Fault)
		}
	}
	d := formats.NewDecoder()
	for _, sub := range []string{"1000000", "-1", "1.5", `"1"`, "null"} {
		d.Reset([]byte(`{"metricName":"a","timestamp":5,"subNs":`+sub+`,"value":1}`), formats.Options{Format: formats.JSON})
		if e := d.Next(); e.Fault == nil {
			t.Errorf("subNs %s is accepted", sub)
		}
	}
}

// badBodies returns bodies of about 1 MB with many bad entries.
func badBodies() map[string]string {
	fill := func(entry string) string { return strings.Repeat(entry, 1<<20/len(entry)) }
	body := map[string]string{
		"short lines":     fill("a\n"),
		"no field":        fill("cpu,host=web01,region=us-west\n"),
		"bad number":      fill("cpu,host=web01 value=1_000 1\n"),
		"too large":       fill("cpu,host=web01 value=1e999 1\n"),
		"bad time":        fill("cpu,host=web01 value=1 1.5\n"),
		"a tag twice":     fill("cpu,host=a,host=b value=1 1\n"),
		"a long tag":      fill("cpu,host=" + strings.Repeat("x", 2000) + " value=1 1\n"),
		"invalid UTF-8":   fill("cpu,host=\xff value=1 1\n"),
		"open quote":      fill("cpu s=\"x\n"),
		"comment":         fill("#\x01\n"),
		"JSON: no object": fill("7\n"),
		"JSON: syntax":    fill("{\"metricName\":\n"),
		"JSON: missing":   fill("{}\n"),
		"JSON: unknown":   fill(`{"metricName":"a","tag":1,"timestamp":1,"value":1}` + "\n"),
		"JSON: type":      fill(`{"metricName":1,"timestamp":"1","value":"1"}` + "\n"),
		"JSON: number":    fill(`{"metricName":"a","timestamp":1,"value":1e999}` + "\n"),
		"JSON: time":      fill(`{"metricName":"a","timestamp":1.5,"value":1}` + "\n"),
		"JSON: a tag":     fill(`{"metricName":"a","tags":{"a":1,"b":{}},"timestamp":1,"value":1}` + "\n"),
		"JSON: twice":     fill(`{"metricName":"a","metricName":"a","timestamp":1,"value":1}` + "\n"),
		"JSON: deep":      fill(`{"x":` + strings.Repeat("[", 90) + strings.Repeat("]", 90) + "}\n"),
		"JSON: tag set":   `{"tags":{` + fill(`"a":"b",`) + `"c":""},"metricName":"a"}`,
		"JSON: array":     "[" + fill("7,") + "7]",
		"JSON: surrogate": fill(`{"metricName":"\ud800","timestamp":1,"value":1}` + "\n"),
		"many tags":       "a" + fill(",a=b") + " v=1",
	}
	for name, b := range body {
		if strings.HasPrefix(name, "JSON") && b[0] != '[' {
			body[name] = "{}\n" + b // otherwise Detect takes it for lines
		}
	}
	return body
}

// TestBadEntriesCostNoMoreThanGoodOnes: after the first hundred, a bad entry allocates nothing, and the decoder looks at each
// of its bytes only a few times.
func TestBadEntriesCostNoMoreThanGoodOnes(t *testing.T) {
	for name, body := range badBodies() {
		b := []byte(body)
		d := formats.NewDecoder()
		entries := 0
		read := func() {
			entries = 0
			d.ResetBy("", b, now)
			for e := d.Next(); e != nil; e = d.Next() {
				if entries++; e.Fault == nil {
					t.Fatalf("%s: %q is good", name, e.Raw)
				}
			}
		}
		read()
		least := 0 // strconv's errors for numbers out of range
		if name == "too large" || name == "JSON: number" {
			least = 3 * entries
		}
		if allocs := testing.AllocsPerRun(1, read); allocs > float64(least)+3000 {
			t.Errorf("%s: %.0f allocations for %d entries", name, allocs, entries)
		}
	}
}

// TestTextsOfFaultsAreBounded: only the first faults of a body tell exactly what is wrong.
func TestTextsOfFaultsAreBounded(t *testing.T) {
	d := formats.NewDecoder()
	d.ResetBy("", []byte(strings.Repeat("cpu,host=web01 value=1_000 1\n", 1000)), now)
	told := 0
	for e := d.Next(); e != nil; e = d.Next() {
		if strings.Contains(e.Fault.Error(), "column 22") && strings.Contains(e.Fault.Error(), `"1_000 1"`) {
			told++
		}
	}
	if told != 100 {
		t.Errorf("%d faults tell what is wrong, want 100", told)
	}
}

// BenchmarkBad decodes bodies with bad entries. Compare its ns/byte with those of BenchmarkDecode.
func BenchmarkBad(b *testing.B) {
	good, err := os.ReadFile("testdata/telegraf_kafka.lp")
	if err != nil {
		b.Fatal(err)
	}
	bodies := badBodies()
	bodies["good: lines"] = string(bytes.Repeat(good, 1<<20/len(good)))
	bodies["good: short lines"] = strings.Repeat("a v=1\n", 1<<20/6)
	for name, body := range bodies {
		b.Run(strings.ReplaceAll(name, " ", "_"), func(b *testing.B) {
			d := formats.NewDecoder()
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				d.ResetBy("", []byte(body), now)
				for e := d.Next(); e != nil; e = d.Next() {
				}
			}
		})
	}
}
