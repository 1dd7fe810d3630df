package query

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
)

func newCluster(t testing.TB) *kfake.Cluster {
	t.Helper()
	c := kafkatest.Cluster(t, kfake.SeedTopics(2, topics.Windows, topics.Alerts))
	return c
}

func produce(t testing.TB, c *kfake.Cluster, records ...*kgo.Record) {
	t.Helper()
	cl := kafkatest.Client(t, c.ListenAddrs(), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err := cl.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func windowRecord(ws ...schemas.Window) *kgo.Record {
	group := schemas.GroupOf(ws[0].Series, schemas.GroupLabels)
	value := schemas.AppendWindowBatch(nil, &schemas.WindowBatch{Group: group, Windows: ws})
	return &kgo.Record{Topic: topics.Windows, Key: []byte(group), Value: value}
}

func alertRecord(a *schemas.Alert) *kgo.Record {
	return &kgo.Record{Topic: topics.Alerts, Key: []byte(a.Fingerprint), Value: schemas.EncodeDoc(a)}
}

// startLive runs a Live until the test ends and waits until it is ready.
func startLive(t testing.TB, c *kfake.Cluster, reg prometheus.Registerer) *Live {
	t.Helper()
	brokers := []kgo.Opt{
		kgo.SeedBrokers(c.ListenAddrs()...),
		// A tenth of what Live asks for: new partitions are found sooner.
		kgo.MetadataMaxAge(metadataAge / 10), kgo.MetadataMinAge(metadataAge / 20),
	}
	l := NewLive(Default(), brokers, reg, slog.New(slog.NewTextHandler(t.Output(), nil)))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Live.Run: %v", err)
		}
	})
	kafkatest.Eventually(t, "Live ready", l.Ready)
	return l
}

// events reads the server-sent events of a stream.
type events struct {
	t    testing.TB
	body io.ReadCloser
	text *bufio.Scanner
}

// follow opens a live stream, and returns when it is subscribed.
func follow(t testing.TB, base, query string) *events {
	t.Helper()
	resp, err := http.Get(base + "/live" + query)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("GET /live%s: %s, %s", query, resp.Status, resp.Header.Get("Content-Type"))
	}
	e := &events{t, resp.Body, bufio.NewScanner(resp.Body)}
	if !e.text.Scan() || e.text.Text() != "retry: 2000" {
		t.Fatalf("stream begins with %q", e.text.Text())
	}
	return e
}

// next returns the next event and its data. ok is false if the stream has ended.
func (e *events) next() (kind, data string, ok bool) {
	for e.text.Scan() {
		line := e.text.Text()
		switch {
		case strings.HasPrefix(line, "event: "):
			kind = strings.TrimPrefix(line, "event: ")
		case strings.HasPrefix(line, "data: "):
			data = strings.TrimPrefix(line, "data: ")
		case line == "" && kind != "":
			return kind, data, true
		}
	}
	return "", "", false
}

func (e *events) window() windowBody {
	e.t.Helper()
	kind, data, ok := e.next()
	var w windowBody
	if err := json.Unmarshal([]byte(data), &w); !ok || kind != "window" || err != nil {
		e.t.Fatalf("event %q %q: %v, want a window", kind, data, err)
	}
	return w
}

func (e *events) alert() alertBody {
	e.t.Helper()
	kind, data, ok := e.next()
	var a alertBody
	if err := json.Unmarshal([]byte(data), &a); !ok || kind != "alert" || err != nil {
		e.t.Fatalf("event %q %q: %v, want an alert", kind, data, err)
	}
	return a
}

// serve serves the API with a Live that runs on the cluster. The registry has the metrics.
func serve(t testing.TB, c *kfake.Cluster) (*httptest.Server, *Live, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewRegistry()
	live := startLive(t, c, reg)
	server := httptest.NewServer(New(Deps{
		Config: Default(), Store: newFakeStore(), Live: live, Tiers: testTiers(), GroupLabels: schemas.GroupLabels, Host: "web01",
		Registry: reg, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}))
	t.Cleanup(server.Close)
	t.Cleanup(live.hub.close)
	return server, live, reg
}

// metric adds up the samples of a metric that have a label value.
func metric(t testing.TB, reg *prometheus.Registry, name, labelValue string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		for _, m := range f.GetMetric() {
			has := labelValue == ""
			for _, l := range m.GetLabel() {
				has = has || l.GetValue() == labelValue
			}
			if f.GetName() == name && has {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func TestLiveStreamsWhatIsAskedFor(t *testing.T) {
	c := newCluster(t)
	a, b := mkSeries(t, `cpu.usage{host="a",path="x\n\ndata: y"}`), mkSeries(t, `load1{host="a"}`)
	produce(t, c, windowRecord(mkWindow(a, 10*second, nowMS-minute, 99))) // before Live runs: not live
	server, live, reg := serve(t, c)
	bySeries := follow(t, server.URL, "?series="+url.QueryEscape(`cpu.usage{path="x\n\ndata: y",host="a"}`))
	byMetric := follow(t, server.URL, "?metric=load1")
	both := follow(t, server.URL, "?series=load1%7Bhost%3D%22a%22%7D&series="+url.QueryEscape(a.String()))
	alertsOnly := follow(t, server.URL, "?only=alerts")
	byTier := follow(t, server.URL, "?tier=1m")
	all := follow(t, server.URL, "")

	late := mkWindow(a, 10*second, nowMS+10*second, 3)
	late.Part, late.Revision = schemas.NewPart(0, 7), 2
	produce(t, c, windowRecord(mkWindow(a, 10*second, nowMS, 1), mkWindow(b, minute, nowMS, 2), late))
	produce(t, c, alertRecord(&schemas.Alert{Fingerprint: "f1", State: schemas.Firing, Last: schemas.Transition{To: schemas.Firing, AtMS: 5}}))

	for name, w := range map[string]windowBody{"series": bySeries.window(), "all": all.window()} {
		if want := (windowBody{
			Series: `cpu.usage{host="a",path="x\n\ndata: y"}`, Tier: "10s", StartMS: nowMS, EndMS: nowMS + 10*second,
			aggregateBody: aggregateBody{Count: 2, Sum: 2, Min: 0, Max: 2, First: 0, Last: 2},
		}); w != want {
			t.Errorf("by %s: got %+v, want %+v", name, w, want)
		}
	}
	if w := all.window(); w.Series != `load1{host="a"}` || w.Tier != "1m" {
		t.Errorf("second of all: %+v", w)
	}
	for name, w := range map[string]windowBody{"series": bySeries.window(), "all": all.window()} {
		if w.Part != late.Part || w.Revision != 2 {
			t.Errorf("late partial by %s: %+v", name, w)
		}
	}
	for name, e := range map[string]*events{"metric": byMetric, "tier": byTier} {
		if w := e.window(); w.Series != `load1{host="a"}` || w.Tier != "1m" {
			t.Errorf("by %s: %+v", name, w)
		}
	}
	for _, e := range []*events{bySeries, byMetric, byTier, alertsOnly, all} {
		if got := e.alert(); got.Fingerprint != "f1" || got.State != schemas.Firing {
			t.Errorf("alert %+v", got)
		}
	}
	for range 3 {
		if w := both.window(); !strings.Contains(w.Series, `host="a"`) {
			t.Errorf("of two series: %+v", w)
		}
	}
	if n := metric(t, reg, "weir_query_live_streams", ""); n != 6 {
		t.Errorf("%v open streams, want 6", n)
	}
	if n := metric(t, reg, "weir_query_live_events_total", "window"); n != 10 {
		t.Errorf("%v windows handed out, want 10", n)
	}
	all.body.Close()
	kafkatest.Eventually(t, "a stream whose client left is given up", func() bool {
		return metric(t, reg, "weir_query_live_streams", "") == 5
	})
	live.hub.close()
	if kind, _, _ := both.next(); kind != "alert" {
		t.Errorf("last event %q of two series", kind)
	}
	for _, e := range []*events{bySeries, byMetric, byTier, both, alertsOnly} {
		if kind, data, ok := e.next(); ok {
			t.Errorf("event %q %q after the end", kind, data)
		}
	}
	resp, err := http.Get(server.URL + "/live")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("GET /live after the end: %s, want 503", resp.Status)
	}
	if n := metric(t, reg, "weir_query_live_dropped_total", ""); n != 0 {
		t.Errorf("%v streams counted as slow, want 0", n)
	}
}

func TestLiveKeepsTheAlertsView(t *testing.T) {
	c := newCluster(t)
	alert := func(name string, state schemas.AlertState, atMS int64) *kgo.Record {
		return alertRecord(&schemas.Alert{Fingerprint: name, State: state, LastMS: atMS, Last: schemas.Transition{To: state, AtMS: atMS}})
	}
	gone := alert("gone", schemas.Pending, 1)
	tombstone := &kgo.Record{Topic: topics.Alerts, Key: []byte("gone")}
	canary := alertRecord(&schemas.Alert{Fingerprint: "canary", Rule: schemas.CanaryRule, State: schemas.Firing, Last: schemas.Transition{To: schemas.Firing}})
	produce(t, c, alert("a", schemas.Pending, 1), alert("a", schemas.Firing, 2), alert("b", schemas.Firing, 1), gone, tombstone, canary,
		&kgo.Record{Topic: topics.Alerts, Key: []byte("bad"), Value: []byte("\x01{")})
	server, live, reg := serve(t, c)
	states := func() map[string]schemas.AlertState {
		m := map[string]schemas.AlertState{}
		for _, a := range live.Alerts(time.Now().UnixMilli()) {
			m[a.Fingerprint] = a.State
		}
		return m
	}
	// Ready means that everything has been read.
	if got := states(); len(got) != 2 || got["a"] != schemas.Firing || got["b"] != schemas.Firing {
		t.Fatalf("view %v, want a and b firing", got)
	}
	if n := metric(t, reg, "weir_query_live_undecodable_total", topics.Alerts); n != 1 {
		t.Errorf("%v undecodable alerts, want 1", n)
	}
	stream := follow(t, server.URL, "")
	// An update that is not a transition changes the view, but is not streamed.
	update := &schemas.Alert{Fingerprint: "b", State: schemas.Firing, Value: 5, LastMS: 9, Last: schemas.Transition{To: schemas.Firing, AtMS: 1}}
	produce(t, c, alertRecord(update), alert("a", schemas.Resolved, 3), alert("b", schemas.Inactive, 9))
	if got := stream.alert(); got.Fingerprint != "a" || got.State != schemas.Resolved {
		t.Errorf("first transition %+v, want a resolved", got)
	}
	if got := stream.alert(); got.Fingerprint != "b" || got.State != schemas.Inactive {
		t.Errorf("second transition %+v, want b inactive", got)
	}
	if got := states(); len(got) != 1 || got["a"] != schemas.Resolved {
		t.Errorf("view %v, want a resolved alone", got)
	}
	if got := live.Alerts(time.Now().UnixMilli() + resolvedFor + minute); len(got) != 0 {
		t.Errorf("an hour later the view still holds %d", len(got))
	}
}

// TestLiveFindsNewPartitions: a partition that is added while Live runs is streamed from its first record.
func TestLiveFindsNewPartitions(t *testing.T) {
	c := newCluster(t)
	server, _, _ := serve(t, c)
	stream := follow(t, server.URL, "")
	cl := kafkatest.Client(t, c.ListenAddrs())
	if _, err := kadm.NewClient(cl).UpdatePartitions(t.Context(), 3, topics.Windows); err != nil {
		t.Fatal(err)
	}
	r := windowRecord(mkWindow(mkSeries(t, "m"), 10*second, nowMS, 4))
	r.Partition = 2
	produce(t, c, r)
	if w := stream.window(); w.Series != "m" || w.Sum != 8 {
		t.Errorf("window of the new partition: %+v", w)
	}
}

// subscribed opens a stream of the hub for a client.
func subscribed(t testing.TB, h *hub, f filter, client string) *stream {
	t.Helper()
	s, err := h.subscribe(f, client, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// taken returns what a reader gets until there is nothing more.
func taken(t testing.TB, h *hub, s *stream) string {
	t.Helper()
	var all []byte
	for {
		data, err := h.take(s)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) == 0 {
			return string(all)
		}
		all = append(all, slices.Concat(data...)...)
	}
}

// TestSlowStreamsShareAndLoseTheOldest: readers that take nothing share the memory of events, and are told how much they lost. A
// quick reader gets everything.
func TestSlowStreamsShareAndLoseTheOldest(t *testing.T) {
	f := newFixture(t)
	hub := f.live.hub
	hub.limits.LiveBufferBytes = 1 << 20
	var slow []*stream
	for range 200 {
		slow = append(slow, subscribed(t, hub, filter{}, "slow"))
	}
	quick := subscribed(t, hub, filter{}, "quick")
	w := mkWindow(mkSeries(t, `m{x="`+strings.Repeat("y", 4000)+`"}`), 10*second, nowMS, 1)
	const events = 2 * maxPending
	got := 0
	for range events {
		hub.windows([]schemas.Window{w})
		got += strings.Count(taken(t, hub, quick), "event: window")
	}
	if got != events {
		t.Errorf("the quick reader got %d events of %d", got, events)
	}
	held := map[*event]bool{}
	bytes := 0
	for _, s := range slow {
		if len(s.pending) > maxPending {
			t.Fatalf("%d events pend", len(s.pending))
		}
		for _, e := range s.pending {
			if !held[e] {
				held[e] = true
				bytes += len(e.data)
			}
		}
	}
	if bytes > 1<<20 || hub.bytes > 1<<20 || bytes == 0 {
		t.Errorf("200 readers hold %d bytes together, but the hub counts %d", bytes, hub.bytes)
	}
	text := taken(t, hub, slow[0])
	kept := strings.Count(text, "event: window")
	if !strings.HasPrefix(text, "event: lost\n") || kept == 0 {
		t.Errorf("the slow reader gets %.60q, want first what it lost", text)
	}
	lost := 0
	for _, part := range strings.Split(text, "event: lost\ndata: {\"events\":")[1:] {
		n, err := strconv.Atoi(part[:strings.IndexByte(part, '}')])
		if err != nil {
			t.Fatal(err)
		}
		lost += n
	}
	if lost+kept != events {
		t.Errorf("%d lost and %d got, of %d", lost, kept, events)
	}
	if n := metric(t, f.reg, "weir_query_live_lost_total", ""); int(n) != lost {
		t.Errorf("%v lost events counted, want %d", n, lost)
	}
	// An event that is larger than the readers' memory is lost, but nothing else is.
	hub.alert(&schemas.Alert{Fingerprint: "f", Annotations: map[string]string{"a": strings.Repeat("x", 1<<20)}})
	if text := taken(t, hub, quick); text != "event: lost\ndata: {\"events\":1}\n\n" {
		t.Errorf("a huge event: %.100q", text)
	}
	for _, s := range append(slow, quick) {
		hub.unsubscribe(s)
	}
	if hub.bytes != 0 || len(hub.kept)+len(hub.streams)+len(hub.clients)+len(hub.every) != 0 {
		t.Error("events are kept without readers")
	}
}

// TestStuckStreamIsCutOff: over HTTP, a reader that takes nothing is cut off.
func TestStuckStreamIsCutOff(t *testing.T) {
	f := newFixture(t)
	f.api.Config.WriteTimeout = conf.Duration(200 * time.Millisecond)
	server := httptest.NewServer(f.mux)
	t.Cleanup(server.Close)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /live HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	w := mkWindow(mkSeries(t, `m{x="`+strings.Repeat("y", 4000)+`"}`), 10*second, nowMS, 1)
	kafkatest.Eventually(t, "the stream is cut off", func() bool {
		for range 200 {
			f.live.hub.windows([]schemas.Window{w})
		}
		return metric(t, f.reg, "weir_query_live_dropped_total", "") == 1
	})
	kafkatest.Eventually(t, "it is gone", func() bool { return metric(t, f.reg, "weir_query_live_streams", "") == 0 })
}

// TestStreamsAreLimited: streams are limited per client and in total. A stuck client gives way first, then the one with the most.
func TestStreamsAreLimited(t *testing.T) {
	f := newFixture(t)
	hub := f.live.hub
	hub.limits.MaxStreams, hub.limits.MaxStreamsPerClient = 6, 4
	var flood []*stream
	for range 4 {
		flood = append(flood, subscribed(t, hub, filter{}, "flood"))
	}
	if _, err := hub.subscribe(filter{}, "flood", nil); !errors.Is(err, errBusy) || !strings.Contains(err.Error(), "max_streams_per_client") {
		t.Errorf("a fifth stream of one client: %v", err)
	}
	flood[1].writing = time.Now().Add(-2 * stuckAfter)
	flood[1].to = http.NewResponseController(httptest.NewRecorder())
	flood = append(flood, subscribed(t, hub, filter{}, "flood"))
	if flood[1].cut != errStuck {
		t.Error("the stuck client does not give way")
	}
	subscribed(t, hub, filter{}, "a")
	subscribed(t, hub, filter{}, "b")
	// All streams are in use: the flood has 4, b has 1.
	b := subscribed(t, hub, filter{}, "b")
	if flood[4].cut != errLargest || len(hub.streams) != 6 {
		t.Errorf("the newest of the flood: %v, %d open", flood[4].cut, len(hub.streams))
	}
	if _, err := hub.take(flood[4]); err != errLargest {
		t.Errorf("its handler gets %v", err)
	}
	hub.unsubscribe(flood[4]) // as its handler does
	if _, err := hub.subscribe(filter{}, "flood", nil); !errors.Is(err, errBusy) || !strings.Contains(err.Error(), "query.max_streams)") {
		t.Errorf("the flood gets another stream: %v", err)
	}
	if b.cut != nil {
		t.Error("an honest stream is cut")
	}
	f.live.hub.limits.MaxStreamsPerClient = 0
	rec := f.get(t, "/live")
	if rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") == "" || !strings.Contains(rec.Body.String(), "too many live streams") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

// TestWindowsAreDecodedForReadersOnly: a record that does not decode is counted if there is a reader; without readers it is not
// decoded at all.
func TestWindowsAreDecodedForReadersOnly(t *testing.T) {
	f := newFixture(t)
	good := windowRecord(mkWindow(mkSeries(t, "m"), 10*second, nowMS, 1))
	fetches := kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: topics.Windows, Partitions: []kgo.FetchPartition{
		{Records: []*kgo.Record{{Topic: topics.Windows, Value: []byte{0}}, good}},
	}}}}}
	f.live.handWindows(fetches)
	if n := metric(t, f.reg, "weir_query_live_undecodable_total", topics.Windows); n != 0 {
		t.Errorf("%v undecodable without a reader, want 0", n)
	}
	s := subscribed(t, f.live.hub, filter{}, "c")
	f.live.handWindows(fetches)
	if n := metric(t, f.reg, "weir_query_live_undecodable_total", topics.Windows); n != 1 {
		t.Errorf("%v undecodable with a reader, want 1", n)
	}
	if events := taken(t, f.live.hub, s); !strings.Contains(events, `"series":"m"`) {
		t.Errorf("events %q, want the good record's", events)
	}
}
