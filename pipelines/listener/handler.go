package listener

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// HealthPaths are answered without credentials and for any Host: probes have neither a login nor our name.
var HealthPaths = []string{"/healthz", "/readyz", "/-/healthy", "/-/ready"}

const (
	// answerWithin is how long a client may take to read an answer, unless the handler sets deadlines of
	// its own; answerWriteWithin is that after a body, whose handler waits for Kafka.
	answerWithin      = 30 * time.Second
	answerWriteWithin = 3 * time.Minute
)

// doors are what every request passes; see the package's comment.
type doors struct {
	cfg     Config
	hosts   hosts
	origins origins
	proxies proxies
	who     *credentials // nil: everybody
	next    http.Handler
	log     *slog.Logger

	refused *prometheus.CounterVec
	panics  prometheus.Counter
}

type briefKey struct{}

type userKey struct{}

// User is the name of the user, token or certificate by which the request was let in, or "" if there
// were no credentials to check.
func User(r *http.Request) string {
	name, _ := r.Context().Value(userKey{}).(string)
	return name
}

// Brief reports whether a health path may answer only yes or no, as it is not known who asks.
func Brief(r *http.Request) bool { return r.Context().Value(briefKey{}) != nil }

// headers are those of every answer; the page's own policy replaces the first.
var headers = [][2]string{
	{"Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
	{"X-Content-Type-Options", "nosniff"},
	{"X-Frame-Options", "DENY"},
	{"Referrer-Policy", "no-referrer"},
	{"Cross-Origin-Resource-Policy", "same-origin"},
}

// ServeHTTP lets the request through, or answers why not.
func (d *doors) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := &answer{ResponseWriter: w}
	defer d.recovered(answer, r)
	for _, h := range headers {
		w.Header().Set(h[0], h[1])
	}
	d.limit(answer, r)
	ip := d.proxies.from(r)
	if ip.IsValid() && d.proxies.trusted(addrOf(r.RemoteAddr)) {
		// Whatever counts by client after this counts by the address that the proxy names.
		r = r.Clone(r.Context())
		r.RemoteAddr = net.JoinHostPort(ip.String(), "0")
	}
	if r.ContentLength != 0 && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		d.refuse(answer, r, http.StatusBadRequest, "body", "a "+r.Method+" has no body")
		return
	}
	ours := d.hosts.allows(r.Host)
	if slices.Contains(HealthPaths, r.URL.Path) && (!ours || d.who != nil && r.Header.Get("Authorization") == "") {
		d.next.ServeHTTP(answer, r.WithContext(context.WithValue(r.Context(), briefKey{}, true)))
		return
	}
	switch {
	case !ours:
		d.refuse(answer, r, http.StatusMisdirectedRequest, "host",
			fmt.Sprintf("the host %.100q is not a name of this process: add it to web.allowed_hosts, or set notify.external_url", r.Host))
	case !d.origins.allows(r):
		d.refuse(answer, r, http.StatusForbidden, "origin",
			"asked by a page of another origin: only weir's own page may ask, at its address or at notify.external_url")
	case d.permits(answer, r, clientOf(ip)):
		d.next.ServeHTTP(answer, r)
	}
}

// limit sets deadlines for the body and the answer. Handlers that stream set deadlines of their own.
func (d *doors) limit(w http.ResponseWriter, r *http.Request) {
	rc, now := http.NewResponseController(w), time.Now()
	within := answerWithin
	if r.ContentLength != 0 {
		within = answerWriteWithin
		_ = rc.SetReadDeadline(now.Add(d.cfg.BodyTimeout.Std())) // a recorder in a test has none
	}
	_ = rc.SetWriteDeadline(now.Add(within)) // as above
}

// permits reports whether the client may make the request; if not, it has answered.
func (d *doors) permits(w http.ResponseWriter, r *http.Request, client string) bool {
	if d.who == nil {
		return true
	}
	role := Write
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		role = Read
	}
	who, err := d.who.identify(r, client)
	var busy *busyError
	switch {
	case errors.As(err, &busy):
		w.Header().Set("Retry-After", "5")
		d.refuse(w, r, http.StatusTooManyRequests, "busy", busy.Error())
	case err != nil:
		if len(d.cfg.Tokens) > 0 {
			w.Header().Add("WWW-Authenticate", `Bearer realm="weir"`)
		}
		if len(d.cfg.Users) > 0 {
			w.Header().Add("WWW-Authenticate", `Basic realm="weir", charset="UTF-8"`)
		}
		d.refuse(w, r, http.StatusUnauthorized, "credentials", err.Error())
	case !who.may(role):
		d.refuse(w, r, http.StatusForbidden, "role",
			fmt.Sprintf("%s may %s; this needs the role %s (web.roles)", who.name, strings.Join(who.roles, " and "), role))
	default:
		*r = *r.WithContext(context.WithValue(r.Context(), userKey{}, who.name))
		return true
	}
	return false
}

// refusal is the answer of a door, in the shape of the API's errors.
type refusal struct {
	Status    string `json:"status"`
	ErrorType string `json:"errorType"`
	Message   string `json:"error"`
}

func (d *doors) refuse(w http.ResponseWriter, r *http.Request, code int, reason, text string) {
	d.refused.WithLabelValues(reason).Inc()
	d.log.Debug("refused", "reason", reason, "remote", r.RemoteAddr, "code", code)
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close") // rather than read a body that is not used
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Second))
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	// An error here means that the client is gone.
	_ = json.NewEncoder(w).Encode(refusal{"error", "refused", strings.ToValidUTF8(text, "\uFFFD")})
}

// recovered answers 500 if the handler panics: only that request is lost, not the process.
func (d *doors) recovered(w *answer, r *http.Request) {
	p := recover()
	switch {
	case p == nil:
		return
	case p == http.ErrAbortHandler: // the handler cuts off its answer on purpose
		panic(p)
	}
	d.panics.Inc()
	d.log.Error("a handler panicked", "method", r.Method, "path", r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	if w.begun {
		panic(http.ErrAbortHandler)
	}
	http.Error(w, "weir failed to answer; see its log", http.StatusInternalServerError)
}

// answer knows whether anything has been sent.
type answer struct {
	http.ResponseWriter
	begun bool
}

func (a *answer) WriteHeader(code int) {
	a.begun = true
	a.ResponseWriter.WriteHeader(code)
}

func (a *answer) Write(b []byte) (int, error) {
	a.begun = true
	return a.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// forwarded splits the values of X-Forwarded-For.
func forwarded(values []string) (hops []string) {
	for _, v := range values {
		for hop := range strings.SplitSeq(v, ",") {
			hops = append(hops, strings.TrimSpace(hop))
		}
	}
	return hops
}
