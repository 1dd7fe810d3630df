//go:build engines

package endtoend

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/pipelines/enginetest"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/sinks/sinktest"
	"github.com/weir-metrics/weir/windows"
	"github.com/weir-metrics/weir/windows/windowtest"
)

// How long a partition may stand still, as the median of the rounds: now and then a loaded machine
// stands still by itself.
const (
	joinPause  = 1500 * time.Millisecond
	leavePause = 2500 * time.Millisecond
	rebalances = 3 // joins, and as many leaves
	// usualDelay is how long after its window an alert comes while no process joins or leaves: a host
	// is up to a second late, and its next sample closes the window.
	usualDelay = 2500 * time.Millisecond
)

const (
	beatHosts   = 120
	beatMetrics = 4
	beatEvery   = 40 * time.Millisecond
)

const beatRules = `
groups:
- name: beats
  rules:
  - alert: hot
    expr: load > 80
    tier: 1s
    no_data: 5m
    labels: {severity: page}
    annotations: {summary: "{{ .Labels.host }} is hot"}
`

// feed calls read at regular intervals, for the time [fromMS, toMS) since the last call, and sends the
// samples that it returns, until stop.
type feed struct {
	stopped chan struct{}
	failed  chan error
	samples []schemas.Sample // read it after stop
}

func newFeed(t testing.TB, every time.Duration, read func(fromMS, toMS int64) []schemas.Sample) *feed {
	p := publisher(t)
	f := &feed{stopped: make(chan struct{}), failed: make(chan error, 1)}
	go func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		from := time.Now().UnixMilli()
		for {
			select {
			case <-f.stopped:
				f.failed <- nil
				return
			case <-tick.C:
			}
			to := time.Now().UnixMilli()
			reading := read(from, to)
			from = to
			f.samples = append(f.samples, reading...)
			if err := publish(t.Context(), p, reading); err != nil {
				f.failed <- err
				return
			}
		}
	}()
	return f
}

func (f *feed) stop(t testing.TB) {
	t.Helper()
	close(f.stopped)
	if err := <-f.failed; err != nil {
		t.Fatal(err)
	}
}

// beats makes the hosts send one after the other, each the reading that it took at the beginning of
// the second. weir learns how late each host is, so their windows close one after the other as well:
// every partition has something to do at any time. Every other host is hot for 5 of 20 seconds.
func beats(fromMS, toMS int64) (all []schemas.Sample) {
	turn := func(ms int64) int64 { return (ms*beatHosts + 999) / 1000 } // the first at ms or later
	for n := turn(fromMS); n < turn(toMS); n++ {
		all = append(all, beat(int(n%beatHosts), n/beatHosts*1000)...)
	}
	return all
}

func beat(h int, atMS int64) []schemas.Sample {
	load := float64(20 + atMS/1000%20)
	if h%2 == 0 && (atMS/1000+int64(h))%20 < 5 {
		load += 65
	}
	all := []schemas.Sample{{Series: fleetSeries("load", h), TimeMS: atMS, Value: load}}
	for m := 1; m < beatMetrics; m++ {
		all = append(all, schemas.Sample{Series: fleetSeries(fmt.Sprintf("metric%02d", m), h), TimeMS: atMS, Value: float64(atMS%977) + 0.25})
	}
	return all
}

// readTopic returns the records that a topic holds now.
func readTopic(t testing.TB, topic string) []*kgo.Record {
	t.Helper()
	records, err := recordsOf(t.Context(), enginetest.Kafka(t).Addr, topic)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// recordsOf returns the records that a topic of the broker at addr holds now. It takes a minute at most.
func recordsOf(ctx context.Context, addr, topic string) ([]*kgo.Record, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", topic, err)
	}
	left := map[int32]bool{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = true
		}
	})
	var records []*kgo.Record
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("read %s: %w", topic, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			records = append(records, r)
			if end, _ := ends.Lookup(topic, r.Partition); r.Offset+1 >= end.Offset {
				delete(left, r.Partition)
			}
		})
	}
	return records, nil
}

// span is the time that a round took.
type span struct {
	what     string // calm, join, leave, kill or stop
	from, to time.Time
}

// pulse holds the times at which records were written, by partition, ms.
type pulse map[int32][]int64

func (p pulse) beat(partition int32, r *kgo.Record) {
	p[partition] = append(p[partition], r.Timestamp.UnixMilli())
}

// pause returns the longest gap of any partition in a span, less that partition's median gap, and
// the partition.
func (p pulse) pause(s span) (longest time.Duration, of int32) {
	for id, at := range p {
		slices.Sort(at)
		gaps, largest := []int64{0}, int64(0)
		for i := 1; i < len(at); i++ {
			gap := at[i] - at[i-1]
			gaps = append(gaps, gap)
			if middle := time.UnixMilli(at[i-1] + gap/2); !middle.Before(s.from) && middle.Before(s.to) {
				largest = max(largest, gap)
			}
		}
		slices.Sort(gaps)
		if d := time.Duration(largest-gaps[len(gaps)/2]) * time.Millisecond; d > longest {
			longest, of = d, id
		}
	}
	return longest, of
}

// beatConfig returns the config of processes that are fed with beats, and whose alerts go to pager.
func beatConfig(t testing.TB, pager *sinktest.PagerDuty) string {
	t.Helper()
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(rules, []byte(beatRules), 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`
metrics_partitions: 6
shards: 6
alert_shards: 4
windows:
  tiers:
  - {size: 1s, grace: 200ms, ttl: 1d}
  - {size: 2s, grace: 300ms, ttl: 1d}
rules: [%q]
notify:
  receivers:
  - {name: pager, match: {severity: page}, pagerduty: {routing_key: %q, url: %q, timeout: 5s}}
`, rules, pagerKey, pager.URL)
}

// checkBeats compares all windows with the oracle, and, by check, all notifications with the wanted transitions,
// which it returns.
func checkBeats(t testing.TB, pager *sinktest.PagerDuty, samples []schemas.Sample,
	check func(*sinktest.PagerDuty, map[string][]schemas.Transition) (int, error)) map[string][]schemas.Transition {
	t.Helper()
	want := transitionsOf(samples, 1000, 2000, 0)
	if len(want) != beatHosts/2 {
		t.Fatalf("%d alerts in the load, want %d", len(want), beatHosts/2)
	}
	enginetest.Eventually(t, 30*time.Second, "right notifications", func() error {
		_, err := check(pager, want)
		return err
	})
	enginetest.Eventually(t, 30*time.Second, "right windows", func() error {
		merged := windows.Merger{}
		for _, r := range readTopic(t, topics.Windows) {
			if err := merged.AddValues([][]byte{r.Value}); err != nil {
				return err
			}
		}
		return windowtest.Compare(merged.Windows(), windowtest.Oracle(samples, 1000, 2000))
	})
	return want
}

// pulses returns when route handed on records of each partition of metrics, and when windows of each
// partition of samples were emitted.
func pulses(t testing.TB) (routed, closed pulse) {
	t.Helper()
	metricsOf := map[string]int32{} // host to partition
	for _, r := range readTopic(t, topics.Metrics) {
		metricsOf[string(r.Key)] = r.Partition
	}
	routed, closed = pulse{}, pulse{}
	for _, r := range readTopic(t, topics.Samples) {
		if len(r.Key) > 0 { // not a tick
			routed.beat(metricsOf[string(r.Key)], r)
		}
	}
	for _, r := range readTopic(t, topics.Windows) {
		closed.beat(r.Partition, r)
	}
	if len(routed) != 6 || len(closed) != 6 {
		t.Fatalf("%d partitions of metrics and %d of samples moved, want 6 each", len(routed), len(closed))
	}
	return routed, closed
}

// TestRebalance: under load, a fourth process joins three others and leaves again, several times. No
// partition of metrics or of samples stands still for longer than promised, alerts come on time, and
// all windows and transitions are right.
func TestRebalance(t *testing.T) {
	enginetest.Reset(t, keyspace)
	pager := sinktest.NewPagerDuty(t, pagerKey)
	config := beatConfig(t, pager)
	for i := range 3 {
		enginetest.Run(t, fmt.Sprint(i), config, "--roles", rolesButAgent).Ready(t, time.Minute)
	}
	load := newFeed(t, beatEvery, beats)
	pass(t, 7*time.Second)
	spans := []span{{what: "calm", from: time.Now()}}
	pass(t, 4*time.Second)
	spans[0].to = time.Now()
	for i := range rebalances {
		join := span{what: "join", from: time.Now()}
		w := enginetest.Run(t, fmt.Sprintf("new %d", i), config, "--roles", rolesButAgent)
		w.Ready(t, time.Minute)
		t.Logf("ready after %v", time.Since(join.from).Round(time.Millisecond))
		pass(t, 3*time.Second)
		join.to = time.Now()
		leave := span{what: "leave", from: time.Now()}
		w.Stop(t, 30*time.Second)
		t.Logf("stopped after %v", time.Since(leave.from).Round(time.Millisecond))
		pass(t, 3*time.Second)
		leave.to = time.Now()
		spans = append(spans, join, leave)
	}
	load.stop(t)
	want := checkBeats(t, pager, load.samples, checkPager)
	routed, closed := pulses(t)
	paused, late := map[string][]time.Duration{}, map[string][]time.Duration{}
	for _, s := range spans {
		route, routeOf := routed.pause(s)
		window, windowOf := closed.pause(s)
		told, err := delays(t, pager, want, s.from, s.to)
		if err != nil || len(told) == 0 {
			t.Fatalf("%s: %d changes of alerts were told, %v", s.what, len(told), err)
		}
		t.Logf("%s, %v: metrics/%d stood still for %v, samples/%d for %v; %d changes of alerts were told, the slowest %v after its window",
			s.what, s.to.Sub(s.from).Round(time.Millisecond), routeOf, route, windowOf, window, len(told), slices.Max(told).Round(time.Millisecond))
		paused[s.what] = append(paused[s.what], max(route, window))
		late[s.what] = append(late[s.what], slices.Max(told))
	}
	for what, bound := range map[string]time.Duration{"join": joinPause, "leave": leavePause} {
		slices.Sort(paused[what])
		slices.Sort(late[what])
		pause, slowest := paused[what][rebalances/2], late[what][rebalances/2]
		t.Logf("%s: the median of the longest pauses is %v, of the slowest alerts %v", what, pause, slowest.Round(time.Millisecond))
		if pause > bound {
			t.Errorf("%s: a partition stood still for %v, want at most %v", what, paused[what], bound)
		}
		if slowest > usualDelay+bound {
			t.Errorf("%s: alerts came %v after their windows, want at most %v", what, late[what], usualDelay+bound)
		}
	}
}
