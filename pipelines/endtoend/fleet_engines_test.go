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

// The rules of a fleet: limits of the metrics that they read.
const (
	hotLimit  = 80.0 // of load, the newest sample of a 10s window
	busyLimit = 50.0 // of work, averaged over a 1m window, for busyFor
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

// fleetConfig writes the rules into a folder and returns a config, as YAML, with
// the pager as receiver. Six shards are two for each of three processes. A sample may
// be hours ahead, so that a test need not wait for the end of an hour.
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

// publisher returns a client of Kafka that keys by host, as weir replay does: what one
// sends of a host stays in order.
func publisher(t testing.TB) *collect.Publisher {
	t.Helper()
	p, err := collect.NewPublisher(collect.Default(), kgo.SeedBrokers(enginetest.Kafka(t).Addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// publish sends until Kafka has acknowledged; what may have been written is sent
// again, as any sender does.
func publish(ctx context.Context, p *collect.Publisher, samples []schemas.Sample) error {
	for {
		err := p.Publish(ctx, samples)
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
}

// closeFleet sends each host samples of atMS and just after, past the end of every window that is
// to be closed: three times, as what waits behind a backlog moves no host's clock alone.
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

// checkRows waits until the rows of all tiers that start before endMS, read with
// cqlsh, are what the oracle says of the samples: nothing missing, nothing else.
func checkRows(t testing.TB, samples []schemas.Sample, endMS int64, within time.Duration) {
	t.Helper()
	checkRowsBut(t, "", samples, endMS, within)
}

// checkRowsBut leaves a metric out of which nobody knows whether it must be there.
func checkRowsBut(t testing.TB, metric string, samples []schemas.Sample, endMS int64, within time.Duration) {
	t.Helper()
	cfg := windows.Default()
	checkTiers(t, cfg.TiersMS(), metric, samples, endMS, within)
}

// checkTiers is checkRowsBut with other tiers, ms, the smallest first.
func checkTiers(t testing.TB, tiers []int64, metric string, samples []schemas.Sample, endMS int64, within time.Duration) {
	t.Helper()
	wanted := windowtest.Oracle(samples, tiers...)
	tiers = slices.Clone(tiers)
	slices.Reverse(tiers) // the small ones are read last, and take longest
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
		t.Logf("metrics_%s: %d windows as the oracle has them", schemas.TierName(tier), len(want))
	}
}

// transitions are what the fleet's two rules do on samples that arrived in order, by
// alert and host, such as "hot host001"; recomputed from the oracle's windows.
func transitions(samples []schemas.Sample) map[string][]schemas.Transition {
	return transitionsOf(samples, 10_000, 60_000, busyFor)
}

// transitionsOf is transitions with the rules on other tiers, ms, and another for of busy.
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

// checkAlerts compares the histories in the alert store, the topic alerts, with the
// transitions that there must be.
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
		return fmt.Errorf("alerts that should not be: %v", got)
	}
	return nil
}

// paged is what PagerDuty must have been told of the transitions, in order, and how
// often it opened an alert.
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

// checkPager compares what the pager was told with the transitions. The same event
// may have come twice in a row, which opens nothing: twice returns how many did.
func checkPager(pager *sinktest.PagerDuty, want map[string][]schemas.Transition) (twice int, err error) {
	return checkTold(pager, want, func(got []change) ([]change, int) { return slices.Compact(slices.Clone(got)), 0 })
}

// saysLast is what checkPagerLate allows of one alert: the same change may come twice in a row, and an earlier one once
// more, if the newest comes again right after it: whatever is told late, the last word is right. It returns the others,
// and how many came late.
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

// checkPagerLate is checkPager for what a process may have told that stood still in the middle of a call.
func checkPagerLate(pager *sinktest.PagerDuty, want map[string][]schemas.Transition) (twice int, err error) {
	return checkTold(pager, want, saysLast)
}

// checkTold compares what the pager was told with the transitions, after heard has taken out what may come besides; it
// returns, too, how many of these may have opened an alert.
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
			return 0, fmt.Errorf("PagerDuty was told of %s: %v, want %v", alert, got[alert], told)
		}
		if a := alerts[keys[alert]]; a.Opened < opened || a.Opened > opened+late {
			return 0, fmt.Errorf("PagerDuty opened %s %d times, want %d", alert, a.Opened, opened)
		}
		twice += len(got[alert]) - len(once)
		delete(got, alert)
	}
	if len(got) > 0 {
		return 0, fmt.Errorf("PagerDuty was told of more: %v", got)
	}
	return twice, nil
}

// metric is the sum of a metric's samples in a process whose text has all of labels,
// such as kind="revised".
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

// newSeed prints the seed of a test's choices.
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

// pass waits, as the schedule of a test on real processes does.
func pass(t testing.TB, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}
