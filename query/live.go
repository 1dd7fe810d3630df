package query

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
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

const (
	// resolvedFor is how long a resolved alert stays in the list, ms.
	resolvedFor = int64(time.Hour / time.Millisecond)
	// quietFor ends the first reading of the alerts topic when its last offsets hold no record that
	// is delivered (compaction leaves such gaps).
	quietFor = 3 * time.Second
	// metadataAge is how long it may take to find a new partition.
	metadataAge = 5 * time.Second
	// fetchWait is how long a broker holds an empty fetch: a new partition is not fetched before
	// the broker answers.
	fetchWait = 500 * time.Millisecond
	// errorEvery is the time between log lines of a fetch that keeps failing; all failures are counted.
	errorEvery = 10 * time.Second
)

// Live follows the windows and alerts topics. It keeps the view of alerts, and hands closed windows
// and alert transitions to those who subscribed through GET /live. New may use it before Run is
// called.
type Live struct {
	brokers []kgo.Opt
	log     *slog.Logger
	hub     *hub
	unread  consume.Watch
	ready   atomic.Bool

	mu     sync.Mutex
	view   map[string]viewed // by fingerprint; never inactive
	errLog time.Time         // last logged fetch error

	undecodable, fetchErrors *prometheus.CounterVec
}

// viewed is an alert, and when its record was published, ms. Resolved alerts age by the latter, so
// that a replay of old data shows what it resolved.
type viewed struct {
	alert       *schemas.Alert
	publishedMS int64
}

// NewLive returns a Live that reads from the cluster that brokers names (kgo.SeedBrokers, and TLS
// and SASL if needed). It registers weir_query_live_* metrics and panics, like
// prometheus.MustRegister, if they are registered already.
func NewLive(cfg Config, brokers []kgo.Opt, reg prometheus.Registerer, log *slog.Logger) *Live {
	l := &Live{
		brokers: brokers,
		log:     log,
		hub:     newHub(cfg, reg),
		unread:  consume.Counted("query", reg, log),
		view:    map[string]viewed{},
		undecodable: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_query_live_undecodable_total", Help: "Records that could not be decoded, by topic.",
		}, []string{"topic"}),
		fetchErrors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_query_live_fetch_errors_total", Help: "Fetches that failed, by topic.",
		}, []string{"topic"}),
	}
	reg.MustRegister(l.undecodable, l.fetchErrors, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_query_live_alerts", Help: "Alerts in the view: pending, firing, and recently resolved ones.",
	}, func() float64 { return float64(len(l.Alerts(time.Now().UnixMilli()))) }))
	return l
}

// Ready reports whether the alerts topic has been read up to where it ended when Run began.
func (l *Live) Ready() bool { return l.ready.Load() }

// Waiting is what Live waits for before it is ready, in words, or "".
func (l *Live) Waiting() string {
	if l.Ready() {
		return ""
	}
	return "reading the alerts"
}

// Run follows the topics until ctx ends, then ends every stream and returns nil; call it once.
// Broker outages are counted, logged and waited out. It returns an error only if the options do not
// make a client.
func (l *Live) Run(ctx context.Context) error {
	defer l.hub.close()
	// Alerts are a compacted table, read from the start. Windows are read from now on, and all of a
	// partition that is added later.
	alerts, err := l.client(topics.Alerts, kgo.NewOffset().AtStart())
	if err != nil {
		return err
	}
	defer alerts.Close()
	windows, err := l.client(topics.Windows, kgo.NewOffset().AfterMilli(time.Now().UnixMilli()))
	if err != nil {
		return err
	}
	defer windows.Close()
	var wg sync.WaitGroup
	wg.Go(func() { l.followAlerts(ctx, alerts) })
	wg.Go(func() { l.followWindows(ctx, windows) })
	wg.Wait()
	return nil
}

func (l *Live) client(topic string, from kgo.Offset) (*consume.Client, error) {
	cl, err := consume.New(l.unread, append([]kgo.Opt{
		kgo.ConsumeTopics(topic),
		kgo.ConsumeStartOffset(from),
		kgo.ConsumeResetOffset(from),
		kgo.MetadataMaxAge(metadataAge),
		kgo.FetchMaxWait(fetchWait),
		kgo.FetchMaxBytes(4 << 20),
		kgo.FetchMaxPartitionBytes(1 << 20),
	}, l.brokers...)...)
	if err != nil {
		return nil, fmt.Errorf("live: client of topic %s: %w", topic, err)
	}
	return cl, nil
}

func (l *Live) followWindows(ctx context.Context, cl *consume.Client) {
	for ctx.Err() == nil {
		fetches := cl.PollFetches(ctx)
		l.reportErrors(fetches)
		l.handWindows(fetches)
	}
}

func (l *Live) handWindows(fetches kgo.Fetches) {
	if !l.hub.wanted() {
		return
	}
	fetches.EachRecord(func(r *kgo.Record) {
		batch, err := schemas.DecodeWindowBatch(r.Value)
		if err != nil {
			l.refuse(r, err)
			return
		}
		l.hub.windows(batch.Windows)
	})
}

func (l *Live) followAlerts(ctx context.Context, cl *consume.Client) {
	missing, err := l.missing(ctx, cl)
	if err != nil {
		return // ctx ended
	}
	for heard := time.Now(); ctx.Err() == nil; {
		if !l.Ready() && (len(missing) == 0 || time.Since(heard) > quietFor) {
			l.ready.Store(true)
			l.log.Info("alerts read", "alerts", len(l.Alerts(time.Now().UnixMilli())))
		}
		pollCtx, cancel := ctx, context.CancelFunc(func() {})
		if !l.Ready() {
			pollCtx, cancel = context.WithTimeout(ctx, quietFor/4)
		}
		fetches := cl.PollFetches(pollCtx)
		cancel()
		failed := l.reportErrors(fetches)
		fetches.EachRecord(func(r *kgo.Record) {
			l.applyRecord(r)
			if end, ok := missing[r.Partition]; ok && r.Offset+1 >= end {
				delete(missing, r.Partition)
			}
		})
		if failed || fetches.NumRecords() > 0 {
			heard = time.Now()
		}
	}
}

// missing returns the end offset of each partition of the alerts topic that has records. It tries
// until the brokers answer, or returns ctx's error.
func (l *Live) missing(ctx context.Context, cl *consume.Client) (map[int32]int64, error) {
	adm := kadm.NewClient(cl.Client)
	for {
		starts, startErr := adm.ListStartOffsets(ctx, topics.Alerts)
		ends, endErr := adm.ListCommittedOffsets(ctx, topics.Alerts)
		err := errors.Join(startErr, endErr, starts.Error(), ends.Error())
		if err == nil {
			missing := map[int32]int64{}
			ends.Each(func(end kadm.ListedOffset) {
				if start, ok := starts.Lookup(end.Topic, end.Partition); ok && start.Offset < end.Offset {
					missing[end.Partition] = end.Offset
				}
			})
			return missing, nil
		}
		l.reportError(topics.Alerts, err)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// reportErrors counts what went wrong in a poll, except the end of the poll's own context, and
// reports whether anything did.
func (l *Live) reportErrors(fetches kgo.Fetches) bool {
	failed := false
	for _, e := range fetches.Errors() {
		if errors.Is(e.Err, context.Canceled) || errors.Is(e.Err, context.DeadlineExceeded) || errors.Is(e.Err, kgo.ErrClientClosed) {
			continue
		}
		failed = true
		l.reportError(e.Topic, e.Err)
	}
	return failed
}

func (l *Live) reportError(topic string, err error) {
	l.fetchErrors.WithLabelValues(topic).Inc()
	l.mu.Lock()
	quiet := time.Since(l.errLog) < errorEvery
	if !quiet {
		l.errLog = time.Now()
	}
	l.mu.Unlock()
	if !quiet {
		l.log.Warn("cannot read topic, will keep trying", "topic", topic, "err", err)
	}
}

func (l *Live) refuse(r *kgo.Record, err error) {
	l.undecodable.WithLabelValues(r.Topic).Inc()
	l.log.Warn("record cannot be decoded", "topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "err", err)
}

func (l *Live) applyRecord(r *kgo.Record) {
	if r.Value == nil {
		l.apply(&schemas.Alert{Fingerprint: string(r.Key), State: schemas.Inactive}, r.Timestamp.UnixMilli())
		return
	}
	a, err := schemas.DecodeDoc[schemas.Alert](r.Value)
	if err != nil {
		l.refuse(r, err)
		return
	}
	if a.Rule == schemas.CanaryRule {
		return // an alert of each shard that comes and goes all the time, and is nobody's concern
	}
	l.apply(a, r.Timestamp.UnixMilli())
}

// apply takes an alert's new state into the view. Subscribers hear of it if the state changed, but
// not of the history that is read at the start.
func (l *Live) apply(a *schemas.Alert, publishedMS int64) {
	l.mu.Lock()
	old, known := l.view[a.Fingerprint]
	if a.State == schemas.Inactive {
		delete(l.view, a.Fingerprint)
	} else {
		l.view[a.Fingerprint] = viewed{a, publishedMS}
	}
	l.mu.Unlock()
	unchanged := !known && a.State == schemas.Inactive || known && old.alert.State == a.State && old.alert.Last == a.Last
	if l.Ready() && !unchanged {
		l.hub.alert(a)
	}
}

// Alerts returns the pending and firing alerts, and those resolved less than an hour before nowMS,
// in no order. The alerts are shared: do not change them.
func (l *Live) Alerts(nowMS int64) []*schemas.Alert {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.view, func(_ string, v viewed) bool {
		return v.alert.State == schemas.Resolved && v.publishedMS+resolvedFor <= nowMS
	})
	list := make([]*schemas.Alert, 0, len(l.view))
	for _, v := range l.view {
		list = append(list, v.alert)
	}
	return list
}
