package alerts

import (
	"fmt"
	"strings"
	"text/template"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/expr-lang/expr/vm"

	"github.com/weir-metrics/weir/deploy/conf"
)

// RuleSet is the rules of one or more files. It is immutable and may be shared.
type RuleSet struct {
	rules   []*rule             // in the order of the files
	byName  map[string]*rule    // group/alert
	readers map[string][]*rule  // by metric, in the order of rules
	tiers   map[int64]tierReads // by length in ms
	hash    string
	files   []File // from which they were loaded, tables of limits last
	cfg     LoadConfig
	loaded  []loadedFile

	warnings conf.Faults
}

// tierReads are the metrics that the rules on one tier read.
type tierReads map[string]struct{}

// rule is one alert of a file, compiled.
type rule struct {
	name     string // group/alert
	alert    string
	index    int    // in RuleSet.rules
	hash     uint64 // of what decides its outcome: if that changes, recover no longer holds
	inputs   []input
	ofExpr   int          // how many of inputs expr reads: the first ones
	places   []conf.Fault // of the inputs
	place    conf.Fault   // of the rule's name
	expr     *node
	burn     *burn       // of an slo; otherwise nil
	levels   []level     // of a rule with several severities, the mildest first; expr and recover are the first one's
	recover  *node       // nil: the alert ends when expr is false
	where    *vm.Program // nil: all series
	tierMS   int64
	graceMS  int64
	forMS    int64
	most, of int // for: M of N windows; of is 0 for a duration
	keepMS   int64
	noDataMS int64
	coverage float64 // see covers; 0: ranges are judged on what there is
	onNoData noDataPolicy
	shadow   bool // its alerts page nobody

	labels      []labelTemplate
	annotations []labelTemplate

	written RuleInfo // what the file says of it
}

// noDataPolicy is what a rule does about series from which nothing came for no_data.
type noDataPolicy string

const (
	endOnNoData  noDataPolicy = "ok"     // a true condition ends
	fireOnNoData noDataPolicy = "firing" // the condition is true
	keepOnNoData noDataPolicy = "keep"   // a true condition stays
)

// retireMS is how long after its newest window a missed series is given up: it will not come back.
const retireMS = 7 * 24 * 3600_000

// labelTemplate is a label or annotation of a rule, in the order of names.
type labelTemplate struct {
	name string
	text string             // if there is nothing to fill in
	most int                // the most bytes that it may have when filled in
	tmpl *template.Template // nil for plain text
}

// Len returns the number of rules; of nil, 0.
func (rs *RuleSet) Len() int {
	if rs == nil {
		return 0
	}
	return len(rs.rules)
}

// Hash identifies the contents of the files, without their names: 16 hex digits.
func (rs *RuleSet) Hash() string { return rs.hash }

// Has reports whether there is a rule of that name (group/alert).
func (rs *RuleSet) Has(name string) bool { return rs.byName[name] != nil }

// Wants reports whether any rule reads the metric.
func (rs *RuleSet) Wants(metric string) bool { return len(rs.readers[metric]) > 0 }

// WantsTier reports whether any rule reads windows of that length, in ms: Closed
// does nothing for other tiers.
func (rs *RuleSet) WantsTier(tierMS int64) bool { return rs.tiers[tierMS] != nil }

// Names returns the rules' names (group/alert), in the order of the files.
func (rs *RuleSet) Names() []string {
	names := make([]string, len(rs.rules))
	for i, r := range rs.rules {
		names[i] = r.name
	}
	return names
}

// newRuleSet indexes the rules.
func newRuleSet(rules []*rule) *RuleSet {
	n := len(rules)
	rs := &RuleSet{rules: rules, byName: make(map[string]*rule, n), readers: make(map[string][]*rule, n), tiers: map[int64]tierReads{}}
	for i, r := range rules {
		r.index = i
		rs.byName[r.name] = r
		for _, in := range r.inputs {
			if !in.windows() {
				continue
			}
			if rd := rs.readers[in.metric]; len(rd) == 0 || rd[len(rd)-1] != r {
				rs.readers[in.metric] = append(rd, r)
			}
			if rs.tiers[r.tierMS] == nil {
				rs.tiers[r.tierMS] = tierReads{}
			}
			rs.tiers[r.tierMS][in.metric] = struct{}{}
		}
	}
	return rs
}

// For the choice of a tier: how many windows of one series a rule may keep, and from how many on
// the next larger tier is better.
const (
	maxRingWindows  = 400
	goodRingWindows = 60
)

// chooseTier returns the smallest tier of which each range is a multiple and at most
// goodRingWindows long; if there is none, the largest of which they are multiples. So 5m is read as
// 30 windows of 10s, 1h as 60 of 1m, 1d as 24 of 1h.
func chooseTier(tiersMS []int64, inputs []input) int64 {
	chosen := tiersMS[0] // checkRange reports what does not fit
	for _, t := range tiersMS {
		longest := int64(0)
		for _, in := range inputs {
			if in.rangeMS%t != 0 || in.beforeMS%t != 0 || in.periodMS%t != 0 {
				return chosen // tiers are multiples of each other, so no larger one fits
			}
			longest = max(longest, in.backMS())
		}
		chosen = t
		if longest/t <= goodRingWindows {
			break
		}
	}
	return chosen
}

// checkRange returns why the tier cannot serve the input, or nil.
func checkRange(tierMS int64, in *input) error {
	for _, d := range []struct {
		what string
		ms   int64
	}{{"range", in.rangeMS}, {"offset", in.beforeMS}, {"period", in.periodMS}} {
		if d.ms%tierMS != 0 {
			return fmt.Errorf("%s %s must be a multiple of the tier, %s", d.what, msText(d.ms), msText(tierMS))
		}
	}
	if n := in.backMS() / tierMS; n > maxRingWindows {
		what := "range"
		if in.beforeMS > 0 {
			what = "range, with the offset,"
		}
		return fmt.Errorf("%s is %d windows of %s, must be at most %d: name a larger tier", what, n, msText(tierMS), maxRingWindows)
	}
	return nil
}

func msText(ms int64) string { return conf.Duration(ms * int64(time.Millisecond)).String() }

// defaultNoDataMS is Prometheus's lookback, 5 minutes. A tier with longer windows gets three of
// them: one may be open, and one missing.
func defaultNoDataMS(tierMS int64) int64 { return max(5*60_000, 3*tierMS) }

// minNoDataMS covers that the next window's end is a tier away, and that it closes up to a tier
// later.
func minNoDataMS(tierMS int64) int64 { return 2 * tierMS }

// hashOf hashes the texts that decide a rule's outcome.
func hashOf(texts ...string) uint64 { return xxhash.Sum64String(strings.Join(texts, "\xff")) }
