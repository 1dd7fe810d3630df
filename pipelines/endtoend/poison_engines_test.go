//go:build engines

package endtoend

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/pipelines/enginetest"
	"github.com/weir-metrics/weir/schemas/consume"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/sinks/sinktest"
)

const (
	// poisonMemory is the most resident memory that a process with all roles may use, bytes.
	poisonMemory = 1300 << 20
	// poisonDelay is how long after its window an alert may come while poison arrives.
	poisonDelay = usualDelay + 3500*time.Millisecond
)

// TestPoison: every topic and table receives rubbish, records that are cut, foreign, empty, null or huge, bombs and
// aborted transactions, while weir runs and while it is down; in between weir is killed and stopped. The windows and
// pages of hosts on all partitions are exact and in time, every piece of poison is counted or dead-lettered, memory stays
// bounded, and no role fails.
func TestPoison(t *testing.T) {
	enginetest.Reset(t, keyspace)
	pager := sinktest.NewPagerDuty(t, pagerKey)
	w := enginetest.Run(t, "poisoned", beatConfig(t, pager), "--roles", rolesButAgent)
	w.Ready(t, time.Minute)
	load := newFeed(t, beatEvery, beats)
	pass(t, 6*time.Second)
	p := newPoisoner(t)

	w.Kill(t)
	p.all(0, false)
	w.Start(t)
	w.Ready(t, time.Minute)
	p.check(w, "poison that was there at the start")

	calm := time.Now()
	p.all(1, true)
	quiet := time.Now()
	pass(t, poisonDelay)
	w.Ready(t, 5*time.Second)
	p.check(w, "poison that came while it ran")

	p.count(w)
	w.Stop(t, 30*time.Second)
	p.all(2, false)
	w.Start(t)
	w.Ready(t, time.Minute)
	p.check(w, "poison that came while it was down")
	pass(t, 3*time.Second)
	load.stop(t)
	t.Log(enginetest.Command(t, "shards", "--brokers", enginetest.Kafka(t).Addr))
	enginetest.Eventually(t, 30*time.Second, "complete count of the poison", func() error {
		sums := maps.Clone(p.sums)
		defer func() { p.sums = sums }()
		p.count(w)
		return p.counted()
	})
	p.count(w)
	p.letters()

	want := transitionsOf(load.samples, 1000, 2000, 0)
	if len(want) != beatHosts/2 {
		t.Fatalf("%d alerts in the load, want %d", len(want), beatHosts/2)
	}
	enginetest.Eventually(t, 30*time.Second, "right notifications", func() error {
		_, err := checkPager(pager, want)
		return err
	})
	checkTiers(t, []int64{1000, 2000}, "", load.samples, time.Now().Add(time.Hour).UnixMilli(), 45*time.Second)
	told, err := delays(t, pager, want, calm, quiet)
	if err != nil || len(told) == 0 {
		t.Fatalf("%d changes of alerts were told while poison arrived, %v", len(told), err)
	}
	t.Logf("%d changes of alerts were told while poison arrived, the slowest %v after its window", len(told), slices.Max(told).Round(time.Millisecond))
	if slowest := slices.Max(told); slowest > poisonDelay {
		t.Errorf("an alert came %v after its window, want at most %v", slowest, poisonDelay)
	}
}

// check checks how much memory the process used at most, and that no role has failed.
func (p *poisoner) check(w *enginetest.Weir, when string) {
	p.t.Helper()
	rss, peak := w.Memory(p.t)
	restarts, err := metric(w, "weir_pipelines_role_restarts_total")
	if err != nil {
		p.t.Fatal(err)
	}
	_, ready, err := w.Get("/readyz")
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Logf("%s: %d MB resident, at most %d; %g roles failed; %.1000s", when, rss>>20, peak>>20, restarts, ready)
	if peak > poisonMemory {
		p.t.Errorf("%s: %d MB were resident, want at most %d", when, peak>>20, poisonMemory>>20)
	}
	if restarts > 0 {
		p.t.Errorf("%s: %g roles failed", when, restarts)
	}
}

// count adds up the counters of a process that is about to end.
func (p *poisoner) count(w *enginetest.Weir) {
	p.t.Helper()
	status, body, err := w.Get("/metrics")
	if err != nil || status != http.StatusOK {
		p.t.Fatalf("/metrics: %d %v", status, err)
	}
	for line := range strings.Lines(body) {
		at := strings.LastIndexByte(line, ' ')
		if at < 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if n, err := strconv.ParseFloat(strings.TrimSpace(line[at:]), 64); err == nil {
			p.sums[line[:at]] += n
		}
	}
}

// lettered lists the topics whose poison is dead-lettered.
var lettered = []string{topics.Metrics, topics.Samples, topics.Windows, topics.Conditions, topics.Alerts}

// of returns how many records of poison a topic took, of the kinds that count.
func (p *poisoner) of(topic string, counts func(what string) bool) (n float64) {
	for at, what := range p.taken {
		if at.topic == topic && counts(what) {
			n++
		}
	}
	return n
}

// sum adds up the counters whose name and labels contain all of the parts.
func (p *poisoner) sum(parts ...string) (n float64) {
	for name, v := range p.sums {
		if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(name, part) }) {
			n += v
		}
	}
	return n
}

// counted compares the counters with the poison that the broker took: they must be equal for topics that are read once,
// and at least as high for topics that are read anew at each start.
func (p *poisoner) counted() error {
	any := func(string) bool { return true }
	// A tombstone is not poison. The bombs of a topic share a key, so compaction keeps one of them.
	refused := func(what string) bool { return what != "null" && what != "a bomb" }
	bombless := func(what string) bool { return what != "a bomb" }
	bad := p.sum("weir_writeback_bad_ticks_total", "weir-window")
	badOfAlert := p.sum("weir_writeback_bad_ticks_total", "weir-alert")
	keys := p.sum("weir_writeback_lost_values_total", "weir-window", `"key"`)
	keysOfAlert := p.sum("weir_writeback_lost_values_total", "weir-alert", `"key"`)
	var wrong []error
	for _, c := range []struct {
		topic     string
		got, want float64
		exact     bool
	}{
		{topics.Metrics, p.sum("weir_route_refused_total"), p.of(topics.Metrics, any), true},
		{topics.Samples, p.sum("weir_window_undecodable_records_total") + bad + keys, p.of(topics.Samples, any), true},
		{topics.Conditions, p.sum("weir_alert_refused_records_total") + badOfAlert + keysOfAlert, p.of(topics.Conditions, any), true},
		{topics.Windows, p.sum("weir_store_deadletters_total"), p.of(topics.Windows, any), true},
		{topics.Alerts, p.sum("weir_notify_undecodable_total", `"alerts"`), p.of(topics.Alerts, refused), false},
		{topics.NotificationLog, p.sum("weir_notify_undecodable_total", `"notification-log"`), p.of(topics.NotificationLog, refused), false},
		{topics.Generations, p.sum("weir_window_refused_generations_total"), p.of(topics.Generations, bombless), false},
		{topics.Generations, p.sum("weir_route_refused_generations_total"), p.of(topics.Generations, bombless), false},
		// The tables are read at each start, and keep one record per key; progress and members are read from their end.
		{topics.WindowTable, p.sum("weir_writeback_lost_values_total", "weir-window", "undecodable"), float64(len(p.small(topics.WindowTable))), false},
		{topics.AlertTable, p.sum("weir_writeback_lost_values_total", "weir-alert", "undecodable"), float64(len(p.small(topics.AlertTable))), false},
		{topics.Progress, p.sum("weir_progress_undecodable_records_total"), float64(len(p.small(topics.Progress))), false},
		{topics.Members, p.sum("weir_members_undecodable_records_total"), float64(len(p.small(topics.Members))), false},
	} {
		if c.got < c.want || c.exact && c.got != c.want {
			wrong = append(wrong, fmt.Errorf("%s: %g of %g records were counted", c.topic, c.got, c.want))
		}
	}
	for reader, topic := range map[string]string{"route": topics.Metrics, "store": topics.Windows, "weir-window": topics.Samples, "weir-alert": topics.Conditions} {
		if got := p.sum("weir_unread_batches_total", fmt.Sprintf("reader=%q", reader), fmt.Sprintf("topic=%q", topic)); got < float64(p.bombed[topic]) {
			wrong = append(wrong, fmt.Errorf("%s: %s skipped %g of %d batches", topic, reader, got, p.bombed[topic]))
		}
	}
	return errors.Join(wrong...)
}

// letters checks that each record of poison in a lettered topic has a letter, or was counted as dropped because there were
// too many bytes, and that no letter is too large.
func (p *poisoner) letters() {
	p.t.Helper()
	found := map[origin]bool{}
	cut := map[string]int{}
	deadLetters(p.t, func(r *kgo.Record) {
		of := map[string]string{}
		for _, h := range r.Headers {
			of[h.Key] = string(h.Value)
		}
		part, err1 := strconv.ParseInt(of[topics.HeaderPartition], 10, 32)
		offset, err2 := strconv.ParseInt(of[topics.HeaderOffset], 10, 64)
		if err1 != nil || err2 != nil {
			return // poison of deadletter itself
		}
		at := origin{of[topics.HeaderTopic], int32(part), offset}
		found[at] = true
		if len(r.Key)+len(r.Value) > topics.MaxLetterBytes {
			p.t.Errorf("the letter for %v has %d bytes", at, len(r.Key)+len(r.Value))
		}
		if what := p.taken[at]; strings.Contains(of[topics.HeaderCut], "value=") {
			cut[at.topic+": "+what]++
		}
	})
	missing := map[string]int{}
	n, small := 0, 0
	for at, what := range p.taken {
		if slices.Contains(lettered, at.topic) && !found[at] && !(at.topic == topics.Alerts && (what == "null" || what == "a bomb")) {
			missing[at.topic+": "+what]++
			n++
			if !strings.HasSuffix(what, "B") {
				small++
			}
		}
	}
	dropped := p.sum("weir_deadletter_dropped_total")
	p.t.Logf("%d letters; %g dropped, because there were too many bytes: %v; cut to size: %v; the broker refused %v", len(found), dropped, missing, cut, p.refused)
	if float64(n) > dropped || small > 0 {
		p.t.Errorf("%d records of poison have no letter, %d of them small, and %g letters were dropped", n, small, dropped)
	}
	for _, topic := range lettered {
		if cut[topic+": 1.1 MB"] == 0 {
			p.t.Errorf("the letter for 1.1 MB in %s was not cut to size", topic)
		}
	}
}

// deadLetters calls f for each letter.
func deadLetters(t *testing.T, f func(*kgo.Record)) {
	t.Helper()
	cl, err := consume.New(consume.Watch{}, kgo.SeedBrokers(enginetest.Kafka(t).Addr), kgo.ConsumeTopics(topics.DeadLetter),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords())
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ends, err := kadm.NewClient(cl.Client).ListEndOffsets(ctx, topics.DeadLetter)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(fmt.Errorf("%d partitions of letters are not read: %w", len(left), err))
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				f(r)
			}
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
}
