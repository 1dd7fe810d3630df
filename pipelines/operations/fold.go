package operations

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/weir-metrics/weir/collect"
	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/formats"
	"github.com/weir-metrics/weir/schemas/plain"
	"github.com/weir-metrics/weir/windows"
)

// maxFaults bounds how many bad lines are reported one by one.
const maxFaults = 20

// maxFoldSeries limits the series of a group in a fold: the highest limit there is.
const maxFoldSeries = 1<<16 - 1

// FoldConfig makes the tiers of a fold, from the smallest to the largest, all with the same grace.
// The error is conf.Faults.
func FoldConfig(tiers []conf.Duration, grace conf.Duration) (windows.Config, error) {
	c := windows.Default()
	c.Tiers = nil
	for _, size := range tiers {
		c.Tiers = append(c.Tiers, windows.Tier{Size: size, Grace: grace, TTL: 3650 * conf.Day})
	}
	c.MaxSeries, c.MaxSeriesPerMetric = maxFoldSeries, maxFoldSeries
	d := conf.Parse("", nil, &struct{}{})
	if grace < 0 {
		d.Fail("--grace", grace, "must be at least 0s")
		return c, d.Err()
	}
	c.Validate("fold", d)
	return c, ofFlags(d.Err())
}

// ofFlags turns faults of the config that the flags make into faults of the flags, each once.
func ofFlags(err error) error {
	var faults, all conf.Faults
	if !errors.As(err, &faults) {
		return err
	}
	for _, f := range faults {
		f.Field = strings.Replace(f.Field, "fold.tiers", "--tiers", 1)
		if strings.HasSuffix(f.Field, ".grace") {
			f.Field = "--grace"
		}
		if !slices.Contains(all, f) {
			all = append(all, f)
		}
	}
	return all
}

// Fold runs the window code over recorded samples, in any order, and then writes the windows as CSV.
type Fold struct {
	// Format is the format of the files; nil: each file's first lines tell.
	Format *formats.Format
	// Precision is the unit of line protocol's times.
	Precision formats.Precision

	hints  []string
	fold   *windows.Fold
	faults int
	first  []error
}

// NewFold returns a Fold with the tiers of c, which must be valid.
func NewFold(c windows.Config) *Fold {
	return &Fold{fold: windows.NewFold(c, schemas.GroupLabels)}
}

// Read counts the samples of r: CSV with the columns series,timestamp_ms,value, or anything else that
// collect.Recording reads. Err reports bad lines, with name and line number; the others still count.
// Read returns an error if r cannot be read.
func (f *Fold) Read(name string, r io.Reader) error {
	in, err := collect.NewRecording(name, r, 0, formats.Options{Series: seriesOf(name), Format: f.Format, Precision: f.Precision})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for {
		batch, err := in.Next()
		if err == io.EOF {
			if h := in.Hint(); h != "" {
				f.hints = append(f.hints, h)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for _, fault := range batch.Faults {
			f.fault(fmt.Errorf("%s:%d: %w", name, fault.Line, fault.Err))
		}
		for _, s := range batch.Samples {
			if err := f.fold.Add(s); err != nil {
				f.fault(fmt.Errorf("%s: %w", name, err))
			}
		}
	}
}

// Hints name files whose samples were counted although they look odd: times in 1970 that would be of
// today if they were in seconds.
func (f *Fold) Hints() []string { return f.hints }

// seriesOf is the series of a file's rows that name none: the file's name without folder and
// extension.
func seriesOf(file string) string {
	base := filepath.Base(file)
	return strings.TrimSuffix(base, filepath.Ext(base))
}

func (f *Fold) fault(err error) {
	if f.faults++; f.faults <= maxFaults {
		f.first = append(f.first, err)
	}
}

// Write writes all windows, sorted by series, tier and start, below a header:
// series,tier,start,end,count,sum,min,max,first,last,revision; start and end in ms.
func (f *Fold) Write(w io.Writer) error {
	ws, err := f.fold.Windows()
	if err != nil {
		return err
	}
	out := csv.NewWriter(w)
	rows := [][]string{slices.Concat([]string{"series", "tier", "start", "end", "count"}, schemas.Columns[:], []string{"revision"})}
	for i := range ws {
		rows = append(rows, row(&ws[i]))
	}
	return out.WriteAll(rows)
}

func row(w *schemas.Window) []string {
	fields := []string{plain.Text(w.Series.String()), schemas.TierName(w.TierMS)}
	for _, n := range []int64{w.StartMS, w.EndMS(), int64(w.Count)} {
		fields = append(fields, strconv.FormatInt(n, 10))
	}
	for _, v := range w.Numbers() {
		fields = append(fields, number(*v))
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

// Err is nil, or reports the bad lines, and how many samples were not counted for other reasons.
func (f *Fold) Err() error {
	faults := f.first
	if f.faults > maxFaults {
		faults = append(faults, fmt.Errorf("and %d more bad lines", f.faults-maxFaults))
	}
	for _, reason := range slices.Sorted(maps.Keys(f.fold.Reasons)) {
		why := fmt.Sprintf("more than %d series in one group", maxFoldSeries)
		if reason == windows.TooOld || reason == windows.TooNew {
			why = "their times are too far from 1970"
		}
		faults = append(faults, fmt.Errorf("%d samples not counted: %s", f.fold.Reasons[reason], why))
	}
	return errors.Join(faults...)
}

// Duplicates is how many samples were left out because they repeat another.
func (f *Fold) Duplicates() int { return f.fold.Duplicates }
