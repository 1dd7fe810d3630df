package window

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
)

// benchRules are 10,000 rules, of which 100 read the series of BenchmarkReload; one has a threshold.
func benchRules(threshold int) string {
	var b strings.Builder
	b.WriteString("groups:\n- name: g\n  rules:\n")
	for i := range 10_000 {
		limit := 80
		if i == 50 {
			limit = threshold
		}
		fmt.Fprintf(&b, "  - {alert: r%d, expr: 'avg(m%d, \"5m\") > %d', for: 5m}\n", i, i, limit)
	}
	return b.String()
}

// BenchmarkReload switches 4 partitions with 100,000 series, of 1000 hosts, to 10,000 rules of which one has
// changed: until all of them use the new rules, and how long each one's records wait for that.
func BenchmarkReload(b *testing.B) {
	s := newStage(b, benchRules(80))
	s.flush = time.Hour
	changed := (&rulesStage{stage: s}).load(benchRules(85))
	stop := s.start(b.TempDir(), nil)
	defer stop(nil)
	now := time.Now().UnixMilli()
	from := now - now%3600_000 - 3600_000
	for w := range int64(3) {
		for host := range 1000 {
			var samples []schemas.Sample
			for m := range 100 {
				samples = append(samples, schemas.Sample{TimeMS: from + w*10_000 + 5000, Value: 10,
					Series: schemas.Series{Metric: "m" + strconv.Itoa(m), Labels: schemas.NewLabels(map[string]string{"host": "h" + strconv.Itoa(host)})}})
			}
			s.send(samples, now)
		}
	}
	kafkatest.Eventually(b, "every sample is counted", func() bool { return s.counted() >= 300_000 })
	i := 0
	sets := []*alerts.RuleSet{changed, s.rules}
	waits := func() (seconds float64, n uint64) {
		families, err := s.registry.Gather()
		if err != nil {
			b.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "weir_window_rules_switch_seconds" {
				h := f.GetMetric()[0].GetHistogram()
				return h.GetSampleSum(), h.GetSampleCount()
			}
		}
		b.Fatal("no switches are counted")
		return 0, 0
	}
	switchTo := func(rules *alerts.RuleSet) {
		s.running.SetRules(rules)
		for done, look := false, time.NewTicker(time.Millisecond); !done; <-look.C {
			done = true
			for _, loc := range s.running.Engine().Locals() {
				c := loc.use.counted.Load()
				done = done && c != nil && c.rules == rules
			}
		}
	}
	defer func() {
		uses := make([]alerts.RuleUse, changed.Len())
		s.running.addUses(sets[i%2], uses)
		if uses[0].Sets != 1000 || uses[200].Sets != 0 {
			b.Errorf("the first rule reads %d series, and one that matches nothing %d", uses[0].Sets, uses[200].Sets)
		}
	}()
	ended, quiet := make(chan struct{}), make(chan struct{})
	go func() { // a partition switches between two records: some come, as in a system that is in use
		defer close(quiet)
		for w := 0; ; w++ {
			select {
			case <-ended:
				return
			default:
			}
			s.send([]schemas.Sample{{TimeMS: from + 25_000, Value: 10, Series: schemas.Series{Metric: "m1", Labels: schemas.NewLabels(map[string]string{"host": "h" + strconv.Itoa(w%1000)})}}}, now)
		}
	}()
	defer func() { close(ended); <-quiet }()
	switchTo(changed) // with the checkpoint of all that was sent
	before, n := waits()
	for b.Loop() {
		i++
		switchTo(sets[i%2])
	}
	after, m := waits()
	b.ReportMetric((after-before)*1000/float64(m-n), "ms-wait/partition")
	if m-n != uint64(4*i) {
		b.Errorf("%d switches of %d partitions", m-n, 4*i)
	}
}
