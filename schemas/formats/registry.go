package formats

import (
	"bytes"
	"fmt"
	"strings"
)

// Format is a language in which samples are written. Everything that weir knows about one is here
// and in the format's file; gateway, route, replay, fold and the agent ask for it.
type Format struct {
	// Name is what --format and errors call it.
	Name string
	// ContentType is the content-type header of records and requests in this format, without
	// parameters.
	ContentType string
	// Media are words of media types that name it, in lower case: json for
	// application/x-ndjson+json. Without any, the format is found only in files.
	Media []string
	// Path is where the gateway takes bodies in this format; "": nowhere.
	Path string
	// AnyPrecision tells that the sender chooses the unit of its times.
	AnyPrecision bool
	// Whole tells that an entry may span many lines, so that a body cannot be cut at a line feed.
	Whole bool
	// Open, Between and End join entries to a body.
	Open, Between, End string

	// next returns the next entry of the current body, or nil at its end.
	next func(*Decoder) *Entry
	// looks reports whether a line that is not empty looks like this format at first sight.
	looks func(text []byte) bool
	// stamp returns what to append to an entry without a time; nil: every entry has one.
	stamp func(nowNS int64, p Precision) string
}

// All lists the formats, in the order in which they are asked whether a line is theirs. Line takes
// what no other takes.
var All = []*Format{CSV, JSON, Line}

// String is the format's Name.
func (f *Format) String() string { return f.Name }

// Stamp returns what to append to an Untimed entry so that it has the time nowNS, ns, wherever it
// is read.
func (f *Format) Stamp(nowNS int64, p Precision) string {
	if f.stamp == nil {
		return ""
	}
	return f.stamp(nowNS, p)
}

// ByName returns the format of that name, or nil for "", which leaves it to the text. The error
// quotes an unknown name and lists the known ones.
func ByName(name string) (*Format, error) {
	if name == "" {
		return nil, nil
	}
	var names []string
	for _, f := range All {
		if f.Name == name {
			return f, nil
		}
		names = append(names, f.Name)
	}
	return nil, fmt.Errorf("format %.20q: must be one of %s", name, strings.Join(names, ", "))
}

// ByMedia returns the format that a content type names, or nil.
func ByMedia(contentType string) *Format {
	if contentType == "" {
		return nil
	}
	media := mediaOf(contentType)
	for _, f := range All {
		for _, word := range f.Media {
			if strings.Contains(media, word) {
				return f
			}
		}
	}
	return nil
}

// Readable reports whether a content type names a format or leaves it open, which it does if it is
// empty or application/octet-stream.
func Readable(contentType string) bool {
	media := mediaOf(contentType)
	return media == "" || media == "application/octet-stream" || ByMedia(contentType) != nil
}

func mediaOf(contentType string) string {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(media))
}

// Detect finds the format of a body: by the content type if that names one, otherwise by its start,
// after white space and byte order marks.
func Detect(contentType string, body []byte) *Format {
	if f := ByMedia(contentType); f != nil {
		return f
	}
	if len(body) > 0 && body[0] != '{' && body[0] != '[' { // as most bodies without a type begin
		body = bytes.TrimLeft(body, " \t\r\n\ufeff")
	}
	if len(body) > 0 {
		line := body[:firstLine(body)]
		for _, f := range All {
			if len(f.Media) > 0 && f.looks(line) {
				return f
			}
		}
	}
	return Line
}

const (
	// SniffBytes is how much of a file Sniff examines, at most, and sniffLines how many lines that
	// are neither blank nor comments.
	SniffBytes, sniffLines = 64 << 10, 100
)

// Sniff finds the format of a file that begins with head: the one in which most of the first lines
// can be read. If none can be, the look of the first line decides. Sniff abandons the decoder's
// current body.
func (d *Decoder) Sniff(head []byte, o Options) *Format {
	if len(head) >= SniffBytes { // the last line may be cut
		head = head[:bytes.LastIndexByte(head, '\n')+1]
	}
	votes := map[*Format]int{}
	var first *Format // by the look of the first line
	seen := 0
	for line := range bytes.Lines(bytes.TrimPrefix(head, bomUTF8)) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if seen++; seen > sniffLines {
			break
		}
		for _, f := range All {
			if o.Format = f; d.reads(line, o) {
				votes[f]++
				break
			}
		}
		if first == nil {
			first = lookOf(line)
		}
	}
	if first == nil {
		return Line
	}
	best, others := first, 0
	for _, f := range All {
		if votes[f] > votes[best] {
			best = f
		}
		if f != first {
			others += votes[f]
		}
	}
	if first.Whole && others == 0 { // its first entry may span many lines
		return first
	}
	return best
}

// reads reports whether the line can be read in the format, or is part of an entry of many lines.
func (d *Decoder) reads(line []byte, o Options) bool {
	if o.Format.Whole {
		return o.Format.looks(line)
	}
	d.Reset(line, o)
	e := d.Next()
	return e == nil || e.Fault == nil // nil: a header
}

// lookOf guesses the format of a line.
func lookOf(line []byte) *Format {
	for _, f := range All {
		if f.looks(line) {
			return f
		}
	}
	return Line
}
