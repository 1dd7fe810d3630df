package operations

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/weir-metrics/weir/collect"
	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/pipelines/terminal"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/plain"
	"github.com/weir-metrics/weir/windows"
)

// Replay sends recorded files.
type Replay struct {
	RecordedFiles
	// Speed is how much faster than recorded the samples are sent; 0: as fast as possible.
	Speed float64
	// Now shifts the samples' times so that the last sample has the time at which it is sent.
	Now bool
}

// Run sends the files' samples, merged by time, and draws its progress to progress. It returns an
// error if a file cannot be read or the destination takes no more, and one that counts the rows and
// samples that were refused.
func (r Replay) Run(ctx context.Context, to Destination, progress io.Writer) error {
	if err := to.probe(ctx); err != nil {
		return err
	}
	send, closeSender, err := to.open()
	if err != nil {
		return err
	}
	defer closeSender()
	shift := int64(0)
	if r.Now {
		if shift, err = r.shiftMS(time.Now()); err != nil {
			return err
		}
	}
	recordings, closeAll, err := r.open()
	if err != nil {
		return err
	}
	defer closeAll()
	bar := progressBar{out: terminal.NewProgress(progress), began: time.Now()}
	delivery := newDelivery(send)
	state, err := collect.Replay{Speed: r.Speed, ShiftMS: shift}.Run(ctx, recordings, delivery.publish, bar.draw)
	bar.end(state)
	for _, warning := range delivery.warnings() {
		fmt.Fprintln(progress, warning)
	}
	for _, rec := range recordings {
		if h := rec.Hint(); h != "" {
			fmt.Fprintln(progress, plain.Text(h))
		}
	}
	if err != nil {
		return err
	}
	return errors.Join(refusedRows(state), delivery.refusedError())
}

func refusedRows(s collect.ReplayState) error {
	if s.Refused == 0 {
		return nil
	}
	return fmt.Errorf("rows that could not be read: %d, the first: %w", s.Refused, s.FirstRefused)
}

// shiftMS is what Now adds to timestamps, ms: the newest sample is sent after the time that the files
// cover, divided by the speed.
func (r Replay) shiftMS(now time.Time) (int64, error) {
	recordings, closeAll, err := r.open()
	if err != nil {
		return 0, err
	}
	defer closeAll()
	oldest, newest := int64(0), int64(0)
	for i, rec := range recordings {
		from, to, err := collect.Span(rec)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", r.Files[i], err)
		}
		if i == 0 {
			oldest, newest = from, to
		}
		oldest, newest = min(oldest, from), max(newest, to)
	}
	takes := 0.0
	if r.Speed > 0 {
		takes = float64(newest-oldest) / r.Speed
	}
	return now.UnixMilli() + int64(takes) - newest, nil
}

// delivery sends batches until they are taken. It counts what is refused for good, and what is older
// than weir's default config takes or keeps.
type delivery struct {
	send    collect.Sender
	maxAge  conf.Duration
	tiers   []windows.Tier
	old     int
	expired []int // by tier: samples older than its ttl
	refused int
	first   error
}

func newDelivery(send collect.Sender) *delivery {
	c := windows.Default()
	return &delivery{send: send, maxAge: c.MaxAge, tiers: c.Tiers, expired: make([]int, len(c.Tiers))}
}

// warnings tell of samples that the gateway takes but weir, by its default config, refuses later or does not keep.
func (d *delivery) warnings() (all []string) {
	if d.old > 0 {
		all = append(all, fmt.Sprintf("%d samples were over %s old when they were sent: weir will refuse them, unless its windows.max_age is longer.",
			d.old, d.maxAge))
	}
	for i, n := range d.expired {
		if n > 0 {
			all = append(all, fmt.Sprintf("%d of them were over %s old: windows of %s are not kept that long, unless the ttl of their tier is longer.",
				n, d.tiers[i].TTL, schemas.TierName(d.tiers[i].Size.MS())))
		}
	}
	return all
}

// count counts the samples that are too old at nowMS.
func (d *delivery) count(samples []schemas.Sample, nowMS int64) {
	for i := range samples {
		age := nowMS - samples[i].TimeMS
		if age > d.maxAge.MS() {
			d.old++
		}
		for t := range d.tiers {
			if age > d.tiers[t].TTL.MS() {
				d.expired[t]++
			}
		}
	}
}

// maxWait bounds how long a gateway can make a sender wait.
const maxWait = time.Minute

func (d *delivery) publish(ctx context.Context, samples []schemas.Sample) error {
	d.count(samples, time.Now().UnixMilli())
	for {
		err := d.send.Send(ctx, samples)
		var refused *collect.RefusedError
		var later *collect.LaterError
		switch {
		case errors.As(err, &refused):
			if d.refused += refused.Refused; d.first == nil {
				d.first = refused.Err
			}
			return nil
		case !errors.As(err, &later):
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(later.After, maxWait)):
		}
	}
}

func (d *delivery) refusedError() error {
	if d.refused == 0 {
		return nil
	}
	return fmt.Errorf("%d samples refused, the first: %w", d.refused, d.first)
}

// progressBar redraws one line; nothing else is written meanwhile.
type progressBar struct {
	out   *terminal.Progress
	began time.Time
	drawn time.Time
}

const barEvery = 100 * time.Millisecond

func (b *progressBar) draw(s collect.ReplayState) {
	if now := time.Now(); now.Sub(b.drawn) >= barEvery {
		b.drawn = now
		b.out.Draw(b.line(s, now))
	}
}

func (b *progressBar) end(s collect.ReplayState) {
	b.out.End(b.line(s, time.Now()))
}

func (b *progressBar) line(s collect.ReplayState, now time.Time) string {
	part := 1.0
	if s.TotalBytes > 0 {
		part = float64(s.ReadBytes) / float64(s.TotalBytes)
	}
	return fmt.Sprintf("%s %3.0f %%  %d samples  %s", terminal.Bar(part), 100*part, s.Published, now.Sub(b.began).Round(100*time.Millisecond))
}
