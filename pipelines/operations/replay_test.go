package operations

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-metrics/weir/collect"
	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/pipelines/pipelinetest"

	"github.com/weir-metrics/weir/schemas"
)

// takenSample is a sample as a gateway gets it.
type takenSample struct {
	MetricName string
	Tags       map[string]string
	Timestamp  int64
	Value      float64
}

// gatewayStub answers with the codes one after the other, then with 204, and keeps what
// it took.
type gatewayStub struct {
	mu    sync.Mutex
	codes []int
	got   []takenSample
}

func (g *gatewayStub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.codes) > 0 {
		code := g.codes[0]
		g.codes = g.codes[1:]
		if code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", "0")
		}
		w.WriteHeader(code)
		return
	}
	var samples []takenSample
	if err := json.NewDecoder(r.Body).Decode(&samples); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	g.got = append(g.got, samples...)
	w.WriteHeader(http.StatusNoContent)
}

func (g *gatewayStub) taken() []takenSample {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.got
}

func startStub(t *testing.T, codes ...int) (*gatewayStub, Destination) {
	t.Helper()
	g := &gatewayStub{codes: codes}
	s := httptest.NewServer(g)
	t.Cleanup(s.Close)
	return g, Destination{Gateway: s.URL}
}

func TestReplayMergesFilesAndWaitsForTheGateway(t *testing.T) {
	dir := t.TempDir()
	r := Replay{RecordedFiles: RecordedFiles{Files: []string{
		pipelinetest.Write(t, dir, "a.csv", "series,timestamp_ms,value\na{host=\"x\"},1000,1\na{host=\"x\"},3000,3\n"),
		pipelinetest.Write(t, dir, "b.csv", "timestamp,value\n1970-01-01 00:00:02,2\n"),
	}}}
	g, to := startStub(t, http.StatusTooManyRequests, http.StatusServiceUnavailable)
	var bar strings.Builder
	if err := r.Run(t.Context(), to, &bar); err != nil {
		t.Fatal(err)
	}
	got := g.taken()
	if len(got) != 3 || got[0].Tags["host"] != "x" || got[1].MetricName != "b" || got[1].Timestamp != 2000 || got[2].Value != 3 {
		t.Errorf("%+v", got)
	}
	if !strings.HasSuffix(bar.String(), "\n") || !strings.Contains(bar.String(), "] 100 %  3 samples") {
		t.Errorf("%q", bar.String())
	}
}

// TestReplayNow: the newest sample has the time of its sending.
func TestReplayNow(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		speed float64
		first time.Duration // how far the first sample is before the last
	}{{0, time.Second}, {100, time.Second}} {
		g, to := startStub(t)
		r := Replay{RecordedFiles: RecordedFiles{Files: []string{pipelinetest.Write(t, dir, "a.csv", "a,1000,1\na,2000,1\n")}}, Now: true, Speed: c.speed}
		if err := r.Run(t.Context(), to, io.Discard); err != nil {
			t.Fatal(err)
		}
		got := g.taken()
		if len(got) != 2 || got[1].Timestamp-got[0].Timestamp != c.first.Milliseconds() {
			t.Fatalf("%+v", got)
		}
		if age := time.Since(time.UnixMilli(got[1].Timestamp)); age < 0 || age > 5*time.Second {
			t.Errorf("speed %v: the last sample is %v old", c.speed, age)
		}
	}
}

func TestReplayTellsWhatWasRefused(t *testing.T) {
	dir := t.TempDir()
	_, to := startStub(t, http.StatusBadRequest)
	var told strings.Builder
	err := Replay{RecordedFiles: RecordedFiles{Files: []string{pipelinetest.Write(t, dir, "a.csv", "a,1000,1\na,x,1\na,2000,1\n")}}}.Run(t.Context(), to, &told)
	if !strings.Contains(told.String(), "2 samples were over 1d old") {
		t.Errorf("%q", told.String())
	}
	if err == nil || !strings.Contains(err.Error(), "rows that could not be read: 1, the first: ") || !strings.Contains(err.Error(), "a.csv: line 2: ") || !strings.Contains(err.Error(), "2 samples refused, the first: gateway: 400") {
		t.Error(err)
	}
}

// TestReplayTellsWhatIsNotKept: rows that are older than a tier keeps its windows are counted by tier.
func TestReplayTellsWhatIsNotKept(t *testing.T) {
	const day = 24 * 3600_000
	d := newDelivery(nil)
	now := int64(1_700_000_000_000)
	var samples []schemas.Sample
	for _, days := range []int64{0, 1, 2, 7, 8, 30, 31, 365, 366} {
		samples = append(samples, schemas.Sample{TimeMS: now - days*day})
	}
	d.count(samples, now)
	got := strings.Join(d.warnings(), "\n")
	for _, want := range []string{"7 samples were over 1d old", "5 of them were over 7d old: windows of 10s", "3 of them were over 30d old: windows of 1m", "1 of them were over 365d old: windows of 1h"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	d = newDelivery(nil)
	if d.count(samples[:2], now); len(d.warnings()) != 0 {
		t.Errorf("told of young samples: %v", d.warnings())
	}
}

// TestReplayHintsAtUnits: times in seconds are told.
func TestReplayHintsAtUnits(t *testing.T) {
	_, to := startStub(t)
	var told strings.Builder
	err := Replay{RecordedFiles: RecordedFiles{Files: []string{pipelinetest.Write(t, t.TempDir(), "s.csv", "a,1700000000,1\n")}}}.Run(t.Context(), to, &told)
	if err != nil || !strings.Contains(told.String(), "s.csv: 1 of 1 times, read as ms: it looks like seconds") {
		t.Errorf("%v %q", err, told.String())
	}
}

func TestReplayFaults(t *testing.T) {
	dir := t.TempDir()
	empty, good := pipelinetest.Write(t, dir, "empty.csv", ""), pipelinetest.Write(t, dir, "a.csv", "a,1000,1\n")
	_, to := startStub(t, http.StatusNotFound)
	for _, c := range []struct {
		name string
		r    Replay
		to   Destination
		want string
	}{
		{"missing file", Replay{RecordedFiles: RecordedFiles{Files: []string{dir + "/missing.csv"}}}, to, "missing.csv"},
		{"no samples", Replay{RecordedFiles: RecordedFiles{Files: []string{empty}}, Now: true}, to, "no samples"},
		{"no gateway", Replay{RecordedFiles: RecordedFiles{Files: []string{good}}}, Destination{Gateway: "ftp://x"}, "ftp://x"},
		{"another server", Replay{RecordedFiles: RecordedFiles{Files: []string{good}}}, to, "404"},
	} {
		if err := c.r.Run(t.Context(), c.to, io.Discard); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestRunAgent(t *testing.T) {
	g, to := startStub(t)
	config := collect.DefaultAgent()
	config.Interval, config.Host = conf.Duration(100*time.Millisecond), "test-host"
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- RunAgent(ctx, config, to, slog.New(slog.DiscardHandler)) }()
	for ctx.Err() == nil {
		if got := g.taken(); len(got) > 0 {
			if got[0].MetricName != "up" || got[0].Tags["host"] != "test-host" {
				t.Errorf("%+v", got[0])
			}
			break
		}
		<-time.After(10 * time.Millisecond)
	}
	stop()
	if err := <-done; err != nil || len(g.taken()) == 0 {
		t.Errorf("%d samples, %v", len(g.taken()), err)
	}
	config.Interval = 0
	if err := RunAgent(ctx, config, to, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "agent.interval") {
		t.Error(err)
	}
}
