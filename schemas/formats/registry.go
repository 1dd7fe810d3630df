package formats

import (
	"bytes"
	"fmt"
	"strings"
)

// Format is a language that samples are written in. All that weir knows of one is here and in its
// file; gateway, route, replay, fold and the agent ask for it.
type Format struct {
	// Name is what --format and errors call it.
	Name string
	// ContentType is the content-type header of records and requests in it, without parameters.
	ContentType string
	// Media are words of media types that name it, in lower case: json for application/x-ndjson+json. None: only
	// files are written in it.
	Media []string
	// Path is where the gateway takes bodies in it; "": nowhere.
	Path string
	// AnyPrecision says that the unit of its times is the sender's to tell.
	AnyPrecision bool
	// Whole says that an entry may go over many lines, so that a body cannot be cut at a line feed.
	Whole bool
	// Open, Between and End join entries to a body.
	Open, Between, End string

	// next returns the next entry of the body in hand, or nil at its end.
	next func(*Decoder) *Entry
	// looks reports whether a line that is not empty looks like this format at first sight.
	looks func(text []byte) bool
	// stamp is what is written behind an entry without a time; nil: each has one.
	stamp func(nowNS int64, p Precision) string
}

// All are the formats, in the order in which they are asked whether a line is theirs. Line takes what nobody else does.
var All = []*Format{CSV, JSON, Line}

// String is the format's Name.
func (f *Format) String() string { return f.Name }

// Stamp is what is to be written behind an entry that is Untimed, so that it has the time nowNS, ns, wherever it is read.
func (f *Format) Stamp(nowNS int64, p Precision) string {
	if f.stamp == nil {
		return ""
	}
	return f.stamp(nowNS, p)
}

// ByName returns the format of that name, and nil for "": the text itself tells. The error quotes an unknown name and
// lists those that are known.
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

// Readable reports whether a content type names a format, or leaves open which: there is none, or
// it is application/octet-stream.
func Readable(contentType string) bool {
	media := mediaOf(contentType)
	return media == "" || media == "application/octet-stream" || ByMedia(contentType) != nil
}

func mediaOf(contentType string) string {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(media))
}

// Detect tells the format of a body: by the content type when that names one, else by its start, less white
// space and byte order marks.
func Detect(contentType string, body []byte) *Format {
	if f := ByMedia(contentType); f != nil {
		return f
	}
	if len(body) > 0 && body[0] != '{' && body[0] != '[' { // which most begin with that have no type
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
	// SniffBytes is how much of a file Sniff looks at, at most, and sniffLines how many lines
	// of it that are neither blank nor comments.
	SniffBytes, sniffLines = 64 << 10, 100
)

// Sniff tells the format of a file that begins with head: what most of its first lines can be
// read as. If none can be read, the look of the first decides. It ends what the decoder has in hand.
func (d *Decoder) Sniff(head []byte, o Options) *Format {
	if len(head) >= SniffBytes { // its last line may be cut
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
	if first.Whole && others == 0 { // its first entry may go over many lines
		return first
	}
	return best
}

// reads reports whether the line can be read in the format, or is a part of an entry of many lines.
func (d *Decoder) reads(line []byte, o Options) bool {
	if o.Format.Whole {
		return o.Format.looks(line)
	}
	d.Reset(line, o)
	e := d.Next()
	return e == nil || e.Fault == nil // nil: the header
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
