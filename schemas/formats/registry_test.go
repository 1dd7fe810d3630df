package formats

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/weir-metrics/weir/schemas"
)

// samplesOf decodes a body, which must be valid.
func samplesOf(t *testing.T, body []byte, o Options) (samples []schemas.Sample) {
	t.Helper()
	d := NewDecoder()
	d.Reset(body, o)
	for e := d.Next(); e != nil; e = d.Next() {
		if e.Fault != nil {
			t.Fatalf("%s: %q: %v", o.Format, e.Raw, e.Fault)
		}
		samples = append(samples, e.Samples...)
	}
	return samples
}

// entriesOf has two entries of each format.
var entriesOf = map[string][]string{
	"csv":  {`up{host="a"},1700000000000,1`, `up{host="b"},1700000000001,2`},
	"json": {`{"metricName":"up","tags":{"host":"a"},"timestamp":1700000000000,"value":1}`, `{"metricName":"up","tags":{"host":"b"},"timestamp":1700000000001,"value":2}`},
	"line": {"up,host=a value=1 1700000000000", "up,host=b value=2 1700000000001"},
}

// TestEveryFormat: each format in All is found by its name, its media types and its look. Its entries can be joined to a body,
// a body can be cut into parts between entries, and an entry without a time can get one.
func TestEveryFormat(t *testing.T) {
	want := []schemas.Sample{
		{Series: schemas.Series{Metric: "up", Labels: schemas.Labels{{Name: "host", Value: "a"}}}, TimeMS: 1700000000000, Value: 1},
		{Series: schemas.Series{Metric: "up", Labels: schemas.Labels{{Name: "host", Value: "b"}}}, TimeMS: 1700000000001, Value: 2},
	}
	for _, f := range All {
		entries := entriesOf[f.Name]
		if len(entries) != len(want) {
			t.Errorf("%s: no entries to try it with", f)
			continue
		}
		o := Options{Format: f, Precision: Millisecond}
		body := f.Open + strings.Join(entries, f.Between) + f.End
		if got := samplesOf(t, []byte(body), o); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %q\n is %v\nwant %v", f, body, got, want)
		}
		if got, err := ByName(f.Name); got != f || err != nil {
			t.Errorf("ByName(%q) = %v, %v", f.Name, got, err)
		}
		if got := NewDecoder().Sniff([]byte(body), Options{Precision: Millisecond}); got != f {
			t.Errorf("Sniff(%q) = %s, want %s", body, got, f)
		}
		if len(f.Media) > 0 && Detect(o.ContentType(), nil) != f {
			t.Errorf("Detect(%q) = %s, want %s", o.ContentType(), Detect(o.ContentType(), nil), f)
		}
		if !f.Whole {
			d := NewDecoder()
			d.Reset([]byte(entries[0]+"\n"), o)
			first := schemas.Sample{}
			for e := d.Next(); e != nil; e = d.Next() {
				first = e.Samples[0]
			}
			d.Resume([]byte("\n" + entries[1]))
			e := d.Next()
			if e == nil || fmt.Sprint([]schemas.Sample{first, e.Samples[0]}) != fmt.Sprint(want) || e.Line != 3 || e.Number != 2 {
				t.Errorf("%s: the second part has %+v after %v", f, e, first)
			}
		}
		if f.stamp != nil {
			i := strings.LastIndexByte(entries[0], ' ')
			stamped := entries[0][:i] + f.Stamp(want[0].TimeMS*1e6, Millisecond)
			if stamped != entries[0] {
				t.Errorf("%s: stamped %q, want %q", f, stamped, entries[0])
			}
		}
	}
}

// TestAnotherFormat: a format is one value in All, and is then accepted wherever All is used.
func TestAnotherFormat(t *testing.T) {
	pairs := &Format{Name: "pairs", ContentType: "text/x-pairs", Media: []string{"x-pairs"}, Path: "/pairs", Between: "\n", End: "\n",
		looks: func(text []byte) bool { return bytes.HasPrefix(text, []byte("> ")) },
		next: func(d *Decoder) *Entry {
			if d.pos >= len(d.body) {
				return nil
			}
			d.start()
			next := d.pos + firstLine(d.body[d.pos:])
			raw := bytes.TrimSpace(d.body[d.pos:next])
			cells := strings.Fields(string(raw))
			v, err := 0.0, error(nil)
			if len(cells) == 3 {
				v, err = strconv.ParseFloat(cells[2], 64)
			}
			if len(cells) != 3 || err != nil {
				d.refuse(Undecodable, fmt.Errorf("want > name value: %q", raw))
			} else {
				d.entry.Samples = append(d.entry.Samples, schemas.Sample{Series: schemas.Series{Metric: cells[1]}, TimeMS: d.opts.NowMS, Value: v})
			}
			return d.end(raw, next)
		}}
	before := All
	All = append(slices.Clone(All), pairs)
	t.Cleanup(func() { All = before })
	body := []byte("> up 1\n> down 2\n")
	if got := NewDecoder().Sniff(body, Options{}); got != pairs {
		t.Errorf("Sniff = %s", got)
	}
	if !Readable("text/x-pairs; charset=utf-8") || Detect("text/x-pairs", nil) != pairs || Detect("", body) != pairs {
		t.Error("its media type is not known")
	}
	d := NewDecoder()
	d.ResetBy("text/x-pairs", body, 5)
	var got []string
	for e := d.Next(); e != nil; e = d.Next() {
		got = append(got, fmt.Sprint(e.Samples[0].Series.Metric, e.Samples[0].TimeMS, e.Samples[0].Value))
	}
	if fmt.Sprint(got) != "[up5 1 down5 2]" {
		t.Errorf("decoded %q", got)
	}
}
