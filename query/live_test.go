package query

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"weir/schemas"
	"weir/schemas/topics"
)

func newCluster(t testing.TB) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, topics.Windows, topics.Alerts))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func produce(t testing.TB, c *kfake.Cluster, records ...*kgo.Record) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
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

// eventually waits for the condition, at most 10 s.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("never: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// startLive runs a Live until the test ends and waits until it is ready.
func startLive(t testing.TB, c *kfake.Cluster, reg prometheus.Registerer) *Live {
	t.Helper()
	brokers := []kgo.Opt{
		kgo.SeedBrokers(c.ListenAddrs()...),
		// A tenth of what Live asks for: new partitions are found sooner.
		kgo.MetadataMaxAge(metadataAge / 10), kgo.MetadataMinAge(metadataAge / 20),
	}
	l := NewLive(brokers, reg, slog.New(slog.NewTextHandler(t.Output(), nil)))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Live.Run: %v", err)
		}
	})
	eventually(t, "Live ready", l.Ready)
	return l
}

// events reads server-sent events of a running stream.
type events struct {
	t    testing.TB
	body io.ReadCloser
	text *bufio.Scanner
}

// follow opens a live stream; when it returns, the stream is subscribed.
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

// next returns the next event and its data; ok is false when the stream ended.
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

// serve serves the API over a Live that runs on the cluster. The registry tells
// what the metrics say.
func serve(t testing.TB, c *kfake.Cluster) (*httptest.Server, *Live, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewRegistry()
	live := startLive(t, c, reg)
	server := httptest.NewServer(New(Deps{
		Store: newFakeStore(), Live: live, Tiers: testTiers(), GroupLabels: schemas.GroupLabels, Host: "web01",
		Registerer: reg, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}))
	t.Cleanup(server.Close)
	t.Cleanup(live.hub.close)
	return server, live, reg
}

// metric adds up the samples of a metric that have the label value.
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
	byTier := follow(t, server.URL, "?tier=1m")
	all := follow(t, server.URL, "")

	late := mkWindow(a, 10*second, nowMS+10*second, 3)
	late.Part, late.Revision = schemas.NewPart(0, 7), 2
	produce(t, c, windowRecord(mkWindow(a, 10*second, nowMS, 1), mkWindow(b, minute, nowMS, 2), late))
	produce(t, c, alertRecord(&schemas.Alert{Fingerprint: "f1", State: schemas.Firing, Last: schemas.Transition{To: schemas.Firing, AtMS: 5}}))

	for name, w := range map[string]windowBody{"series": bySeries.window(), "all": all.window()} {
		if want := (windowBody{
			Series: `cpu.usage{host="a",path="x\n\ndata: y"}`, Tier: "10s", StartMS: nowMS, EndMS: nowMS + 10*second,
			Count: 2, Sum: 2, Min: 0, Max: 2, First: 0, Last: 2,
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
	for _, e := range []*events{bySeries, byMetric, byTier, all} {
		if got := e.alert(); got.Fingerprint != "f1" || got.State != schemas.Firing {
			t.Errorf("alert %+v", got)
		}
	}
	if n := metric(t, reg, "weir_query_live_streams", ""); n != 4 {
		t.Errorf("%v open streams, want 4", n)
	}
	if n := metric(t, reg, "weir_query_live_events_total", "window"); n != 7 {
		t.Errorf("%v windows handed out, want 7", n)
	}
	all.body.Close()
	eventually(t, "a stream whose client left is given up", func() bool {
		return metric(t, reg, "weir_query_live_streams", "") == 3
	})
	live.hub.close()
	for _, e := range []*events{bySeries, byMetric, byTier} {
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
		t.Errorf("%v streams counted as slow, want none", n)
	}
}

func TestLiveKeepsTheAlertsView(t *testing.T) {
	c := newCluster(t)
	alert := func(name string, state schemas.AlertState, atMS int64) *kgo.Record {
		return alertRecord(&schemas.Alert{Fingerprint: name, State: state, LastMS: atMS, Last: schemas.Transition{To: state, AtMS: atMS}})
	}
	gone := alert("gone", schemas.Pending, 1)
	tombstone := &kgo.Record{Topic: topics.Alerts, Key: []byte("gone")}
	produce(t, c, alert("a", schemas.Pending, 1), alert("a", schemas.Firing, 2), alert("b", schemas.Firing, 1), gone, tombstone,
		&kgo.Record{Topic: topics.Alerts, Key: []byte("bad"), Value: []byte("\x01{")})
	server, live, reg := serve(t, c)
	states := func() map[string]schemas.AlertState {
		m := map[string]schemas.AlertState{}
		for _, a := range live.Alerts(time.Now().UnixMilli()) {
			m[a.Fingerprint] = a.State
		}
		return m
	}
	// Ready means that all of it has been read.
	if got := states(); len(got) != 2 || got["a"] != schemas.Firing || got["b"] != schemas.Firing {
		t.Fatalf("view %v, want a and b firing", got)
	}
	if n := metric(t, reg, "weir_query_live_undecodable_total", topics.Alerts); n != 1 {
		t.Errorf("%v undecodable alerts, want 1", n)
	}
	stream := follow(t, server.URL, "")
	// An update that is no transition changes the view and is not streamed.
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

// TestLiveFindsNewPartitions: what lands in a partition that is added while Live
// runs is streamed, from its first record.
func TestLiveFindsNewPartitions(t *testing.T) {
	c := newCluster(t)
	server, _, _ := serve(t, c)
	stream := follow(t, server.URL, "")
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
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

// TestSlowStreamIsCutOff: a reader that takes nothing is cut off when its buffer
// is full, while another still gets everything.
func TestSlowStreamIsCutOff(t *testing.T) {
	f := newFixture(t)
	hub := f.live.hub
	slow, err := hub.subscribe(filter{})
	if err != nil {
		t.Fatal(err)
	}
	quick, err := hub.subscribe(filter{})
	if err != nil {
		t.Fatal(err)
	}
	w := mkWindow(mkSeries(t, `m{x="`+strings.Repeat("y", 4000)+`"}`), 10*second, nowMS, 1)
	handed := 0
	for range 2 * maxPendingBytes / 4000 {
		hub.windows([]schemas.Window{w})
		events, cut := hub.take(quick)
		if cut {
			t.Fatal("the quick reader was cut off")
		}
		handed += len(events)
	}
	if events, cut := hub.take(slow); !cut || events != nil {
		t.Errorf("slow reader: cut off %v, %d bytes kept; want cut off and nothing kept", cut, len(events))
	}
	if handed < 2*maxPendingBytes-8000 {
		t.Errorf("the quick reader got %d bytes, want about %d", handed, 2*maxPendingBytes)
	}

	// Over HTTP the stream ends and is counted.
	hub.unsubscribe(slow)
	hub.unsubscribe(quick)
	server := httptest.NewServer(f.mux)
	t.Cleanup(server.Close)
	stream := follow(t, server.URL, "?metric=m")
	many := make([]schemas.Window, 2*maxPendingBytes/4000)
	for i := range many {
		many[i] = w
	}
	hub.windows(many) // in one go: no reader is that quick
	if kind, _, ok := stream.next(); ok {
		t.Errorf("event %q, want the end of the stream", kind)
	}
	if n := metric(t, f.reg, "weir_query_live_dropped_total", ""); n != 1 {
		t.Errorf("%v streams counted as dropped, want 1", n)
	}
}

func TestStreamsAreLimited(t *testing.T) {
	f := newFixture(t)
	for range maxStreams {
		if _, err := f.live.hub.subscribe(filter{}); err != nil {
			t.Fatal(err)
		}
	}
	rec := f.get(t, "/live")
	if rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") == "" || !strings.Contains(rec.Body.String(), "256") {
		t.Errorf("stream %d: %d %s", maxStreams+1, rec.Code, rec.Body)
	}
}

// TestWindowsAreDecodedForReadersOnly: a record that cannot be decoded is counted
// when somebody listens, and is not looked at when nobody does.
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
	s, err := f.live.hub.subscribe(filter{})
	if err != nil {
		t.Fatal(err)
	}
	f.live.handWindows(fetches)
	if n := metric(t, f.reg, "weir_query_live_undecodable_total", topics.Windows); n != 1 {
		t.Errorf("%v undecodable with a reader, want 1", n)
	}
	if events, _ := f.live.hub.take(s); !strings.Contains(string(events), `"series":"m"`) {
		t.Errorf("events %q, want the good record's", events)
	}
}
