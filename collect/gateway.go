package collect

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas/formats"
)

// retryAfter is the pause that 429 and 503 ask for, s.
const retryAfter = "1"

// Gateway takes samples over HTTP and writes them to the topic metrics. See the
// package's comment for its answers. It is safe for concurrent use.
type Gateway struct {
	cfg      Config
	deps     GatewayDeps
	held     *budget
	patience time.Duration // the constant, except in tests
	decoders sync.Pool
	count    *gatewayCounters
}

// GatewayDeps are what a gateway works with. All but Letters and User are required.
type GatewayDeps struct {
	Publisher *Publisher
	// Letters reports whether a dead letter may be written; nil: all may.
	Letters func(letter *kgo.Record) bool
	// User returns the authenticated user of a request, or ""; nil: there are no users. Requests
	// without a user are distinguished by their addresses.
	User     func(*http.Request) string
	Now      func() time.Time      // the time of lines that have none
	Registry prometheus.Registerer // of metrics named weir_collect_gateway_…, once
	Log      *slog.Logger
}

// NewGateway returns a gateway that writes through d.Publisher. cfg is valid.
func NewGateway(cfg Config, d GatewayDeps) *Gateway {
	g := &Gateway{cfg: cfg, deps: d, patience: patience,
		held: newBudget(cfg.MaxHeldBytes, cfg.share())}
	g.decoders.New = func() any { return formats.NewDecoderOf(cfg.Samples) }
	g.count = newGatewayCounters(d.Registry, func() float64 { return float64(cfg.MaxHeldBytes - g.held.free()) })
	return g
}

// Register adds a POST of each format's path to mux.
func (g *Gateway) Register(mux *http.ServeMux) {
	for _, f := range formats.All {
		if f.Path != "" {
			mux.HandleFunc("POST "+f.Path, func(w http.ResponseWriter, r *http.Request) { g.take(w, r, f) })
		}
	}
}

// take reads a body in the format.
func (g *Gateway) take(w http.ResponseWriter, r *http.Request, f *formats.Format) {
	o := formats.Options{Format: f}
	if f.AnyPrecision {
		var err error
		if o.Precision, err = precisionOf(r); err != nil {
			g.answer(w, r, http.StatusBadRequest, &refusal{Message: err.Error()})
			return
		}
	}
	g.serve(w, r, o)
}

// precisionOf is the unit of a body's times: the parameter precision of the URL, or otherwise of
// the content type, or otherwise ns.
func precisionOf(r *http.Request) (formats.Precision, error) {
	given := r.URL.Query()["precision"]
	switch len(given) {
	case 0:
		return formats.PrecisionOf(r.Header.Get("Content-Type"))
	case 1:
		return formats.ParsePrecision(given[0])
	}
	return 0, fmt.Errorf("precision appears %d times, may appear once", len(given))
}

// client names who sends a request.
func (g *Gateway) client(r *http.Request) string {
	if g.deps.User != nil {
		if user := g.deps.User(r); user != "" {
			return "user " + user
		}
	}
	return clientOf(r)
}

// serve reads a body, sorts its entries into good and bad, writes both, and answers.
func (g *Gateway) serve(w http.ResponseWriter, r *http.Request, o formats.Options) {
	client := g.client(r)
	body, held, status, err := g.body(w, r, client)
	if err != nil {
		g.held.give(client, held)
		g.answer(w, r, status, &refusal{Message: err.Error()})
		return
	}
	d := g.decoders.Get().(*formats.Decoder)
	now := g.deps.Now()
	o.NowMS = now.UnixMilli()
	s := sortBody(d, body, o, now)
	g.decoders.Put(d)
	for reason, n := range s.reasons {
		g.count.refused.WithLabelValues(string(reason)).Add(float64(n))
	}
	g.count.skipped.Add(float64(s.skipped))
	g.count.unknown.Add(float64(s.unknown))
	start := g.deps.Now()
	err = g.deps.Publisher.write(r.Context(), s.records(r.RemoteAddr, senderOf(client), g.deps.Letters), func() { g.held.give(client, held) })
	g.count.ack.Observe(g.deps.Now().Sub(start).Seconds())
	switch {
	case errors.Is(err, kgo.ErrMaxBuffered):
		g.answer(w, r, http.StatusTooManyRequests, &refusal{Message: err.Error()})
	case err != nil:
		g.deps.Log.Warn("samples not written", "remote", r.RemoteAddr, "samples", s.samples, "err", err)
		g.answer(w, r, http.StatusServiceUnavailable, &refusal{Message: err.Error()})
	case len(s.reasons) > 0:
		g.count.samples.Add(float64(s.samples))
		g.answer(w, r, http.StatusBadRequest, s.refusal())
	default:
		g.count.samples.Add(float64(s.samples))
		g.answer(w, r, http.StatusNoContent, nil)
	}
}

// refusal is the body of every answer but 204.
type refusal struct {
	Message  string                 `json:"message"`
	Accepted int                    `json:"accepted"`          // samples that were kept
	Refused  map[formats.Reason]int `json:"refused,omitempty"` // entries that were not
	Faults   []faultAnswer          `json:"faults,omitempty"`  // the first maxFaults of them
}

type faultAnswer struct {
	Line   int            `json:"line"`
	Entry  int            `json:"entry"`
	Reason formats.Reason `json:"reason"`
	Error  string         `json:"error"`
}

func (g *Gateway) answer(w http.ResponseWriter, r *http.Request, status int, refused *refusal) {
	g.count.requests.WithLabelValues(r.URL.Path, strconv.Itoa(status)).Inc()
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerWithin)) // a test's recorder has no deadline
	if refused == nil {
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", formats.JSON.ContentType)
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(refused); err != nil {
		g.deps.Log.Debug("answer not sent", "remote", r.RemoteAddr, "err", err)
	}
}

// gatewayCounters are the gateway's own metrics.
type gatewayCounters struct {
	requests         *prometheus.CounterVec
	refused          *prometheus.CounterVec
	samples, skipped prometheus.Counter
	unknown          prometheus.Counter
	ack              prometheus.Histogram
}

func newGatewayCounters(reg prometheus.Registerer, held func() float64) *gatewayCounters {
	c := &gatewayCounters{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_collect_gateway_requests_total",
			Help: "Requests, by path and status."}, []string{"path", "code"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_collect_gateway_refused_total",
			Help: "Refused lines, or objects of JSON."}, []string{"reason"}),
		samples: prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_collect_gateway_samples_total",
			Help: "Samples written and acknowledged."}),
		skipped: prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_collect_gateway_skipped_fields_total",
			Help: "String fields of line protocol, which are not samples."}),
		unknown: prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_collect_gateway_unknown_fields_total",
			Help: "Unknown fields of JSON that were ignored, see samples.ignore_unknown_fields."}),
		ack: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "weir_collect_gateway_ack_seconds",
			Help: "Time until Kafka acknowledged a body.", Buckets: prometheus.ExponentialBuckets(0.002, 2, 13)}),
	}
	for _, r := range formats.Reasons {
		c.refused.WithLabelValues(string(r))
	}
	reg.MustRegister(c.requests, c.refused, c.samples, c.skipped, c.unknown, c.ack, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_collect_gateway_held_bytes", Help: "Bytes of request bodies waiting for Kafka."}, held))
	return c
}
