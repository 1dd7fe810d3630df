//go:build engines

package pipelines_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"weir/collect"
	"weir/pipelines/enginetest"
	"weir/processors/store"
	"weir/schemas"
	"weir/schemas/conf"
	"weir/sinks/sinktest"
)

const (
	storageOutage = 45 * time.Second
	kafkaOutage   = 20 * time.Second

	// alertWithin is how long after a window's end its alert must have arrived: the
	// grace of 2 s, a second until the next sample, and what a loaded machine takes.
	alertWithin = 8 * time.Second
	// storeInFlight is what store may hold of what it cannot write, in records.
	storeInFlight = 16
	// outageBytes is by how much a process may grow while it cannot write.
	outageBytes = 64 << 20
)

// live is a fleet that sends samples of now, every second, in order.
type live struct {
	hosts, metrics int
	hot            func(h int, at time.Time) bool

	stopped chan struct{}
	failed  chan error
	samples []schemas.Sample // read it after stop
}

// begin sends until stop.
func (l *live) begin(t testing.TB) {
	p := publisher(t)
	l.stopped, l.failed = make(chan struct{}), make(chan error, 1)
	go func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-l.stopped:
				l.failed <- nil
				return
			case <-tick.C:
			}
			reading := l.read(time.Now(), n)
			l.samples = append(l.samples, reading...)
			if err := publish(t.Context(), p, reading); err != nil {
				l.failed <- err
				return
			}
		}
	}()
}

func (l *live) read(at time.Time, n int) []schemas.Sample {
	var all []schemas.Sample
	for h := range l.hosts {
		load := float64(20 + n%20)
		if l.hot(h, at) {
			load += 65
		}
		all = append(all, schemas.Sample{Series: fleetSeries("load", h), TimeMS: at.UnixMilli(), Value: load})
		for m := 1; m < l.metrics; m++ {
			all = append(all, schemas.Sample{
				Series: fleetSeries(fmt.Sprintf("metric%02d", m), h), TimeMS: at.UnixMilli(), Value: float64(n*m%977) + 0.25,
			})
		}
	}
	return all
}

// stop ends the sending, closes every window and returns the time, ms, before
// which all that start are to be compared.
func (l *live) stop(t testing.TB) (endMS int64) {
	t.Helper()
	close(l.stopped)
	if err := <-l.failed; err != nil {
		t.Fatal(err)
	}
	const hourMS = 3_600_000
	now := time.Now().UnixMilli()
	endMS = now - now%hourMS + hourMS
	if err := closeFleet(t.Context(), publisher(t), l.hosts, endMS+hourMS); err != nil {
		t.Fatal(err)
	}
	return endMS
}

// delays is how long after the end of the window each trigger that arrived in
// [from, to) came.
func delays(t testing.TB, pager *sinktest.PagerDuty, from, to time.Time) []time.Duration {
	t.Helper()
	var all []time.Duration
	events := pager.Events()
	for i, r := range slices.DeleteFunc(pager.Requests(), func(r sinktest.Request) bool { return !r.Taken }) {
		at, err := time.Parse(time.RFC3339Nano, events[i].Payload.Timestamp)
		if err != nil {
			t.Fatal(err)
		}
		if events[i].Action == "trigger" && !r.At.Before(from) && r.At.Before(to) {
			all = append(all, r.At.Sub(at))
		}
	}
	return all
}

// TestStorageOutage stops Cassandra under load. Alerts come on time meanwhile,
// weir does not grow, Kafka holds what cannot be written, and every row is there afterwards.
func TestStorageOutage(t *testing.T) {
	enginetest.Reset(t, keyspace)
	pager := sinktest.NewPagerDuty(t, pagerKey)
	weir := enginetest.Run(t, "all", fleetConfig(t, pager, fmt.Sprintf("store: {in_flight: %d}\n", storeInFlight)), "--roles", rolesButAgent)
	weir.Ready(t, time.Minute)
	began := time.Now()
	load := &live{hosts: 100, metrics: 20, hot: func(h int, at time.Time) bool {
		return at.Sub(began) > time.Duration(5+h)*time.Second // another host each second
	}}
	load.begin(t)

	value := func(name string) float64 {
		v, err := metric(weir, name)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	admin, err := kadm.NewOptClient(kgo.SeedBrokers(enginetest.Kafka(t).Addr))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	behind := func() float64 {
		lags, err := admin.Lag(t.Context(), store.Group)
		if err == nil {
			err = lags.Error()
		}
		if err != nil {
			t.Fatal(err)
		}
		return float64(lags[store.Group].Lag.Total())
	}
	var rssBefore, rss, held, lag float64
	watch := func(d time.Duration, peak *float64) {
		for end := time.Now().Add(d); time.Now().Before(end); pass(t, 500*time.Millisecond) {
			*peak = max(*peak, value("process_resident_memory_bytes"))
			held, lag = max(held, value("weir_store_in_flight_records")), max(lag, behind())
		}
	}
	watch(20*time.Second, &rssBefore)
	if rssBefore == 0 {
		t.Fatal("no process_resident_memory_bytes")
	}
	lagBefore := lag
	held, lag = 0, 0
	enginetest.Cassandra(t).Kill(t)
	down := time.Now()
	watch(storageOutage, &rss)
	up := time.Now()
	heldDown, lagDown := held, lag
	enginetest.Cassandra(t).Start(t)
	watch(5*time.Second, &rss)
	endMS := load.stop(t)

	during := delays(t, pager, down.Add(alertWithin), up)
	if len(during) < 20 {
		t.Fatalf("%d alerts fired in %v without the store, want about one a second", len(during), storageOutage)
	}
	slowest := slices.Max(during)
	t.Logf("%d alerts fired without the store, the slowest %v after its window", len(during), slowest.Round(time.Millisecond))
	if slowest > alertWithin {
		t.Errorf("an alert came %v after its window, want at most %v", slowest, alertWithin)
	}
	t.Logf("RSS: at most %.0f MB before, %.0f MB in and after the outage; store held %v records, and was %v behind before and %v in it",
		rssBefore/1e6, rss/1e6, heldDown, lagBefore, lagDown)
	if rss > rssBefore+outageBytes {
		t.Errorf("RSS grew from %.0f to %.0f bytes, more than %d", rssBefore, rss, outageBytes)
	}
	if heldDown > storeInFlight {
		t.Errorf("store held %v records, its in_flight is %d", heldDown, storeInFlight)
	}
	if lagDown < 10*storeInFlight {
		t.Errorf("store was %v records behind in the outage: nothing was held up", lagDown)
	}
	checkRows(t, load.samples, endMS, time.Minute)
	want := transitions(load.samples)
	enginetest.Eventually(t, 30*time.Second, "right notifications", func() error {
		_, err := checkPager(pager, want)
		return err
	})
}

// reader makes an agent's readings and keeps them.
type reader struct {
	host    int
	mu      sync.Mutex
	samples []schemas.Sample
	done    bool // no more readings
}

func (r *reader) quiet() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done = true
}

func (r *reader) read(_ context.Context, now time.Time) ([]schemas.Sample, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var reading []schemas.Sample
	if r.done {
		return nil, nil
	}
	for m := range 10 {
		reading = append(reading, schemas.Sample{
			Series: fleetSeries(fmt.Sprintf("metric%02d", m), r.host), TimeMS: now.UnixMilli(), Value: float64(len(r.samples)%991) + 0.5,
		})
	}
	r.samples = append(r.samples, reading...)
	return reading, nil
}

// TestKafkaOutage stops Kafka. The gateway says 503 and when to come back, agents
// keep what they read, and nothing of it is lost in the end.
func TestKafkaOutage(t *testing.T) {
	enginetest.Reset(t, keyspace)
	pager := sinktest.NewPagerDuty(t, pagerKey)
	weir := enginetest.Run(t, "all", fleetConfig(t, pager, "collect: {ack_timeout: 2s}\n"), "--roles", rolesButAgent)
	weir.Ready(t, time.Minute)

	const hosts = 5
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var agents sync.WaitGroup
	var readers []*reader
	var counts []*prometheus.Registry
	for h := range hosts {
		send, err := collect.NewGatewaySender(weir.URL)
		if err != nil {
			t.Fatal(err)
		}
		r, reg := &reader{host: h}, prometheus.NewRegistry()
		readers, counts = append(readers, r), append(counts, reg)
		config := collect.DefaultAgent()
		config.Interval = conf.Duration(500 * time.Millisecond)
		agent := collect.NewAgent(config, r.read, send, reg, slog.New(slog.DiscardHandler))
		agents.Go(func() {
			if err := agent.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	count := func(name string) (sum float64) {
		for _, reg := range counts {
			families, err := reg.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range families {
				for _, m := range f.Metric {
					if f.GetName() == name {
						sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
					}
				}
			}
		}
		return sum
	}
	enginetest.Eventually(t, time.Minute, "samples sent", func() error {
		if n := count("weir_collect_agent_sent_samples_total"); n < 500 {
			return fmt.Errorf("%v sent", n)
		}
		return nil
	})

	enginetest.Kafka(t).Stop(t)
	down := time.Now()
	body := fmt.Sprintf(`{"metricName": "asked", "tags": {"host": %q}, "timestamp": %d, "value": 1}`, hostName(hosts), down.UnixMilli())
	resp, err := http.Post(weir.URL+"/api/v1/samples", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	t.Logf("without Kafka: %s, Retry-After %q, after %v: %s", resp.Status, resp.Header.Get("Retry-After"), time.Since(down).Round(time.Millisecond), answer)
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("the gateway answers %s, Retry-After %q, want 503 and a time", resp.Status, resp.Header.Get("Retry-After"))
	}
	sentBefore := count("weir_collect_agent_sent_samples_total")
	pass(t, kafkaOutage-time.Since(down))
	buffered := count("weir_collect_agent_buffered_bytes")
	if sent := count("weir_collect_agent_sent_samples_total"); sent != sentBefore || buffered < 1000 {
		t.Errorf("in the outage %v samples were sent, %v bytes are buffered", sent-sentBefore, buffered)
	}
	enginetest.Kafka(t).Start(t)
	up := time.Now()
	for _, r := range readers {
		r.quiet()
	}
	enginetest.Eventually(t, time.Minute, "agents that have sent what they kept", func() error {
		if read, sent := count("weir_collect_agent_read_samples_total"), count("weir_collect_agent_sent_samples_total"); read != sent {
			return fmt.Errorf("%v read, %v sent", read, sent)
		}
		return nil
	})
	t.Logf("the agents kept %v bytes, and have sent them %v after the start", buffered, time.Since(up).Round(time.Second))
	if dropped := count("weir_collect_agent_dropped_samples_total"); dropped > 0 {
		t.Errorf("the agents dropped %v samples", dropped)
	}
	weir.Ready(t, time.Minute)
	stop()
	agents.Wait()
	var all []schemas.Sample
	for _, r := range readers {
		all = append(all, r.samples...)
	}
	const hourMS = 3_600_000
	now := time.Now().UnixMilli()
	endMS := now - now%hourMS + hourMS
	if err := closeFleet(t.Context(), publisher(t), hosts, endMS+hourMS); err != nil {
		t.Fatal(err)
	}
	// The gateway may have written the sample that it answered 503 for.
	checkRowsBut(t, "asked", all, endMS, time.Minute)
}
