package conf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Doc is a parsed file: where each of its fields is, and what is wrong so far. It is not safe for
// concurrent use.
type Doc struct {
	file   string
	at     map[string]position
	faults Faults
	bad    map[string]bool // fields whose value could not be decoded
	warned Faults
	nodes  int // decoded so far, aliases expanded
}

type position struct{ line, column int }

// maxNodes bounds what aliases may expand to: 20,000 rules have fewer nodes.
const maxNodes = 1 << 18

// maxDepth bounds nesting; an alias may refer to a node that contains it.
const maxDepth = 64

// Parse decodes data strictly into what into points to: a struct that already has the defaults, or
// a slice. It always returns a Doc. Faults are in Doc.Err; what could be decoded is in into
// nevertheless, so that Validate can add the faults that it sees.
func Parse(file string, data []byte, into any) *Doc {
	d := &Doc{file: file, at: map[string]position{}, bad: map[string]bool{}}
	in := yaml.NewDecoder(bytes.NewReader(data))
	var root, more yaml.Node
	if err := in.Decode(&root); errors.Is(err, io.EOF) { // nothing but comments
		return d
	} else if err != nil {
		d.syntax(err)
		return d
	}
	d.decode(root.Content[0], "", reflect.ValueOf(into).Elem(), 0)
	if err := in.Decode(&more); err == nil {
		d.FailAt(more.Line, more.Column, "", nil, "a second document: a file may have only one", "")
	} else if !errors.Is(err, io.EOF) {
		d.syntax(err)
	}
	return d
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?((?s).*)$`)

func (d *Doc) syntax(err error) {
	m := yamlLine.FindStringSubmatch(err.Error())
	line, _ := strconv.Atoi(m[1]) // "" if the library does not know it
	d.faults = append(d.faults, Fault{File: d.file, Line: line, Bound: "not YAML: " + withoutAnchor(m[2])})
}

// withoutAnchor takes the name out of an error about an anchor: a password that begins with an
// asterisk looks like one.
func withoutAnchor(text string) string {
	if strings.HasPrefix(text, "unknown anchor") {
		return "a value that begins with * refers to an anchor (&name), but no anchor has that name: if it is a text, quote it"
	}
	return text
}

// Fail records that a field breaks a bound. The line is that of the field, or of the nearest parent
// in the file. If the field's value, or that of a parent, could not be decoded, it has a fault
// already, and its value is not what the user wrote: Fail then does nothing.
func (d *Doc) Fail(field string, value any, bound string) {
	for name := field; name != ""; name = parent(name) {
		if d.bad[name] {
			return
		}
	}
	p := d.find(field)
	d.FailAt(p.line, p.column, field, value, bound, "")
}

// FailAt is Fail for callers that know the position better, such as inside an expression. The
// snippet, if any, is printed below the fault, with the column.
func (d *Doc) FailAt(line, column int, field string, value any, bound, snippet string) {
	text := ""
	if value != nil {
		text = fmt.Sprint(value)
	}
	d.faults = append(d.faults, Fault{
		File: d.file, Line: line, Column: column, Field: field, Value: text, Bound: bound, Snippet: snippet,
	})
}

// Warn records what is allowed but dangerous.
func (d *Doc) Warn(field, text string) {
	d.warned = append(d.warned, Fault{File: d.file, Line: d.find(field).line, Field: field, Bound: text})
}

// Warnings returns those that were recorded.
func (d *Doc) Warnings() Faults { return slices.Clone(d.warned) }

// Line returns the line of the field's value, or of the nearest parent's, from 1; 0 if the file has
// neither.
func (d *Doc) Line(field string) int { return d.find(field).line }

// Err returns nil, or the Faults, sorted by line.
func (d *Doc) Err() error {
	if len(d.faults) == 0 {
		return nil
	}
	slices.SortStableFunc(d.faults, func(a, b Fault) int { return a.Line - b.Line })
	return slices.Clone(d.faults)
}

// Faults returns how many faults were recorded so far.
func (d *Doc) Faults() int { return len(d.faults) }

func (d *Doc) find(field string) position {
	for {
		if p, ok := d.at[field]; ok || field == "" {
			return p
		}
		field = parent(field)
	}
}

// parent returns the path of the field that holds the field; "" for one of the file itself.
func parent(field string) string { return field[:max(0, strings.LastIndexAny(field, ".["))] }

// Path returns the path of a file that this file names: relative ones are relative to its folder.
func (d *Doc) Path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(d.dir(), name)
}

// dir is the folder to which paths in the file are relative.
func (d *Doc) dir() string { return filepath.Dir(d.file) }

// join extends a path by a field.
func join(path, field string) string {
	if path == "" {
		return field
	}
	return path + "." + field
}

// HostPort reports a field that is not host:port.
func (d *Doc) HostPort(field, addr string) {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		d.Fail(field, addr, "must be host:port")
	}
}

// HTTPURL reports a field that is not an http or https URL with a host. value is shown for it: the
// secret, if text is what a Secret reveals.
func (d *Doc) HTTPURL(field string, value any, text string) {
	if u, err := url.Parse(text); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		d.Fail(field, value, "must be an http or https URL")
	}
}
