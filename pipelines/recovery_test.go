package pipelines

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-metrics/weir/pipelines/terminal"
	"github.com/weir-metrics/weir/pipelines/terminal/terminaltest"
	"github.com/weir-metrics/weir/processors/writeback"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
)

// held is a broker that lets nobody read the window table before release.
type held struct {
	*kfake.Cluster
	once  sync.Once
	letGo chan struct{}
}

func newHeld(t *testing.T) *held {
	h := &held{Cluster: kafkatest.Cluster(t), letGo: make(chan struct{})}
	t.Cleanup(h.release) // before the cluster closes, which waits for it
	return h
}

func (h *held) release() { h.once.Do(func() { close(h.letGo) }) }

func (h *held) hold() {
	h.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		h.KeepControl()
		for _, t := range r.(*kmsg.FetchRequest).Topics {
			if t.Topic == topics.WindowTable {
				h.SleepControl(func() { <-h.letGo })
			}
		}
		return nil, nil, false
	})
}

// fill makes the state of n groups and loses its local copy.
func fill(t *testing.T, p *Process, n int) {
	t.Helper()
	client := kafkatest.Client(t, p.Config.Brokers, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	done, stop := runs(t, p)
	await(t, p, func(r readiness) bool { return r.Ready })
	s := schemas.Series{Metric: "up"}
	for g := range n {
		var b schemas.BatchBuilder
		b.Begin(schemas.Origin{Epoch: 1, Offset: int64(g)}, 0)
		b.Add(&s, s.Hash(), time.Now().UnixMilli(), 1)
		key := []byte(fmt.Sprint("web", g))
		r := &kgo.Record{Topic: topics.Samples, Key: key, Value: b.AppendTo(nil), Partition: schemas.Shard(key, p.Config.Topics.Shards)}
		if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	await(t, p, func(readiness) bool { return total(t, p.reg, "weir_window_samples_total") == float64(n) })
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(p.Config.Data); err != nil {
		t.Fatal(err)
	}
}

func runs(t *testing.T, p *Process) (done chan error, stop func()) {
	ctx, stop := context.WithCancel(t.Context())
	done = make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	return done, stop
}

// TestRecoveryIsTold: while a process recovers its state, /readyz answers 503 and reports which role recovers what, and how far. A
// progress bar on the terminal shows the same below the lines of the log, and disappears afterwards.
func TestRecoveryIsTold(t *testing.T) {
	broker := newHeld(t)
	p := process(t, broker.ListenAddrs()...)
	p.Roles = []string{"window", "alert"}
	fill(t, p, 40)
	broker.hold()

	s := terminaltest.New(t)
	term := terminal.New(s)
	again := &Process{Config: p.Config, Rules: p.Rules, Roles: p.Roles, Out: p.Out, Terminal: term,
		Log: slog.New(slog.NewTextHandler(term.Over(s), nil))}
	done, stop := runs(t, again)
	said := regexp.MustCompile(`^recovering weir-window-table: 0 of 8 partitions, 0 of (4\d|[5-9]\d|\d\d\d) records, 0 %$`)
	await(t, again, func(r readiness) bool {
		return !r.Ready && len(r.NotReady) == 1 && said.MatchString(r.NotReady["window"])
	})
	resp, err := http.Get("http://" + p.Config.HTTP + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	var body readiness
	err = json.NewDecoder(resp.Body).Decode(&body)
	resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable || !said.MatchString(body.NotReady["window"]) {
		t.Errorf("/readyz: %s %+v %v", resp.Status, body, err)
	}
	bar := regexp.MustCompile(`^\[\.{20}\]   0 %  \? left  window: 0 of 8 partitions, 0 of \d+ record`)
	await(t, again, func(readiness) bool {
		lines := s.Shows()
		return bar.MatchString(lines[len(lines)-1])
	})
	again.Log.Info("something else")
	if lines := s.Shows(); !bar.MatchString(lines[len(lines)-1]) || !strings.HasSuffix(lines[len(lines)-2], `msg="something else"`) {
		t.Errorf("the screen ends with %q", lines[len(lines)-2:])
	}
	broker.release()
	await(t, again, func(r readiness) bool { return r.Ready })
	await(t, again, func(readiness) bool {
		lines := s.Shows()
		return lines[len(lines)-1] == ""
	})
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for _, l := range s.Shows() {
		if strings.Contains(l, "[..") || strings.Contains(l, "[##") {
			t.Errorf("left on the screen: %q", l)
		}
	}
}

// TestRecoveryIsLogged: without a terminal, the log reports the progress.
func TestRecoveryIsLogged(t *testing.T) {
	var logged bytes.Buffer
	p := process(t)
	p.Log = slog.New(slog.NewTextHandler(&logged, nil))
	p.logRecovery()
	if logged.Len() > 0 {
		t.Errorf("nothing recovers, and it logs %s", &logged)
	}
	began := time.Now().Add(-10 * time.Second)
	p.recovery.of("window", func() writeback.Recovery { return writeback.Recovery{} })
	p.recovery.of("window", func() writeback.Recovery {
		return writeback.Recovery{Partitions: 8, Recovered: 3, Records: 300, Read: 90, Began: began}
	})
	p.recovery.of("alert", func() writeback.Recovery {
		return writeback.Recovery{Partitions: 4, Recovered: 1, Records: 100, Read: 10, Began: began.Add(5 * time.Second)}
	})
	p.logRecovery()
	want := `msg=recovering roles="[alert window]" partitions=12 recovered=4 records=400 read=100 percent=27 left=27s`
	if got := strings.TrimSpace(logged.String()); !strings.HasSuffix(got, want) || strings.Contains(got, "\n") {
		t.Errorf("logged %s\nwant %s", got, want)
	}
	of, r := p.recovery.now()
	if got, want := recoveryLine(of, r, began.Add(10*time.Second)),
		"[#####...............]  27 %  27s left  alert, window: 4 of 12 partitions, 100 of 400 records"; got != want {
		t.Errorf("bar\n%s, want\n%s", got, want)
	}
}
