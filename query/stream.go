package query

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/weir-metrics/weir/schemas"
)

// heartbeatEvery is how often a quiet stream shows that it is alive.
const heartbeatEvery = 15 * time.Second

// streamFilter reads what a stream should contain.
func (a *api) streamFilter(r *http.Request) (filter, *fault) {
	p := parseParams(r.URL.RawQuery, "series*", "metric", "tier", "only")
	f := filter{metric: p.text("metric"), tierMS: p.tier("tier", a.Tiers)}
	if len(p.values["series"]) > maxStreamSeries {
		p.fail("series", "", fmt.Sprintf("appears %d times, at most %d are allowed", len(p.values["series"]), maxStreamSeries))
	}
	for _, text := range p.values["series"] {
		if text == "" || p.fault != nil {
			continue
		}
		s, err := schemas.ParseSeries(text)
		if err != nil {
			p.fail("series", text, "must be a series such as cpu.usage{host=\"web01\"}: "+err.Error())
		}
		f.series = append(f.series, s)
	}
	switch only := p.text("only"); only {
	case "":
	case "alerts":
		f.alerts = true
	default:
		p.fail("only", only, "must be alerts")
	}
	return f, p.fault
}

// live serves GET /live until the client goes, stops taking events, or Live ends.
func (a *api) live(w http.ResponseWriter, r *http.Request) {
	refuse := func(code int, body any) {
		a.requests.WithLabelValues("live", strconv.Itoa(code)).Inc()
		writeJSON(w, code, body)
	}
	f, fault := a.streamFilter(r)
	if fault != nil {
		code, body := a.refusal(r, fault)
		refuse(code, body)
		return
	}
	hub := a.Live.hub
	s, err := hub.subscribe(f, clientOf(r.RemoteAddr), http.NewResponseController(w))
	if err != nil {
		code := http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "5")
		refuse(code, errorBody{Status: "error", ErrorType: "unavailable", Message: err.Error()})
		return
	}
	defer hub.unsubscribe(s)
	a.requests.WithLabelValues("live", "200").Inc()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // or nginx would hold events back
	w.Header().Set("X-Content-Type-Options", "nosniff")
	err = a.send(w, s, r.Context().Done())
	if errors.Is(err, errStuck) || errors.Is(err, errLargest) || errors.Is(err, os.ErrDeadlineExceeded) {
		hub.dropped.Inc()
		a.Log.Info("live stream cut off", "remote", r.RemoteAddr, "reason", err)
	}
}

// send writes events until the client goes or Live ends, and returns nil; or until a write fails or
// the stream is cut off, and returns why.
func (a *api) send(w http.ResponseWriter, s *stream, gone <-chan struct{}) error {
	hub := a.Live.hub
	heartbeat := time.NewTicker(heartbeatEvery)
	defer heartbeat.Stop()
	next := [][]byte{[]byte("retry: 2000\n\n: weir\n\n")}
	for {
		if err := a.write(w, s, next); err != nil {
			return err
		}
		select {
		case <-gone:
			return nil
		case <-hub.done:
			return nil
		case <-heartbeat.C:
			next = [][]byte{[]byte(": heartbeat\n\n")}
		case <-s.wake:
			var err error
			if next, err = hub.take(s); err != nil {
				return err
			}
		}
	}
}

// write sends the data within Config.WriteTimeout.
func (a *api) write(w http.ResponseWriter, s *stream, data [][]byte) error {
	if err := a.Live.hub.begin(s, a.Config.WriteTimeout.Std()); err != nil {
		return err
	}
	defer a.Live.hub.wrote(s)
	for _, d := range data {
		if _, err := w.Write(d); err != nil {
			return err
		}
	}
	return http.NewResponseController(w).Flush()
}
