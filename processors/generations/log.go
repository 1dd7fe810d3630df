package generations

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"weir/schemas"
	"weir/schemas/consume"
	"weir/schemas/topics"
)

// Lease is how old what a reader knows may be when it acts on it.
const Lease = 10 * time.Second

// recordKey is the key of the one record.
const recordKey = "generations"

// Log is the record of the generations, as of the last Refresh.
type Log struct {
	client *consume.Client // assigned the partition once the topic is there
	adm    *kadm.Client

	mu       sync.Mutex // of Refresh
	assigned bool
	next     int64

	current atomic.Pointer[schemas.Generations]
	readAt  atomic.Int64 // ns, when the last successful Refresh began
}

// Open returns a Log that begins with the one generation of a weir that was never
// resharded, of so many shards. Close it.
func Open(shards int32, opts ...kgo.Opt) (*Log, error) {
	// The topic may be made at this moment: kgo's own least age, 5 s, is half of a Lease.
	client, err := consume.New(consume.Watch{}, append(append([]kgo.Opt{}, opts...), kgo.FetchMaxWait(100*time.Millisecond), kgo.MetadataMinAge(250*time.Millisecond),
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

// Age is how long ago the record was read for the last time.
func (l *Log) Age() time.Duration { return time.Since(time.Unix(0, l.readAt.Load())) }

// Refresh reads what was written before it was called. It returns an error when the
// broker does not answer or the record does not decode; Current is then as it was.
func (l *Log) Refresh(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	began := time.Now()
	ends, err := l.adm.ListEndOffsets(ctx, topics.Generations)
	if err != nil {
		return fmt.Errorf("generations: %w", err)
	}
	end, ok := ends.Lookup(topics.Generations, 0)
	if !ok || errors.Is(end.Err, kerr.UnknownTopicOrPartition) {
		l.readAt.Store(began.UnixNano()) // never resharded
		return nil
	}
	if end.Err != nil {
		return fmt.Errorf("generations: %w", end.Err)
	}
	if !l.assigned && end.Offset > 0 {
		l.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{topics.Generations: {0: kgo.NewOffset().AtStart()}})
		l.assigned = true
	}
	for l.next < end.Offset {
		fetches := l.client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("generations: %w", err)
		}
		var fault error
		fetches.EachRecord(func(r *kgo.Record) {
			l.next = r.Offset + 1
			g, err := decode(r.Value)
			if fault = err; err == nil {
				l.current.Store(g)
			}
		})
		if fault != nil {
			return fmt.Errorf("generations: offset %d: %w", l.next-1, fault)
		}
	}
	l.readAt.Store(began.UnixNano())
	return nil
}

func decode(b []byte) (*schemas.Generations, error) {
	g, err := schemas.DecodeDoc[schemas.Generations](b)
	if err == nil {
		err = g.Validate()
	}
	return g, err
}

// ErrChanged is wrapped by Write when somebody else wrote in between.
var ErrChanged = errors.New("somebody else changed the generations at this moment")

// Write makes list, made from Current, the record. It returns an error when it is not
// valid or was not written, and ErrChanged when another record stood there before or
// stands there afterwards.
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
