package query

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/sinks"
)

// slowStore answers when its context ends, or when the test releases it.
type slowStore struct {
	*fakeStore
	running, ended atomic.Int64
	most           atomic.Int64
	letGo          chan struct{}
}

func (s *slowStore) ReadWindows(ctx context.Context, source string, series schemas.Series, tierMS, fromMS, toMS int64, limit int) ([]schemas.Window, error) {
	n := s.running.Add(1)
	defer s.running.Add(-1)
	for most := s.most.Load(); n > most && !s.most.CompareAndSwap(most, n); most = s.most.Load() {
	}
	select {
	case <-ctx.Done():
		s.ended.Add(1)
		return nil, ctx.Err()
	case <-s.letGo:
		return s.fakeStore.ReadWindows(ctx, source, series, tierMS, fromMS, toMS, limit)
	}
}

// bounded serves a store over HTTP with a config.
func bounded(t *testing.T, cfg Config, store sinks.TierStore) (*httptest.Server, *prometheus.Registry, *api) {
	t.Helper()
	reg := prometheus.NewRegistry()
	log := slog.New(slog.DiscardHandler)
	a := newAPI(Deps{Config: cfg, Store: store, Live: NewLive(cfg, nil, reg, log), Tiers: testTiers(),
		GroupLabels: schemas.GroupLabels, Host: "web01", Registry: reg, Log: log}, func() time.Time { return time.UnixMilli(nowMS) })
	server := httptest.NewUnstartedServer(a.handler())
	server.Config.ConnState = func(c net.Conn, state http.ConnState) {
		if state == http.StateNew { // like the listener, so that the kernel does not buffer a whole answer
			_ = c.(*net.TCPConn).SetWriteBuffer(64 << 10)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	return server, reg, a
}

// TestHungUpClientsEndTheirScans: at most max_scans scans run at once, others wait, and a scan ends when its client hangs up.
func TestHungUpClientsEndTheirScans(t *testing.T) {
	cfg := Default()
	cfg.MaxScans, cfg.MaxScansPerClient = 4, 4
	store := &slowStore{fakeStore: newFakeStore(), letGo: make(chan struct{})}
	server, _, a := bounded(t, cfg, store)
	ctx, hangUp := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 24 {
		wg.Go(func() {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/api/v1/windows?series=m", nil)
			if err != nil {
				t.Error(err)
				return
			}
			if resp, err := http.DefaultClient.Do(r); err == nil {
				resp.Body.Close()
			}
		})
	}
	kafkatest.Eventually(t, "four scans and twenty that wait", func() bool {
		a.gate.mu.Lock()
		defer a.gate.mu.Unlock()
		return store.running.Load() == 4 && len(a.gate.queue) == 20
	})
	hangUp()
	wg.Wait()
	kafkatest.Eventually(t, "nothing runs or waits", func() bool {
		a.gate.mu.Lock()
		defer a.gate.mu.Unlock()
		return store.running.Load() == 0 && len(a.gate.queue) == 0 && a.gate.all == 0
	})
	if store.most.Load() > 4 {
		t.Errorf("%d scans at once", store.most.Load())
	}
	close(store.letGo)
	resp, err := http.Get(server.URL + "/api/v1/windows?series=m")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("afterwards: %s", resp.Status)
	}
}

// TestScansWaitTheirTurn: a scan waits for at most queue_timeout, and the client with the fewest scans goes first.
func TestScansWaitTheirTurn(t *testing.T) {
	cfg := Default()
	cfg.MaxScans, cfg.MaxScansPerClient, cfg.QueueTimeout = 2, 1, conf.Duration(100*time.Millisecond)
	store := &slowStore{fakeStore: newFakeStore(), letGo: make(chan struct{})}
	server, _, a := bounded(t, cfg, store)
	leaveFlood, err := a.gate.enter(t.Context(), "flood")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.gate.enter(t.Context(), "flood"); !errors.Is(err, errBusy) {
		t.Errorf("a second scan of one client: %v", err)
	}
	leave, err := a.gate.enter(t.Context(), "other")
	if err != nil {
		t.Fatalf("another client: %v", err)
	}
	resp, err := http.Get(server.URL + "/api/v1/series")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || !strings.Contains(string(body), "query.max_scans") {
		t.Errorf("%s %s", resp.Status, body)
	}
	leave()
	leaveFlood()
	a.gate.mu.Lock()
	defer a.gate.mu.Unlock()
	a.gate.running, a.gate.all = map[string]int{"flood": 0}, 1
	first, second := &waiter{"flood", make(chan struct{})}, &waiter{"honest", make(chan struct{})}
	a.gate.mostOfClient = 2
	a.gate.running["flood"] = 1
	a.gate.queue = []*waiter{first, second}
	a.gate.letIn()
	select {
	case <-second.turn:
	default:
		t.Error("the client that has a scan went first")
	}
}

// TestAnswersAreBoundedInBytes: lists are cut into pages; for an array that does not fit, the error tells what would.
func TestAnswersAreBoundedInBytes(t *testing.T) {
	cfg := Default()
	cfg.MaxAnswerBytes = 64 << 10
	store := newFakeStore()
	const series = 60
	for i := range series {
		s := mkSeries(t, fmt.Sprintf(`m{i="%03d",x="%s"}`, i, strings.Repeat("é\x01", 1000)))
		for k := range int64(3) {
			store.add(mkWindow(s, 10*second, nowMS-minute+k*10*second, 1))
		}
	}
	f := newFixture(t)
	f.api.Config, f.api.Store = cfg, store
	seen, pages, after := map[string]bool{}, 0, ""
	for {
		rec := f.get(t, "/api/v1/series?after="+url.QueryEscape(after))
		page := decode[seriesPage](t, rec)
		pages++
		if rec.Body.Len() > cfg.MaxAnswerBytes+1000 {
			t.Fatalf("a page of %d bytes", rec.Body.Len())
		}
		for _, s := range page.Series {
			if seen[s.Series] {
				t.Fatal("a series twice")
			}
			seen[s.Series] = true
		}
		if after = page.After; after == "" || pages > series {
			break
		}
	}
	if len(seen) != series || pages < 5 {
		t.Errorf("%d series on %d pages", len(seen), pages)
	}
	windows, pages, next := 0, 0, ""
	for {
		rec := f.get(t, "/metrics/m?nextCursor="+next)
		page := decode[metricsPage](t, rec)
		if pages++; rec.Body.Len() > cfg.MaxAnswerBytes+50_000 { // the cursor contains a series
			t.Fatalf("a page of %d bytes", rec.Body.Len())
		}
		windows += len(page.Metrics)
		if next = page.NextCursor; next == "" || pages > 3*series {
			break
		}
	}
	if windows != 3*series || pages < 10 {
		t.Errorf("%d windows on %d pages", windows, pages)
	}
	long := mkSeries(t, `long{x="`+strings.Repeat("y", 4000)+`"}`)
	for k := range int64(100) {
		store.add(mkWindow(long, 10*second, nowMS-hour+k*10*second, 1))
	}
	rec := f.get(t, "/api/v1/windows?series="+url.QueryEscape(long.String()))
	if rec.Code != 400 || !strings.Contains(rec.Body.String(), "ask for at most 14, or for a shorter range") {
		t.Errorf("%d %.300s", rec.Code, rec.Body)
	}
	if rec = f.get(t, "/api/v1/windows?limit=14&series="+url.QueryEscape(long.String())); rec.Code != 200 || rec.Body.Len() > cfg.MaxAnswerBytes {
		t.Errorf("%d, %d bytes", rec.Code, rec.Body.Len())
	}
	for i := range 30 {
		f.live.apply(&schemas.Alert{Fingerprint: fmt.Sprint(i), State: schemas.Firing, Annotations: map[string]string{"a": strings.Repeat("x", 5000)}}, nowMS)
	}
	rec = f.get(t, "/api/v1/alerts")
	if list := decode[alertsAnswer](t, rec); rec.Body.Len() > cfg.MaxAnswerBytes+1000 || len(list.Data.Alerts) == 0 || list.Data.Total != 30 {
		t.Errorf("%d bytes, %d alerts of %d", rec.Body.Len(), len(list.Data.Alerts), list.Data.Total)
	}
}

// TestAnswersThatNobodyReads: clients that do not read their answers hold a bounded number of bytes. They are cut off when others
// need room, so that everybody else gets an answer.
func TestAnswersThatNobodyReads(t *testing.T) {
	cfg := Default()
	cfg.MaxHeldBytes = 8 << 20
	cfg.WriteTimeout = conf.Duration(time.Minute) // it depends on the needs of others, not on time
	cfg.QueueTimeout = conf.Duration(30 * time.Second)
	store := newFakeStore()
	long := mkSeries(t, `long{x="`+strings.Repeat("y", 700)+`"}`)
	for k := range int64(4000) {
		store.add(mkWindow(long, 10*second, nowMS-4001*10*second+k*10*second, 1))
	}
	server, reg, a := bounded(t, cfg, store)
	path := fmt.Sprintf("/api/v1/windows?tier=10s&limit=4000&from=%d&series=%s", nowMS-5000*10*second, url.QueryEscape(long.String()))
	for range 12 {
		conn, err := (&net.Dialer{}).Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.(*net.TCPConn).SetReadBuffer(4096)
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
	}
	kafkatest.Eventually(t, "the room is taken", func() bool {
		a.answers.mu.Lock()
		defer a.answers.mu.Unlock()
		return a.answers.held > cfg.MaxHeldBytes/2
	})
	for range 3 {
		resp, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 200 || err != nil || n < 3<<20 {
			t.Fatalf("an honest client gets %s, %d bytes: %v", resp.Status, n, err)
		}
		a.answers.mu.Lock()
		if a.answers.held > cfg.MaxHeldBytes {
			t.Errorf("%d bytes are held", a.answers.held)
		}
		a.answers.mu.Unlock()
	}
	if metric(t, reg, "weir_query_cut_total", "") == 0 {
		t.Error("nobody was cut off")
	}
}

// TestTimesInOtherUnits: times in other units get a hint instead of an empty list.
func TestTimesInOtherUnits(t *testing.T) {
	f := newFixture(t)
	for value, want := range map[string]string{
		"1700000000": "looks like seconds: 1700000000000 would be", "1700000000.5": "looks like seconds: 1700000000500 would be", "1.7e9": "looks like seconds",
		"1700000000000000": "looks like microseconds: 1700000000000 would be", "1700000000000000000": "looks like nanoseconds: 1700000000000 would be",
		"-1": "must be from 0", "NaN": "must be milliseconds", "Inf": "must be milliseconds", "1e400": "must be milliseconds", "9223372036854775808": "must be milliseconds", "": "",
		"0": "", "86400000": "", "1970-02-01T00:00:00Z": "", "1799999999000": "",
	} {
		for _, path := range []string{"/metrics/m?startTimestamp=", "/api/v1/windows?series=m&from="} {
			rec := f.get(t, path+url.QueryEscape(value))
			if want == "" && rec.Code != 200 || want != "" && (rec.Code != 400 || !strings.Contains(rec.Body.String(), want)) {
				t.Errorf("%s%s: %d %s", path, value, rec.Code, rec.Body)
			}
		}
	}
}

func TestConfigFaults(t *testing.T) {
	var section struct {
		Query Config `yaml:"query"`
	}
	section.Query = Default()
	d := conf.Parse("weir.yaml", []byte(`query: {max_scans: 0, max_scans_per_client: 9, queue_timeout: 0s, timeout: 1h, max_answer_bytes: 1, max_held_bytes: 1, write_timeout: 1ms, max_streams: 0, max_streams_per_client: 0, live_buffer_bytes: 0}`), &section)
	section.Query.Validate("query", d)
	for _, field := range []string{"max_scans: \"0\"", "max_scans_per_client: \"9\"", "queue_timeout", "timeout: \"1h\"", "max_answer_bytes", "max_held_bytes", "write_timeout", "max_streams: ", "max_streams_per_client", "live_buffer_bytes"} {
		if !strings.Contains(fmt.Sprint(d.Err()), "query."+field) {
			t.Errorf("no fault of %s in\n%v", field, d.Err())
		}
	}
	c := Default()
	d = conf.Parse("", nil, &struct{}{})
	if c.Validate("query", d); d.Err() != nil {
		t.Error(d.Err())
	}
}
