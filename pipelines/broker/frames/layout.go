package frames

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// layouts are the bodies of the requests that pass, field by field as kmsg.XRequest has them: a
// number is a field of that many bytes, s a string (null or not), y bytes, r a batch of records, [ … ]
// a list of structures, *s and *4 lists of strings and of numbers. @2-5 are the versions that have the
// field. In flexible versions, strings and lists are compact, and tags end each structure and the
// body.
//
// A body is walked by its layout before anything decodes it: kmsg allocates as many entries as a list
// announces, and counts as many tags as are announced, up to 4 billion for a few bytes of input.
var layouts = map[kmsg.Key]string{
	kmsg.Produce:              "s@3- 2 4 [ s@-12 16@13- [ 4 r ] ]",
	kmsg.Fetch:                "4@-14 4 4 4 1 4@7- 4@7- [ s@-12 16@13- [ 4 4@9- 8 4@12- 8@5- 4 ] ] [@7- s@-12 16@13- *4 ] s@11-",
	kmsg.ListOffsets:          "4 1@2- [ s [ 4 4@4- 8 4@0-0 ] ] 4@10-",
	kmsg.Metadata:             "[ 16@10- s ] 1@4- 1@8-10 1@8-",
	kmsg.OffsetCommit:         "s 4@1- s@1- s@7- 8@2-4 [ s@-9 16@10- [ 4 8 8@1-1 4@6- s ] ]",
	kmsg.OffsetFetch:          "s@-7 [@-7 s *4 ] [@8- s s@9- 4@9- [ s@-9 16@10- *4 ] ] 1@7-",
	kmsg.FindCoordinator:      "s@-3 1@1- *s@4-",
	kmsg.JoinGroup:            "s 4 4@1- s s@5- s [ s y ] s@8-",
	kmsg.Heartbeat:            "s 4 s s@3-",
	kmsg.LeaveGroup:           "s s@-2 [@3- s s s@5- ]",
	kmsg.SyncGroup:            "s 4 s s@3- s@5- s@5- [ s y ]",
	kmsg.DescribeGroups:       "*s 1@3-",
	kmsg.ListGroups:           "*s@4- *s@5-",
	kmsg.ApiVersions:          "s@3- s@3- s@5- 4@5-",
	kmsg.CreateTopics:         "[ s 4 2 [ 4 *4 ] [ s s ] ] 4 1@1-",
	kmsg.DeleteTopics:         "*s@-5 [@6- s 16 ] 4",
	kmsg.DeleteRecords:        "[ s [ 4 8 ] ] 4",
	kmsg.InitProducerID:       "s 4 8@3- 2@3-",
	kmsg.OffsetForLeaderEpoch: "4@3- [ s [ 4 4@2- 4 ] ]",
	kmsg.AddPartitionsToTxn:   "s@-3 8@-3 2@-3 [@-3 s *4 ] [@4- s 8 2 1 [ s *4 ] ]",
	kmsg.AddOffsetsToTxn:      "s 8 2 s",
	kmsg.EndTxn:               "s 8 2 1",
	kmsg.TxnOffsetCommit:      "s s 8 2 4@3- s@3- s@3- [ s@-5 16@6- [ 4 8 4@2- s ] ]",
	kmsg.DescribeConfigs:      "[ 1 s *s ] 1@1- 1@3-",
	kmsg.CreatePartitions:     "[ s 4 [ *4 ] ] 4 1",
	kmsg.DeleteGroups:         "*s",
	kmsg.OffsetDelete:         "s [ s [ 4 ] ]",
	kmsg.DescribeCluster:      "1 1@1- 1@2-",
}

// field is a field of a layout.
type field struct {
	kind     string // a number of bytes, s, y, r, *s, *4 or [
	from, to int16  // versions
	fields   []field
}

const newest = 1 << 14 // as the last version: no end

// served are the parsed layouts, by API key.
var served = parseLayouts()

func parseLayouts() map[kmsg.Key][]field {
	all := map[kmsg.Key][]field{}
	for key, text := range layouts {
		fields, rest := parseFields(strings.Fields(text))
		if len(rest) > 0 {
			panic(fmt.Sprintf("layout of %s: %v is left", key.Name(), rest))
		}
		all[key] = fields
	}
	return all
}

func parseFields(tokens []string) (fields []field, rest []string) {
	for len(tokens) > 0 && tokens[0] != "]" {
		kind, versions, _ := strings.Cut(tokens[0], "@")
		tokens = tokens[1:]
		f := field{kind: kind, to: newest}
		if from, to, ok := strings.Cut(versions, "-"); ok {
			f.from = version(from, 0)
			f.to = version(to, newest)
		}
		if kind == "[" {
			f.fields, tokens = parseFields(tokens)
			tokens = tokens[1:] // the ]
		}
		fields = append(fields, f)
	}
	return fields, tokens
}

func version(text string, none int16) int16 {
	if text == "" {
		return none
	}
	n, err := strconv.ParseInt(text, 10, 16)
	if err != nil {
		panic("version of a layout: " + err.Error())
	}
	return int16(n)
}

// walk goes through the body of one request.
type walk struct {
	kbin.Reader
	gate     *Gate
	key      kmsg.Key
	version  int16
	flexible bool
	left     int // how many more entries its lists may have
	err      error
}

// maxTags bounds the tagged fields of a structure; no request has more than two.
const maxTags = 16

// body walks the body to its end. It returns a refusal, or nil.
func (w *walk) body() error {
	w.structure(served[w.key])
	switch {
	case w.err != nil:
		return w.err
	case w.left < 0:
		return refuse("entries", "%s with more than %d entries in its lists", w.key.Name(), maxElements)
	case !w.Ok():
		return refuse("body", "%s version %d: cut", w.key.Name(), w.version)
	case len(w.Src) > 0:
		return refuse("body", "%s version %d: %d bytes too long", w.key.Name(), w.version, len(w.Src))
	}
	return nil
}

// goesOn reports whether nothing is wrong so far.
func (w *walk) goesOn() bool { return w.Ok() && w.left >= 0 && w.err == nil }

func (w *walk) structure(fields []field) {
	for i := range fields {
		if f := &fields[i]; w.version >= f.from && w.version <= f.to && w.goesOn() {
			w.field(f)
		}
	}
	if w.flexible && w.goesOn() {
		w.tags()
	}
}

func (w *walk) field(f *field) {
	switch f.kind {
	case "s":
		w.text()
	case "y":
		w.bytes()
	case "r":
		if records := w.bytes(); w.goesOn() {
			w.err = w.gate.checkRecords(records)
		}
	case "[":
		for n := w.entries(); n > 0 && w.goesOn(); n-- {
			w.structure(f.fields)
		}
	case "*s":
		for n := w.entries(); n > 0 && w.goesOn(); n-- {
			w.text()
		}
	case "*4":
		w.Span(4 * w.entries())
	default:
		n, _ := strconv.Atoi(f.kind) // every layout is walked by a test
		w.Span(n)
	}
}

func (w *walk) text() {
	if w.flexible {
		w.UnsafeCompactNullableString()
	} else {
		w.UnsafeNullableString()
	}
}

func (w *walk) bytes() []byte {
	if w.flexible {
		return w.CompactNullableBytes()
	}
	return w.NullableBytes()
}

// entries reads how many entries a list has; 0 for null.
func (w *walk) entries() int {
	n := int32(0)
	if w.flexible {
		n = w.CompactArrayLen()
	} else {
		n = w.ArrayLen()
	}
	if n < 0 || !w.Ok() {
		return 0
	}
	w.left -= int(n)
	return int(n)
}

func (w *walk) tags() {
	n := w.Uvarint()
	if n > maxTags {
		w.err = refuse("body", "%s with %d tagged fields", w.key.Name(), n)
		return
	}
	for ; n > 0 && w.Ok(); n-- {
		tag := w.Uvarint()
		w.Span(int(w.Uvarint()))
		if w.key == kmsg.Fetch && tag == 1 {
			// It holds a structure, whose own tags are not walked. Only other brokers send it.
			w.err = refuse("body", "Fetch with a tagged field of brokers")
		}
	}
}
