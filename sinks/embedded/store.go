package embedded

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/cql"
	"github.com/weir-metrics/weir/sinks"
)

const (
	// renew is how far SeriesInfo.LastMS may lag behind.
	renew = time.Hour
	// sweepEvery is how often the store checks for expired rows.
	sweepEvery = 10 * time.Minute

	// checkEvery is how many rows a scan reads before it checks whether it is still wanted.
	checkEvery = 128

	cacheBytes    = 32 << 20
	memTableBytes = 16 << 20
)

// Store is a sinks.TierStore in a directory.
type Store struct {
	db        *pebble.DB
	tiers     []cql.Tier
	in        *sinks.Intake
	now       func() time.Time
	log       *slog.Logger
	seriesTTL int64 // ms

	// seriesMu is held while rows about series are read and rewritten.
	seriesMu sync.Mutex

	// life is held for reading by every use of db, so that Close waits for all of them.
	life   sync.RWMutex
	closed bool

	stop      chan struct{}
	reclaimed *prometheus.CounterVec
}

var _ sinks.TierStore = (*Store)(nil)

// Open opens the store in dir, making dir if need be, and starts sweeping. Only one process at a
// time can have it open. now is called when rows expire. Open registers the store's metrics,
// weir_tierstore_* and weir_embedded_*, with reg. It returns an error that names dir if the
// directory cannot be used, or tells what is wrong with a tier.
func Open(dir string, tiers []cql.Tier, now func() time.Time, reg prometheus.Registerer, log *slog.Logger) (*Store, error) {
	in, err := sinks.NewIntake(tiers, renew, reg)
	if err != nil {
		return nil, err
	}
	s := &Store{tiers: tiers, in: in, now: now, log: log.With("store", dir), stop: make(chan struct{}),
		seriesTTL: cql.SeriesTTL(tiers).Milliseconds()}
	s.reclaimed = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "weir_embedded_reclaimed_total",
		Help: "Expired buckets and series that sweeps deleted, by kind.",
	}, []string{"kind"})
	if err := reg.Register(s.reclaimed); err != nil {
		return nil, fmt.Errorf("embedded store: %w", err)
	}
	cache := pebble.NewCache(cacheBytes)
	defer cache.Unref() // the database holds its own reference
	options := &pebble.Options{
		Cache:              cache,
		MemTableSize:       memTableBytes,
		FormatMajorVersion: pebble.FormatVirtualSSTables,
		Logger:             logger{s.log},
	}
	options.Levels[0].FilterPolicy = bloom.FilterPolicy(10)
	if s.db, err = pebble.Open(dir, options); err != nil {
		return nil, fmt.Errorf("embedded store in %s: %w", dir, err)
	}
	go s.sweepLoop()
	return s, nil
}

// logger hands Pebble's lines to slog. Fatalf must not return: Pebble calls it when it can no
// longer trust the log or the disk.
type logger struct{ log *slog.Logger }

func (l logger) Infof(format string, args ...any)  { l.log.Debug(fmt.Sprintf(format, args...)) }
func (l logger) Errorf(format string, args ...any) { l.log.Error(fmt.Sprintf(format, args...)) }
func (l logger) Fatalf(format string, args ...any) {
	l.log.Error(fmt.Sprintf(format, args...))
	os.Exit(1)
}

// enter keeps the database open until leave. It returns pebble.ErrClosed after Close.
func (s *Store) enter() error {
	s.life.RLock()
	if s.closed {
		s.life.RUnlock()
		return fmt.Errorf("embedded store: %w", pebble.ErrClosed)
	}
	return nil
}

func (s *Store) leave() { s.life.RUnlock() }

// WriteWindows implements sinks.TierStore. A disk that fails ends the process, so there is no
// outage to bridge.
func (s *Store) WriteWindows(ctx context.Context, b *schemas.WindowBatch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	nowMS := s.now().UnixMilli()
	rows, fresh, refused := s.in.Sort(b, nowMS)
	batch := s.db.NewBatch()
	defer batch.Close()
	var key, value []byte
	for _, r := range rows {
		key = appendSlice(key[:0], r.Tier, r.Tier.Bucket(r.StartMS), b.Group, r.Series.Metric, r.Text)
		key = appendTail(key, r.StartMS, r.Part, r.Revision)
		value = appendRow(value[:0], r.Window)
		if err := batch.Set(key, value, nil); err != nil {
			return fmt.Errorf("embedded store: %d windows of %q: %w", len(rows), b.Group, err)
		}
	}
	if err := s.index(fresh, nowMS); err != nil {
		return err
	}
	if !batch.Empty() {
		if err := batch.Commit(pebble.Sync); err != nil {
			return fmt.Errorf("embedded store: %d windows of %q: %w", len(rows), b.Group, err)
		}
	}
	s.in.Written(len(rows), fresh, nowMS)
	return refused
}

// ReadWindows implements sinks.TierStore.
func (s *Store) ReadWindows(ctx context.Context, source string, series schemas.Series, tierMS, fromMS, toMS int64, limit int) ([]schemas.Window, error) {
	tier, err := s.in.Tier(tierMS)
	if err != nil {
		return nil, err
	}
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	nowMS := s.now().UnixMilli()
	fromMS, toMS = max(fromMS, tier.OldestMS(nowMS)), min(toMS, nowMS+sinks.MaxAheadMS+1)
	if fromMS >= toMS || limit <= 0 {
		return nil, nil
	}
	labels := cql.LabelsText(series)
	var out []schemas.Window
	for bucket := tier.Bucket(fromMS); bucket <= tier.Bucket(toMS-1); bucket++ {
		slice := appendSlice(nil, tier, bucket, source, series.Metric, labels)
		if out, err = s.readSlice(ctx, out, slice, series, tierMS, fromMS, toMS, limit); err != nil {
			return nil, fmt.Errorf("read %s of %.200q: %w", tier.Table(), series.String(), err)
		}
		if len(out) > limit {
			return out[:limit], nil
		}
	}
	return out, nil
}

// readSlice adds the windows of one bucket to out, until there is one more than limit.
func (s *Store) readSlice(ctx context.Context, out []schemas.Window, slice []byte, series schemas.Series, tierMS, fromMS, toMS int64, limit int) ([]schemas.Window, error) {
	it, err := s.db.NewIterWithContext(ctx, &pebble.IterOptions{
		LowerBound: appendInt(bytes.Clone(slice), fromMS),
		UpperBound: appendInt(bytes.Clone(slice), toMS),
	})
	if err != nil {
		return nil, err
	}
	defer it.Close()
	var last []byte // start and part of the previous row
	for ok, n := it.First(), 0; ok && len(out) <= limit; ok, n = it.Next(), n+1 {
		if n%checkEvery == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		key := it.Key()[len(slice):]
		if len(key) == tail && bytes.Equal(key[:16], last) {
			continue // a lower revision of the same row
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, err
		}
		w, err := decodeRow(series, tierMS, key, value)
		if err != nil {
			return nil, err
		}
		last = append(last[:0], key[:16]...)
		out = sinks.AppendPart(out, w)
	}
	return out, it.Error()
}

// Close stops the sweep, waits for calls in progress and closes the database.
func (s *Store) Close() error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	close(s.stop)
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("embedded store: close: %w", err)
	}
	return nil
}
