package deadletter_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/processors/deadletter"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/formats"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
)

func headers(r *kgo.Record) map[string]string {
	m := map[string]string{}
	for _, h := range r.Headers {
		m[h.Key] = string(h.Value)
	}
	return m
}

func TestLetterQuotesTheRecord(t *testing.T) {
	r := &kgo.Record{Topic: "metrics", Partition: 3, Offset: 42, Key: []byte("k"), Value: []byte("bad"), Headers: []kgo.RecordHeader{
		{Key: "content-type", Value: []byte("text/plain")}, {Key: "Weir.Reason", Value: []byte("forged")}, {Key: "weir.sender", Value: []byte("s")}}}
	l := deadletter.OfMany(r, "route", []deadletter.Count{{"too_old", 2}, {"not_finite", 1}}, errors.New("because"))
	want := map[string]string{"content-type": "text/plain", "weir.sender": "s", "weir.stage": "route", "weir.reason": "too_old",
		"weir.reasons": "too_old=2,not_finite=1", "weir.error": "because", "weir.topic": "metrics", "weir.partition": "3", "weir.offset": "42"}
	got := headers(l)
	for name, v := range want {
		if got[name] != v {
			t.Errorf("%s is %q, want %q", name, got[name], v)
		}
	}
	if len(got) != len(want) || l.Topic != topics.DeadLetter || string(l.Key) != "k" || string(l.Value) != "bad" {
		t.Errorf("letter %v with headers %v", l, got)
	}
}

// Whatever is given, the reason becomes a code and the error is bounded.
func TestReasonIsACode(t *testing.T) {
	for _, reason := range []string{"", "free text", "Upper", strings.Repeat("x", 100), "bad\n"} {
		l := headers(deadletter.Of(&kgo.Record{}, "s", reason, nil))
		if l["weir.reason"] != "unspecified" || len(l["weir.error"]) > topics.MaxErrorBytes {
			t.Errorf("%.40q became %q, error %.40q", reason, l["weir.reason"], l["weir.error"])
		}
	}
	l := headers(deadletter.Of(&kgo.Record{}, "s", "too_old", errors.New(strings.Repeat("é\xff", 10_000))))
	if l["weir.reason"] != "too_old" || len(l["weir.error"]) > topics.MaxErrorBytes || !strings.HasPrefix(l["weir.error"], "éé") {
		t.Errorf("%q with an error of %d bytes", l["weir.reason"], len(l["weir.error"]))
	}
}

// TestLetterAlwaysFits: a producer and a broker with default limits accept the letter for any record.
func TestLetterAlwaysFits(t *testing.T) {
	cluster := kafkatest.Cluster(t, kfake.SeedTopics(1, topics.DeadLetter))
	cl := kafkatest.Client(t, cluster.ListenAddrs(), kgo.ProducerBatchCompression(kgo.NoCompression()))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	large := bytes.Repeat([]byte{'x'}, 2<<20)
	many := make([]kgo.RecordHeader, 100_000)
	for i := range many {
		many[i] = kgo.RecordHeader{Key: "h", Value: []byte("v")}
	}
	for name, c := range map[string]struct {
		r   kgo.Record
		cut string
	}{
		"value":   {kgo.Record{Value: large}, "value=2097152"},
		"key":     {kgo.Record{Key: large}, "key=2097152"},
		"header":  {kgo.Record{Headers: []kgo.RecordHeader{{Key: "a", Value: large}, {Key: "b", Value: []byte("kept")}}}, "headers=2097190"},
		"name":    {kgo.Record{Headers: []kgo.RecordHeader{{Key: string(large)}}}, "headers=2097168"},
		"headers": {kgo.Record{Headers: many}, "headers=1800000"},
		"all":     {kgo.Record{Topic: string(large), Key: large, Value: large, Headers: many}, "value=2097152,key=2097152,headers=1800000"},
		"empty":   {kgo.Record{}, ""},
		"edge":    {kgo.Record{Value: large[:topics.MaxLetterValue]}, ""},
	} {
		l := deadletter.OfMany(&c.r, string(large), []deadletter.Count{{string(large), 1}, {string(large), 2}}, errors.New(string(large)))
		n := len(l.Key) + len(l.Value)
		for _, h := range l.Headers {
			n += len(h.Key) + len(h.Value) + 8
		}
		if n > topics.MaxLetterBytes {
			t.Errorf("%s: %d bytes, at most %d", name, n, topics.MaxLetterBytes)
		}
		if got := headers(l)[topics.HeaderCut]; got != c.cut {
			t.Errorf("%s: weir.cut is %q, want %q", name, got, c.cut)
		}
		if name == "header" && headers(l)["b"] != "kept" {
			t.Errorf("a header for which there is room is missing: %.200v", headers(l))
		}
		if _, err := deadletter.Write(ctx, cl, l); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLettersOfSamples: samples of any size become letters that the gateway accepts.
func TestLettersOfSamples(t *testing.T) {
	var samples []schemas.Sample
	for i := range 3000 {
		samples = append(samples, schemas.Sample{TimeMS: int64(i), SubNS: uint32(i % 3), Value: float64(i) / 3, Series: schemas.Series{Metric: "m",
			Labels: schemas.NewLabels(map[string]string{"host": `a"\` + "\x01", "long": strings.Repeat("é", i%500)})}})
	}
	from := &kgo.Record{Topic: "samples", Partition: 1, Offset: 7, Key: []byte("a")}
	next := 0
	for _, l := range deadletter.OfSamples(from, "window", "too_old", nil, samples) {
		if len(l.Value) > topics.MaxLetterValue || headers(l)[topics.HeaderCut] != "" || headers(l)[topics.HeaderOffset] != "7" {
			t.Fatalf("letter of %d bytes, headers %v", len(l.Value), headers(l))
		}
		if !json.Valid(l.Value) {
			t.Fatalf("not JSON: %.100s", l.Value)
		}
		d := formats.NewDecoder()
		d.Reset(l.Value, formats.Options{Format: formats.JSON})
		for e := d.Next(); e != nil; e = d.Next() {
			if e.Fault != nil || len(e.Samples) != 1 {
				t.Fatalf("sample %d: %v", next, e.Fault)
			}
			if got, want := e.Samples[0], samples[next]; got.Series.String() != want.Series.String() || got.TimeMS != want.TimeMS || got.SubNS != want.SubNS || got.Value != want.Value {
				t.Fatalf("sample %d: %v, want %v", next, got, want)
			}
			next++
		}
	}
	if next != len(samples) {
		t.Errorf("%d samples in the letters, want %d", next, len(samples))
	}
	samples[0].TimeMS = 1_700_000_000
	if l := deadletter.OfSamples(from, "window", "too_old", nil, samples[:1])[0]; !strings.Contains(headers(l)[topics.HeaderError], "it looks like seconds") {
		t.Errorf("a time in seconds: %s", headers(l)[topics.HeaderError])
	}
	huge := schemas.Sample{Series: schemas.Series{Metric: strings.Repeat("m", 2<<20)}}
	if ls := deadletter.OfSamples(from, "window", "too_old", nil, []schemas.Sample{samples[0], huge, samples[1]}); len(ls) != 3 || headers(ls[1])[topics.HeaderCut] == "" {
		t.Errorf("%d letters for a sample that fits into none", len(ls))
	}
}
