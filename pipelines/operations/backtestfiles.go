package operations

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/weir-metrics/weir/alerts/backtest"
	"github.com/weir-metrics/weir/collect"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/plain"
	"github.com/weir-metrics/weir/windows"
)

// outOfOrderMS is how much older a sample may be than one before it in its file, ms, if the file is to count as a recording
// in order of arrival. Other files, such as those with one series after the other, are sorted by time.
const outOfOrderMS = 3600_000

// fileSource plays files of samples. It reads them twice, because it must first know their time and whether they are in
// order. Files that are not in order are held in memory.
type fileSource struct {
	RecordedFiles
	tier   windows.Tier // the smallest tier
	sorted bool         // whether the samples must be sorted
	odd    []string
}

func (f *fileSource) hints() []string { return f.odd }

// span reads the files. Bad rows are an error, which lists the first few and counts the rest: an alert might have fired on
// the samples that they should have held.
func (f *fileSource) span(ctx context.Context, say *progress) (fromMS, toMS int64, err error) {
	recordings, closeAll, err := f.open()
	if err != nil {
		return 0, 0, err
	}
	defer closeAll()
	fromMS, toMS = math.MaxInt64, math.MinInt64
	var refused []error
	bad, done := 0, 0.0
	for i, r := range recordings {
		newest := int64(math.MinInt64)
		for {
			batch, err := r.Next()
			if err == io.EOF {
				break
			}
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return 0, 0, fmt.Errorf("%s: %w", f.Files[i], err)
			}
			for k := range batch.Faults {
				if bad++; bad <= maxFaults {
					refused = append(refused, fmt.Errorf("%s:%d: %w", f.Files[i], batch.Faults[k].Line, batch.Faults[k].Err))
				}
			}
			for k := range batch.Samples {
				at := batch.Samples[k].TimeMS
				f.sorted = f.sorted || newest-outOfOrderMS > at && newest > math.MinInt64
				newest, fromMS = max(newest, at), min(fromMS, at)
			}
			if read, total := r.Progress(); total > 0 {
				say.reading((done + float64(read)/float64(total)) / float64(len(recordings)))
			}
		}
		done++
		toMS = max(toMS, newest)
		if h := r.Hint(); h != "" {
			f.odd = append(f.odd, plain.Text(h))
		}
	}
	if bad > maxFaults {
		refused = append(refused, fmt.Errorf("and %d more bad lines", bad-maxFaults))
	}
	if refused == nil && fromMS > toMS {
		refused = append(refused, collect.ErrNoSamples)
	}
	// Let the window of the last sample close, but go no further: the end of a recording is no silence.
	return fromMS, toMS + f.tier.Size.MS() + f.tier.Grace.MS(), errors.Join(refused...)
}

func (f *fileSource) play(ctx context.Context, to *backtest.Backtest, c *backtest.Config, say *progress) error {
	say.what = "samples"
	recordings, closeAll, err := f.open()
	if err != nil {
		return err
	}
	defer closeAll()
	first, begun := int64(0), false
	samples := func(batch []schemas.Sample) error {
		batch = slices.DeleteFunc(batch, func(s schemas.Sample) bool { return s.TimeMS >= c.ToMS })
		if len(batch) > 0 && !begun {
			first, begun = batch[0].TimeMS, true
		}
		if err := to.Samples(batch); err != nil {
			return err
		}
		say.playing(len(batch), first, to.NowMS(), c.ToMS)
		return nil
	}
	if f.sorted {
		return playSorted(ctx, recordings, samples)
	}
	_, err = collect.Replay{}.Run(ctx, recordings, func(_ context.Context, batch []schemas.Sample) error { return samples(batch) }, func(collect.ReplayState) {})
	return err
}

// sortedBatch is the number of sorted samples that are played at once.
const sortedBatch = 10_000

// playSorted reads all samples into memory, sorts them, and plays them.
func playSorted(ctx context.Context, recordings []*collect.Recording, play func([]schemas.Sample) error) error {
	var all []schemas.Sample
	for _, r := range recordings {
		for {
			batch, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
			all = append(all, batch.Samples...)
		}
	}
	slices.SortStableFunc(all, func(a, b schemas.Sample) int { return cmp.Compare(a.TimeMS, b.TimeMS) })
	for part := range slices.Chunk(all, sortedBatch) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := play(part); err != nil {
			return err
		}
	}
	return nil
}
