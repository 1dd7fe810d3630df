package deadletter

import (
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas/topics"
)

const (
	// maxSources bounds the sources that have a bucket of their own; the others share one.
	maxSources = 4096
	// sweepEvery is how often full buckets are removed when there are maxSources.
	sweepEvery = time.Second
	// tellEvery is the time between two lines of the log.
	tellEvery = time.Minute
)

// Limiter bounds the letters of a process, in bytes, by source and in total. A source is the sender
// that the letter names (weir.sender), or otherwise its key. Keys are claimed by producers and may
// be new each time, so all letters without a sender share half of the total. A source that has used
// up an eighth of its burst leaves the last quarter of the total to others. A nil Limiter admits
// everything. It is safe for concurrent use.
type Limiter struct {
	cfg     Config
	dropped *prometheus.CounterVec // by stage, reason
	written *prometheus.CounterVec
	bytes   prometheus.Counter
	log     *slog.Logger

	mu      sync.Mutex
	all     bucket
	unnamed bucket // for letters without a sender
	others  bucket // for sources without a bucket of their own
	sources map[string]*bucket
	swept   time.Time
	told    time.Time
	untold  int // letters dropped since the last log line
	lost    int // their bytes
}

// NewLimiter returns a Limiter; cfg is valid. It registers weir_deadletter_* with reg, once.
func NewLimiter(cfg Config, reg prometheus.Registerer, log *slog.Logger) *Limiter {
	l := &Limiter{cfg: cfg, log: log, sources: map[string]*bucket{},
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_deadletter_dropped_total",
			Help: "Letters not written because their source, or all sources together, had written too much."}, []string{"stage", "reason"}),
		written: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_deadletter_letters_total",
			Help: "Letters written, or handed to the producer."}, []string{"stage", "reason"}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_deadletter_bytes_total",
			Help: "Bytes of the letters written."}),
		all: bucket{left: float64(cfg.Burst)}, unnamed: bucket{left: float64(cfg.Burst) / 2}, others: bucket{left: float64(cfg.SourceBurst)}}
	reg.MustRegister(l.dropped, l.written, l.bytes)
	return l
}

// Admit reports whether the letter may be written at the time now, and counts it.
func (l *Limiter) Admit(letter *kgo.Record, now time.Time) bool {
	if l == nil {
		return true
	}
	n := size(letter)
	stage, reason := Header(letter, topics.HeaderStage), Header(letter, topics.HeaderReason)
	source, named := "sender "+Header(letter, topics.HeaderSender), true
	if source == "sender " {
		source, named = "key "+string(letter.Key[:min(len(letter.Key), 128)]), false
	}
	if l.take(source, named, n, now) {
		l.written.WithLabelValues(stage, reason).Inc()
		l.bytes.Add(float64(n))
		return true
	}
	l.dropped.WithLabelValues(stage, reason).Inc()
	l.tell(source, stage, reason, n, now)
	return false
}

// size is roughly what the letter takes in the topic, bytes.
func size(r *kgo.Record) int {
	const overhead = 64
	n := overhead + len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value) + 4
	}
	return n
}

// take takes n bytes from the source's bucket and those that it shares, or from none.
func (l *Limiter) take(source string, named bool, n int, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bucketOf(source, now)
	l.all.fill(now, l.cfg.Rate, l.cfg.Burst)
	b.fill(now, l.cfg.SourceRate, l.cfg.SourceBurst)
	l.unnamed.fill(now, l.cfg.Rate/2, l.cfg.Burst/2)
	need, kept := float64(n), 0.0
	if b.left < float64(l.cfg.SourceBurst)*7/8 {
		kept = float64(l.cfg.Burst) / 4
	}
	if b.left < need || l.all.left-kept < need || !named && l.unnamed.left < need {
		return false
	}
	if !named {
		l.unnamed.left -= need
	}
	b.left -= need
	l.all.left -= need
	return true
}

// bucketOf returns the source's bucket. If there are too many, full buckets are forgotten, which
// changes nothing for their sources.
func (l *Limiter) bucketOf(source string, now time.Time) *bucket {
	source = source[:min(len(source), 128)]
	if b := l.sources[source]; b != nil {
		return b
	}
	if len(l.sources) >= maxSources && (now.Sub(l.swept) >= sweepEvery || now.Before(l.swept)) {
		l.swept = now
		for s, b := range l.sources {
			if b.fill(now, l.cfg.SourceRate, l.cfg.SourceBurst); b.left >= float64(l.cfg.SourceBurst) {
				delete(l.sources, s)
			}
		}
	}
	if len(l.sources) >= maxSources {
		return &l.others
	}
	b := &bucket{left: float64(l.cfg.SourceBurst), at: now}
	l.sources[strings.Clone(source)] = b
	return b
}

// tell logs what was dropped, at most once each tellEvery.
func (l *Limiter) tell(source, stage, reason string, n int, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.untold++
	l.lost += n
	if since := now.Sub(l.told); since >= 0 && since < tellEvery {
		return
	}
	l.log.Warn("dead letters not written, as there were too many bytes; see weir_deadletter_dropped_total",
		"letters", l.untold, "bytes", l.lost, "last_stage", stage, "last_reason", reason, "last_source", source)
	l.told, l.untold, l.lost = now, 0, 0
}

// bucket is a token bucket. Time that goes backwards adds nothing.
type bucket struct {
	left float64 // bytes
	at   time.Time
}

func (b *bucket) fill(now time.Time, rate, burst int) {
	if b.at.IsZero() {
		b.at = now
	}
	if now.Before(b.at) {
		return
	}
	b.left = min(b.left+now.Sub(b.at).Seconds()*float64(rate), float64(burst))
	b.at = now
}
