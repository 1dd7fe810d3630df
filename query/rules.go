package query

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/schemas"
)

// RuleWatcher knows the rules, and what the shards that a process owns have seen of them.
type RuleWatcher interface {
	// RuleUse returns the rules and, by their places in the files, what is known of them.
	RuleUse() (*alerts.RuleSet, []alerts.RuleUse)
	// Shards returns how many shards the process owns, and how many there are.
	Shards() (owned, all int)
}

// AlertSource knows all alerts.
type AlertSource interface {
	// Alerts returns them, also those resolved within the last hour.
	Alerts(nowMS int64) []*schemas.Alert
	// Waiting tells why they are not all known yet, in words; "" if they are.
	Waiting() string
}

// rulesBody is Prometheus's answer to /api/v1/rules, with fields of weir's own.
type rulesBody struct {
	Status   string    `json:"status"`
	Data     rulesData `json:"data"`
	Warnings []string  `json:"warnings,omitempty"` // what the answer does not know, in words
}

type rulesData struct {
	Groups         []*ruleGroupBody `json:"groups"`
	GroupNextToken string           `json:"groupNextToken,omitempty"`

	Total  int `json:"total"`  // rules that were asked for: more than in groups if limit or the size cut them
	Owned  int `json:"owned"`  // how many shards the numbers are from
	Shards int `json:"shards"` // how many shards there are
}

type ruleGroupBody struct {
	Name           string      `json:"name"`
	File           string      `json:"file"`
	Interval       float64     `json:"interval"` // s: of its shortest windows
	Limit          int         `json:"limit"`    // always 0
	Rules          []*ruleBody `json:"rules"`
	EvaluationTime float64     `json:"evaluationTime"` // s: of one evaluation of each rule
	LastEvaluation time.Time   `json:"lastEvaluation"`
}

type ruleBody struct {
	State          schemas.AlertState `json:"state"`
	Name           string             `json:"name"`
	Query          string             `json:"query"`
	Duration       float64            `json:"duration"`      // s
	KeepFiringFor  float64            `json:"keepFiringFor"` // s
	Labels         map[string]string  `json:"labels"`
	Annotations    map[string]string  `json:"annotations"`
	Alerts         []json.RawMessage  `json:"alerts"` // each an alertBody
	Health         string             `json:"health"` // ok, err, unknown
	LastError      string             `json:"lastError,omitempty"`
	EvaluationTime float64            `json:"evaluationTime"` // s: of one evaluation, estimated
	LastEvaluation time.Time          `json:"lastEvaluation"` // the newest window's end
	Type           string             `json:"type"`

	Shadow      bool    `json:"shadow,omitempty"` // nobody is told of its alerts
	Line        int     `json:"line"`
	For         string  `json:"for,omitempty"` // "3 of 5 windows"
	Recover     string  `json:"recover,omitempty"`
	Where       string  `json:"where,omitempty"`
	Tier        string  `json:"tier"`
	Shards      int     `json:"shards"` // of this process in which the rule applies to something
	Series      int64   `json:"series"` // label sets to which it applies
	StateBytes  int64   `json:"stateBytes"`
	Evaluations uint64  `json:"evaluations"`
	CPUSeconds  float64 `json:"cpuSeconds"`          // of all evaluations, estimated
	LastValue   string  `json:"lastValue,omitempty"` // as Prometheus writes it; of one of the series

}

const (
	alerting = "alerting"
	maxRules = 20_000

	healthOK, healthErr, healthUnknown = "ok", "err", "unknown"
)

// ruleQuery is what is asked of the rules.
type ruleQuery struct {
	none                 bool // type=record: weir has no recording rules
	names, groups, files []string
	withoutAlerts        bool
	byCost               bool
	limit                int // of rules
	groupLimit           int // 0: none
	after                string
}

func parseRuleQuery(raw string) (q ruleQuery, f *fault) {
	p := parseParams(raw, "type", "rule_name[]*", "rule_group[]*", "file[]*", "exclude_alerts", "by", "limit", "group_limit", "group_next_token")
	oneOf := func(name string, allowed ...string) string {
		v := p.text(name)
		if !slices.Contains(allowed, v) {
			p.fail(name, v, fmt.Sprintf("must be one of %q", allowed))
		}
		return v
	}
	q.none = oneOf("type", "", "alert", "record") == "record"
	q.withoutAlerts = oneOf("exclude_alerts", "", "true", "false") == "true"
	q.byCost = oneOf("by", "", "file", "cost") == "cost"
	q.limit = p.limit("limit", maxRules, maxRules)
	q.groupLimit = p.limit("group_limit", 0, maxRules)
	if q.after = p.text("group_next_token"); q.after != "" && q.groupLimit == 0 {
		p.fail("group_next_token", q.after, "needs a group_limit")
	}
	q.names, q.groups, q.files = p.values["rule_name[]"], p.values["rule_group[]"], p.values["file[]"]
	return q, p.fault
}

// wants reports whether a rule was asked for.
func (q *ruleQuery) wants(r *alerts.RuleInfo) bool {
	in := func(list []string, v string) bool { return len(list) == 0 || slices.Contains(list, v) }
	return !q.none && in(q.names, r.Alert) && in(q.groups, r.Group) && in(q.files, r.File)
}

// Rules answers GET /api/v1/rules as Prometheus does, from what watch knows. source returns the
// process's AlertSource, or nil if its role query does not run.
func Rules(cfg Config, watch RuleWatcher, source func() AlertSource, now func() time.Time) http.Handler {
	answers := newAnswers(&cfg, func() {})
	turn := make(chan struct{}, 1) // with thousands of rules, each answer is large
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q, f := parseRuleQuery(r.URL.RawQuery)
		var text []byte
		if f == nil {
			select {
			case turn <- struct{}{}:
			case <-r.Context().Done():
				return
			}
			text, f = q.answer(watch, source(), now().UnixMilli(), cfg.MaxAnswerBytes)
			<-turn
		}
		if f != nil {
			writeJSON(w, http.StatusBadRequest, faultBody{errorBody{Status: "error", ErrorType: "bad_data", Message: f.Error()}, *f})
			return
		}
		room, err := answers.admit(r.Context(), http.NewResponseController(w), len(text))
		if err != nil {
			w.Header().Set("Retry-After", "5")
			writeJSON(w, http.StatusServiceUnavailable, errorBody{Status: "error", ErrorType: "unavailable", Message: err.Error()})
			return
		}
		setJSON(w)
		answers.send(w, room, http.StatusOK, text)
	})
}

func (q *ruleQuery) answer(watch RuleWatcher, source AlertSource, nowMS int64, most int) ([]byte, *fault) {
	body := rulesBody{Status: "success"}
	set, uses := watch.RuleUse()
	infos := set.Info()
	body.Data.Owned, body.Data.Shards = watch.Shards()
	active, warning := activeAlerts(source, nowMS)
	if warning != "" {
		body.Warnings = append(body.Warnings, warning)
	}
	if body.Data.Owned < body.Data.Shards {
		body.Warnings = append(body.Warnings, fmt.Sprintf("evaluations, series and costs are those of this process's %d of %d shards", body.Data.Owned, body.Data.Shards))
	}
	var order []int
	for i, r := range infos {
		if q.wants(r) {
			order = append(order, i)
		}
	}
	if q.byCost {
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(uses[b].Seconds(), uses[a].Seconds()) })
	}
	body.Data.Total = len(order)
	order = order[:min(len(order), q.limit)]
	slices.Sort(order) // Prometheus's shape has them by file and group
	groups := groupRules(infos, order)
	groups, next, f := q.page(infos, groups)
	if f != nil {
		return nil, f
	}
	body.Data.Groups, body.Data.GroupNextToken = make([]*ruleGroupBody, 0, len(groups)), next
	room := room{bytes: most}
	for _, g := range groups {
		body.Data.Groups = append(body.Data.Groups, room.group(infos, uses, g, active, q))
	}
	if room.cut {
		body.Warnings = append(body.Warnings, fmt.Sprintf("the answer is cut at %d bytes (query.max_answer_bytes): ask for fewer rules, or with exclude_alerts=true", most))
	}
	return encode(body), nil
}

// activeAlerts returns the alerts that are pending or firing, by rule. warning tells, in words, why
// they are not known.
func activeAlerts(source AlertSource, nowMS int64) (active map[string][]*schemas.Alert, warning string) {
	if source == nil {
		return nil, "the role query does not run in this process: alerts are not known here, and each state is inactive"
	}
	if why := source.Waiting(); why != "" {
		return nil, "alerts are not known yet, and each state is inactive: " + why
	}
	active = map[string][]*schemas.Alert{}
	for _, a := range source.Alerts(nowMS) {
		if a.State == schemas.Pending || a.State == schemas.Firing {
			active[a.Rule] = append(active[a.Rule], a)
		}
	}
	return active, ""
}

// groupRules cuts the rules, which are in the order of the files, where a group ends.
func groupRules(infos []*alerts.RuleInfo, order []int) (groups [][]int) {
	for k, i := range order {
		if k > 0 && infos[i].File == infos[order[k-1]].File && infos[i].Group == infos[order[k-1]].Group {
			groups[len(groups)-1] = append(groups[len(groups)-1], i)
		} else {
			groups = append(groups, []int{i})
		}
	}
	return groups
}

// page returns the groups of the page that was asked for, and the token of the next page; "": it is
// the last.
func (q *ruleQuery) page(infos []*alerts.RuleInfo, groups [][]int) (page [][]int, next string, f *fault) {
	if q.groupLimit == 0 {
		return groups, "", nil
	}
	token := func(g []int) string {
		h := fnv.New64a()
		_, _ = h.Write([]byte(infos[g[0]].File + "\xff" + infos[g[0]].Group)) // a hash's writes do not fail
		return strconv.FormatUint(h.Sum64(), 16)
	}
	if q.after != "" {
		at := slices.IndexFunc(groups, func(g []int) bool { return token(g) == q.after })
		if at < 0 {
			return nil, "", newFault("group_next_token", q.after, "is of a group that is gone: begin again")
		}
		groups = groups[at:]
	}
	if len(groups) > q.groupLimit {
		groups, next = groups[:q.groupLimit], token(groups[q.groupLimit])
	}
	return groups, next, nil
}

// room is how large an answer may still become.
type room struct {
	bytes int
	cut   bool
}

// take reports whether there is room for n bytes, and takes it.
func (r *room) take(n int) bool {
	if r.bytes -= n; r.bytes < 0 {
		r.cut = true
	}
	return !r.cut
}

// ruleBytes is about what a rule takes beside its texts.
const ruleBytes = 600

func (r *room) group(infos []*alerts.RuleInfo, uses []alerts.RuleUse, rules []int, active map[string][]*schemas.Alert, q *ruleQuery) *ruleGroupBody {
	first := infos[rules[0]]
	g := &ruleGroupBody{Name: first.Group, File: first.File, Interval: math.Inf(1), Rules: []*ruleBody{}}
	for _, i := range rules {
		info := infos[i]
		g.Interval = min(g.Interval, float64(info.TierMS)/1000)
		size := ruleBytes + len(info.Alert) + len(info.Expr) + len(info.Recover) + len(info.Where) + len(uses[i].LastError)
		for _, texts := range []map[string]string{info.Labels, info.Annotations} {
			for name, text := range texts {
				size += len(name) + len(text)
			}
		}
		if !r.take(size) {
			break
		}
		b := newRuleBody(info, &uses[i])
		for _, a := range active[info.Name()] {
			if a.State == schemas.Firing || b.State == schemas.Inactive {
				b.State = a.State
			}
			if q.withoutAlerts {
				continue
			}
			if text := encode(newAlertBody(a)); r.take(len(text)) {
				b.Alerts = append(b.Alerts, text)
			}
		}
		g.Rules = append(g.Rules, b)
		g.EvaluationTime += b.EvaluationTime
		if b.LastEvaluation.After(g.LastEvaluation) {
			g.LastEvaluation = b.LastEvaluation
		}
	}
	return g
}

func newRuleBody(info *alerts.RuleInfo, u *alerts.RuleUse) *ruleBody {
	b := &ruleBody{
		State: schemas.Inactive, Name: info.Alert, Query: info.Expr, Duration: float64(info.ForMS) / 1000, KeepFiringFor: float64(info.KeepMS) / 1000,
		Labels: nonNil(info.Labels), Annotations: nonNil(info.Annotations), Alerts: []json.RawMessage{}, Health: healthUnknown, LastError: u.LastError,
		EvaluationTime: u.Mean(), Type: alerting, Shadow: info.Shadow, Line: info.Line, Recover: info.Recover, Where: info.Where, Tier: schemas.TierName(info.TierMS),
		Shards: u.Shards, Series: u.Sets, StateBytes: u.Bytes, Evaluations: u.Evaluations, CPUSeconds: u.Seconds(),
	}
	if info.Of > 0 {
		b.For = fmt.Sprintf("%d of %d windows", info.Most, info.Of)
	}
	if u.EndMS > 0 {
		b.Health, b.LastEvaluation = healthOK, utc(u.EndMS)
		b.LastValue = strconv.FormatFloat(u.Value, 'e', -1, 64)
	}
	if u.WhereErrors > 0 {
		b.Health = healthErr
	}
	return b
}
