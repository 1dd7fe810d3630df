package pipelines

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"weir/processors/route"
	"weir/schemas/topics"
)

// routeLag watches whether route, in whatever process, hands samples on as they
// come. While it does not, windows must not be closed by the clock: their samples
// are there, in metrics.
type routeLag struct {
	adm   *kadm.Client
	allow time.Duration // how long a record may wait for its offset to be committed
	late  atomic.Bool
}

// lagEvery is how often offsets are asked for.
const lagEvery = 500 * time.Millisecond

// newRouteLag makes a watcher for a route that commits every so often. It says
// that route is behind until follow has looked.
func newRouteLag(client []kgo.Opt, commit time.Duration) (*routeLag, error) {
	adm, err := kadm.NewOptClient(client...)
	if err != nil {
		return nil, fmt.Errorf("lag of route: %w", err)
	}
	l := &routeLag{adm: adm, allow: commit + time.Second}
	l.late.Store(true)
	return l, nil
}

// behind says that records wait in metrics that were there a while ago.
func (l *routeLag) behind() bool { return l.late.Load() }

// ends is where metrics ended at a time.
type ends struct {
	at      time.Time
	offsets kadm.ListedOffsets
}

// follow looks until stop is called, which also closes the client.
func (l *routeLag) follow(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		var seen []ends // oldest first; all but the first are younger than allow
		for {
			seen = l.look(ctx, seen)
			select {
			case <-ctx.Done():
				return
			case <-time.After(lagEvery):
			}
		}
	}()
	return func() { cancel(); <-done; l.adm.Close() }
}

// look compares what is committed now with where metrics ended a while ago: how
// far route is behind the newest record says little, as it commits now and then.
// Brokers that do not answer leave the verdict as it is.
func (l *routeLag) look(ctx context.Context, seen []ends) []ends {
	now, err := l.adm.ListEndOffsets(ctx, topics.Metrics)
	if err == nil {
		err = now.Error()
	}
	if err != nil {
		return seen
	}
	starts, err := l.adm.ListStartOffsets(ctx, topics.Metrics)
	if err != nil {
		return seen
	}
	committed, err := l.adm.FetchOffsets(ctx, route.Group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) { // not found: nobody has read yet
		return seen
	}
	seen = append(seen, ends{time.Now(), now})
	for len(seen) > 1 && time.Since(seen[1].at) >= l.allow {
		seen = seen[1:]
	}
	late := false
	seen[0].offsets.Each(func(end kadm.ListedOffset) {
		done := int64(0)
		if start, ok := starts.Lookup(end.Topic, end.Partition); ok {
			done = start.Offset
		}
		if c, ok := committed.Lookup(end.Topic, end.Partition); ok {
			done = max(done, c.At)
		}
		late = late || done < end.Offset
	})
	l.late.Store(late)
	return seen
}
