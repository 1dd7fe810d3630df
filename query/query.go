package query

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-metrics/weir/query/web"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/sinks"
	"github.com/weir-metrics/weir/windows"
)

const (
	defaultLimit = 1000
	maxLimit     = 10000
	// maxPoints is how many windows of a series a tier may have in a range and still be chosen for
	// it: roughly what a screen can show.
	maxPoints = 1500
)

// Deps is what the API needs. All fields are required.
type Deps struct {
	Config Config
	Store  sinks.TierStore
	Live   *Live
	Tiers  []windows.Tier // ascending by size, at least one
	// GroupLabels are the labels that name a series group, as route is configured.
	GroupLabels []string
	// Host is the name of this machine; the page opens with its series.
	Host     string
	Registry prometheus.Registerer
	Log      *slog.Logger
}

type api struct {
	Deps
	now      func() time.Time
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	gate     *gate
	answers  *answers
}

// New returns the handler of the page, the API and the live stream. It answers
//
//	GET /, GET /rules        the pages, and their files
//	GET /metrics/{id}        the seed API, paged
//	GET /api/v1/windows      the windows of one series
//	GET /api/v1/series       the series, sorted
//	GET /api/v1/alerts       the alerts and their states
//	GET /api/v1/status       the tiers, this machine's name, the clock
//	GET /live                server-sent events
//
// and 404 for anything else. It registers weir_query_* metrics and panics, like
// prometheus.MustRegister, if they are registered already.
func New(d Deps) http.Handler { return newAPI(d, time.Now).handler() }

func newAPI(d Deps, now func() time.Time) *api {
	a := &api{
		Deps: d,
		now:  now,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_query_requests_total", Help: "Requests answered, by handler and status code.",
		}, []string{"handler", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "weir_query_request_seconds", Help: "Time to answer a request, live streams excepted, s.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}, []string{"handler"}),
	}
	cut := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "weir_query_cut_total", Help: "Answers cut off because their clients took nothing while others waited.",
	})
	a.gate, a.answers = newGate(&d.Config), newAnswers(&d.Config, cut.Inc)
	d.Registry.MustRegister(a.requests, a.seconds, cut)
	return a
}

func (a *api) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics/{id}", a.answer("metrics", a.metrics))
	mux.HandleFunc("GET /api/v1/windows", a.answer("windows", a.windowsOf))
	mux.HandleFunc("GET /api/v1/series", a.answer("series", a.series))
	mux.HandleFunc("GET /api/v1/alerts", a.answer("alerts", a.alerts))
	mux.HandleFunc("GET /api/v1/status", a.answer("status", a.status))
	mux.HandleFunc("GET /live", a.live)
	mux.Handle("GET /", web.Handler())
	return mux
}

// errorBody is the JSON of every refusal, in Prometheus's shape.
type errorBody struct {
	Status    string `json:"status"`    // "error"
	ErrorType string `json:"errorType"` // bad_data, timeout, unavailable
	Message   string `json:"error"`
}

// faultBody is a refusal of bad_data.
type faultBody struct {
	errorBody
	fault
}

// answer wraps a handler that returns what to encode, or why not. A fault becomes 400; any other
// error is the store's: it is logged, and reported without its text, which may name machines. The
// handler runs when it is the client's turn, and its answer is sent when there is room for it; its
// context ends with the client's connection.
func (a *api) answer(name string, handle func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		code, text, room := a.work(w, r, handle)
		a.requests.WithLabelValues(name, strconv.Itoa(code)).Inc()
		a.seconds.WithLabelValues(name).Observe(time.Since(began).Seconds())
		setJSON(w)
		if room == nil {
			w.WriteHeader(code)
			_, _ = w.Write(text) // a refusal is short; an error means that the client is gone
			return
		}
		a.answers.send(w, room, code, text)
	}
}

// work returns the answer, and the room for sending it, which is nil for a refusal.
func (a *api) work(w http.ResponseWriter, r *http.Request, handle func(*http.Request) (any, error)) (code int, text []byte, room *sending) {
	refused := func(err error) (int, []byte, *sending) {
		code, body := a.refusal(r, err)
		if code == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", "5")
		}
		return code, encode(body), nil
	}
	leave, err := a.gate.enter(r.Context(), clientOf(r.RemoteAddr))
	if err != nil {
		return refused(err)
	}
	defer leave()
	ctx, cancel := context.WithTimeout(r.Context(), a.Config.Timeout.Std())
	defer cancel()
	body, err := handle(r.WithContext(ctx))
	if err != nil {
		return refused(err)
	}
	text = encode(body)
	if room, err = a.answers.admit(r.Context(), http.NewResponseController(w), len(text)); err != nil {
		return refused(err)
	}
	return http.StatusOK, text, room
}

// statusGone is nginx's status for a client that hung up; it is only counted.
const statusGone = 499

func (a *api) refusal(r *http.Request, err error) (code int, body any) {
	var f *fault
	switch {
	case errors.As(err, &f):
		return http.StatusBadRequest, faultBody{errorBody{Status: "error", ErrorType: "bad_data", Message: f.Error()}, *f}
	case errors.Is(err, errBusy):
		return http.StatusServiceUnavailable, errorBody{Status: "error", ErrorType: "unavailable", Message: err.Error()}
	case r.Context().Err() != nil:
		return statusGone, errorBody{Status: "error", ErrorType: "canceled", Message: "the client is gone"}
	case errors.Is(err, context.DeadlineExceeded):
		code, body = http.StatusGatewayTimeout, errorBody{
			Status: "error", ErrorType: "timeout",
			Message: fmt.Sprintf("the store did not answer within %s (query.timeout); ask for a shorter range", a.Config.Timeout),
		}
	default:
		code, body = http.StatusServiceUnavailable, errorBody{
			Status: "error", ErrorType: "unavailable", Message: "the store could not answer; see weir's log",
		}
	}
	a.Log.Error("query failed", "path", r.URL.Path, "err", err)
	return code, body
}

func setJSON(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
}

// encode writes a body as JSON, with a final line break for people. It cannot fail: bodies contain
// texts, numbers that may be infinite (see number) and times in range.
func encode(body any) []byte {
	text, _ := json.Marshal(body)
	return append(text, '\n')
}

func writeJSON(w http.ResponseWriter, code int, body any) {
	setJSON(w)
	w.WriteHeader(code)
	_, _ = w.Write(encode(body)) // an error means that the client is gone
}

// number is a float64 in JSON; a sum that overflowed to infinity is null.
type number float64

// MarshalJSON implements json.Marshaler.
func (n number) MarshalJSON() ([]byte, error) {
	if f := float64(n); math.IsNaN(f) || math.IsInf(f, 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(n))
}

// chooseTier returns the smallest tier that shows the range in at most maxPoints windows and still
// keeps its beginning, or the largest one if none does.
func chooseTier(tiers []windows.Tier, fromMS, toMS, nowMS int64) (sizeMS int64) {
	for _, t := range tiers {
		if (toMS-fromMS)/t.Size.MS() <= maxPoints && fromMS >= nowMS-t.TTL.MS() {
			return t.Size.MS()
		}
	}
	return tiers[len(tiers)-1].Size.MS()
}

type statusBody struct {
	Host  string       `json:"host"`
	NowMS int64        `json:"now"`
	Ready bool         `json:"ready"` // the alerts have been read from their topic
	Tiers []tierStatus `json:"tiers"`
}

type tierStatus struct {
	Tier   string `json:"tier"`
	SizeMS int64  `json:"size"`
	TTLMS  int64  `json:"ttl"`
}

func (a *api) status(r *http.Request) (any, error) {
	if p := parseParams(r.URL.RawQuery); p.fault != nil {
		return nil, p.fault
	}
	body := statusBody{Host: a.Host, NowMS: a.now().UnixMilli(), Ready: a.Live.Ready()}
	for _, t := range a.Tiers {
		body.Tiers = append(body.Tiers, tierStatus{schemas.TierName(t.Size.MS()), t.Size.MS(), t.TTL.MS()})
	}
	return body, nil
}
