package pipelines

import (
	"encoding/json"
	"net/http"
	"sync"

	"github.com/weir-metrics/weir/pipelines/listener"

	"github.com/weir-metrics/weir/deploy/conf"
)

// Health answers /healthz and /readyz: whether the process is alive, and whether all its roles are
// ready.
type Health struct {
	mu    sync.Mutex
	roles []*roleHealth // in the order in which they were added

	warnings map[string]func() string // by role; see warn
}

type roleHealth struct {
	name    string
	reason  string        // why it does not run, or ""
	waiting func() string // why it runs and is not ready, or ""; nil before it is known
}

// add makes readiness depend on the role, which is not ready until running is called.
func (h *Health) add(name, reason string) *roleHealth {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := &roleHealth{name: name, reason: reason}
	h.roles = append(h.roles, r)
	return r
}

// stopped records why the role does not run.
func (h *Health) stopped(r *roleHealth, reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r.reason, r.waiting = conf.Mask(reason), nil
}

// running records that the role runs. waiting is called for each request and returns what the role
// still waits for, such as its recovery, or "".
func (h *Health) running(r *roleHealth, waiting func() string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r.reason, r.waiting = "", waiting
}

// warn sets the role's warning: f is called for each request and returns what an operator must know
// although the role works, or "". It replaces the role's previous f.
func (h *Health) warn(role string, f func() string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.warnings == nil {
		h.warnings = map[string]func() string{}
	}
	h.warnings[role] = f
}

// Warnings names each role that has one, with the warning.
func (h *Health) Warnings() map[string]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := map[string]string{}
	for role, f := range h.warnings {
		if w := f(); w != "" {
			all[role] = w
		}
	}
	return all
}

// NotReady names each role that is not ready, with the reason.
func (h *Health) NotReady() map[string]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	not := map[string]string{}
	for _, r := range h.roles {
		reason := r.reason
		if reason == "" {
			reason = r.waiting()
		}
		if reason != "" {
			not[r.name] = reason
		}
	}
	return not
}

// serveHealthz answers 200 as long as the process can.
func serveHealthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n")) // the client is gone
}

// readiness is the body of /readyz.
type readiness struct {
	Ready    bool              `json:"ready"`
	NotReady map[string]string `json:"not_ready,omitempty"` // role: reason
	Warnings map[string]string `json:"warnings,omitempty"`  // role: what is wrong although the role works
}

// ServeHTTP answers /readyz: 200 if every role is ready, otherwise 503, with the roles that are not
// and why. A client that has to log in and has not gets only the status. Warnings make no role
// unready.
func (h *Health) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	not := h.NotReady()
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if len(not) > 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	body := readiness{Ready: len(not) == 0}
	if !listener.Brief(r) {
		body.NotReady, body.Warnings = not, h.Warnings()
	}
	_ = json.NewEncoder(w).Encode(body) // as above
}
