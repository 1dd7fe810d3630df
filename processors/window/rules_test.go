package window

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/windows"
)

// rulesStage is a stage that tests feed window by window, and whose conditions they read.
type rulesStage struct {
	*stage
	fromMS int64
	window int64                           // the next window to send
	told   map[string][]*schemas.Condition // by rule and host, without repeats
}

// next sends a window's samples for each host: m0 and m1, both 90.
func (s *rulesStage) next(hosts ...string) {
	at := s.fromMS + s.window*10_000 + 5000
	s.window++
	var samples []schemas.Sample
	for _, h := range hosts {
		for m := range 2 {
			samples = append(samples, schemas.Sample{TimeMS: at, Value: 90,
				Series: schemas.Series{Metric: "m" + strconv.Itoa(m), Labels: schemas.NewLabels(map[string]string{"host": h})}})
		}
	}
	s.send(samples, time.Now().UnixMilli()) // an hour late, so that the wall clock closes nothing
}

// until reads conditions until ok returns true.
func (s *rulesStage) until(what string, ok func() bool) {
	s.t.Helper()
	kafkatest.Eventually(s.t, what, func() bool {
		s.read(topics.Conditions, func(r *kgo.Record) {
			if len(r.Key) == 0 {
				return
			}
			c, err := schemas.DecodeDoc[schemas.Condition](r.Value)
			if err != nil {
				s.t.Fatal(err)
			}
			key := strings.TrimPrefix(c.Rule, "g/") + " " + c.Group
			if !slices.ContainsFunc(s.told[key], func(b *schemas.Condition) bool { return b.EndMS == c.EndMS && b.Revision == c.Revision }) {
				s.told[key] = append(s.told[key], c)
			}
		})
		return ok()
	})
}

// last returns the last condition, as text.
func (s *rulesStage) last(rule, host string) string {
	all := s.told[rule+" "+host]
	if len(all) == 0 {
		return "nothing"
	}
	c := all[len(all)-1]
	return fmt.Sprintf("window %d %v %s", (c.EndMS-s.fromMS)/10_000-1, c.True, c.Reason)
}

func (s *rulesStage) load(text string) *alerts.RuleSet {
	s.t.Helper()
	cfg := windows.Default()
	rules, err := alerts.Load(alerts.LoadConfig{TiersMS: cfg.TiersMS()}, alerts.File{Name: "rules.yaml", Data: []byte(text)})
	if err != nil {
		s.t.Fatal(err)
	}
	return rules
}

// TestSetRules: rules change under load. Conditions of rules that stay are not interrupted, not even by a crash. Conditions
// of removed rules end at once, even for a host that fell silent. New rules begin, even on a metric that no rule read
// before. Changed rules are judged anew.
func TestSetRules(t *testing.T) {
	s := &rulesStage{stage: newStage(t, `groups:
- name: g
  rules:
  - {alert: stays, expr: 'm0 > 50'}
  - {alert: goes, expr: 'm0 > 50'}
  - {alert: changes, expr: 'm0 > 50'}
`), told: map[string][]*schemas.Condition{}}
	now := time.Now().UnixMilli()
	s.fromMS = now - now%3600_000 - 3600_000
	s.flush = time.Hour // the swap waits for no checkpoint
	dir := t.TempDir()
	stop := s.start(dir, nil)
	s.next("web00", "web01", "silent")
	s.next("web00", "web01", "silent")
	s.next("web00", "web01", "silent")
	for _, host := range []string{"web00", "web01", "silent"} {
		s.until("every rule is true of "+host, func() bool {
			return s.last("stays", host) == "window 1 true " && s.last("goes", host) == "window 1 true " && s.last("changes", host) == "window 1 true "
		})
	}

	s.rules = s.load(`groups:
- name: g
  rules:
  - {alert: begins, expr: 'm1 > 50'}
  - {alert: changes, expr: 'm0 > 95'}
  - {alert: stays, expr: 'm0 > 50'}
`)
	s.running.SetRules(s.rules)
	for _, host := range []string{"web00", "web01", "silent"} {
		s.until("the rule that is gone ends on "+host, func() bool { return s.last("goes", host) == "window 1 false rule removed" })
	}
	uses := make([]alerts.RuleUse, s.rules.Len())
	s.running.addUses(s.rules, uses)
	if u := uses[2]; u.Sets != 3 || u.Evaluations != 6 || u.EndMS != s.fromMS+20_000 || u.Value != 90 || u.Bytes <= 0 || u.Timed == 0 || u.Shards == 0 {
		t.Errorf("use of a rule that stays: %+v", u)
	}
	for i, u := range uses[:2] {
		if u != (alerts.RuleUse{}) {
			t.Errorf("use of rule %d, which is new or changed: %+v", i, u)
		}
	}
	if got := s.last("stays", "web00"); got != "window 1 true " {
		t.Errorf("a rule that stays, when the rules change: %s", got)
	}
	s.next("web00", "web01")
	for _, host := range []string{"web00", "web01"} {
		s.until("the new rules are judged on "+host, func() bool {
			return s.last("begins", host) == "window 2 true " && s.last("changes", host) == "window 2 false false" && s.last("stays", host) == "window 2 true "
		})
	}

	stop(errCrash) // and it loses its disk: everything since the swap is repeated
	stop = s.start(t.TempDir(), nil)
	s.next("web00", "web01")
	s.until("it goes on after a crash", func() bool {
		return s.last("stays", "web00") == "window 3 true " && s.last("begins", "web01") == "window 3 true "
	})
	for key, all := range s.told {
		for i, c := range all {
			if i > 0 && strings.HasPrefix(key, "stays") && !c.True {
				t.Errorf("%s was interrupted: %+v", key, c)
			}
		}
	}
	for _, host := range []string{"web00", "web01", "silent"} {
		if all := s.told["goes "+host]; all[len(all)-1].True {
			t.Errorf("goes is true again of %s", host)
		}
	}
	stop(nil)
}
