package pipelines

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"weir/alerts"
)

// rules are those that the process goes by, which can be loaded again while it runs.
type rules struct {
	load func() (*alerts.RuleSet, error)
	log  *slog.Logger

	mu      sync.Mutex // one reload at a time
	current *alerts.RuleSet
	use     func(*alerts.RuleSet) // of the window role, or nil

	reloads *prometheus.CounterVec
	loaded  *prometheus.GaugeVec
}

func newRules(first *alerts.RuleSet, load func() (*alerts.RuleSet, error), reg prometheus.Registerer, log *slog.Logger) *rules {
	r := &rules{load: load, log: log, current: first,
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_rules_reloads_total",
			Help: "Reloads of the rules by result: ok, or failed, which keeps the rules before."}, []string{"result"}),
		loaded: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_rules_loaded",
			Help: "How many rules this process goes by; the hash is of their files."}, []string{"hash"}),
	}
	reg.MustRegister(r.reloads, r.loaded)
	r.reloads.WithLabelValues("ok")
	r.reloads.WithLabelValues("failed")
	r.loaded.WithLabelValues(first.Hash()).Set(float64(first.Len()))
	return r
}

// follow has use called with the rules now and whenever they have changed, until it is
// called again.
func (r *rules) follow(use func(*alerts.RuleSet)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.use = use
	use(r.current)
}

// reload loads the rules and goes by them. If something is wrong with one of them it
// returns all faults, and the rules stay as they are.
func (r *rules) reload() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	next, err := r.load()
	if err != nil {
		r.reloads.WithLabelValues("failed").Inc()
		r.log.Error("rules not reloaded: those before stay", "rules", r.current.Len(), "hash", r.current.Hash(), "err", err)
		return err
	}
	r.current = next
	if r.use != nil {
		r.use(next)
	}
	r.reloads.WithLabelValues("ok").Inc()
	r.loaded.Reset()
	r.loaded.WithLabelValues(next.Hash()).Set(float64(next.Len()))
	r.log.Info("rules reloaded; other settings take a restart", "rules", next.Len(), "hash", next.Hash())
	return nil
}

// ServeHTTP answers POST /-/reload, as Prometheus does: 200, or 500 and all faults.
func (r *rules) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	if err := r.reload(); err != nil {
		http.Error(w, "the rules stay as they were:\n"+err.Error(), http.StatusInternalServerError)
		return
	}
	r.mu.Lock()
	n, hash := r.current.Len(), r.current.Hash()
	r.mu.Unlock()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = fmt.Fprintf(w, "rules: %d, hash %s\n", n, hash) // whoever asked is gone: nobody to tell
}

var errNoFile = errors.New("weir runs without a config file: there are no rules to reload")

// LoadRules reads the rules again, of the files that the config file names now. They are
// checked against c, which runs. The error is conf.Faults with every fault of all files.
func (c *Config) LoadRules(file string) (*alerts.RuleSet, error) {
	if file == "" {
		return nil, errNoFile
	}
	_, files, err := read(file)
	set, ruleErr := alerts.Load(c.ruleConfig(), files...)
	if err := joinFaults(err, ruleErr); err != nil {
		return nil, err
	}
	return set, nil
}
