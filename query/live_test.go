package query

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
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
	l := NewLive([]kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}, reg, slog.New(slog.NewTextHandler(t.Output(), nil)))
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
