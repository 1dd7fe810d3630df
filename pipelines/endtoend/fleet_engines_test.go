//go:build engines

package endtoend

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/collect"
	"github.com/weir-metrics/weir/pipelines/enginetest"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/sinks/sinktest"
	"github.com/weir-metrics/weir/windows"
	"github.com/weir-metrics/weir/windows/windowtest"
)

// The limits in fleetRules.
const (
	hotLimit  = 80.0 // for load, the newest sample of a 10s window
	busyLimit = 50.0 // for work, averaged over a 1m window, for busyFor
	busyFor   = 2 * time.Minute
)

const fleetRules = `
groups:
- name: fleet
  rules:
  - alert: hot
    expr: load > 80
    tier: 10s
    no_data: 30s
    labels: {severity: page}
    annotations: {summary: "{{ .Labels.host }} is hot"}
  - alert: busy
    expr: avg(work, "1m") > 50
    coverage: 0
    tier: 1m
    for: 2m
    labels: {severity: page}
    annotations: {summary: "{{ .Labels.host }} is busy"}
`

// fleetConfig writes the rules into a folder and returns a config, as YAML, with the pager as
// receiver. With six shards, each of three processes gets two. Samples may be hours ahead, so
// that a test need not wait for the end of an hour.
func fleetConfig(t testing.TB, pager *sinktest.PagerDuty, more string) string {
	t.Helper()
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(rules, []byte(fleetRules), 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`
metrics_partitions: 6
shards: 6
alert_shards: 3
window: {flush: 3s}
windows: {max_future: 4h, max_lead: 4h}
rules: [%q]
notify:
  max_age: 1d
  retry: {initial: 200ms, max: 2s}
  receivers:
  - {name: pager, match: {severity: page}, pagerduty: {routing_key: %q, url: %q, timeout: 5s}}
%s`, rules, pagerKey, pager.URL, more)
}

func hostName(h int) string { return fmt.Sprintf("host%03d", h) }

func fleetSeries(metric string, h int) schemas.Series {
	return schemas.Series{Metric: metric, Labels: schemas.Labels{{Name: "host", Value: hostName(h)}}}
}

// publisher returns a client of Kafka that keys by host, as weir replay does, so that the
// samples of a host stay in order.
func publisher(t testing.TB) *collect.Publisher {
	t.Helper()
	p, err := collect.NewPublisher(collect.Default(), kgo.SeedBrokers(enginetest.Kafka(t).Addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// publish sends samples until Kafka acknowledges them. Like any sender, it repeats samples that may
// already have been written.
func publish(ctx context.Context, p *collect.Publisher, samples []schemas.Sample) error {
	for {
		err := p.Publish(ctx, samples)
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
}

// closeFleet closes all windows that end before atMS: it sends a sample per host, at atMS or just
// after it, three times, because one batch that waited behind a backlog does not move a host's
// clock.
func closeFleet(ctx context.Context, p *collect.Publisher, hosts int, atMS int64) error {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for i := range int64(3) {
		var last []schemas.Sample
		for h := range hosts {
			last = append(last, schemas.Sample{Series: fleetSeries("load", h), TimeMS: atMS + i, Value: 1})
		}
		if err := publish(ctx, p, last); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// checkRows waits until the rows of all tiers that start before endMS, read with cqlsh, match the
// oracle: no row missing, none too many.
func checkRows(t testing.TB, samples []schemas.Sample, endMS int64, within time.Duration) {
	t.Helper()
	checkRowsBut(t, "", samples, endMS, within)
}

// checkRowsBut is checkRows, but ignores a metric whose rows may or may not be there.
func checkRowsBut(t testing.TB, metric string, samples []schemas.Sample, endMS int64, within time.Duration) {
	t.Helper()
	cfg := windows.Default()
	checkTiers(t, cfg.TiersMS(), metric, samples, endMS, within)
}

// checkTiers is checkRowsBut with other tiers, given in ms, smallest first.
func checkTiers(t testing.TB, tiers []int64, metric string, samples []schemas.Sample, endMS int64, within time.Duration) {
	t.Helper()
	wanted := windowtest.Oracle(samples, tiers...)
	tiers = slices.Clone(tiers)
	slices.Reverse(tiers) // read the small tiers last, because they take longest
	for _, tier := range tiers {
		var want []schemas.Window
		for _, w := range wanted {
			if w.TierMS == tier {
				want = append(want, w)
			}
		}
		enginetest.Eventually(t, within, "right rows of metrics_"+schemas.TierName(tier), func() error {
			got := slices.DeleteFunc(enginetest.Windows(t, keyspace, tier), func(w schemas.Window) bool {
				return w.StartMS >= endMS || w.Series.Metric == metric
			})
			return windowtest.Compare(got, want)
		})
		t.Logf("metrics_%s: %d windows match the oracle", schemas.TierName(tier), len(want))
	}
}

// transitions recomputes from the oracle's windows which transitions the fleet's two rules make on
// samples that arrived in order. The keys are alert and host, such as "hot host001".
func transitions(samples []schemas.Sample) map[string][]schemas.Transition {
	return transitionsOf(samples, 10_000, 60_000, busyFor)
}

// transitionsOf is transitions, with the rules on other tiers (ms) and with another for in the rule busy.
func transitionsOf(samples []schemas.Sample, hotMS, busyMS int64, busyFor time.Duration) map[string][]schemas.Transition {
	all := map[string][]schemas.Transition{}
	state := map[string]schemas.AlertState{}
	since := map[string]int64{}
	for _, w := range windowtest.Oracle(samples, hotMS, busyMS) { // by series, then by time
		host := w.Series.Labels[0].Value
		var alert string
		var high bool
		var wait int64
		switch {
		case w.Series.Metric == "load" && w.TierMS == hotMS:
			alert, high = "hot "+host, w.Last > hotLimit
		case w.Series.Metric == "work" && w.TierMS == busyMS:
			alert, high, wait = "busy "+host, w.Avg() > busyLimit, busyFor.Milliseconds()
		default:
			continue
		}
		move := func(to schemas.AlertState) {
			all[alert] = append(all[alert], schemas.Transition{From: state[alert], To: to, AtMS: w.EndMS()})
			state[alert] = to
		}
		if state[alert] == "" {
			state[alert] = schemas.Inactive
		}
		switch active := state[alert] == schemas.Firing || state[alert] == schemas.Pending; {
		case high && !active && wait > 0:
			move(schemas.Pending)
			since[alert] = w.EndMS()
		case high && !active:
			move(schemas.Firing)
		case high && state[alert] == schemas.Pending && w.EndMS() >= since[alert]+wait:
			move(schemas.Firing)
		case !high && state[alert] == schemas.Pending:
			move(schemas.Inactive)
		case !high && state[alert] == schemas.Firing:
			move(schemas.Resolved)
		}
	}
	return all
}

// checkAlerts compares the histories in the topic alerts with the wanted transitions.
func checkAlerts(t testing.TB, want map[string][]schemas.Transition) error {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(enginetest.Kafka(t).Addr), kgo.ConsumeTopics(topics.Alerts),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topics.Alerts)
	if err != nil {
		return err
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	newest := map[string]*schemas.Alert{}
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return fmt.Errorf("alerts: %w", err)
		}
		for _, r := range fetches.Records() {
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			if r.Value == nil {
				delete(newest, string(r.Key))
				continue
			}
			a, err := schemas.DecodeDoc[schemas.Alert](r.Value)
			if err != nil {
				return fmt.Errorf("alerts: %s: %w", r.Key, err)
			}
			newest[string(r.Key)] = a
		}
	}
	got := map[string][]schemas.Transition{}
	for _, a := range newest {
		var history []schemas.Transition
		for _, tr := range a.History {
			tr.Reason = ""
			history = append(history, tr)
		}
		got[a.Labels["alertname"]+" "+a.Labels["host"]] = history
	}
	for alert, trs := range want {
		if !slices.Equal(got[alert], trs) {
			return fmt.Errorf("%s: history %v, want %v", alert, got[alert], trs)
		}
		delete(got, alert)
	}
	if len(got) > 0 {
		return fmt.Errorf("unexpected alerts: %v", got)
	}
	return nil
}

// paged returns the changes that PagerDuty must have been told for some transitions, in order, and
// how many alerts it must have opened.
func paged(trs []schemas.Transition) (told []change, opened int) {
	for _, tr := range trs {
		switch tr.To {
		case schemas.Firing:
			told = append(told, change{tr.To, tr.AtMS})
			opened++
		case schemas.Resolved:
			told = append(told, change{tr.To, tr.AtMS})
		}
	}
	return told, opened
}

// checkPager compares the pager's events with the transitions. An event may be repeated right
// away, which opens no alert; twice is the number of these repeats.
func checkPager(pager *sinktest.PagerDuty, want map[string][]schemas.Transition) (twice int, err error) {
	return checkTold(pager, want, func(got []change) ([]change, int) { return slices.Compact(slices.Clone(got)), 0 })
}

// saysLast removes from the changes of one alert those that checkPagerLate tolerates: a change may be repeated right away, and
// an earlier change may come late if the newest is repeated right after it, so that the last word is right. It returns the
// remaining changes, and how many came late.
func saysLast(got []change) (once []change, late int) {
	for i, c := range got {
		n := len(once)
		switch {
		case n > 0 && once[n-1] == c:
		case slices.Contains(once, c) && i+1 < len(got) && got[i+1] == once[n-1]:
			late++
		default:
			once = append(once, c)
		}
	}
	return once, late
}

// checkPagerLate is checkPager, but tolerates the late events of a process that was stopped in the middle of a call.
func checkPagerLate(pager *sinktest.PagerDuty, want map[string][]schemas.Transition) (twice int, err error) {
	return checkTold(pager, want, saysLast)
}

// checkTold compares the pager's events with the transitions. For each alert, heard removes the events that are tolerated, and
// returns how many of them may have opened an alert. twice is the number of events removed.
func checkTold(pager *sinktest.PagerDuty, want map[string][]schemas.Transition, heard func([]change) (once []change, late int)) (twice int, err error) {
	if v := pager.Violations(); len(v) > 0 {
		return 0, fmt.Errorf("PagerDuty objects: %v", v)
	}
	got := map[string][]change{}
	keys := map[string]string{}
	for _, e := range pager.Events() {
		alert := e.Payload.Class + " " + e.Payload.Source
		at, err := time.Parse(time.RFC3339Nano, e.Payload.Timestamp)
		if err != nil {
			return 0, fmt.Errorf("PagerDuty: %s: %w", alert, err)
		}
		to := map[string]schemas.AlertState{"trigger": schemas.Firing, "resolve": schemas.Resolved}[e.Action]
		got[alert] = append(got[alert], change{to, at.UnixMilli()})
		if key := keys[alert]; key != "" && key != e.DedupKey {
			return 0, fmt.Errorf("PagerDuty: %s has the dedup_keys %s and %s", alert, key, e.DedupKey)
		}
		keys[alert] = e.DedupKey
	}
	alerts := pager.Alerts()
	for alert, trs := range want {
		told, opened := paged(trs)
		once, late := heard(got[alert])
		if !slices.Equal(once, told) {
			return 0, fmt.Errorf("PagerDuty was told about %s: %v, want %v", alert, got[alert], told)
		}
		if a := alerts[keys[alert]]; a.Opened < opened || a.Opened > opened+late {
			return 0, fmt.Errorf("PagerDuty opened %s %d times, want %d", alert, a.Opened, opened)
		}
		twice += len(got[alert]) - len(once)
		delete(got, alert)
	}
	if len(got) > 0 {
		return 0, fmt.Errorf("PagerDuty was told about unexpected alerts: %v", got)
	}
	return twice, nil
}

// metric returns the sum of a process's samples of a metric with all of the labels, such as
// kind="revised".
func metric(w *enginetest.Weir, name string, labels ...string) (sum float64, err error) {
	status, body, err := w.Get("/metrics")
	if err != nil {
		return 0, err
	}
	if status != http.StatusOK {
		return 0, fmt.Errorf("/metrics: %d", status)
	}
	lines := bufio.NewScanner(strings.NewReader(body))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		id, value, _ := strings.Cut(line, " ")
		if at := strings.LastIndexByte(line, '}'); at >= 0 && strings.HasPrefix(line, name+"{") {
			id, value = line[:at+1], strings.TrimSpace(line[at+1:])
		}
		bare, _, _ := strings.Cut(id, "{")
		if bare != name || slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(id, l) }) {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("/metrics: %q: %w", line, err)
		}
		sum += v
	}
	return sum, lines.Err()
}

// newSeed returns a source for a test's random choices. It logs the seed, which WEIR_TEST_SEED can set.
func newSeed(t testing.TB) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("WEIR_TEST_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("WEIR_TEST_SEED: %v", err)
		}
	}
	t.Logf("WEIR_TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// pass lets time pass, in a test whose schedule on real processes needs it.
func pass(t testing.TB, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}
