package generations

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/consume"
	"github.com/weir-metrics/weir/schemas/topics"
)

// Lease is how old a reader's knowledge may be when it acts on it.
const Lease = 10 * time.Second

// recordKey is the key of the one record.
const recordKey = "generations"

// Log is the record of the generations, as of the last Refresh.
type Log struct {
	client *consume.Client // assigned the partition once the topic exists
	adm    *kadm.Client

	mu       sync.Mutex // of Refresh
	assigned bool
	next     int64
	newer    error // about the newest record, if a later version of weir wrote it
	refused  prometheus.Counter
	log      *slog.Logger
	refusals atomic.Int64

	current atomic.Pointer[schemas.Generations]
	readAt  atomic.Int64 // ns, when the last successful Refresh began
}

// Open returns a Log that begins with the single generation of a weir that was never resharded,
// with so many shards. Close it.
func Open(shards int32, opts ...kgo.Opt) (*Log, error) {
	// The topic may be made at this moment, and kgo's default minimum age, 5 s, is half a Lease.
	client, err := consume.New(consume.Watch{}, append(append([]kgo.Opt{}, opts...), kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond), kgo.MetadataMinAge(250*time.Millisecond),
		kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		return nil, fmt.Errorf("generations: %w", err)
	}
	l := &Log{client: client, adm: kadm.NewClient(client.Client)}
	l.current.Store(schemas.FirstGeneration(shards))
	return l, nil
}

// Close closes the Log's client.
func (l *Log) Close() { l.client.Close() }

// Current is the record as last read; it must not be changed.
func (l *Log) Current() *schemas.Generations { return l.current.Load() }

// Age is how long ago the record was last read.
func (l *Log) Age() time.Duration { return time.Since(time.Unix(0, l.readAt.Load())) }

// Tell makes the Log count and log refused records from now on.
func (l *Log) Tell(refused prometheus.Counter, log *slog.Logger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused, l.log = refused, log
}

// Refresh reads what was written before it was called. A record that does not decode, or is
// invalid, is refused, counted and logged, and what was known before stays. Refresh returns an
// error if the broker does not answer, and one that wraps ErrNewer as long as the newest record is
// from a later version of weir; Current is then unchanged.
func (l *Log) Refresh(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	began := time.Now()
	to, err := end(ctx, l.adm, topics.Generations)
	if err != nil {
		return fmt.Errorf("generations: %w", err)
	}
	if !l.assigned && to > 0 {
		l.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{topics.Generations: {0: kgo.NewOffset().AtStart()}})
		l.assigned = true
	}
	if l.next, err = readTo(ctx, l.client, l.next, to, l.take); err != nil {
		return fmt.Errorf("generations: %w", err)
	}
	if l.newer != nil {
		return fmt.Errorf("generations: %w", l.newer)
	}
	l.readAt.Store(began.UnixNano())
	return nil
}

// take makes a record the current one, or refuses it.
func (l *Log) take(r *kgo.Record) {
	g, err := decode(r)
	if err == nil && g.Version < l.Current().Version {
		err = fmt.Errorf("version %d after %d: %w", g.Version, l.Current().Version, schemas.ErrCorrupt)
	}
	switch {
	case err == nil:
		l.newer = nil
		l.current.Store(g)
		return
	case errors.Is(err, ErrNewer):
		l.newer = fmt.Errorf("offset %d: %w", r.Offset, err)
	}
	l.refusals.Add(1)
	if l.refused != nil {
		l.refused.Inc()
	}
	if l.log != nil {
		l.log.Error("record of the generations refused, keeping the ones known before", "offset", r.Offset, "err", err)
	}
}

// Refused is how many records have been refused so far.
func (l *Log) Refused() int64 { return l.refusals.Load() }

// ErrChanged is wrapped by Write if somebody else wrote in between.
var ErrChanged = errors.New("somebody else has just changed the generations")

// Write makes list, derived from Current, the record. It returns an error if list is invalid or was
// not written, and ErrChanged if another record was there before it, or is there after it.
func (l *Log) Write(ctx context.Context, list []schemas.Generation) error {
	was := l.Current().Version
	g := &schemas.Generations{Version: was + 1, List: list}
	if err := g.Validate(); err != nil {
		return err
	}
	if err := l.Refresh(ctx); err != nil {
		return err
	}
	if now := l.Current().Version; now != was {
		return fmt.Errorf("version %d is %d: %w", was, now, ErrChanged)
	}
	r := &kgo.Record{Topic: topics.Generations, Key: []byte(recordKey), Value: schemas.EncodeDoc(g)}
	if err := l.client.ProduceSync(ctx, r).FirstErr(); err != nil {
		return fmt.Errorf("generations: %w", err)
	}
	before := r.Offset
	if err := l.Refresh(ctx); err != nil {
		return err
	}
	if now := l.Current(); now.Version != g.Version || l.next != before+1 {
		return fmt.Errorf("version %d: %w", g.Version, ErrChanged)
	}
	return nil
}
