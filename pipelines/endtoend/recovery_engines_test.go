//go:build engines

package endtoend

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/pipelines/enginetest"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/windows"
	"github.com/weir-metrics/weir/windows/windowtest"
)

// A million series, on the number of shards of a large cluster.
const (
	millionGroups  = 10_000
	millionMetrics = 100 // per group
	millionShards  = 96
	compareOneIn   = 100 // one group in so many is compared with the oracle

	localWithin     = 5 * time.Second
	changelogWithin = 60 * time.Second
	// takeoverWithin allows for Kafka's session of the killed process, and for the recovery of half of the shards.
	takeoverWithin = 10*time.Second + changelogWithin/2
)

// million sends samples of a million series straight to the topic samples, a round at a time, and
// remembers their times.
type million struct {
	client *kgo.Client
	rounds [][]int64 // times of the samples, ms, by round and group
	sent   int64     // records sent so far
}

func newMillion(t testing.TB) *million {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(enginetest.Kafka(t).Addr), kgo.DefaultProduceTopic(topics.Samples),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(2000))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &million{client: client}
}

func millionSample(round, g, metric int, timeMS int64) schemas.Sample {
	return schemas.Sample{TimeMS: timeMS, Value: float64((round*104729+g*31+metric*7919)%100_000) * 1.1,
		Series: schemas.Series{Metric: fmt.Sprint("system.metric_", metric), Labels: schemas.Labels{
			{Name: "env", Value: "prod"}, {Name: "host", Value: fmt.Sprint("web", g)}, {Name: "region", Value: "eu-west-1"}, {Name: "service", Value: "shop"}}}}
}

// round sends a current sample of each series.
func (m *million) round(t testing.TB) {
	t.Helper()
	times := make([]int64, millionGroups)
	m.rounds = append(m.rounds, times)
	m.send(t, func(g int, add func(schemas.Sample)) {
		times[g] = time.Now().UnixMilli()
		for metric := range millionMetrics {
			add(millionSample(len(m.rounds)-1, g, metric, times[g]))
		}
	})
}

// close closes the windows of each group that end before atMS, by sending it a sample of atMS.
func (m *million) close(t testing.TB, atMS int64) {
	t.Helper()
	m.send(t, func(g int, add func(schemas.Sample)) { add(millionSample(len(m.rounds), g, 0, atMS)) })
}

// send sends a record for each group and returns when Kafka has acknowledged them all.
func (m *million) send(t testing.TB, each func(g int, add func(schemas.Sample))) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	acks := make(chan error, millionGroups)
	for g := range millionGroups {
		var b schemas.BatchBuilder
		m.sent++
		b.Begin(schemas.Origin{Epoch: 1, Offset: m.sent}, 0)
		each(g, func(s schemas.Sample) { b.Add(&s.Series, s.Series.Hash(), s.TimeMS, s.Value) })
		key := []byte(fmt.Sprint("web", g))
		m.client.Produce(ctx, &kgo.Record{Key: key, Value: b.AppendTo(nil), Partition: schemas.Shard(key, millionShards)},
			func(_ *kgo.Record, err error) { acks <- err })
	}
	for range millionGroups {
		if err := <-acks; err != nil {
			t.Fatal(err)
		}
	}
}

// check checks the windows that start before endMS: for all series, how many samples they count; for
// some groups, everything, against the oracle.
func (m *million) check(t testing.TB, endMS int64) {
	t.Helper()
	var samples []schemas.Sample
	for r, times := range m.rounds {
		for g := 0; g < millionGroups; g += compareOneIn {
			for metric := range millionMetrics {
				samples = append(samples, millionSample(r, g, metric, times[g]))
			}
		}
	}
	cfg := windows.Default()
	tiers := cfg.TiersMS()
	newest := map[int64][]int64{} // start of the newest window of each series, by tier
	count := map[int64]int64{}
	for _, tier := range tiers {
		newest[tier] = make([]int64, millionGroups*millionMetrics)
	}
	var got []schemas.Window
	emitted, repeated := 0, 0
	m.emitted(t, func(g int, w *schemas.Window) {
		if w.StartMS >= endMS {
			return
		}
		if w.Revision != 0 || w.Part != 0 {
			t.Fatalf("a late or revised window: %+v", w)
		}
		metric, err := strconv.Atoi(strings.TrimPrefix(w.Series.Metric, "system.metric_"))
		if err != nil {
			t.Fatal(err)
		}
		last := &newest[w.TierMS][g*millionMetrics+metric]
		if w.StartMS <= *last { // emitted again after the kill
			repeated++
			return
		}
		*last = w.StartMS
		emitted++
		count[w.TierMS] += int64(w.Count)
		if g%compareOneIn == 0 {
			got = append(got, *w)
		}
	})
	for _, tier := range tiers {
		if want := int64(len(m.rounds) * millionGroups * millionMetrics); count[tier] != want {
			t.Errorf("the windows of tier %s count %d samples, want %d", schemas.TierName(tier), count[tier], want)
		}
	}
	want := windowtest.Oracle(samples, tiers...)
	if err := windowtest.Compare(got, want); err != nil {
		t.Error(err)
	}
	t.Logf("%d windows count each of %d samples once per tier; %d windows of %d groups match the oracle; %d were emitted again",
		emitted, len(m.rounds)*millionGroups*millionMetrics, len(want), millionGroups/compareOneIn, repeated)
}

// emitted calls do for each window in the topic windows; those of a group come in order.
func (m *million) emitted(t testing.TB, do func(g int, w *schemas.Window)) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(enginetest.Kafka(t).Addr), kgo.ConsumeTopics(topics.Windows),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topics.Windows)
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
		if err := fetches.Err0(); err != nil {
			t.Fatal(err)
		}
		for _, r := range fetches.Records() {
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			b, err := schemas.DecodeWindowBatch(r.Value)
			if err != nil {
				t.Fatal(err)
			}
			g, err := strconv.Atoi(strings.TrimPrefix(string(r.Key), "web"))
			if err != nil {
				t.Fatal(err)
			}
			for i := range b.Windows {
				do(g, &b.Windows[i])
			}
		}
	}
}

// tableBytes returns the size of the changelog on the broker's disk.
func (m *million) tableBytes(t testing.TB) int64 {
	t.Helper()
	dirs, err := kadm.NewClient(m.client).DescribeAllLogDirs(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	size := int64(0)
	dirs.Each(func(d kadm.DescribedLogDir) {
		for _, p := range d.Topics[topics.WindowTable] {
			size += p.Size
		}
	})
	return size
}

// awaitCounted waits until processes have counted n samples together since they were started.
func awaitCounted(t testing.TB, n int, weirs ...*enginetest.Weir) {
	t.Helper()
	enginetest.Eventually(t, time.Minute, "samples counted", func() error {
		sum := 0.0
		for _, w := range weirs {
			got, err := metric(w, "weir_window_samples_total")
			if err != nil {
				return err
			}
			sum += got
		}
		if int(sum) < n {
			return fmt.Errorf("%.0f of %d", sum, n)
		}
		return nil
	})
}

// awaitCheckpoint waits until a process has written back everything that it has counted so far.
func awaitCheckpoint(t testing.TB, w *enginetest.Weir) {
	t.Helper()
	first := -1.0
	enginetest.Eventually(t, time.Minute, "checkpoint", func() error {
		n, err := metric(w, "weir_writeback_checkpoints_total")
		if first < 0 {
			first = n
		}
		if err == nil && n < first+2 { // the first may have begun before
			err = fmt.Errorf("%.0f checkpoints, there were %.0f before", n, first)
		}
		return err
	})
}

// restart starts the process and returns how long it takes to be ready, and what /readyz reports about the
// recovery meanwhile.
func restart(t testing.TB, w *enginetest.Weir, within time.Duration) (took time.Duration, said []string) {
	t.Helper()
	began := time.Now()
	w.Start(t)
	for {
		status, body, err := w.Get("/readyz")
		took = time.Since(began)
		switch {
		case err == nil && status == http.StatusOK:
			return took, said
		case took > within:
			t.Fatalf("not ready %v after its start: %d %s %v", took, status, body, err)
		case err == nil && status != http.StatusServiceUnavailable:
			t.Fatalf("/readyz: %d %s", status, body)
		case strings.Contains(body, "recovering "+topics.WindowTable) && (len(said) == 0 || said[len(said)-1] != body):
			said = append(said, body)
		}
		pass(t, 20*time.Millisecond)
	}
}

// TestRecovery restarts a process that has the state of a million series, with its local store and
// without it; and it kills the process when a second one can take over. Recovery is fast and needs no more
// memory than the process had used before, and every window is exact.
func TestRecovery(t *testing.T) {
	enginetest.Reset(t, keyspace)
	config := fmt.Sprintf("shards: %d\nwindow: {flush: 5s}\nwindows: {max_future: 4h, max_lead: 4h}\n", millionShards)
	weir := enginetest.Run(t, "first", config, "--roles", "window")
	weir.Ready(t, time.Minute)
	m := newMillion(t)
	per := millionGroups * millionMetrics
	tell := func(what string, took time.Duration) {
		load, err := os.ReadFile("/proc/loadavg")
		if err != nil {
			t.Fatal(err)
		}
		rss, peak := weir.Memory(t)
		t.Logf("%s after %v: RSS %d MB, at most %d MB; changelog %d MB on disk; load %s", what, took.Round(time.Millisecond),
			rss>>20, peak>>20, m.tableBytes(t)>>20, strings.Fields(string(load))[0])
	}
	began := time.Now()
	m.round(t)
	m.round(t)
	awaitCounted(t, 2*per, weir)
	awaitCheckpoint(t, weir)
	// The peak, here as below: RSS at any one moment depends on garbage collection.
	_, loaded := weir.Memory(t)
	tell("2 samples of a million series are counted and flushed", time.Since(began))
	// The best of three, because a shared machine may be slow for a moment, and garbage may be
	// collected late.
	recovers := func(from string, within time.Duration, prepare func()) (said []string) {
		t.Helper()
		fastest, least := time.Hour, int64(math.MaxInt64)
		for try := 0; try < 3 && (fastest > within || least > loaded); try++ {
			weir.Stop(t, 30*time.Second)
			prepare()
			var took time.Duration
			took, said = restart(t, weir, 2*time.Minute)
			tell("ready from "+from, took)
			_, peak := weir.Memory(t)
			fastest, least = min(fastest, took), min(least, peak)
		}
		if fastest > within {
			t.Errorf("recovery from %s took %v, want at most %v", from, fastest, within)
		}
		if least > loaded {
			t.Errorf("recovery from %s used at least %d bytes in each try; the process that built the state had used %d", from, least, loaded)
		}
		return said
	}
	recovers("the local store", localWithin, func() {})
	m.round(t)
	awaitCounted(t, per, weir)
	// A third round can open a third window of each series, which the first two need not have
	// had on a fast machine: what is recovered next is compared with the process that has it.
	awaitCheckpoint(t, weir)
	_, more := weir.Memory(t)
	loaded = max(loaded, more)
	tell("a third sample is counted and flushed", time.Since(began))
	said := recovers("the changelog alone", changelogWithin, func() {
		if err := os.RemoveAll(weir.Data); err != nil {
			t.Fatal(err)
		}
	})
	if len(said) < 3 {
		t.Errorf("/readyz did not report progress: %q", said)
	} else {
		t.Logf("/readyz reported progress %d times, such as %s", len(said), said[len(said)/2])
	}
	m.round(t)
	awaitCounted(t, per, weir)

	other := enginetest.Run(t, "second", config, "--roles", "window")
	enginetest.Eventually(t, time.Minute, "half of the shards", func() error { return recovered(t, other, millionShards/2) })
	other.Ready(t, time.Minute)
	weir.Kill(t)
	began = time.Now()
	enginetest.Eventually(t, time.Minute, "all of the shards", func() error { return recovered(t, other, millionShards) })
	took := time.Since(began)
	t.Logf("half of the shards were taken over %v after their owner was killed", took.Round(time.Millisecond))
	if took > takeoverWithin {
		t.Errorf("the takeover took %v, want at most %v", took, takeoverWithin)
	}
	m.round(t)
	const hourMS = 3_600_000
	endMS := time.Now().UnixMilli()/hourMS*hourMS + hourMS
	m.close(t, endMS+hourMS)
	m.awaitCommitted(t)
	m.check(t, endMS)
}

// recovered returns nil once the process has logged that it has recovered that many partitions.
func recovered(t testing.TB, w *enginetest.Weir, partitions int) error {
	log := w.Log(t)
	if !strings.Contains(log, fmt.Sprintf("msg=recovered group=%s partitions=%d ", topics.WindowConsumerGroup, partitions)) {
		return fmt.Errorf("its log does not report %d recovered partitions", partitions)
	}
	return nil
}

// awaitCommitted waits until every record that samples holds now is processed and committed.
func (m *million) awaitCommitted(t testing.TB) {
	t.Helper()
	adm := kadm.NewClient(m.client)
	ends, err := adm.ListEndOffsets(t.Context(), topics.Samples)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	enginetest.Eventually(t, time.Minute, "committed samples", func() error {
		committed, err := adm.FetchOffsets(t.Context(), topics.WindowConsumerGroup)
		if err != nil {
			return err
		}
		left := int64(0)
		ends.Each(func(end kadm.ListedOffset) {
			at, _ := committed.Lookup(end.Topic, end.Partition)
			left += max(0, end.Offset-at.At)
		})
		if left > 0 {
			err = fmt.Errorf("%d records to go", left)
		}
		return err
	})
}
