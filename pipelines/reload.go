package pipelines

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/deploy/conf"
)

// rules are the process's alert rules, which can be reloaded while it runs.
type rules struct {
	load func(before *alerts.RuleSet, cut cutFiles) (*alerts.RuleSet, error)
	now  func() time.Time
	log  *slog.Logger

	mu      sync.Mutex // one reload at a time
	current *alerts.RuleSet
	at      time.Time             // when current was loaded
	use     func(*alerts.RuleSet) // of the window role, or nil

	refused string // what is wrong with the files of the last reload, if it was refused, or ""

	reloads     *prometheus.CounterVec
	loaded      *prometheus.GaugeVec
	successful  prometheus.Gauge
	succeededAt prometheus.Gauge
}

// cutFiles is what happens to files that look truncated.
type cutFiles int

const (
	refuseCut cutFiles = iota
	acceptCut
)

func newRules(first *alerts.RuleSet, load func(*alerts.RuleSet, cutFiles) (*alerts.RuleSet, error), now func() time.Time, reg prometheus.Registerer, log *slog.Logger) *rules {
	r := &rules{load: load, now: now, log: log,
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_rules_reloads_total",
			Help: "Reloads of the rules by result: ok, or failed, which keeps the old rules."}, []string{"result"}),
		loaded: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_rules_loaded",
			Help: "How many rules are in use; the hash is of their files."}, []string{"hash"}),
		successful: prometheus.NewGauge(prometheus.GaugeOpts{Name: "weir_rules_last_reload_successful",
			Help: "1 if the rule files were accepted when they were loaded last, at the start or at a reload; 0 if they were refused and older rules are in use."}),
		succeededAt: prometheus.NewGauge(prometheus.GaugeOpts{Name: "weir_rules_last_reload_success_timestamp_seconds",
			Help: "When the rules in use were loaded, at the start or at a reload, Unix time, s."}),
	}
	reg.MustRegister(r.reloads, r.loaded, r.successful, r.succeededAt)
	r.reloads.WithLabelValues("ok")
	r.reloads.WithLabelValues("failed")
	r.accept(first)
	return r
}

// accept makes the rules the current ones, and tells so.
func (r *rules) accept(set *alerts.RuleSet) {
	r.current, r.refused, r.at = set, "", r.now()
	r.loaded.Reset()
	r.loaded.WithLabelValues(set.Hash()).Set(float64(set.Len()))
	r.successful.Set(1)
	r.succeededAt.Set(float64(r.at.UnixMilli()) / 1000)
	r.warn(set)
}

// refuse keeps the current rules, and tells why.
func (r *rules) refuse(err error) {
	r.refused = fmt.Sprintf("the rules loaded at %s are still in use; those in the files were refused at %s: %s",
		r.at.UTC().Format(time.RFC3339), r.now().UTC().Format(time.RFC3339), firstFault(err))
	r.successful.Set(0)
	r.reloads.WithLabelValues("failed").Inc()
	r.log.Error("rules not reloaded, keeping the old ones", "rules", r.current.Len(), "hash", r.current.Hash(), "err", err)
}

// firstFault is the first fault of a reload on one line, and how many more there are. Secrets in it
// are masked.
func firstFault(err error) string {
	var faults conf.Faults
	if !errors.As(err, &faults) {
		return conf.Mask(err.Error())
	}
	first := faults[0]
	first.Snippet = ""
	text := first.Error()
	if more := len(faults) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return text
}

// Warning tells, in words, why the files' rules are not in use; "" if they are.
func (r *rules) Warning() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refused
}

// maxWarned bounds the warnings of a load that are logged one by one.
const maxWarned = 20

// warn logs what the rules cannot do as they are written.
func (r *rules) warn(set *alerts.RuleSet) {
	ws := set.Warnings()
	for _, w := range ws[:min(len(ws), maxWarned)] {
		w.Snippet = "" // one line in the log for each
		r.log.Warn("a rule may not do what it says", "warning", w.Error())
	}
	if more := len(ws) - maxWarned; more > 0 {
		r.log.Warn("more rules may not do what they say: see weir check", "warnings", more)
	}
}

// follow calls use with the rules, now and whenever they have changed. It replaces the previous use.
func (r *rules) follow(use func(*alerts.RuleSet)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.use = use
	use(r.current)
}

// reload loads the rules and puts them to use. If something is wrong with any of them, it returns all
// faults, and the old rules stay in use.
func (r *rules) reload(cut cutFiles) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	next, err := r.load(r.current, cut)
	return r.take(next, err)
}

// poll reloads the rules if their files have changed, and are no longer changing.
func (r *rules) poll(files *ruleFiles) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !files.changed() {
		return
	}
	next, err := r.load(r.current, refuseCut)
	if files.moving() {
		return // what was read may be half of this and half of that
	}
	_ = r.take(next, err) // it logs what is wrong
}

// take puts the rules that were loaded to use, or keeps the old ones if there is an error, which it
// returns.
func (r *rules) take(next *alerts.RuleSet, err error) error {
	if err != nil {
		r.refuse(err)
		return err
	}
	if gone := slices.DeleteFunc(r.current.Names(), next.Has); len(gone) > 0 {
		r.log.Warn("rules are gone; their alerts resolve", "rules", len(gone), "names", gone[:min(len(gone), 20)])
	}
	r.accept(next)
	if r.use != nil {
		r.use(next)
	}
	r.reloads.WithLabelValues("ok").Inc()
	r.log.Info("rules reloaded; a restart is needed for other settings", "rules", next.Len(), "hash", next.Hash())
	return nil
}

// ServeHTTP answers POST /-/reload as Prometheus does: 200, or 500 with all faults. With ?cut=accept,
// files that look truncated are accepted.
func (r *rules) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	cut := refuseCut
	switch text := req.URL.Query().Get("cut"); text {
	case "":
	case "accept":
		cut = acceptCut
	default:
		http.Error(w, fmt.Sprintf("cut=%q: must be accept", text), http.StatusBadRequest)
		return
	}
	if err := r.reload(cut); err != nil {
		http.Error(w, "the rules stay as they were:\n"+err.Error(), http.StatusInternalServerError)
		return
	}
	r.mu.Lock()
	n, hash := r.current.Len(), r.current.Hash()
	r.mu.Unlock()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = fmt.Fprintf(w, "rules: %d, hash %s\n", n, hash) // the client is gone
}

var errNoFile = errors.New("weir runs without a config file: there are no rules to reload")

// LoadRules reads the rules again, from the files that the config file names now. They are checked
// against c, with which weir runs, and against the rules before: no alert resolves because a file is
// empty, missing or half written. The error is conf.Faults with every fault of all files. LoadRules
// must not be called concurrently.
func (c *Config) LoadRules(file string, before *alerts.RuleSet, cut cutFiles) (*alerts.RuleSet, error) {
	if file == "" {
		return nil, errNoFile
	}
	next, files, err := read(file)
	set, ruleErr := next.compile(c, before, files)
	err = conf.Join(err, ruleErr)
	if err == nil && cut == refuseCut {
		err = next.cut(c, file, set, before)
	}
	c.source.files.loaded(next.source.files)
	if err != nil {
		return nil, err
	}
	c.source.text = next.source.text
	return set, nil
}

// cut returns why the files look truncated, as conf.Faults, or nil. running is the config with which
// weir runs.
func (c *Config) cut(running *Config, file string, set, before *alerts.RuleSet) error {
	var faults conf.Faults
	if c.Rules == nil && before.Len() > 0 {
		faults = append(faults, conf.Fault{File: file, Field: "rules", Bound: "names no files, and did before. If that is meant, write rules: []"})
	} else if why := conf.Cut(running.source.text, c.source.text); why != "" {
		faults = append(faults, conf.Fault{File: file, Bound: "looks cut: it " + why})
	}
	var of error
	if faults != nil {
		of = faults
	}
	err := conf.Join(of, set.Cut(before))
	if errors.As(err, &faults) {
		return append(faults, conf.Fault{Bound: "A file that is meant to end there: add a line at its end, a comment will do, or POST /-/reload?cut=accept"})
	}
	return err
}
