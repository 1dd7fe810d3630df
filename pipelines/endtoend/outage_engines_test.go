//go:build engines

package endtoend

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-metrics/weir/collect"
	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/pipelines/enginetest"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/sinks/sinktest"
)

const (
	kafkaOutage = time.Minute
	// ackTimeout is how long the gateway waits for Kafka's acknowledgement.
	ackTimeout = 2 * time.Second
	// agentsBack is how long the agents may take to send what they kept, once Kafka is back: a pause, an
	// attempt that fails while weir is still finding Kafka again, and another pause.
	agentsBack = 20 * time.Second
)

// live is a fleet that sends current samples, every second, in order.
type live struct {
	hosts, metrics int
	hot            func(h int, at time.Time) bool

	stopped chan struct{}
	failed  chan error
	samples []schemas.Sample // read it after stop
}

// begin starts to send, until stop.
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

// stop ends the sending and closes every window. Windows that start before endMS can be compared.
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

// reader makes the readings of an agent and keeps them.
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

// TestKafkaOutage stops Kafka. The gateway answers 503 with Retry-After, agents keep what they
// read, and nothing that they read is lost.
func TestKafkaOutage(t *testing.T) {
	enginetest.Reset(t, keyspace)
	pager := sinktest.NewPagerDuty(t, pagerKey)
	evidence(t, pager)
	weir := enginetest.Run(t, "all", fleetConfig(t, pager, fmt.Sprintf("collect: {ack_timeout: %s}\n", ackTimeout)), "--roles", rolesButAgent)
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
		agent := collect.NewAgent(config, collect.AgentDeps{Read: r.read, Send: send, Registry: reg, Log: slog.New(slog.DiscardHandler)})
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

	rss := func() float64 {
		v, err := metric(weir, "process_resident_memory_bytes")
		if err != nil || v == 0 {
			t.Fatalf("RSS %v: %v", v, err)
		}
		return v
	}
	before := rss()
	enginetest.Kafka(t).Stop(t)
	down := time.Now()
	sentBefore, asked := 0.0, 0
	for ; time.Since(down) < kafkaOutage; pass(t, 3*time.Second) {
		began := time.Now()
		body := fmt.Sprintf(`{"metricName": "asked", "tags": {"host": %q}, "timestamp": %d, "value": 1}`, hostName(hosts), down.UnixMilli())
		resp, err := http.Post(weir.URL+"/api/v1/samples", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		answer, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if asked == 0 { // by now, earlier requests have been answered, too
			t.Logf("without Kafka: %s, Retry-After %q, after %v: %s", resp.Status, resp.Header.Get("Retry-After"), time.Since(began).Round(time.Millisecond), answer)
			sentBefore = count("weir_collect_agent_sent_samples_total")
		}
		asked++
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") != "1" || time.Since(began) > 2*ackTimeout {
			t.Errorf("%v without Kafka: the gateway answers %s, Retry-After %q, after %v, want 503, 1, and %v at most",
				time.Since(down).Round(time.Second), resp.Status, resp.Header.Get("Retry-After"), time.Since(began), 2*ackTimeout)
		}
	}
	buffered := count("weir_collect_agent_buffered_bytes")
	if sent := count("weir_collect_agent_sent_samples_total"); sent != sentBefore || buffered < 1000 {
		t.Errorf("during the outage %v samples were sent, and %v bytes are buffered; want 0, and at least 1000", sent-sentBefore, buffered)
	}
	after := rss()
	t.Logf("asked %d times; RSS %.0f MB before and %.0f MB after %v", asked, before/1e6, after/1e6, time.Since(down).Round(time.Second))
	if asked < 5 || after > before+outageBytes {
		t.Errorf("asked %d times; RSS grew from %.0f to %.0f bytes, want at most %d more", asked, before, after, outageBytes)
	}
	enginetest.Kafka(t).Start(t)
	up := time.Now()
	for _, r := range readers {
		r.quiet()
	}
	enginetest.Eventually(t, time.Minute, "agents that have sent everything", func() error {
		if read, sent := count("weir_collect_agent_read_samples_total"), count("weir_collect_agent_sent_samples_total"); read != sent {
			return fmt.Errorf("%v read, %v sent", read, sent)
		}
		return nil
	})
	took := time.Since(up)
	t.Logf("the agents had kept %v bytes, and sent them within %v of Kafka's start", buffered, took.Round(100*time.Millisecond))
	if took > agentsBack {
		t.Errorf("the agents took %v to send what they had kept, want at most %v", took, agentsBack)
	}
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
	closed := closeThroughGateway(t, weir, hosts, endMS+hourMS)
	// The gateway may have written the sample that it answered 503 for.
	checkRowsBut(t, "asked", all, endMS, time.Minute)
	closed()
}

// closeThroughGateway closes all windows that end before atMS: it sends samples for each host, at atMS or just after it, until
// stop. One sample would not do, because a batch that waited behind the backlog of an outage does not move its host's clock.
// The samples go through the gateway so that they come after those that went through it before.
func closeThroughGateway(t testing.TB, weir *enginetest.Weir, hosts int, atMS int64) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		tick := time.NewTicker(2 * time.Second)
		defer tick.Stop()
		var failed error
		for i := int64(0); ; i++ {
			for h := range hosts {
				body := fmt.Sprintf(`{"metricName": "load", "tags": {"host": %q}, "timestamp": %d, "value": 1}`, hostName(h), atMS+i)
				resp, err := http.Post(weir.URL+"/api/v1/samples", "application/json", strings.NewReader(body))
				switch {
				case err != nil:
					failed = err
				case resp.StatusCode/100 != 2: // the next one will do
					failed = fmt.Errorf("the gateway answers %s", resp.Status)
				}
				if err == nil {
					resp.Body.Close()
				}
			}
			select {
			case <-ctx.Done():
				ended <- failed
				return
			case <-tick.C:
			}
		}
	}()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Log("closing windows:", err)
		}
	}
}
