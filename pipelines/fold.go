package pipelines

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"weir/schemas"
	"weir/schemas/conf"
	"weir/windows"
)

// maxLine bounds a line of CSV, in bytes: a series may have many long labels.
const maxLine = 1 << 20

// maxFaults bounds how many bad lines are told one by one.
const maxFaults = 20

// FoldConfig makes the tiers of a fold, from smallest to largest, all with one
// grace. The error is conf.Faults.
func FoldConfig(tiers []conf.Duration, grace conf.Duration) (windows.Config, error) {
	c := windows.Default()
	c.Tiers = nil
	for _, size := range tiers {
		c.Tiers = append(c.Tiers, windows.Tier{Size: size, Grace: grace, TTL: 3650 * conf.Day})
	}
	c.MaxSeries = 1 << 16
	d := conf.Parse("", nil, &struct{}{})
	c.Validate("fold", d)
	return c, d.Err()
}

// Fold runs the window code over samples as CSV, in any order, and writes the
// windows as CSV once it was given all of them.
type Fold struct {
	fold   *windows.Fold
	faults int
	first  []error
}

// NewFold returns a Fold with the tiers of c, which must be valid.
func NewFold(c windows.Config) *Fold {
	return &Fold{fold: windows.NewFold(c, schemas.GroupLabels)}
}

// Read counts the samples of r, whose lines are series,timestamp_ms,value; a
// header and empty lines are passed over. A bad line is kept for Err, with name
// and line number, and the others still count. It returns an error when r cannot
// be read, or has a line above 1 MiB.
func (f *Fold) Read(name string, r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	n := 0
	for lines.Scan() {
		n++
		text := strings.TrimSpace(lines.Text())
		if text == "" || n == 1 && strings.HasPrefix(text, "series,") {
			continue
		}
		s, err := parseSample(text)
		if err == nil {
			err = f.fold.Add(s)
		}
		if err != nil {
			f.fault(fmt.Errorf("%s:%d: %w", name, n, err))
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s:%d: %w", name, n+1, err)
	}
	return nil
}

func (f *Fold) fault(err error) {
	if f.faults++; f.faults <= maxFaults {
		f.first = append(f.first, err)
	}
}

// parseSample reads a line. The series, which has commas of its own, may be
// quoted as CSV says, or not.
func parseSample(line string) (s schemas.Sample, err error) {
	rest, value, ok := cutLast(line)
	name, at, ok2 := cutLast(rest)
	if !ok || !ok2 {
		return s, fmt.Errorf("%.100q: must be series,timestamp_ms,value", line)
	}
	if s.TimeMS, err = strconv.ParseInt(at, 10, 64); err != nil || s.TimeMS < 0 {
		return s, fmt.Errorf("timestamp %.40q: must be a whole number of ms, at least 0", at)
	}
	if s.Value, err = strconv.ParseFloat(value, 64); err != nil || math.IsNaN(s.Value) || math.IsInf(s.Value, 0) {
		return s, fmt.Errorf("value %.40q: must be a finite number", value)
	}
	if inner, ok := strings.CutPrefix(name, `"`); ok {
		name = strings.ReplaceAll(strings.TrimSuffix(inner, `"`), `""`, `"`)
	}
	s.Series, err = schemas.ParseSeries(name)
	return s, err
}

func cutLast(line string) (before, after string, ok bool) {
	i := strings.LastIndexByte(line, ',')
	if i < 0 {
		return "", line, false
	}
	return strings.TrimSpace(line[:i]), strings.TrimSpace(line[i+1:]), true
}

// Write writes all windows, sorted by series, tier and start, below a header:
// series,tier,start,end,count,sum,min,max,first,last,revision; start and end in ms.
func (f *Fold) Write(w io.Writer) error {
	ws, err := f.fold.Windows()
	if err != nil {
		return err
	}
	out := csv.NewWriter(w)
	rows := [][]string{{"series", "tier", "start", "end", "count", "sum", "min", "max", "first", "last", "revision"}}
	for i := range ws {
		rows = append(rows, row(&ws[i]))
	}
	return out.WriteAll(rows)
}

func row(w *schemas.Window) []string {
	fields := []string{w.Series.String(), schemas.TierName(w.TierMS)}
	for _, n := range []int64{w.StartMS, w.EndMS(), w.Count} {
		fields = append(fields, strconv.FormatInt(n, 10))
	}
	for _, v := range []float64{w.Sum, w.Min, w.Max, w.First, w.Last} {
		fields = append(fields, number(v))
	}
	return append(fields, strconv.FormatUint(uint64(w.Revision), 10))
}

// number is the shortest text that reads back as v, without an exponent where
// people do not expect one.
func number(v float64) string {
	if a := math.Abs(v); a != 0 && (a < 1e-6 || a >= 1e21) {
		return strconv.FormatFloat(v, 'e', -1, 64)
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// Err is nil, or tells the lines that were bad, and how many samples were not
// counted for other reasons.
func (f *Fold) Err() error {
	faults := f.first
	if f.faults > maxFaults {
		faults = append(faults, fmt.Errorf("and %d more bad lines", f.faults-maxFaults))
	}
	if f.fold.Refused > 0 {
		faults = append(faults, fmt.Errorf("%d samples not counted: more than %d series in one group", f.fold.Refused, 1<<16))
	}
	return errors.Join(faults...)
}

// Duplicates is how many samples were the same as another and counted once.
func (f *Fold) Duplicates() int { return f.fold.Duplicates }
