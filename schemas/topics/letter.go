package topics

import (
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
)

// The headers of a dead letter. A refused record's own headers are quoted beside them, except those
// that begin with "weir.": what was refused by whom, and why, is for weir alone to say.
// HeaderSender is quoted nevertheless.
const (
	HeaderStage     = "weir.stage"         // who refused it: gateway, route, window, alert, notify, store
	HeaderReason    = "weir.reason"        // a short code, such as too_old
	HeaderReasons   = "weir.reasons"       // all codes with their counts, if there are several: too_old=2,not_finite=1
	HeaderError     = "weir.error"         // what exactly was wrong, a text of at most MaxErrorBytes
	HeaderTopic     = "weir.topic"         // where the record was read; missing if it never reached a topic
	HeaderPartition = "weir.partition"     // as HeaderTopic
	HeaderOffset    = "weir.offset"        // as HeaderTopic
	HeaderCut       = "weir.cut"           // what was cut to size, with its original length in bytes: value=2000000,key=70000
	HeaderRemote    = "weir.remote"        // the address of the client that sent it to the gateway
	HeaderSender    = schemas.SenderHeader // of the refused record
)

// The bounds of a dead letter, bytes. Its key, value and headers together stay below
// MaxLetterBytes, whatever they quote, so that a producer and a broker with their default limits of
// 1 MB accept it.
const (
	MaxLetterBytes    = 900_000
	MaxErrorBytes     = 1 << 10
	maxKeyBytes       = 16 << 10
	maxQuotedBytes    = 32 << 10 // headers of the refused record
	maxReasonBytes    = 64
	maxExtraBytes     = 256      // of a header of Letter.Extra
	maxLetterOverhead = 64 << 10 // key and headers together are less
	MaxLetterValue    = MaxLetterBytes - maxLetterOverhead
)

// unspecified stands for a reason that is not a code.
const unspecified = "unspecified"

// Letter is what was refused, before it is cut to size.
type Letter struct {
	Stage  string
	Reason string // a code of lower case letters, digits and underscores
	Error  string // free text; empty: the reason stands for it

	// Topic, Partition and Offset are where the refused record was read. Topic is "" if the record
	// never reached one.
	Topic     string
	Partition int32
	Offset    int64

	Key, Value []byte             // the refused record's; nil is kept
	Headers    []kgo.RecordHeader // the refused record's
	Extra      []kgo.RecordHeader // further headers of weir's own, such as HeaderReasons
}

// Record returns the record for DeadLetter. Key and Value are not copied. The record is below
// MaxLetterBytes, whatever l holds: what is too long is cut, and HeaderCut tells so.
func (l *Letter) Record() *kgo.Record {
	r := &kgo.Record{Topic: DeadLetter, Key: l.Key, Value: l.Value}
	var was []string
	note := func(what string, n int) { was = append(was, what+"="+strconv.Itoa(n)) }
	if len(r.Value) > MaxLetterValue {
		note("value", len(r.Value))
		r.Value = r.Value[:MaxLetterValue]
	}
	if len(r.Key) > maxKeyBytes {
		note("key", len(r.Key))
		r.Key = r.Key[:maxKeyBytes]
	}
	if n := quote(r, l.Headers); n > 0 {
		note("headers", n)
	}
	set := func(name, value string) {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
	}
	reason, text := code(l.Reason), l.Error
	if text == "" {
		text = l.Reason
	}
	set(HeaderStage, short(l.Stage, maxReasonBytes))
	set(HeaderReason, reason)
	set(HeaderError, short(text, MaxErrorBytes))
	if l.Topic != "" {
		set(HeaderTopic, short(l.Topic, maxExtraBytes))
		set(HeaderPartition, strconv.Itoa(int(l.Partition)))
		set(HeaderOffset, strconv.FormatInt(l.Offset, 10))
	}
	for _, h := range l.Extra[:min(len(l.Extra), 8)] {
		set(short(h.Key, maxExtraBytes), short(string(h.Value), maxExtraBytes))
	}
	if was != nil {
		set(HeaderCut, strings.Join(was, ","))
	}
	return r
}

// quote appends to r as many of the refused record's headers, from the first on, as have room. If
// some are left out for their length, it returns the length of all, bytes, otherwise 0.
func quote(r *kgo.Record, headers []kgo.RecordHeader) (cut int) {
	const each = 16 // lengths, and a slice in memory
	all, room := 0, maxQuotedBytes
	for _, h := range headers {
		n := len(h.Key) + len(h.Value) + each
		all += n
		switch {
		case ours(h.Key) && h.Key != HeaderSender:
			continue
		case n > room:
			cut = 1
			continue
		}
		room -= n
		r.Headers = append(r.Headers, h)
	}
	return cut * all
}

func ours(key string) bool {
	const prefix = "weir."
	return len(key) >= len(prefix) && strings.EqualFold(key[:len(prefix)], prefix)
}

// code returns reason if it is a code, which may be a metric's label; free text may not.
func code(reason string) string {
	if reason == "" || len(reason) > maxReasonBytes {
		return unspecified
	}
	for _, c := range []byte(reason) {
		if c != '_' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return unspecified
		}
	}
	return reason
}

// short returns at most n bytes of s, as valid UTF-8.
func short(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "")
}
