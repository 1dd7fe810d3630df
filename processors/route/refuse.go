package route

import (
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"weir/schemas/formats"
	"weir/schemas/topics"
)

// Reasons for which route refuses what formats would take, beside formats' own.
const (
	reasonEmpty       = "empty"                // no value: a tombstone
	reasonTooLarge    = "too_large"            // the record is longer than max_record_bytes
	reasonContentType = "unknown_content_type" // neither JSON nor line protocol
	reasonManyLabels  = "too_many_labels"      // a series has more than max_labels
)

// reasons are all reasons, so that counters start at zero.
func reasons() []string {
	all := []string{reasonEmpty, reasonTooLarge, reasonContentType, reasonManyLabels}
	for _, r := range formats.Reasons {
		all = append(all, string(r))
	}
	return all
}

// verdict is why a record was refused, wholly or in part. The zero value says
// that nothing was.
type verdict struct {
	reasons []reasonCount // by first appearance
	first   string        // what exactly was wrong first
}

type reasonCount struct {
	reason string
	n      int
}

// add counts a refusal.
func (v *verdict) add(reason string, err error) {
	if v.first == "" {
		v.first = err.Error()
	}
	for i := range v.reasons {
		if v.reasons[i].reason == reason {
			v.reasons[i].n++
			return
		}
	}
	v.reasons = append(v.reasons, reasonCount{reason, 1})
}

// letterRoom is what is left of a deadletter record's limit for its key and headers, bytes.
const letterRoom = 64 << 10

// letter is the deadletter record of r. Its value is r's, cut to at most limit bytes.
func letter(r *kgo.Record, v *verdict, limit int) *kgo.Record {
	l := &kgo.Record{Topic: topics.DeadLetter, Key: r.Key, Value: r.Value}
	room := letterRoom / 2
	for _, h := range r.Headers { // the content type, without which nobody can read it
		if room -= len(h.Key) + len(h.Value) + 16; room > 0 && !strings.HasPrefix(h.Key, "weir.") {
			l.Headers = append(l.Headers, h)
		}
	}
	set := func(name, value string) {
		l.Headers = append(l.Headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
	}
	set("weir.reason", v.reasons[0].reason)
	if len(v.reasons) > 1 {
		var list []string
		for _, rc := range v.reasons {
			list = append(list, rc.reason+"="+strconv.Itoa(rc.n))
		}
		set("weir.reasons", strings.Join(list, ","))
	}
	set("weir.error", v.first)
	set("weir.topic", r.Topic)
	set("weir.partition", strconv.Itoa(int(r.Partition)))
	set("weir.offset", strconv.FormatInt(r.Offset, 10))
	set("weir.stage", "route")
	cut(l, limit)
	return l
}

// cut shortens a letter's value to at most limit bytes, and its key with it, and
// says how long the value was.
func cut(l *kgo.Record, limit int) {
	if len(l.Key) <= letterRoom/4 && len(l.Value) <= limit {
		return
	}
	if header(l, "weir.truncated") == "" {
		l.Headers = append(l.Headers, kgo.RecordHeader{Key: "weir.truncated", Value: []byte(strconv.Itoa(len(l.Value)))})
	}
	l.Key = l.Key[:min(len(l.Key), letterRoom/4)]
	l.Value = l.Value[:min(len(l.Value), limit)]
}

// header returns the value of the record's last header of that name, in any case, or "".
func header(r *kgo.Record, name string) string {
	for i := len(r.Headers) - 1; i >= 0; i-- {
		if strings.EqualFold(r.Headers[i].Key, name) {
			return string(r.Headers[i].Value)
		}
	}
	return ""
}
