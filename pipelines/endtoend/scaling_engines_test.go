//go:build engines

package endtoend

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/pipelines/enginetest"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/sinks/sinktest"
)

// The load of TestScaling: two metrics per host, four times a second.
const (
	scaleHosts   = 130
	scaleEveryMS = 250
	scaleSamples = 100_000 // the load has at least so many samples
)

// scaleTiers are the tiers of TestScaling, ms: small, so that a cut comes soon.
var scaleTiers = []int64{2_000, 4_000, 8_000}

const scaleRules = `
groups:
- name: fleet
  rules:
  - alert: hot
    expr: load > 80
    tier: 2s
    no_data: 45s
    labels: {severity: page}
    annotations: {summary: "{{ .Labels.host }} is hot"}
  - alert: busy
    expr: avg(work, "4s") > 50
    coverage: 0
    tier: 4s
    for: 16s
    no_data: 45s
    labels: {severity: page}
    annotations: {summary: "{{ .Labels.host }} is busy"}
`

// scaleLoad makes hosts hot and busy in turn, over whole windows. Some are hot all the time, and some
// are busy too briefly for an alert.
func scaleLoad(fromMS, toMS int64) (all []schemas.Sample) {
	for at := (fromMS + scaleEveryMS - 1) / scaleEveryMS * scaleEveryMS; at < toMS; at += scaleEveryMS {
		for h := range scaleHosts {
			load, work := float64(20+at/scaleEveryMS%20), float64(10+at/scaleEveryMS%17)
			if h%10 == 0 || (at/4_000+int64(h))%10 < 3 {
				load += 65
			}
			busy := int64(4)
			if h%3 == 0 {
				busy = 1
			}
			if (at/8_000+int64(h))%8 < busy {
				work += 60
			}
			all = append(all,
				schemas.Sample{Series: fleetSeries("load", h), TimeMS: at, Value: load},
				schemas.Sample{Series: fleetSeries("work", h), TimeMS: at, Value: work})
		}
	}
	return all
}

// command is a command of weir that may be killed.
type command struct {
	cmd  *exec.Cmd
	done chan error
	mu   sync.Mutex
	out  bytes.Buffer
}

func (c *command) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Write(b)
}

// said returns what the command has printed to its standard output.
func (c *command) said() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.String()
}

func launch(t testing.TB, args ...string) *command {
	t.Helper()
	c := &command{cmd: exec.Command(enginetest.Binary(t), args...), done: make(chan error, 1)}
	c.cmd.Stdout = c
	var progress bytes.Buffer
	c.cmd.Stderr = &progress
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		err := c.cmd.Wait()
		if err != nil {
			err = fmt.Errorf("%v: %w\n%s\n%s", args, err, c.said(), progress.String())
		}
		c.done <- err
		close(ended)
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill() // an error means that it has ended
		<-ended
	})
	return c
}

// until waits until the command has printed text.
func (c *command) until(t testing.TB, within time.Duration, text string) {
	t.Helper()
	enginetest.Eventually(t, within, fmt.Sprintf("output %q of weir", text), func() error {
		if said := c.said(); !strings.Contains(said, text) {
			return fmt.Errorf("it said %q", said)
		}
		return nil
	})
}

// kill ends the command with SIGKILL.
func (c *command) kill(t testing.TB) {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-c.done; err == nil {
		t.Fatalf("%v ended before it was killed: %s", c.cmd.Args, c.said())
	}
}

// ends waits until the command has ended with exit code 0.
func (c *command) ends(t testing.TB, within time.Duration) {
	t.Helper()
	select {
	case err := <-c.done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(within):
		t.Fatalf("%v did not end within %v: %s", c.cmd.Args, within, c.said())
	}
}

// partitions returns the number of partitions of each topic.
func partitions(t testing.TB, adm *kadm.Client) map[string]int {
	t.Helper()
	list, err := adm.ListTopics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for _, topic := range list.Sorted() {
		n[topic.Topic] = len(topic.Partitions)
	}
	return n
}

// grow does what kafka-topics --alter does.
func grow(t testing.TB, adm *kadm.Client, topic string, to int) {
	t.Helper()
	answers, err := adm.UpdatePartitions(t.Context(), to, topic)
	if err == nil {
		err = answers.Error()
	}
	if err != nil {
		t.Fatalf("grow %s to %d: %v", topic, to, err)
	}
}

// cutOf returns the cut that weir reshard has printed.
func cutOf(said string) (time.Time, error) {
	_, at, _ := strings.Cut(said, "takes the samples from ")
	at, _, _ = strings.Cut(at, "Z")
	return time.Parse(time.DateTime, at)
}

// splitWindows counts the windows of the largest tier that have rows of two generations, by their
// start.
func splitWindows(t testing.TB) map[string]int {
	t.Helper()
	type row struct {
		Metric, Series, TS string
		Part               int64
	}
	gens := map[row]map[int64]bool{}
	for _, r := range enginetest.Rows[row](t, fmt.Sprintf("SELECT JSON metric, series, ts, part FROM %s.metrics_%s",
		keyspace, schemas.TierName(scaleTiers[len(scaleTiers)-1]))) {
		gen := r.Part >> 40
		r.Part = 0
		if gens[r] == nil {
			gens[r] = map[int64]bool{}
		}
		gens[r][gen] = true
	}
	split := map[string]int{}
	for r, in := range gens {
		if len(in) > 1 {
			split[r.TS]++
		}
	}
	return split
}

// TestScaling changes the number of partitions in every way, under load, with three processes: metrics is
// altered; samples is altered by hand, which nobody should do; weir reshard, killed twice and run again,
// adds shards; and weir reshard --now removes some. No process is stopped. Every row, every transition and
// every event for PagerDuty is what a recompute of the samples gives, and each event comes once.
func TestScaling(t *testing.T) {
	enginetest.Reset(t, keyspace)
	pager := sinktest.NewPagerDuty(t, pagerKey)
	dir := t.TempDir()
	rules, file := filepath.Join(dir, "rules.yaml"), filepath.Join(dir, "weir.yaml")
	config := fmt.Sprintf(`
metrics_partitions: 3
shards: 4
alert_shards: 3
window: {flush: 3s}
windows:
  max_future: 1s
  tiers:
  - {size: 2s, grace: 2s, ttl: 1d}
  - {size: 4s, grace: 2s, ttl: 1d}
  - {size: 8s, grace: 2s, ttl: 1d}
rules: [%q]
notify:
  receivers:
  - {name: pager, match: {severity: page}, pagerduty: {routing_key: %q, url: %q, timeout: 5s}}
`, rules, pagerKey, pager.URL)
	for name, text := range map[string]string{rules: scaleRules, file: config} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var weirs []*enginetest.Weir
	for i := range 3 {
		weirs = append(weirs, enginetest.Run(t, fmt.Sprint(i), config, "--roles", rolesButAgent))
	}
	for _, w := range weirs {
		w.Ready(t, time.Minute)
	}
	adm, err := kadm.NewOptClient(kgo.SeedBrokers(enginetest.Kafka(t).Addr))
	if err != nil {
		t.Fatal(err)
	}
	defer adm.Close()
	began := time.Now()
	since := func() time.Duration { return time.Since(began).Round(time.Second) }
	load := newFeed(t, scaleEveryMS*time.Millisecond, scaleLoad)
	on := []string{"--config", file, "--brokers", enginetest.Kafka(t).Addr}
	reshard := func(shards int, more ...string) []string {
		return append(append([]string{"reshard", "--shards", fmt.Sprint(shards)}, on...), more...)
	}

	before := partitions(t, adm)
	said := enginetest.Command(t, reshard(6, "--dry-run")...)
	if !strings.Contains(said, "generation 1 of 6 shards would take the samples") || !strings.Contains(said, "nothing was changed") {
		t.Errorf("the dry run said %s", said)
	}
	if after := partitions(t, adm); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("the dry run changed the partitions from %v to %v", before, after)
	}
	if written := readTopic(t, topics.Generations); len(written) > 0 {
		t.Errorf("the dry run wrote a plan: %s", written[0].Value)
	}

	grow(t, adm, topics.Metrics, 6)
	grow(t, adm, topics.Samples, 7)
	up := launch(t, reshard(6)...)
	up.until(t, 30*time.Second, "generation 1 of 6 shards takes the samples from")
	up.kill(t)
	t.Logf("reshard killed after its plan, at %v", since())
	up = launch(t, reshard(6)...)
	for _, w := range weirs {
		enginetest.Eventually(t, 30*time.Second, "warning of weir "+w.Name+" that samples was altered", func() error {
			status, body, err := w.Get("/readyz")
			if err != nil {
				return err
			}
			if status != http.StatusOK || !strings.Contains(body, "samples has 7 partitions, 4 are on record") {
				return fmt.Errorf("/readyz: %d %s", status, body)
			}
			if extra, err := metric(w, "weir_topics_altered", `topic="samples"`); err != nil || extra != 3 {
				return fmt.Errorf("weir_topics_altered is %v, %v", extra, err)
			}
			return nil
		})
		if !strings.Contains(w.Log(t), "somebody altered") {
			t.Errorf("weir %s has not logged that samples was altered", w.Name)
		}
		if n, err := metric(w, "weir_pipelines_role_restarts_total"); err != nil || n > 0 {
			t.Errorf("weir %s: %v roles were restarted when samples was altered, %v", w.Name, n, err)
		}
	}
	if table := enginetest.Command(t, append([]string{"shards"}, on...)...); !strings.Contains(table, "samples has 3 partitions more than on record") {
		t.Errorf("weir shards does not report that samples was altered:\n%s", table)
	}
	t.Logf("every process reports that samples was altered, at %v", since())

	up.until(t, 2*time.Minute, "generation 0 is draining")
	up.kill(t)
	t.Logf("reshard killed while generation 0 drains, at %v", since())
	up = launch(t, reshard(6)...)
	up.ends(t, 2*time.Minute)
	t.Logf("6 shards at %v:\n%s", since(), up.said())
	for _, w := range weirs {
		enginetest.Eventually(t, 30*time.Second, "weir "+w.Name+" without warnings", func() error {
			if status, body, err := w.Get("/readyz"); err != nil || status != http.StatusOK || strings.Contains(body, "warnings") {
				return fmt.Errorf("/readyz: %d %s, %v", status, body, err)
			}
			return nil
		})
	}

	// The cut should come in the middle of a window of the largest tier: it is the first end of a window of the
	// tier below, 4 s, that is at least leadMS after the plan. If planning takes more than 3 s, the cut is the
	// end of a window of the largest tier, and no window is split.
	const leadMS, largest = 26_000, 8_000
	for at := int64(0); at < 100 || at > 1_000; at = (time.Now().UnixMilli() + leadMS) % largest {
		pass(t, 50*time.Millisecond)
	}
	down := launch(t, reshard(3, "--now")...)
	down.until(t, 2*time.Minute, "generation 1 is closed")
	t.Logf("3 shards at %v:\n%s", since(), down.said())
	load.stop(t)
	stopped := time.Now()
	want := transitionsOf(load.samples, scaleTiers[0], scaleTiers[1], 16*time.Second)
	if len(load.samples) < scaleSamples || len(want) != 2*scaleHosts {
		t.Fatalf("%d samples with %d alerts: too few to prove anything", len(load.samples), len(want))
	}
	twice := 0
	enginetest.Eventually(t, 40*time.Second, "right notifications", func() (err error) {
		twice, err = checkPager(pager, want)
		return err
	})
	if twice > 0 {
		t.Errorf("PagerDuty received %d repeated events", twice)
	}
	if err := checkAlerts(t, want); err != nil {
		t.Error(err)
	}
	events := len(pager.Events())
	t.Logf("%d samples; PagerDuty received %d events about %d alerts, all of them right %v after the last sample",
		len(load.samples), events, len(pager.Alerts()), time.Since(stopped).Round(time.Second))
	checkTiers(t, scaleTiers, "", load.samples, math.MaxInt64, time.Minute)
	down.ends(t, 2*time.Minute)
	t.Logf("all compared, and the reshard ended, at %v", since())

	cut, err := cutOf(down.said())
	if err != nil {
		t.Fatal(err)
	}
	wantSplit := map[string]int{}
	if at := cut.UnixMilli() % largest; at != 0 {
		start := cut.Add(-time.Duration(at) * time.Millisecond)
		wantSplit[start.Format("2006-01-02 15:04:05.000Z")] = 2 * scaleHosts
	}
	split := splitWindows(t)
	t.Logf("cut at %v; windows with rows of two generations, by their start: %v", cut, split)
	if !maps.Equal(split, wantSplit) {
		t.Errorf("windows with rows of two generations: %v, want %v", split, wantSplit)
	}
}
