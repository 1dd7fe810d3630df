package query

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-metrics/weir/schemas"
)

const (
	// maxPending is how many events a reader may be behind; it loses older ones.
	maxPending = 2048
	// takeBytes is roughly how much a reader takes at a time.
	takeBytes = 32 << 10
	// maxStreamSeries bounds the series that one stream may name.
	maxStreamSeries = 64
)

// filter says which windows a stream wants; zero fields want all.
type filter struct {
	series []schemas.Series
	metric string
	tierMS int64
	alerts bool // no windows
}

func (f *filter) wants(w *schemas.Window) bool {
	switch {
	case f.alerts, f.tierMS != 0 && f.tierMS != w.TierMS, f.metric != "" && f.metric != w.Series.Metric:
		return false
	}
	return len(f.series) == 0 || slices.ContainsFunc(f.series, func(s schemas.Series) bool {
		return s.Metric == w.Series.Metric && slices.Equal(s.Labels, w.Series.Labels)
	})
}

// metrics returns the metrics whose windows the filter may want, sorted and each once; nil: all.
func (f *filter) metrics() []string {
	if f.metric != "" {
		return []string{f.metric}
	}
	var all []string
	for _, s := range f.series {
		all = append(all, s.Metric)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// event is encoded once, and shared by all readers that have not taken it yet.
type event struct {
	data []byte // nil: given up, because events took too much memory
}

// stream is one reader of GET /live: what it wants, and what it has not taken yet. It is guarded by
// the hub's mu.
type stream struct {
	filter  filter
	client  string
	number  uint64 // in the order of opening
	to      *http.ResponseController
	wake    chan struct{} // holds one token while there is something to take, or to notice
	pending []*event
	lost    int       // events that it wanted and will not get, and has not been told about yet
	writing time.Time // since when a write is in progress; zero: none
	cut     error     // why it must end
}

// hub hands events to streams. Handing over never blocks: a reader that does not take its events
// loses the oldest, and is told how many.
type hub struct {
	mu       sync.Mutex
	limits   Config
	streams  map[*stream]struct{}
	clients  map[string]int
	byMetric map[string]map[*stream]struct{} // streams that want windows of some metrics
	every    map[*stream]struct{}            // streams that may want any window
	number   uint64
	kept     []*event // all that hold data, oldest first
	bytes    int      // of those
	closed   bool
	done     chan struct{}

	open                        prometheus.Gauge
	dropped, lost               prometheus.Counter
	handedWindows, handedAlerts prometheus.Counter
}

func newHub(cfg Config, reg prometheus.Registerer) *hub {
	h := &hub{
		limits: cfg, streams: map[*stream]struct{}{}, clients: map[string]int{},
		byMetric: map[string]map[*stream]struct{}{}, every: map[*stream]struct{}{},
		done: make(chan struct{}),
		open: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "weir_query_live_streams", Help: "Open live streams.",
		}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "weir_query_live_dropped_total", Help: "Live streams cut off because their reader took nothing.",
		}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "weir_query_live_lost_total", Help: "Events that slow readers of live streams missed, and were told about.",
		}),
	}
	events := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "weir_query_live_events_total", Help: "Events handed to live streams, by event.",
	}, []string{"event"})
	h.handedWindows, h.handedAlerts = events.WithLabelValues("window"), events.WithLabelValues("alert")
	reg.MustRegister(h.open, h.dropped, h.lost, events, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_query_live_buffer_bytes", Help: "Bytes of the events kept for readers.",
	}, func() float64 {
		h.mu.Lock()
		defer h.mu.Unlock()
		return float64(h.bytes)
	}))
	return h
}

var (
	errEnding  = errors.New("weir is stopping")
	errStuck   = errors.New("its reader took nothing, and another reader wants its place")
	errLargest = errors.New("its client has the most streams, and another client wants a place")
)

// subscribe opens a stream. If there are too many, one whose reader takes nothing gives way;
// otherwise, if another client has the most streams, the newest of that client does. The error is
// errEnding, or errBusy, wrapped.
func (h *hub) subscribe(f filter, client string, to *http.ResponseController) (*stream, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	switch {
	case h.closed:
		return nil, errEnding
	case h.clients[client] >= h.limits.MaxStreamsPerClient:
		if !h.makeRoom(now, client) {
			return nil, fmt.Errorf("%w: too many live streams of this client are open: at most %d (query.max_streams_per_client)", errBusy, h.limits.MaxStreamsPerClient)
		}
	case len(h.streams) >= h.limits.MaxStreams:
		if !h.makeRoom(now, "") && !h.makeEven(client) {
			return nil, fmt.Errorf("%w: too many live streams are open: at most %d (query.max_streams)", errBusy, h.limits.MaxStreams)
		}
	}
	h.number++
	s := &stream{filter: f, client: client, number: h.number, to: to, wake: make(chan struct{}, 1)}
	h.streams[s] = struct{}{}
	h.clients[client]++
	metrics := f.metrics()
	for _, m := range metrics {
		if h.byMetric[m] == nil {
			h.byMetric[m] = map[*stream]struct{}{}
		}
		h.byMetric[m][s] = struct{}{}
	}
	if metrics == nil && !f.alerts {
		h.every[s] = struct{}{}
	}
	h.open.Inc()
	return s, nil
}

// makeRoom ends the stream that has been stuck the longest, of the client, or of any client for "".
func (h *hub) makeRoom(now time.Time, client string) bool {
	var found *stream
	for s := range h.streams {
		stuck := !s.writing.IsZero() && now.Sub(s.writing) > stuckAfter
		if stuck && (client == "" || s.client == client) && (found == nil || s.writing.Before(found.writing)) {
			found = s
		}
	}
	return h.end(found, errStuck)
}

// makeEven ends the newest stream of the client that has the most, if those are more than the given
// client would have.
func (h *hub) makeEven(client string) bool {
	var found *stream
	for s := range h.streams {
		n := h.clients[s.client]
		if n <= h.clients[client]+1 {
			continue
		}
		if found == nil || n > h.clients[found.client] || n == h.clients[found.client] && s.number > found.number {
			found = s
		}
	}
	return h.end(found, errLargest)
}

// end removes the stream, unless it is nil, and makes its handler notice. mu is held.
func (h *hub) end(s *stream, why error) bool {
	if s == nil {
		return false
	}
	s.cut = why
	h.remove(s)
	if s.to != nil && !s.writing.IsZero() {
		_ = s.to.SetWriteDeadline(time.Now()) // cannot fail: it was set before
	}
	s.notify()
	return true
}

func (h *hub) unsubscribe(s *stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.to = nil // its request ends
	h.remove(s)
}

// remove forgets the stream, if it is known. mu is held.
func (h *hub) remove(s *stream) {
	if _, known := h.streams[s]; !known {
		return
	}
	delete(h.streams, s)
	delete(h.every, s)
	s.pending = nil
	if h.clients[s.client]--; h.clients[s.client] == 0 {
		delete(h.clients, s.client)
	}
	for _, m := range s.filter.metrics() {
		if delete(h.byMetric[m], s); len(h.byMetric[m]) == 0 {
			delete(h.byMetric, m)
		}
	}
	h.open.Dec()
	if len(h.streams) == 0 {
		h.kept, h.bytes = nil, 0
	}
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

// wanted reports whether anybody wants windows; otherwise decoding them is not worth it.
func (h *hub) wanted() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.every)+len(h.byMetric) > 0
}

// windows hands each window to the streams that want it, encoded once.
func (h *hub) windows(ws []schemas.Window) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range ws {
		var e *event
		for _, streams := range []map[*stream]struct{}{h.every, h.byMetric[ws[i].Series.Metric]} {
			for s := range streams {
				if !s.filter.wants(&ws[i]) {
					continue
				}
				if e == nil {
					e = h.keep(newEvent("window", newWindowBody(ws[i].Series.String(), &ws[i])))
				}
				h.hand(s, h.handedWindows, e)
			}
		}
	}
}

// alert hands an alert's transition to every stream.
func (h *hub) alert(a *schemas.Alert) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.streams) == 0 {
		return
	}
	e := h.keep(newEvent("alert", newAlertBody(a)))
	for s := range h.streams {
		h.hand(s, h.handedAlerts, e)
	}
}

// keep makes room for an event by giving up the oldest. An event that would take a quarter of the
// room is given up itself. mu is held.
func (h *hub) keep(data []byte) *event {
	if len(data) > h.limits.LiveBufferBytes/4 {
		return &event{}
	}
	e := &event{data}
	h.kept = append(h.kept, e)
	h.bytes += len(data)
	for h.bytes > h.limits.LiveBufferBytes {
		h.bytes -= len(h.kept[0].data)
		h.kept[0].data = nil
		h.kept = h.kept[1:] // append eventually moves the rest to a new array
	}
	return e
}

func (h *hub) hand(s *stream, handed prometheus.Counter, e *event) {
	if len(s.pending) >= maxPending {
		s.pending[0] = nil
		s.pending = s.pending[1:]
		s.lost++
	}
	s.pending = append(s.pending, e)
	handed.Inc()
	s.notify()
}

func (s *stream) notify() {
	select {
	case s.wake <- struct{}{}:
	default: // it is already awake
	}
}

// take returns what the reader gets next, oldest first, or why the stream ends. The data is shared:
// do not change it.
func (h *hub) take(s *stream) (data [][]byte, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.cut != nil {
		return nil, s.cut
	}
	size, taken := 0, 0
	for _, e := range s.pending {
		if size >= takeBytes {
			break
		}
		if taken++; e.data == nil {
			s.lost++
			continue
		}
		data = append(data, e.data)
		size += len(e.data)
	}
	clear(s.pending[:taken])
	if s.pending = s.pending[taken:]; len(s.pending) == 0 {
		s.pending = nil
	} else {
		s.notify()
	}
	if s.lost > 0 {
		data = slices.Insert(data, 0, fmt.Appendf(nil, "event: lost\ndata: {\"events\":%d}\n\n", s.lost))
		h.lost.Add(float64(s.lost))
		s.lost = 0
	}
	return data, nil
}

// begin records the start of a write, which may take as long as within. If the stream must end, it
// returns the reason instead.
func (h *hub) begin(s *stream, within time.Duration) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.cut != nil {
		return s.cut
	}
	s.writing = time.Now()
	return s.to.SetWriteDeadline(s.writing.Add(within))
}

func (h *hub) wrote(s *stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.writing = time.Time{}
}

// newEvent writes a server-sent event. JSON contains no line breaks, so one data line carries it
// whatever the labels are. It cannot fail: a body's times are in range, and its numbers write
// infinity as null.
func newEvent[body windowBody | alertBody](kind string, b body) []byte {
	data, _ := json.Marshal(b)
	return slices.Concat([]byte("event: "+kind+"\ndata: "), data, []byte("\n\n"))
}
