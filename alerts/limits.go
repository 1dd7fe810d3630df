package alerts

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/expr-lang/expr/ast"
	"go.yaml.in/yaml/v3"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas"
)

// Bounds of a table of limits.
const (
	maxLimitRows   = 100_000
	maxLimitAny    = 1000 // rows with *, each of which is looked at for each series
	maxLimitLabels = 8
)

// limitColumn is the name of the column that has the limit.
const limitColumn = "limit"

// anyValue stands in a row for whatever the label is.
const anyValue = "*"

// limitsYAML is a table of limits in a rules file: its rows, or the file that has them.
type limitsYAML struct {
	Name    string              `yaml:"name"`
	Labels  []string            `yaml:"labels"`
	Default yaml.Node           `yaml:"default"`
	File    string              `yaml:"file"`
	Rows    []map[string]string `yaml:"rows"`
}

// limits is a table of limits by the values of labels. It is immutable.
type limits struct {
	labels []string
	rows   map[string]float64 // by the labels' values, joined
	any    []limitRow         // those with *, in the order of the table
	usual  float64            // the default; NaN: none
	hash   string             // of what it says
}

type limitRow struct {
	values []string
	limit  float64
}

// joined makes a key of values.
func joined(values []string) string { return strings.Join(values, "\xff") }

// of returns the limit for the values of the labels: that of the row that names them all, else of
// the first row with * that fits, else the default; NaN if there is none.
func (t *limits) of(values []string) float64 {
	if v, ok := t.rows[joined(values)]; ok {
		return v
	}
	for _, row := range t.any {
		fits := true
		for i, v := range row.values {
			fits = fits && (v == anyValue || v == values[i])
		}
		if fits {
			return row.limit
		}
	}
	return t.usual
}

// limitOf returns an input's limit for the labels of a set.
func (in *input) limitOf(labels schemas.Labels) float64 {
	values := strings.Split(in.keys, "\xff")
	for i, name := range values {
		values[i] = labels.Get(name)
	}
	return in.limits.of(values)
}

// limit returns the node of limit("table", labels.a, …). Which table that is, the loader finds.
func (c *lowering) limit(n *ast.CallNode) (*node, error) {
	usage := `limit takes a table's name and labels, as in limit("disk", labels.host, labels.path)`
	if len(n.Arguments) < 2 {
		return nil, fault(n, "%s", usage)
	}
	name, ok := n.Arguments[0].(*ast.StringNode)
	if !ok || name.Value == "" {
		return nil, fault(n.Arguments[0], "%s", usage)
	}
	var keys []string
	for _, a := range n.Arguments[1:] {
		key := ""
		switch a := a.(type) {
		case *ast.IdentifierNode:
			key, _ = strings.CutPrefix(unfuse(a.Value), "labels.")
			if key == unfuse(a.Value) {
				key = ""
			}
		case *ast.MemberNode:
			if property, is := a.Property.(*ast.StringNode); is && isLabels(a.Node) {
				key = property.Value
			}
		}
		if key == "" || strings.Contains(key, "\xff") {
			return nil, fault(a, "must be a label: labels.host, or labels[\"its name\"]")
		}
		keys = append(keys, key)
	}
	slot, err := c.slot(n, input{table: name.Value, keys: joined(keys), at: n.Location().From})
	return &node{op: opInput, slot: slot}, err
}

// loadLimits reads the tables of a rules file.
func (l *loader) loadLimits(tables []limitsYAML) {
	l.limits = map[string]*limits{}
	for i := range tables {
		y, at := &tables[i], fmt.Sprintf("limits[%d]", i)
		if y.Name == "" {
			l.doc.Fail(at+".name", nil, "must be given")
		} else if l.limits[y.Name] != nil {
			l.doc.Fail(at+".name", y.Name, "names a table twice in the file")
			continue
		}
		t := &limits{labels: y.Labels, rows: map[string]float64{}, usual: math.NaN()}
		l.limits[y.Name] = t
		if n := len(y.Labels); n < 1 || n > maxLimitLabels {
			l.doc.Fail(at+".labels", nil, fmt.Sprintf("must be 1 to %d names of labels", maxLimitLabels))
			continue
		}
		for k, name := range y.Labels {
			if name == "" || name == limitColumn || slices.Contains(y.Labels[:k], name) {
				l.doc.Fail(fmt.Sprintf("%s.labels[%d]", at, k), name, "must be the name of a label, not limit, and each once")
			}
		}
		if text, ok := l.text(at+".default", &y.Default); ok && text != "" {
			if v, err := limitNumber(text); err != nil {
				l.doc.Fail(at+".default", text, err.Error())
			} else {
				t.usual = v
			}
		}
		switch {
		case (y.File == "") == (y.Rows == nil):
			l.doc.Fail(at, nil, "must have either rows or a file")
		case y.File != "":
			l.limitFile(at, y, t)
		default:
			t.fill(at+".rows", l.doc, y.Rows, nil)
		}
		t.hash = strconv.FormatUint(hashOf(fmt.Sprint(t.labels, t.rows, t.any, t.usual)), 16) // maps print in order
	}
}

var errLimit = errors.New("must be a finite number")

func limitNumber(text string) (float64, error) {
	v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || !finite(v) {
		return 0, errLimit
	}
	return v, nil
}

// limitFile reads the rows of a table from the file that it names.
func (l *loader) limitFile(at string, y *limitsYAML, t *limits) {
	if l.table == nil {
		l.doc.Fail(at+".file", y.File, "files of limits cannot be read here: give rows")
		return
	}
	f, err := l.table(l.file, y.File)
	if err != nil {
		l.doc.Fail(at+".file", y.File, "must be readable: "+err.Error())
		return
	}
	l.reads = append(l.reads, readTable{y.File, f})
	var rows []map[string]string
	var lines []int
	d := conf.Parse(f.Name, nil, &rows)
	switch strings.ToLower(path.Ext(y.File)) {
	case ".csv":
		rows, lines = csvRows(d, t.labels, f.Data)
	case ".yaml", ".yml":
		if d = conf.Parse(f.Name, f.Data, &rows); rows == nil && d.Err() == nil {
			d.Fail("", nil, "has no rows: the file is empty or cut. A table that is meant to have none says so: []")
		}
	default:
		l.doc.Fail(at+".file", y.File, "must end in .csv, .yaml or .yml")
		return
	}
	t.fill("", d, rows, lines)
	var faults conf.Faults
	if errors.As(d.Err(), &faults) {
		l.others = append(l.others, faults...)
	}
}

// csvRows reads a table whose first line has the names of its columns. It returns the rows and their
// lines.
func csvRows(d *conf.Doc, labels []string, data []byte) (rows []map[string]string, lines []int) {
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\ufeff"))))
	r.Comment, r.TrimLeadingSpace = '#', true
	head, err := r.Read()
	if err == io.EOF {
		d.FailAt(0, 0, "", nil, "is empty or cut: its first line must be "+strings.Join(append(slices.Clone(labels), limitColumn), ","), "")
		return nil, nil
	}
	for err == nil {
		var row []string
		if row, err = r.Read(); err != nil {
			break
		}
		m := map[string]string{}
		for i, name := range head {
			m[strings.TrimSpace(name)] = strings.TrimSpace(row[i])
		}
		line, _ := r.FieldPos(0)
		rows, lines = append(rows, m), append(lines, line)
		if len(rows) > maxLimitRows {
			break // which fill reports
		}
	}
	var pe *csv.ParseError
	switch {
	case errors.As(err, &pe):
		d.FailAt(pe.Line, pe.Column, "", nil, "not CSV: "+pe.Err.Error(), "")
		return nil, nil
	case err != nil && err != io.EOF:
		d.FailAt(0, 0, "", nil, "not CSV: "+err.Error(), "")
		return nil, nil
	}
	return rows, lines
}

// fill takes the rows into the table. Of a row that is wrong, it reports the first fault, at its
// line, or, without lines, at its field.
func (t *limits) fill(at string, d *conf.Doc, rows []map[string]string, lines []int) {
	fail := func(i int, value any, bound string) {
		if field := fmt.Sprintf("%s[%d]", at, i); lines == nil {
			d.Fail(field, value, bound)
		} else {
			d.FailAt(lines[i], 0, "", value, bound, "")
		}
	}
	if len(rows) > maxLimitRows {
		d.Fail(at, nil, fmt.Sprintf("must be at most %d rows", maxLimitRows))
		return
	}
	for i, row := range rows {
		values := make([]string, len(t.labels))
		wrong, any := false, false
		for k, name := range t.labels {
			v, ok := row[name]
			if !ok {
				fail(i, nil, fmt.Sprintf("lacks %s; * stands for any", name))
				wrong = true
				break
			}
			values[k], any = v, any || v == anyValue
		}
		if wrong {
			continue
		}
		if limit, err := limitNumber(row[limitColumn]); err != nil {
			fail(i, row[limitColumn], "limit "+err.Error())
		} else if len(row) != len(t.labels)+1 {
			fail(i, nil, "may have only "+strings.Join(t.labels, ", ")+" and "+limitColumn)
		} else if any {
			t.any = append(t.any, limitRow{values, limit})
		} else if _, twice := t.rows[joined(values)]; twice {
			fail(i, strings.Join(values, ", "), "has a limit already")
		} else {
			t.rows[joined(values)] = limit
		}
	}
	if len(t.any) > maxLimitAny {
		d.Fail(at, nil, fmt.Sprintf("has %d rows with *, must be at most %d", len(t.any), maxLimitAny))
	}
}

// findLimits attaches the tables that an expression names. It reports those that are not there.
func (l *loader) findLimits(field string, y *yaml.Node, inputs []input) {
	for i := range inputs {
		in := &inputs[i]
		if in.table == "" {
			continue
		}
		keys := strings.Split(in.keys, "\xff")
		t := l.limits[in.table]
		switch {
		case t == nil:
			names := []string{}
			for name := range l.limits {
				names = append(names, name)
			}
			slices.Sort(names)
			hint := ""
			if near := conf.Closest(in.table, names); near != "" {
				hint = " (did you mean " + near + "?)"
			}
			l.failExpr(field, y, &exprError{in.at, fmt.Sprintf("no table of limits is named %q in this file%s: limits: has them", in.table, hint)})
		case len(keys) != len(t.labels):
			l.failExpr(field, y, &exprError{in.at, fmt.Sprintf("the table %s is by %s, got %d labels", in.table, strings.Join(t.labels, ", "), len(keys))})
		case !slices.Equal(keys, t.labels) && slices.Equal(slices.Sorted(slices.Values(keys)), slices.Sorted(slices.Values(t.labels))):
			l.failExpr(field, y, &exprError{in.at, fmt.Sprintf("the table %s is by %s, in that order", in.table, strings.Join(t.labels, ", "))})
		}
		if in.limits = t; t == nil {
			in.limits = &limits{usual: math.NaN()}
		}
	}
}

// limitHashes are the hashes of the tables that inputs read.
func limitHashes(inputs []input) []string {
	var all []string
	for i := range inputs {
		if t := inputs[i].limits; t != nil {
			all = append(all, t.hash)
		}
	}
	return all
}

// setLimit sets the limit that an input of the binding is.
func (b *binding) setLimit(k int, limit float64) {
	if b.limits == nil {
		b.limits = make([]float64, len(b.in))
	}
	b.limits[k] = limit
}
