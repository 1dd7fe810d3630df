package query

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"weir/schemas"
)

const (
	maxStreams      = 256
	maxPendingBytes = 4 << 20 // of events that a reader has not taken
	heartbeatEvery  = 15 * time.Second
	// writeTimeout is how long one write to a reader may take before it counts as slow.
	writeTimeout = 10 * time.Second
)

// filter says which windows a stream wants; zero fields want all.
type filter struct {
	series schemas.Series
	metric string
	tierMS int64
}

func (f *filter) wants(w *schemas.Window) bool {
	switch {
	case f.tierMS != 0 && f.tierMS != w.TierMS:
		return false
	case f.metric != "" && f.metric != w.Series.Metric:
		return false
	case f.series.Metric != "":
		return f.series.Metric == w.Series.Metric && slices.Equal(f.series.Labels, w.Series.Labels)
	}
	return true
}

// stream is one reader of GET /live: what it wants and what it has not taken yet.
type stream struct {
	filter  filter
	wake    chan struct{} // holds one token while pending is not empty, or ended
	pending []byte        // guarded by hub.mu, as is the rest
	slow    bool          // more than maxPendingBytes were pending: to be cut off
}

// hub hands events to streams. Handing over never blocks: a stream that does not
// take its events is cut off.
type hub struct {
	mu      sync.Mutex
	streams map[*stream]struct{}
	closed  bool
	done    chan struct{}

	open    prometheus.Gauge
	dropped prometheus.Counter
	events  *prometheus.CounterVec
}

func newHub(reg prometheus.Registerer) *hub {
	h := &hub{
		streams: map[*stream]struct{}{},
		done:    make(chan struct{}),
		open: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "weir_query_live_streams", Help: "Open live streams.",
		}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "weir_query_live_dropped_total", Help: "Live streams that were cut off because their reader was slow.",
		}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_query_live_events_total", Help: "Events handed to live streams, by event.",
		}, []string{"event"}),
	}
	reg.MustRegister(h.open, h.dropped, h.events)
	return h
}

var (
	errTooManyStreams = errors.New("too many live streams are open: at most " + strconv.Itoa(maxStreams))
	errSlow           = errors.New("its reader left " + strconv.Itoa(maxPendingBytes) + " bytes waiting")
	errEnding         = errors.New("weir is stopping")
)

func (h *hub) subscribe(f filter) (*stream, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return nil, errEnding
	case len(h.streams) >= maxStreams:
		return nil, errTooManyStreams
	}
	s := &stream{filter: f, wake: make(chan struct{}, 1)}
	h.streams[s] = struct{}{}
	h.open.Inc()
	return s, nil
}

func (h *hub) unsubscribe(s *stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.streams, s)
	h.open.Dec()
}

// close ends every stream, and refuses new ones.
func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.closed = true
		close(h.done)
	}
}

// wanted says whether anybody listens; decoding is not worth it otherwise.
func (h *hub) wanted() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.streams) > 0
}

// windows hands each window to the streams that want it, encoded once.
func (h *hub) windows(ws []schemas.Window) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range ws {
		var event []byte
		for s := range h.streams {
			if !s.filter.wants(&ws[i]) {
				continue
			}
			if event == nil {
				event = newEvent("window", newWindowBody(ws[i].Series.String(), &ws[i]))
			}
			h.hand(s, "window", event)
		}
	}
}

// alert hands an alert's transition to every stream.
func (h *hub) alert(a *schemas.Alert) {
	event := newEvent("alert", newAlertBody(a))
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.streams {
		h.hand(s, "alert", event)
	}
}

func (h *hub) hand(s *stream, kind string, event []byte) {
	if s.slow {
		return
	}
	if len(s.pending)+len(event) > maxPendingBytes {
		s.slow, s.pending = true, nil
	} else {
		s.pending = append(s.pending, event...)
		h.events.WithLabelValues(kind).Inc()
	}
	select {
	case s.wake <- struct{}{}:
	default: // it is awake
	}
}

func (h *hub) take(s *stream) (events []byte, slow bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	events, s.pending = s.pending, nil
	return events, s.slow
}

// newEvent writes a server-sent event. JSON holds no line break, so one data line
// carries it whatever the labels hold. It cannot fail: a body's times are in
// range and its numbers write infinity as null.
func newEvent[body windowBody | alertBody](kind string, b body) []byte {
	data, _ := json.Marshal(b)
	return slices.Concat([]byte("event: "+kind+"\ndata: "), data, []byte("\n\n"))
}

// live serves GET /live until the client goes, is too slow, or Live ends.
func (a *api) live(w http.ResponseWriter, r *http.Request) {
	p := parseParams(r.URL.RawQuery, "series", "metric", "tier")
	f := filter{metric: p.text("metric"), tierMS: p.tier("tier", a.Tiers)}
	if p.text("series") != "" {
		f.series = p.series("series")
	}
	if p.fault != nil {
		code, body := a.refusal(r, p.fault)
		a.requests.WithLabelValues("live", strconv.Itoa(code)).Inc()
		writeJSON(w, code, body)
		return
	}
	s, err := a.Live.hub.subscribe(f)
	if err != nil {
		a.requests.WithLabelValues("live", "503").Inc()
		w.Header().Set("Retry-After", "5")
		writeJSON(w, http.StatusServiceUnavailable, errorBody{Status: "error", ErrorType: "unavailable", Message: err.Error()})
		return
	}
	defer a.Live.hub.unsubscribe(s)
	a.requests.WithLabelValues("live", "200").Inc()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would hold events back
	w.Header().Set("X-Content-Type-Options", "nosniff")
	err = a.send(w, s, r.Context().Done())
	if errors.Is(err, errSlow) || errors.Is(err, os.ErrDeadlineExceeded) {
		a.Live.hub.dropped.Inc()
		a.Logger.Info("live stream cut off", "remote", r.RemoteAddr, "reason", err)
	}
}

// send writes events until the client goes or Live ends, and returns nil; or
// until a write fails or the reader proves slow, and returns why.
func (a *api) send(w http.ResponseWriter, s *stream, gone <-chan struct{}) error {
	rc := http.NewResponseController(w)
	heartbeat := time.NewTicker(heartbeatEvery)
	defer heartbeat.Stop()
	next := []byte("retry: 2000\n\n: weir\n\n")
	for {
		if err := rc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
		if _, err := w.Write(next); err != nil {
			return err
		}
		if err := rc.Flush(); err != nil {
			return err
		}
		select {
		case <-gone:
			return nil
		case <-a.Live.hub.done:
			return nil
		case <-heartbeat.C:
			next = []byte(": heartbeat\n\n")
		case <-s.wake:
			var slow bool
			if next, slow = a.Live.hub.take(s); slow {
				return errSlow
			}
		}
	}
}
