package collect

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/formats"
	"github.com/weir-metrics/weir/schemas/topics"
)

// keys is how many keys the gateway's records have, each for the series groups that hash to it:
// more than metrics has partitions, so that each of those gets its share, but few enough that a
// body of very many hosts does not become one record for each.
const keys = 1024

// maxFaults bounds the faults that an answer lists.
const maxFaults = 100

// sorted is a body whose entries have been sorted into good and bad.
type sorted struct {
	opts             formats.Options
	good             map[int32]*chunks // by key
	keys             []int32           // of good, by first appearance
	samples, skipped int
	unknown          int // fields of JSON that were ignored

	reasons map[formats.Reason]int
	bad     []*letter // by first appearance
	faults  []faultAnswer
}

// letter is what was refused for one reason.
type letter struct {
	reason formats.Reason
	first  string // exactly what was wrong first
	chunks *chunks
}

// sortBody writes now into entries that have no time.
func sortBody(d *formats.Decoder, body []byte, o formats.Options, now time.Time) *sorted {
	s := &sorted{opts: o, good: map[int32]*chunks{}, reasons: make(map[formats.Reason]int)}
	stamp := []byte(o.Format.Stamp(now.UnixNano(), o.Precision))
	d.Reset(body, o)
	for e := d.Next(); e != nil; e = d.Next() {
		switch {
		case !s.judge(e):
		case e.Untimed:
			s.goodOf(e).add(bytes.TrimRight(e.Raw, " \r"), stamp)
		default:
			s.goodOf(e).add(e.Raw)
		}
	}
	return s
}

// goodOf returns the chunks of the entry's series group. A body that is sent again, as after 503,
// lands in the same partitions, between what its sender sent before and after: so a repeat is
// recognized, and no sample is late because another partition was read first.
func (s *sorted) goodOf(e *formats.Entry) *chunks {
	group := ""
	if len(e.Samples) > 0 { // otherwise it has only strings
		group = schemas.GroupOf(e.Samples[0].Series, schemas.GroupLabels)
	}
	key := schemas.Shard([]byte(group), keys)
	c := s.good[key]
	if c == nil {
		c = newChunks(s.opts.Format)
		s.good[key] = c
		s.keys = append(s.keys, key)
	}
	return c
}

// judge counts an entry, and reports whether it is good.
func (s *sorted) judge(e *formats.Entry) bool {
	fault := e.Fault
	if fault == nil && len(e.Raw) > recordBytes-100 { // room for a stamp and brackets
		fault = &formats.Fault{Line: e.Line, Entry: e.Number, Reason: formats.TooLong,
			Err: fmt.Errorf("%d bytes: %w: at most %d", len(e.Raw), schemas.ErrTooLong, recordBytes-100)}
	}
	if fault == nil {
		s.samples += len(e.Samples)
		s.skipped += e.Skipped
		s.unknown += e.Unknown
		return true
	}
	s.reasons[fault.Reason]++
	text := ""
	if len(s.faults) < maxFaults || s.reasons[fault.Reason] == 1 {
		text = cut(fault.Err.Error(), 300)
	}
	if len(s.faults) < maxFaults {
		s.faults = append(s.faults, faultAnswer{fault.Line, fault.Entry, fault.Reason, text})
	}
	for _, l := range s.bad {
		if l.reason == fault.Reason {
			l.chunks.add(e.Raw)
			return false
		}
	}
	l := &letter{fault.Reason, text, &chunks{limit: topics.MaxLetterValue, between: "\n"}}
	l.chunks.add(e.Raw)
	s.bad = append(s.bad, l)
	return false
}

// records returns the records of the good entries, for metrics, and of the bad ones, for
// deadletter, as far as admit, which may be nil, lets them. The bad ones are from remote, and
// sender stands for it.
func (s *sorted) records(remote, sender string, admit func(letter *kgo.Record) bool) []*kgo.Record {
	var records []*kgo.Record
	for _, key := range s.keys {
		for _, value := range s.good[key].values() {
			records = append(records, metricsRecord(strconv.AppendInt(nil, int64(key), 10), value, s.opts.ContentType(), sender))
		}
	}
	for _, l := range s.bad {
		for _, value := range l.chunks.values() {
			letter := topics.Letter{Stage: "gateway", Reason: string(l.reason), Error: l.first, Value: value,
				Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte(s.opts.ContentType())}, {Key: schemas.SenderHeader, Value: []byte(sender)}},
				Extra:   []kgo.RecordHeader{{Key: topics.HeaderRemote, Value: []byte(remote)}}}
			if r := letter.Record(); admit == nil || admit(r) {
				records = append(records, r)
			}
		}
	}
	return records
}

// refusal is the answer to a partly bad body.
func (s *sorted) refusal() *refusal {
	n := 0
	for _, of := range s.reasons {
		n += of
	}
	return &refusal{Message: fmt.Sprintf("partial write: %d refused", n), Accepted: s.samples, Refused: s.reasons, Faults: s.faults}
}
