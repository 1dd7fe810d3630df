package deadletter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/formats"
	"github.com/weir-metrics/weir/schemas/topics"
)

// Of returns the letter for a record that stage refused: reason is a short code, and why, which may
// be nil, tells exactly what was wrong. The record may be of any size.
func Of(r *kgo.Record, stage, reason string, why error) *kgo.Record {
	l := of(r, stage, reason, why)
	return l.Record()
}

func of(r *kgo.Record, stage, reason string, why error) topics.Letter {
	l := topics.Letter{Stage: stage, Reason: reason, Topic: r.Topic, Partition: r.Partition, Offset: r.Offset,
		Key: r.Key, Value: r.Value, Headers: r.Headers}
	if why != nil {
		l.Error = why.Error()
	}
	return l
}

// Count is how often a record was refused for a reason.
type Count struct {
	Reason string
	N      int
}

// OfMany is Of for a record that was refused for several reasons, at least one, the most telling
// first.
func OfMany(r *kgo.Record, stage string, counts []Count, why error) *kgo.Record {
	l := of(r, stage, counts[0].Reason, why)
	if len(counts) > 1 {
		var list []byte
		for i, c := range counts {
			if i > 0 {
				list = append(list, ',')
			}
			list = append(append(list, c.Reason...), '=')
			list = strconv.AppendInt(list, int64(c.N), 10)
		}
		l.Extra = []kgo.RecordHeader{{Key: topics.HeaderReasons, Value: list}}
	}
	return l.Record()
}

// maxSamples bounds the samples of one letter.
const maxSamples = 1000

// sampleJSON is a sample as package formats reads it.
type sampleJSON struct {
	MetricName string            `json:"metricName"`
	Tags       map[string]string `json:"tags,omitempty"`
	Timestamp  int64             `json:"timestamp"`
	SubNS      uint32            `json:"subNs,omitempty"`
	Value      float64           `json:"value"`
}

// OfSamples returns letters that hold the samples, in their order, as JSON that the gateway
// accepts. r is the record in which they came; nothing of its value is quoted. A sample that no
// letter has room for (its names are longer than any that the gateway accepts), or that JSON cannot
// express, is named in a letter of its own, cut.
func OfSamples(r *kgo.Record, stage, reason string, why error, samples []schemas.Sample) []*kgo.Record {
	if why == nil && len(samples) > 0 {
		first := &samples[0]
		if h := formats.Hint(first.TimeMS, formats.Millisecond); h != "" {
			why = fmt.Errorf("%s: the time %d ms of %.100q: %s", reason, first.TimeMS, first.Series.Metric, h)
		}
	}
	var letters []*kgo.Record
	var body []byte
	n := 0
	end := func(value []byte) {
		l := of(r, stage, reason, why)
		l.Value = value
		letters = append(letters, l.Record())
	}
	flush := func() {
		if n > 0 {
			end(append(body, ']'))
		}
		body, n = nil, 0
	}
	for i := range samples {
		s := &samples[i]
		b, err := json.Marshal(sampleJSON{s.Series.Metric, s.Series.Labels.Map(), s.TimeMS, s.SubNS, s.Value})
		if err != nil || len(b)+2 > topics.MaxLetterValue {
			flush()
			end(fmt.Appendf(nil, "%s %d %v", s.Series.String(), s.TimeMS, s.Value))
			continue
		}
		if n == maxSamples || len(body)+len(b)+2 > topics.MaxLetterValue {
			flush()
		}
		if n == 0 {
			body = append(body, '[')
		} else {
			body = append(body, ',')
		}
		body = append(body, b...)
		n++
	}
	flush()
	return letters
}

// leastBytes is the length to which Write cuts a letter's value before it gives up.
const leastBytes = 1 << 10

// Write writes the letter, waits for its acknowledgement, and returns the letter as written: if the
// broker finds it too large, Write cuts its value and tries again. The error is the broker's, or
// ctx's.
func Write(ctx context.Context, cl *kgo.Client, letter *kgo.Record) (*kgo.Record, error) {
	err := cl.ProduceSync(ctx, letter).FirstErr()
	for errors.Is(err, kerr.MessageTooLarge) && len(letter.Value) > leastBytes {
		letter = Shorter(letter)
		err = cl.ProduceSync(ctx, letter).FirstErr()
	}
	if err != nil {
		return letter, fmt.Errorf("produce to %s, %d bytes: %w", letter.Topic, len(letter.Value), err)
	}
	return letter, nil
}

// Shorter returns a copy of the letter with a quarter of its value, for a broker that found the
// letter too large.
func Shorter(letter *kgo.Record) *kgo.Record {
	short := &kgo.Record{Topic: letter.Topic, Partition: letter.Partition, Key: letter.Key, Value: letter.Value[:len(letter.Value)/4]}
	was := "value=" + strconv.Itoa(len(letter.Value))
	for _, h := range letter.Headers {
		if h.Key == topics.HeaderCut {
			if was = string(h.Value) + "," + was; strings.HasPrefix(was, "value=") {
				was = string(h.Value) // has the original length
			}
			continue
		}
		short.Headers = append(short.Headers, h)
	}
	short.Headers = append(short.Headers, kgo.RecordHeader{Key: topics.HeaderCut, Value: []byte(was)})
	return short
}

// Header returns the value of the letter's header of that name, or "".
func Header(letter *kgo.Record, name string) string {
	for _, h := range letter.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}
