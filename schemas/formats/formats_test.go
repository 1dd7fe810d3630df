package formats_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/formats"
)

const now = 1_700_000_000_123 // ms

// dump writes what a decoder makes of its body as text: a line for each sample, and one for each refused entry.
func dump(d *formats.Decoder) string {
	var b strings.Builder
	for e := d.Next(); e != nil; e = d.Next() {
		for _, s := range e.Samples {
			fmt.Fprintf(&b, "%d: %s %d %v\n", e.Line, s.Series, s.TimeMS, s.Value)
		}
		if e.Skipped > 0 {
			fmt.Fprintf(&b, "%d: skipped %d\n", e.Line, e.Skipped)
		}
		if e.Fault != nil {
			fmt.Fprintf(&b, "%d: refused %s %q\n", e.Fault.Line, e.Fault.Reason, e.Raw)
		}
	}
	return b.String()
}

func lines(ls ...string) string { return strings.Join(ls, "\n") + "\n" }

func TestJSON(t *testing.T) {
	long := strings.Repeat("x", formats.Default().MaxMetric)
	for _, c := range []struct{ name, body, want string }{
		{"object", `{"metricName":"cpu.usage","tags":{"host":"web01","cpu":"0"},"timestamp":1700000000000,"value":42.5}`,
			lines(`1: cpu.usage{cpu="0",host="web01"} 1700000000000 42.5`)},
		{"array", `[{"metricName":"a","timestamp":1,"value":1}, {"metricName":"b","tags":null,"timestamp":2,"value":-2e3}]`,
			lines(`1: a 1 1`, `1: b 2 -2000`)},
		{"empty array", ` [ ] `, ""},
		{"JSON lines", "{\"metricName\":\"a\",\"timestamp\":1,\"value\":1}\n\n[{\"metricName\":\"b\",\"timestamp\":2,\"value\":2}]\r\n",
			lines(`1: a 1 1`, `3: b 2 2`)},
		{"escapes", `{"metric\u004eame":"c\u00e9\ud83d\ude00","tags":{"a\/b":"\"\n"},"timestamp":1,"value":0}`,
			lines(`1: cé😀{a/b="\"\n"} 1 0`)},
		{"empty tag value", `{"metricName":"a","tags":{"x":"","y":"1"},"timestamp":1,"value":1}`, lines(`1: a{y="1"} 1 1`)},
		{"whole number written as a float", `{"metricName":"a","timestamp":1.7e12,"value":1}`, lines(`1: a 1700000000000 1`)},
		{"bounds of time", `[{"metricName":"a","timestamp":253402300799999,"value":1},{"metricName":"a","timestamp":253402300800000,"value":1}]`,
			lines(`1: a 253402300799999 1`, `1: refused bad_timestamp "{\"metricName\":\"a\",\"timestamp\":253402300800000,\"value\":1}"`)},
		{"bounds of length", `[{"metricName":"` + long + `","timestamp":1,"value":1}]`, lines(`1: ` + long + ` 1 1`)},
		{"bad ones among good", lines(
			`[{"metricName":"a","timestamp":1,"value":1}`,
			`,{"metricName":"nan","timestamp":1,"value":NaN}`,
			`,{"metricName":"inf","timestamp":1,"value":-Infinity}`,
			`,{"metricName":"big","timestamp":1,"value":1e999}`,
			`,{"metricName":"str","timestamp":1,"value":"1"}`,
			`,{"timestamp":1,"value":1}`,
			`,{"metricName":"v","timestamp":1}`,
			`,{"metricName":"t","value":1}`,
			`,{"metricName":"","timestamp":1,"value":1}`,
			`,{"metricName":"f","timestamp":1.5,"value":1}`,
			`,{"metricName":"s","timestamp":"1","value":1}`,
			`,{"metricName":"d","tags":{"h":"1","h":"1"},"timestamp":1,"value":1}`,
			`,{"metricName":"e","tags":{"":"1"},"timestamp":1,"value":1}`,
			`,{"metricName":"n","tags":{"h":1},"timestamp":1,"value":1}`,
			`,{"metricName":"o","tags":["h"],"timestamp":1,"value":1}`,
			`,{"metricName":"w","metricName":"w","timestamp":1,"value":1}`,
			`,7`,
			`,{"metricName":"`+"\xff"+`","timestamp":1,"value":1}`,
			`,{"metricName":"\ud800","timestamp":1,"value":1}`,
			`,{"metricName":"u","tags":{"h":"`+"\xc3"+`"},"timestamp":1,"value":1}`,
			`,{"metricName":"b","timestamp":2,"value":2}]`),
			lines(
				`1: a 1 1`,
				`2: refused not_finite "{\"metricName\":\"nan\",\"timestamp\":1,\"value\":NaN}"`,
				`3: refused not_finite "{\"metricName\":\"inf\",\"timestamp\":1,\"value\":-Infinity}"`,
				`4: refused not_finite "{\"metricName\":\"big\",\"timestamp\":1,\"value\":1e999}"`,
				`5: refused wrong_type "{\"metricName\":\"str\",\"timestamp\":1,\"value\":\"1\"}"`,
				`6: refused missing_field "{\"timestamp\":1,\"value\":1}"`,
				`7: refused missing_field "{\"metricName\":\"v\",\"timestamp\":1}"`,
				`8: refused missing_field "{\"metricName\":\"t\",\"value\":1}"`,
				`9: refused empty_name "{\"metricName\":\"\",\"timestamp\":1,\"value\":1}"`,
				`10: refused bad_timestamp "{\"metricName\":\"f\",\"timestamp\":1.5,\"value\":1}"`,
				`11: refused wrong_type "{\"metricName\":\"s\",\"timestamp\":\"1\",\"value\":1}"`,
				`12: refused duplicate_label "{\"metricName\":\"d\",\"tags\":{\"h\":\"1\",\"h\":\"1\"},\"timestamp\":1,\"value\":1}"`,
				`13: refused empty_name "{\"metricName\":\"e\",\"tags\":{\"\":\"1\"},\"timestamp\":1,\"value\":1}"`,
				`14: refused wrong_type "{\"metricName\":\"n\",\"tags\":{\"h\":1},\"timestamp\":1,\"value\":1}"`,
				`15: refused wrong_type "{\"metricName\":\"o\",\"tags\":[\"h\"],\"timestamp\":1,\"value\":1}"`,
				`16: refused undecodable "{\"metricName\":\"w\",\"metricName\":\"w\",\"timestamp\":1,\"value\":1}"`,
				`17: refused wrong_type "7"`,
				`18: refused invalid_utf8 "{\"metricName\":\"\xff\",\"timestamp\":1,\"value\":1}"`,
				`19: refused invalid_utf8 "{\"metricName\":\"\\ud800\",\"timestamp\":1,\"value\":1}"`,
				`20: refused invalid_utf8 "{\"metricName\":\"u\",\"tags\":{\"h\":\"\xc3\"},\"timestamp\":1,\"value\":1}"`,
				`21: b 2 2`)},
		{"too long", `{"metricName":"` + long + `x","timestamp":1,"value":1}`, `1: refused too_long "{\"metricName\":\"` + long + `x\",\"timestamp\":1,\"value\":1}"` + "\n"},
		{"an array that breaks off", `[{"metricName":"a","timestamp":1,"value":1},{"metricName":"b"`, lines(`1: a 1 1`, `1: refused undecodable "{\"metricName\":\"b\""`)},
		{"an array that is not closed", `[{"metricName":"a","timestamp":1,"value":1}`, lines(`1: a 1 1`, `1: refused undecodable ""`)},
		{"a trailing comma", `[{"metricName":"a","timestamp":1,"value":1},]`, lines(`1: a 1 1`, `1: refused undecodable "]"`)},
		{"a broken line between lines", "{\"metricName\":\"a\",\"timestamp\":1,\"value\":1}\n{\"metricName\":\n{\"metricName\":\"b\",\"timestamp\":01\n{\"metricName\":\"c\",\"timestamp\":1,\"value\":1}",
			lines(`1: a 1 1`, `2: refused undecodable "{\"metricName\":\n{\"metricName\":\"b\",\"timestamp\":01"`, `4: c 1 1`)},
		{"too deep", strings.Repeat("[", 200), lines(`1: refused undecodable "` + strings.Repeat("[", 199) + `"`)},
		{"nothing", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := formats.NewDecoder()
			for range 2 { // the second time from the caches
				d.Reset([]byte(c.body), formats.Options{Format: formats.JSON})
				if got := dump(d); got != c.want {
					t.Errorf("got:\n%swant:\n%s", got, c.want)
				}
			}
		})
	}
}

func TestLine(t *testing.T) {
	long := strings.Repeat("x", formats.Default().MaxMetric)
	for _, c := range []struct{ name, body, want string }{
		{"fields", "cpu,host=web01,cpu=0 usage=42.5,idle=3i,n=7u,up=true,down=F,value=1 1700000000000000000\n", lines(
			`1: cpu.usage{cpu="0",host="web01"} 1700000000000 42.5`,
			`1: cpu.idle{cpu="0",host="web01"} 1700000000000 3`,
			`1: cpu.n{cpu="0",host="web01"} 1700000000000 7`,
			`1: cpu.up{cpu="0",host="web01"} 1700000000000 1`,
			`1: cpu.down{cpu="0",host="web01"} 1700000000000 0`,
			`1: cpu{cpu="0",host="web01"} 1700000000000 1`)},
		{"strings are skipped", "sys,host=a uptime_format=\" 0:32\",uptime=1i,x=\"\" 1000000", lines(`1: sys.uptime{host="a"} 1 1`, `1: skipped 2`)},
		{"no time", "a value=1", lines(`1: a 1700000000123 1`)},
		{"escapes", `a\ b\,c,t\=1=v\,2,u=\\\ x f\ g=1 1000000`, lines(`1: {"a b,c.f g","t=1"="v,2",u="\\\\ x"} 1 1`)},
		{"before the epoch", "a value=1 -1", lines(`1: a -1 1`)},
		{"comments and blank lines", "# c\n\n  \r\n a value=1 1000000\r\n  # d\n", lines(`4: a 1 1`)},
		{"a string over two lines", "a s=\"x\ny\",f=1 1000000\nb value=2 2000000\n", lines(`1: a.f 1 1`, `1: skipped 1`, `3: b 2 2`)},
		{"bad ones among good", lines(
			`a value=1 1000000`,
			`a`,
			`a value=1e999 1000000`,
			`a value=1 1.5`,
			`a value=1 99999999999999999999`,
			`a,h=1,h=2 value=1 1000000`,
			"a,h=\xff value=1 1000000",
			`,h=1 value=1 1000000`,
			`a value=NaN 1000000`,
			`a,h="1 s="open 1000000`,
			`b value=2 2000000`,
			`c s="closed" 2000000`,
			long+`x value=1`,
			`d value=3 3000000`),
			lines(
				`1: a 1 1`,
				`2: refused undecodable "a"`,
				`3: refused not_finite "a value=1e999 1000000"`,
				`4: refused bad_timestamp "a value=1 1.5"`,
				`5: refused bad_timestamp "a value=1 99999999999999999999"`,
				`6: refused duplicate_label "a,h=1,h=2 value=1 1000000"`,
				`7: refused invalid_utf8 "a,h=\xff value=1 1000000"`,
				`8: refused undecodable ",h=1 value=1 1000000"`,
				`9: refused undecodable "a value=NaN 1000000"`,
				`10: refused undecodable "a,h=\"1 s=\"open 1000000"`,
				`11: b 2 2`,
				`12: skipped 1`,
				`13: refused too_long "`+long+`x value=1"`,
				`14: d 3 3`)},
		{"an open quote at the end", "a s=\"x\nb value=2 2000000", lines(`1: refused undecodable "a s=\"x"`, `2: b 2 2`)},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := formats.NewDecoder()
			for range 2 {
				d.Reset([]byte(c.body), formats.Options{Format: formats.Line, Precision: formats.Nanosecond, NowMS: now})
				if got := dump(d); got != c.want {
					t.Errorf("got:\n%swant:\n%s", got, c.want)
				}
			}
		})
	}
}

func TestPrecision(t *testing.T) {
	for _, c := range []struct {
		precision, time string
		want            string
	}{
		{"s", "1700000000", "1700000000000"},
		{"ms", "1700000000001", "1700000000001"},
		{"us", "1700000000001999", "1700000000001"},
		{"ns", "1700000000001999999", "1700000000001"},
		{"", "-1", "-1"},
		{"s", "253402300799", "253402300799000"},
		{"s", "253402300800", "refused bad_timestamp"},
		{"s", "9223372036854775807", "refused bad_timestamp"},
		{"s", "-9223372036854775808", "refused bad_timestamp"},
		{"ms", "253402300800000", "refused bad_timestamp"},
	} {
		d := formats.NewDecoder()
		contentType := "text/plain; charset=utf-8"
		if c.precision != "" {
			contentType += "; precision=" + c.precision
		}
		d.ResetBy(contentType, []byte("a value=1 "+c.time), now)
		if got := dump(d); !strings.Contains(got, c.want) {
			t.Errorf("%s %s: got %q, want %s", c.time, c.precision, got, c.want)
		}
	}
	d := formats.NewDecoder()
	d.ResetBy("text/plain; precision=fortnight", []byte("a value=1\nb value=2"), now)
	if got, want := dump(d), "1: refused undecodable \"a value=1\\nb value=2\"\n"; got != want {
		t.Errorf("unknown precision: got %q, want %q", got, want)
	}
	for p := formats.Nanosecond; p <= formats.Second; p++ {
		if got, err := formats.ParsePrecision(p.String()); got != p || err != nil {
			t.Errorf("ParsePrecision(%s) = %v, %v", p, got, err)
		}
		d.ResetBy(formats.Options{Format: formats.Line, Precision: p}.ContentType(), nil, now)
		if d.Options().Precision != p {
			t.Errorf("%s: precision %s", formats.Options{Format: formats.Line, Precision: p}.ContentType(), d.Options().Precision)
		}
	}
}

func TestDetect(t *testing.T) {
	for _, c := range []struct {
		contentType, body string
		want              *formats.Format
	}{
		{"application/json", "cpu value=1", formats.JSON},
		{"application/x-ndjson; charset=utf-8", "", formats.JSON},
		{"text/plain; charset=utf-8", "{", formats.Line},
		{"Application/X-Influxdb-Line-Protocol", "[", formats.Line},
		{"", " \r\n\t{}", formats.JSON},
		{"", "[]", formats.JSON},
		{"application/octet-stream", "[]", formats.JSON},
		{"", "cpu value=1", formats.Line},
		{"", "", formats.Line},
	} {
		if got := formats.Detect(c.contentType, []byte(c.body)); got != c.want {
			t.Errorf("Detect(%q, %q) = %s, want %s", c.contentType, c.body, got, c.want)
		}
	}
}

// TestCorpus compares acceptance and values with line-protocol's own corpus.
func TestCorpus(t *testing.T) {
	type text []byte
	type pair struct{ Key, Value string }
	type field struct {
		Key   string
		Value map[string]any
	}
	type point struct {
		Time   int64
		Name   string
		Tags   []pair
		Fields []field
	}
	type testCase struct {
		Key       string
		Text      json.RawMessage
		Precision string
		Result    []point
	}
	data, err := os.ReadFile("testdata/influx_corpus.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	accepted, refused := 0, 0
	for dec := json.NewDecoder(bytes.NewReader(data)); dec.More(); {
		dec.UseNumber()
		var c testCase
		var body text
		var s string
		var binary struct{ Binary []byte }
		if err := dec.Decode(&c); err != nil {
			t.Fatal(err)
		}
		if json.Unmarshal(c.Text, &s) == nil {
			body = text(s)
		} else if err := json.Unmarshal(c.Text, &binary); err != nil {
			t.Fatal(err)
		} else {
			body = binary.Binary
		}
		precision, err := formats.ParsePrecision(strings.TrimPrefix(c.Precision, "1"))
		if err != nil {
			t.Fatal(err)
		}
		var got, want []string
		faults := 0
		d := formats.NewDecoder()
		d.Reset(body, formats.Options{Format: formats.Line, Precision: precision, NowMS: now})
		for e := d.Next(); e != nil; e = d.Next() {
			if e.Fault != nil {
				faults++
			}
			for _, s := range e.Samples {
				if e.Untimed {
					s.TimeMS = 0
				}
				got = append(got, fmt.Sprintf("%s %d %v", s.Series, s.TimeMS, s.Value))
			}
		}
		if c.Result == nil {
			refused++
			if faults == 0 {
				t.Errorf("%s: %q: accepted as %q", c.Key, body, got)
			}
			continue
		}
		accepted++
		for _, p := range c.Result {
			var labels schemas.Labels
			for _, tag := range p.Tags {
				labels = append(labels, schemas.Label{Name: tag.Key, Value: tag.Value})
			}
			labels.Sort()
			for _, f := range p.Fields {
				s := schemas.Sample{Series: schemas.Series{Metric: p.Name + "." + f.Key, Labels: labels}, TimeMS: time.Unix(0, p.Time).UnixMilli()}
				if f.Key == "value" {
					s.Series.Metric = p.Name
				}
				if !bytes.Contains(body, []byte(fmt.Sprint(p.Time/int64(precision.Duration())))) {
					s.TimeMS = 0 // the default time
				}
				switch v := f.Value; {
				case v["string"] != nil, v["binary"] != nil:
					continue
				case v["bool"] == true:
					s.Value = 1
				case v["bool"] == false:
				default:
					for _, n := range v {
						if s.Value, err = n.(json.Number).Float64(); err != nil {
							t.Fatal(err)
						}
					}
				}
				want = append(want, fmt.Sprintf("%s %d %v", s.Series, s.TimeMS, s.Value))
			}
		}
		if faults > 0 || !slices.Equal(got, want) {
			t.Errorf("%s: %q:\n got %q, %d faults\nwant %q", c.Key, body, got, faults, want)
		}
	}
	if accepted < 100 || refused < 500 {
		t.Errorf("%d accepted and %d refused cases: the corpus is incomplete", accepted, refused)
	}
}

// TestRecordings decodes recordings of real senders.
func TestRecordings(t *testing.T) {
	for _, c := range []struct {
		file             string
		samples, skipped int
		has              string
	}{
		{"telegraf_kafka.lp", 657, 5, `cpu.usage_user{cpu="cpu0",host="tg-host"}`},
		{"tsbs_devops.lp", 377, 0, `cpu.usage_user{arch="x86",datacenter="sa-east-1c",hostname="host_0",os="Ubuntu15.10",rack="60",region="sa-east-1",service="1",service_environment="staging",service_version="0",team="LON"} 1767225600000 37`},
	} {
		body, err := os.ReadFile("testdata/" + c.file)
		if err != nil {
			t.Fatal(err)
		}
		d := formats.NewDecoder()
		d.ResetBy("", body, now)
		samples, skipped, found := 0, 0, false
		for e := d.Next(); e != nil; e = d.Next() {
			if e.Fault != nil {
				t.Errorf("%s: %v", c.file, e.Fault)
			}
			samples += len(e.Samples)
			skipped += e.Skipped
			for _, s := range e.Samples {
				if err := s.Series.Validate(); err != nil {
					t.Errorf("%s: %v", c.file, err)
				}
				found = found || strings.HasPrefix(fmt.Sprintf("%s %d %v", s.Series, s.TimeMS, s.Value), c.has)
			}
		}
		if samples != c.samples || skipped != c.skipped || !found {
			t.Errorf("%s: %d samples, want %d; %d skipped, want %d; has %s: %v", c.file, samples, c.samples, skipped, c.skipped, c.has, found)
		}
	}
}

// TestHostileBodies: decoding time is linear even for bodies in which each line asks for everything after it to be read again. If
// it were quadratic, each of these would take minutes.
func TestHostileBodies(t *testing.T) {
	const lines = 100_000
	for name, body := range map[string]string{
		"open quotes":         strings.Repeat(`m f=",g=\"x",h="`+"\n", lines),
		"quotes never closed": strings.Repeat(`m f="\`+"\n", lines),
		"open tags":           strings.Repeat(`{"tags":{"\"`+"\n", lines),
		"open objects":        strings.Repeat(`{"tags":{`+"\n", lines),
		"brackets":            strings.Repeat("[", lines),
	} {
		d := formats.NewDecoder()
		d.ResetBy("", []byte(body), now)
		length, entries := 0, 0
		for e := d.Next(); e != nil; e = d.Next() {
			if e.Fault == nil {
				t.Errorf("%s: %q was accepted", name, e.Raw)
			}
			length += len(e.Raw)
			entries++
		}
		if entries == 0 || length+entries < len(body)-1 {
			t.Errorf("%s: %d entries have %d of %d bytes", name, entries, length, len(body))
		}
	}
}
