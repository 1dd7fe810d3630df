package formats_test

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"testing"
	"unicode/utf8"

	"github.com/influxdata/line-protocol/v2/lineprotocol"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/formats"
)

// checkEntries walks a body and checks what holds for every body: entries are parts of it, in order and without overlap, each
// entry has samples or a fault, and each sample is valid. It returns the samples and the faults' reasons.
func checkEntries(t *testing.T, d *formats.Decoder, body []byte) (samples []schemas.Sample, faults []formats.Reason) {
	at, number := 0, 0
	for e := d.Next(); e != nil; e = d.Next() {
		number++
		start := cap(body) - cap(e.Raw)
		if start < at || start+len(e.Raw) > len(body) {
			t.Fatalf("entry %q at %d, behind %d, of %d bytes", e.Raw, start, at, len(body))
		}
		if line := 1 + bytes.Count(body[:start], []byte("\n")); e.Line != line || e.Number != number {
			t.Fatalf("entry %q: line %d and number %d, want %d and %d", e.Raw, e.Line, e.Number, line, number)
		}
		at = start + len(e.Raw)
		if e.Fault != nil {
			faults = append(faults, e.Fault.Reason)
			if len(e.Samples) > 0 || e.Fault.Reason == "" || e.Fault.Line != e.Line || len(e.Fault.Err.Error()) > 1000 {
				t.Fatalf("entry %q: %d samples and the fault %v", e.Raw, len(e.Samples), e.Fault)
			}
		}
		for _, s := range e.Samples {
			if err := s.Series.Validate(); err != nil {
				t.Fatal(err)
			}
			if math.IsNaN(s.Value) || math.IsInf(s.Value, 0) || s.TimeMS < formats.MinTimeMS || s.TimeMS > formats.MaxTimeMS {
				t.Fatalf("%+v", s)
			}
		}
		samples = append(samples, e.Samples...)
	}
	return samples, faults
}

// FuzzJSON compares the scanner with encoding/json: whatever that accepts as a sample must have the same content here.
func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"metricName":"cpu.usage","tags":{"host":"web01","cpu":"0"},"timestamp":1700000000000,"value":42.5}`))
	f.Add([]byte(`[{"metricName":"a\u00e9\ud83d\ude00","timestamp":1e3,"value":-0.5e-3,"x":[{},[],null,true,false]},7]`))
	f.Add([]byte("{\"metricName\":\"a\"}\n{\"metricName\":\n[NaN,-Infinity,{\"tags\":{\"a\":\"\",\"a\":\"\"}}"))
	f.Fuzz(func(t *testing.T, body []byte) {
		body = bytes.Clone(body)
		d := formats.NewDecoder()
		d.Reset(body, formats.Options{Format: formats.JSON})
		first, faults := checkEntries(t, d, body)
		d.Reset(body, formats.Options{Format: formats.JSON})
		again, _ := checkEntries(t, d, body)
		if !equalSamples(first, again) {
			t.Fatalf("from the caches %v, at first %v", again, first)
		}
		if !json.Valid(body) {
			return // several values, or the token NaN; TestJSON has these
		}
		var objects []map[string]any
		if json.Unmarshal(body, &objects) != nil {
			var one map[string]any
			if json.Unmarshal(body, &one) != nil || one == nil {
				return
			}
			objects = append(objects, one)
		}
		i := 0
		for _, o := range objects {
			// If a field appears twice, encoding/json takes the last one. So each of our samples must be among
			// its samples, but not the other way round.
			if i < len(first) && sameSample(o, first[i]) {
				i++
			}
		}
		if i < len(first) {
			t.Fatalf("%q: encoding/json does not find %+v", body, first[i])
		}
		if len(first)+len(faults) != len(objects) && len(first) > 0 {
			t.Fatalf("%q: %d samples and faults %v of %d objects", body, len(first), faults, len(objects))
		}
	})
}

func sameSample(o map[string]any, s schemas.Sample) bool {
	tags := map[string]string{}
	if m, ok := o["tags"].(map[string]any); ok {
		for name, v := range m {
			text, ok := v.(string)
			if !ok {
				return false
			}
			tags[name] = text
		}
	}
	return o["metricName"] == s.Series.Metric && o["timestamp"] == float64(s.TimeMS) && o["value"] == s.Value &&
		schemas.Series{Labels: schemas.NewLabels(tags)}.String() == schemas.Series{Labels: s.Series.Labels}.String()
}

func equalSamples(a, b []schemas.Sample) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Series.String() != b[i].Series.String() || a[i].TimeMS != b[i].TimeMS || a[i].Value != b[i].Value {
			return false
		}
	}
	return true
}

// FuzzLine compares the splitting and the caches with line-protocol, which reads the whole body: where it finds no error,
// neither may we, and the values must be equal. The accepted lines, joined again, must be accepted again.
func FuzzLine(f *testing.F) {
	for _, name := range []string{"testdata/telegraf_kafka.lp", "testdata/tsbs_devops.lp"} {
		body, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body[:1000])
	}
	f.Add([]byte("a\\ b\\\\,c,t\\=1=v\\,2,u=\\\\\\ x f\\ g=1,s=\"a\n\\\"b\" 1\n# x\na s=\"x\nb value=2\r\n a,h=\"1 s=T"))
	for _, s := range []string{"a v=0x1p4", "a v=1_000", "a v=-Inf", "a v=.5,w=5.,x=1e,y=-.,z=1i,u=-1u,n=01i", "a v=5.e3 -", "a,b=\\ v=1 --5", "a v=1\r", "a v=1 \rb", "#\tx\na\x7f v=1"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if body = bytes.Clone(body); bytes.HasPrefix(body, []byte("\xef\xbb\xbf")) || bytes.HasPrefix(body, []byte("\xff\xfe")) || bytes.HasPrefix(body, []byte("\xfe\xff")) {
			return // here, byte order marks are not part of a name
		}
		d := formats.NewDecoder()
		d.Reset(body, formats.Options{Format: formats.Line, Precision: formats.Nanosecond, NowMS: now})
		first, faults := checkEntries(t, d, body)
		var good []byte
		d.Reset(body, formats.Options{Format: formats.Line, Precision: formats.Nanosecond, NowMS: now})
		for e := d.Next(); e != nil; e = d.Next() {
			if e.Fault == nil {
				good = append(append(good, e.Raw...), '\n')
			}
		}
		d.Reset(good, formats.Options{Format: formats.Line, Precision: formats.Nanosecond, NowMS: now})
		again, stillFaults := checkEntries(t, d, good)
		if stillFaults != nil || !equalSamples(first, again) {
			t.Fatalf("%q: the good lines %q give faults %v and %v, want %v", body, good, stillFaults, again, first)
		}

		var metrics []string
		var values []float64
		dec := lineprotocol.NewDecoderWithBytes(bytes.Clone(body))
		for dec.Next() {
			measurement, err := dec.Measurement()
			if err != nil {
				return
			}
			measurement = bytes.Clone(measurement)
			tags := map[string]bool{}
			for {
				name, _, err := dec.NextTag()
				if err != nil || tags[string(name)] {
					return
				}
				if name == nil {
					break
				}
				tags[string(name)] = true
			}
			for {
				key, kind, data, err := dec.NextFieldBytes()
				if err != nil {
					return
				}
				if key == nil {
					break
				}
				if _, err := formats.ParseNumber(string(data)); err != nil && kind == lineprotocol.Float {
					return // such as 0x1p4, which strconv accepts and the grammar does not
				}
				v, err := lineprotocol.NewValueFromBytes(kind, data)
				if err != nil {
					return
				}
				metric := string(measurement)
				if string(key) != "value" {
					metric += "." + string(key)
				}
				if len(metric) > formats.Default().MaxMetric {
					return
				}
				switch n := v.Interface().(type) {
				case float64:
					values = append(values, n)
				case int64:
					values = append(values, float64(n))
				case uint64:
					values = append(values, float64(n))
				case bool:
					values = append(values, map[bool]float64{true: 1}[n])
				default:
					continue
				}
				metrics = append(metrics, metric)
			}
			if _, err := dec.TimeBytes(); err != nil {
				return
			}
		}
		for _, reason := range faults {
			// Only we refuse a time out of range, and the length of a tag.
			if reason != formats.BadTimestamp && reason != formats.TooLong {
				t.Fatalf("%q: %s, line-protocol finds no fault", body, reason)
			}
		}
		if faults != nil {
			return
		}
		if len(metrics) != len(first) {
			t.Fatalf("%q: %d samples, line-protocol finds %d", body, len(first), len(metrics))
		}
		for i, s := range first {
			if s.Series.Metric != metrics[i] || s.Value != values[i] || !utf8.ValidString(s.Series.Metric) {
				t.Fatalf("%q: sample %d is %v, line-protocol finds %s %v", body, i, s, metrics[i], values[i])
			}
		}
	})
}
