package scylla

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/gocql/gocql"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/cql"
	"github.com/weir-metrics/weir/sinks"
)

// Bounds of a batch. The size is that of the rows' keys and values; a larger row goes alone.
const (
	maxBatchRows  = 60
	maxBatchBytes = 5 << 10
	// rowBytes is the size of a row's numbers.
	rowBytes = 13 * 8
)

// chunk is the rows of one batch, all of one partition.
type chunk struct {
	tier   cql.Tier
	bucket int32
	rows   []sinks.Row
}

// chunksOf splits rows of one source into batches, in the rows' order.
func chunksOf(rows []sinks.Row) []*chunk {
	type partition struct {
		sizeMS int64
		bucket int32
	}
	open := map[partition]*chunk{}
	size := map[*chunk]int{}
	var out []*chunk
	for _, r := range rows {
		p := partition{r.TierMS, r.Tier.Bucket(r.StartMS)}
		weight := rowBytes + len(r.Series.Metric) + len(r.Text)
		c := open[p]
		if c == nil || len(c.rows) >= maxBatchRows || size[c]+weight > maxBatchBytes {
			c = &chunk{tier: r.Tier, bucket: p.bucket}
			open[p] = c
			out = append(out, c)
		}
		c.rows = append(c.rows, r)
		size[c] += weight
	}
	return out
}

// WriteWindows implements sinks.TierStore.
func (s *Store) WriteWindows(ctx context.Context, b *schemas.WindowBatch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	nowMS := time.Now().UnixMilli()
	rows, fresh, refused := s.in.Sort(b, nowMS)
	chunks := chunksOf(rows)
	err := each(len(chunks), func(i int) error { return s.writeChunk(ctx, b.Group, chunks[i]) })
	if err == nil || errors.Is(err, sinks.ErrRefused) {
		err = worst(err, s.index(ctx, b.Group, fresh))
	}
	if err != nil && !errors.Is(err, sinks.ErrRefused) {
		return err
	}
	written := 0
	for _, c := range chunks {
		written += len(c.rows)
	}
	s.in.Written(written, fresh, nowMS)
	return worst(refused, err)
}

// worst returns the error to report: one that a later try may change before one that it will not,
// otherwise the first.
func worst(a, b error) error {
	if a == nil || b != nil && errors.Is(a, sinks.ErrRefused) && !errors.Is(b, sinks.ErrRefused) {
		return b
	}
	return a
}

// writeChunk writes a batch until it is acknowledged, and leaves the acknowledged rows in it. If
// the cluster refuses the batch, its halves are tried, so that one row does not drag others with
// it.
func (s *Store) writeChunk(ctx context.Context, source string, c *chunk) error {
	err := s.writeBatch(ctx, source, c)
	if !errors.Is(err, sinks.ErrRefused) {
		return err
	}
	if len(c.rows) == 1 {
		s.in.Refused(1)
		err = fmt.Errorf("%.200q of %.100q: %w", c.rows[0].Series.String(), source, err)
		c.rows = nil
		return err
	}
	half := len(c.rows) / 2
	a, b := chunk{c.tier, c.bucket, c.rows[:half:half]}, chunk{c.tier, c.bucket, c.rows[half:]}
	err = worst(s.writeChunk(ctx, source, &a), s.writeChunk(ctx, source, &b))
	c.rows = append(a.rows, b.rows...)
	return err
}

// writeBatch writes a batch until it is acknowledged or refused. Rows that expire meanwhile leave
// the chunk: a TTL of 0 would keep them for ever.
func (s *Store) writeBatch(ctx context.Context, source string, c *chunk) error {
	return s.persist(ctx, c.tier.Table(), func() error {
		nowMS := time.Now().UnixMilli()
		batch := s.session.NewBatch(gocql.UnloggedBatch).WithContext(ctx)
		live := c.rows[:0]
		for _, r := range c.rows {
			restMS := c.tier.ExpiresMS(r.StartMS) - nowMS
			if restMS <= 0 {
				s.in.Expired(1)
				continue
			}
			live = append(live, r)
			batch.Query(s.text.write[c.tier.SizeMS], slices.Concat([]any{source, c.bucket, r.Series.Metric, r.Text},
				cells(r.Window), []any{int((restMS + 999) / 1000), stamp(r.Window)})...)
		}
		c.rows = live
		if len(live) == 0 {
			return nil
		}
		return s.session.ExecuteBatch(batch)
	})
}

// cells are the columns of a window's row after those that name its series: see cql.TierColumns.
func cells(w *schemas.Window) []any {
	out := append(make([]any, 0, 6+len(schemas.Columns)), w.StartMS, w.Part, int64(w.Count))
	for _, v := range w.Numbers() {
		out = append(out, *v)
	}
	return append(out, w.FirstMS(), w.LastMS(), int64(w.Revision))
}

// cellsRead receives the cells of a row.
type cellsRead struct{ startMS, part, count, firstMS, lastMS, revision int64 }

// into returns the destinations for the cells of a row; the numbers go to w.
func (r *cellsRead) into(w *schemas.Window) []any {
	out := []any{&r.startMS, &r.part, &r.count}
	for _, v := range w.Numbers() {
		out = append(out, v)
	}
	return append(out, &r.firstMS, &r.lastMS, &r.revision)
}

// take fills w with what was read. Values that no window can have were written by somebody else:
// they are cut to what is possible.
func (r *cellsRead) take(w *schemas.Window) {
	bound := func(n int64) uint32 { return uint32(min(max(n, 0), math.MaxUint32)) }
	w.StartMS, w.Part, w.Revision, w.Count = r.startMS, r.part, uint32(r.revision), bound(r.count)
	w.FirstOff, w.LastOff = bound(r.firstMS-r.startMS), bound(r.lastMS-r.startMS)
}

// stamp is a row's write time, µs.
func stamp(w *schemas.Window) int64 { return w.EndMS()*1000 + int64(w.Revision) }

// Backoff between two tries of one request. The longest is short enough for everything to be back
// within seconds of the cluster's return.
const (
	firstDelay = 100 * time.Millisecond
	lastDelay  = 2 * time.Second
)

// judgedFor is how long the cluster must refuse what is written, although the table looks right,
// before it is believed: for a moment it refuses writes to a table that it has just made.
const judgedFor = 3 * time.Second

// persist tries until it succeeds, or until ctx ends, when the error wraps ctx's and tells the last
// one, or until the cluster refuses what is written to the table: sinks.ErrRefused. It holds a slot
// while it tries, and none while it waits.
func (s *Store) persist(ctx context.Context, table string, try func() error) error {
	var judged time.Time // since when all tries have been refused; zero: the last was not
	for delay := firstDelay; ; delay = min(2*delay, lastDelay) {
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			return fmt.Errorf("write %s: %w", table, ctx.Err())
		}
		begin := time.Now()
		err := try()
		s.metrics.requests.Observe(time.Since(begin).Seconds())
		<-s.slots
		if err == nil {
			s.outage.over(s.log)
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("write %s: %w; last error: %v", table, ctx.Err(), err)
		}
		switch {
		case !s.refused(ctx, table, err):
			judged = time.Time{}
		case judged.IsZero():
			judged = begin
		case time.Since(judged) > judgedFor:
			return fmt.Errorf("write %s: %w: %w", table, sinks.ErrRefused, err)
		}
		s.metrics.retries.Inc()
		s.outage.failed(s.log, table, err)
		select {
		case <-time.After(delay/2 + rand.N(delay/2)):
		case <-ctx.Done():
		}
	}
}

// refused reports whether err is the cluster's judgement on the values: it calls the request
// invalid although the table exists and has all columns. A request that is invalid because of the
// schema is tried again, as somebody will fix that.
func (s *Store) refused(ctx context.Context, table string, err error) bool {
	if codeOf(err) != gocql.ErrCodeInvalid {
		return false
	}
	var have []string
	q := s.session.ContextQuery(ctx, "SELECT column_name FROM system_schema.columns WHERE keyspace_name = ? AND table_name = ?", nil)
	if err := q.Bind(s.keyspace, table).SelectRelease(&have); err != nil {
		return false
	}
	return !slices.ContainsFunc(s.text.columns[table], func(name string) bool { return !slices.Contains(have, name) })
}

// codeOf is the protocol's code of an error that a node answered, otherwise 0. Most errors of
// ScyllaDB's fork of the driver (1.19) are not RequestErrors.
func codeOf(err error) int {
	var answer gocql.RequestError
	if errors.As(err, &answer) {
		return answer.Code()
	}
	var forked interface {
		error
		GetCode() int
	}
	if errors.As(err, &forked) {
		return forked.GetCode()
	}
	return 0
}

// outage logs a line when writes begin to fail, one a minute while they do, and one when they work
// again, rather than one for each of thousands of tries.
type outage struct {
	mu     sync.Mutex
	since  time.Time // zero: there is none
	logged time.Time
	tries  int
}

func (o *outage) failed(log *slog.Logger, table string, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if o.since.IsZero() {
		o.since = now
	}
	o.tries++
	if now.Sub(o.logged) >= time.Minute {
		o.logged = now
		log.Warn("cql write failed, will keep trying", "table", table, "err", err, "failed_tries", o.tries, "since", o.since)
	}
}

func (o *outage) over(log *slog.Logger) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since.IsZero() {
		return
	}
	log.Info("cql writes work again", "failed_tries", o.tries, "outage", time.Since(o.since).Round(time.Millisecond))
	o.since, o.logged, o.tries = time.Time{}, time.Time{}, 0
}

// stripes are locks by source that a waiter can give up on.
type stripes [64]chan struct{}

func newStripes() (s stripes) {
	for i := range s {
		s[i] = make(chan struct{}, 1)
	}
	return s
}

// lock returns the function that unlocks, or the context's error.
func (s *stripes) lock(ctx context.Context, source string) (func(), error) {
	mine := s[xxhash.Sum64String(source)%uint64(len(s))]
	select {
	case mine <- struct{}{}:
		return func() { <-mine }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
