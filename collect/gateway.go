package collect

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"weir/schemas/formats"
)

// retryAfter is what 429 and 503 ask for, s.
const retryAfter = "1"

// Gateway takes samples over HTTP and writes them to the topic metrics. See the
// package's comment for its answers. It is safe for concurrent use.
type Gateway struct {
	// Letters reports whether a dead letter may be written; nil: all may. Set it before
	// Register.
	Letters func(letter *kgo.Record) bool

	cfg      Config
	publish  *Publisher
	log      *slog.Logger
	now      func() time.Time
	held     budget
	decoders sync.Pool
	count    *gatewayCounters
}

// NewGateway returns a gateway that writes through publish. now is the time of
// lines that have none. It registers weir_collect_gateway_* with reg.
func NewGateway(cfg Config, publish *Publisher, reg prometheus.Registerer, log *slog.Logger, now func() time.Time) *Gateway {
	g := &Gateway{cfg: cfg, publish: publish, log: log, now: now}
	g.held.left.Store(int64(cfg.MaxHeldBytes))
	g.decoders.New = func() any { return formats.NewDecoderOf(cfg.Samples) }
	g.count = newGatewayCounters(reg, func() float64 { return float64(int64(cfg.MaxHeldBytes) - g.held.left.Load()) })
	return g
}

// Register adds POST /write and POST /api/v1/samples to mux.
func (g *Gateway) Register(mux *http.ServeMux) {
	mux.HandleFunc("POST /write", g.line)
	mux.HandleFunc("POST /api/v1/samples", g.json)
}

func (g *Gateway) line(w http.ResponseWriter, r *http.Request) {
	p, err := formats.ParsePrecision(r.URL.Query().Get("precision"))
	if err != nil {
		g.answer(w, r, http.StatusBadRequest, &refusal{Message: err.Error()})
		return
	}
	g.serve(w, r, func(d *formats.Decoder, body []byte) *sorted { return sortLines(d, body, p, g.now()) })
}

func (g *Gateway) json(w http.ResponseWriter, r *http.Request) { g.serve(w, r, sortJSON) }

// serve reads a body, has its entries sorted into good and bad, writes both, and answers.
func (g *Gateway) serve(w http.ResponseWriter, r *http.Request, sort func(*formats.Decoder, []byte) *sorted) {
	body, held, status, err := g.read(w, r)
	if err != nil {
		g.held.give(held)
		g.answer(w, r, status, &refusal{Message: err.Error()})
		return
	}
	d := g.decoders.Get().(*formats.Decoder)
	s := sort(d, body)
	g.decoders.Put(d)
	for reason, n := range s.reasons {
		g.count.refused.WithLabelValues(string(reason)).Add(float64(n))
	}
	g.count.skipped.Add(float64(s.skipped))
	start := g.now()
	err = g.publish.write(r.Context(), s.records(r.RemoteAddr, g.Letters), func() { g.held.give(held) })
	g.count.ack.Observe(g.now().Sub(start).Seconds())
	switch {
	case errors.Is(err, kgo.ErrMaxBuffered):
		g.answer(w, r, http.StatusTooManyRequests, &refusal{Message: err.Error()})
	case err != nil:
		g.log.Warn("samples not written", "remote", r.RemoteAddr, "samples", s.samples, "err", err)
		g.answer(w, r, http.StatusServiceUnavailable, &refusal{Message: err.Error()})
	case len(s.reasons) > 0:
		g.count.samples.Add(float64(s.samples))
		g.answer(w, r, http.StatusBadRequest, s.refusal())
	default:
		g.count.samples.Add(float64(s.samples))
		g.answer(w, r, http.StatusNoContent, nil)
	}
}

// read reads the body, unzipped if need be. held is what it took of the budget,
// with an error too; status is the answer to the error.
func (g *Gateway) read(w http.ResponseWriter, r *http.Request) (body []byte, held, status int, err error) {
	var from io.Reader = http.MaxBytesReader(w, r.Body, int64(g.cfg.MaxBodyBytes))
	switch encoding := r.Header.Get("Content-Encoding"); encoding {
	case "", "identity":
	case "gzip":
		if from, err = gzip.NewReader(from); err != nil {
			return nil, 0, http.StatusBadRequest, fmt.Errorf("gzip: %w", err)
		}
	default:
		return nil, 0, http.StatusUnsupportedMediaType, fmt.Errorf("content encoding %.40q: must be gzip or none", encoding)
	}
	body, held, err = g.held.readAll(from, g.cfg.MaxBodyBytes)
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return body, held, 0, nil
	case errors.Is(err, errBusy):
		return nil, held, http.StatusTooManyRequests, err
	case errors.Is(err, errTooLarge), errors.As(err, &tooLarge):
		return nil, held, http.StatusRequestEntityTooLarge, fmt.Errorf("%w: at most %d bytes", errTooLarge, g.cfg.MaxBodyBytes)
	}
	return nil, held, http.StatusBadRequest, fmt.Errorf("read the body: %w", err)
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
	if refused == nil {
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", formats.ContentTypeJSON)
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(refused); err != nil {
		g.log.Debug("answer not sent", "remote", r.RemoteAddr, "err", err)
	}
}

// gatewayCounters are the gateway's own metrics.
type gatewayCounters struct {
	requests         *prometheus.CounterVec
	refused          *prometheus.CounterVec
	samples, skipped prometheus.Counter
	ack              prometheus.Histogram
}

func newGatewayCounters(reg prometheus.Registerer, held func() float64) *gatewayCounters {
	c := &gatewayCounters{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_collect_gateway_requests_total",
			Help: "Requests, by path and status."}, []string{"path", "code"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_collect_gateway_refused_total",
			Help: "Lines, or objects of JSON, that were refused."}, []string{"reason"}),
		samples: prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_collect_gateway_samples_total",
			Help: "Samples that were written and acknowledged."}),
		skipped: prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_collect_gateway_skipped_fields_total",
			Help: "String fields of line protocol, which are no samples."}),
		ack: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "weir_collect_gateway_ack_seconds",
			Help: "Time until Kafka acknowledged a body.", Buckets: prometheus.ExponentialBuckets(0.002, 2, 13)}),
	}
	for _, r := range formats.Reasons {
		c.refused.WithLabelValues(string(r))
	}
	reg.MustRegister(c.requests, c.refused, c.samples, c.skipped, c.ack, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_collect_gateway_held_bytes", Help: "Bytes of bodies that wait for Kafka."}, held))
	return c
}
