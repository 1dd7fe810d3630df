package collect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/weir-metrics/weir/schemas"
)

// Replay tells how recordings are played.
type Replay struct {
	// Speed is how much faster than recorded: 1 as recorded, 60 a minute per second; 0 as fast as
	// possible. It is not negative.
	Speed float64
	// ShiftMS is added to every timestamp, ms. See Span.
	ShiftMS int64
}

// ReplayState is how far a replay has got.
type ReplayState struct {
	ReadBytes, TotalBytes int64 // of all recordings
	Published             int64 // samples
	Refused               int64 // rows, lines or objects
	FirstRefused          error // names the file, the line and what was wrong; nil if Refused is 0
	TimeMS                int64 // of the newest sample that was published, shifted, ms
}

// replayBatch is how many samples are published at once, at most.
const replayBatch = 10_000

// Run publishes the samples of all recordings, merged by time, each recording in its own order. A
// sample older than one before it does not wait. publish must not keep the slice; Publisher.Publish
// is suitable. progress is called after each batch, and once at the end. Run does not close the
// recordings. It returns the first error of reading, publishing or ctx, with the state reached.
func (p Replay) Run(ctx context.Context, recordings []*Recording, publish func(context.Context, []schemas.Sample) error, progress func(ReplayState)) (ReplayState, error) {
	var state ReplayState
	heads := make([]*head, len(recordings))
	for i, r := range recordings {
		heads[i] = &head{r: r}
		if err := heads[i].fill(&state); err != nil {
			return state, err
		}
	}
	pace := pace{speed: p.Speed}
	var batch []schemas.Sample
	flush := func() error {
		if len(batch) > 0 {
			if err := publish(ctx, batch); err != nil {
				return fmt.Errorf("replay: %w", err)
			}
		}
		state.Published += int64(len(batch))
		batch = batch[:0]
		state.ReadBytes, state.TotalBytes = 0, 0
		for _, r := range recordings {
			read, total := r.Progress()
			state.ReadBytes, state.TotalBytes = state.ReadBytes+read, state.TotalBytes+total
		}
		progress(state)
		return ctx.Err()
	}
	for {
		h := oldest(heads)
		if h == nil {
			return state, flush()
		}
		s := h.samples[0]
		if wait := pace.wait(s.TimeMS, time.Now()); wait > 0 || len(batch) == replayBatch {
			if err := flush(); err != nil {
				return state, err
			}
			select {
			case <-ctx.Done():
				return state, ctx.Err()
			case <-time.After(wait):
			}
		}
		s.TimeMS += p.ShiftMS
		state.TimeMS = max(state.TimeMS, s.TimeMS)
		batch = append(batch, s)
		if h.samples = h.samples[1:]; len(h.samples) == 0 {
			if err := h.fill(&state); err != nil {
				return state, err
			}
		}
	}
}

// head is a recording with its samples that are not yet published.
type head struct {
	r       *Recording
	samples []schemas.Sample
}

// oldest returns the head with the oldest first sample, or nil when all have ended.
func oldest(heads []*head) (found *head) {
	for _, h := range heads {
		if len(h.samples) > 0 && (found == nil || h.samples[0].TimeMS < found.samples[0].TimeMS) {
			found = h
		}
	}
	return found
}

// fill reads on until there are samples, or the recording ends.
func (h *head) fill(state *ReplayState) error {
	for len(h.samples) == 0 {
		b, err := h.r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("replay: %w", err)
		}
		h.samples = b.Samples
		if len(b.Faults) > 0 && state.FirstRefused == nil {
			first := b.Faults[0]
			state.FirstRefused = fmt.Errorf("%s: %w", h.r.name, &first)
		}
		state.Refused += int64(len(b.Faults))
	}
	return nil
}

// pace tells how long to wait for each sample.
type pace struct {
	speed   float64
	started bool
	firstMS int64
	start   time.Time
}

// wait returns how long from now the sample with the time timeMS is due. The first sample is due at
// once.
func (p *pace) wait(timeMS int64, now time.Time) time.Duration {
	if p.speed == 0 {
		return 0
	}
	if !p.started {
		p.started, p.firstMS, p.start = true, timeMS, now
	}
	due := float64(timeMS-p.firstMS) * float64(time.Millisecond) / p.speed
	return time.Duration(min(due, math.MaxInt64/2)) - now.Sub(p.start)
}

// ErrNoSamples is what Span returns for recordings without samples.
var ErrNoSamples = errors.New("no samples")

// Span reads a recording to its end and returns the times of its oldest and newest sample, ms: to
// make the newest be now, shift by now minus newest. It returns ErrNoSamples, or the error of
// reading.
func Span(r *Recording) (oldestMS, newestMS int64, err error) {
	oldestMS, newestMS = math.MaxInt64, math.MinInt64
	for {
		b, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, 0, err
		}
		for _, s := range b.Samples {
			oldestMS, newestMS = min(oldestMS, s.TimeMS), max(newestMS, s.TimeMS)
		}
	}
	if oldestMS > newestMS {
		return 0, 0, ErrNoSamples
	}
	return oldestMS, newestMS, nil
}
