package operations

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/alerts/backtest"
	"github.com/weir-metrics/weir/alerts/ruletest"
	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/pipelines/pipelinetest"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/cql"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/sinks/embedded"
	"github.com/weir-metrics/weir/windows"
)

const storedRules = `
groups:
- name: g
  rules:
  - {alert: high, expr: x > 80, for: 30s}
  - {alert: mean, expr: 'avg(x, "2h") > 52'}
  - {alert: gone, expr: x < 0, no_data: 1m, on_no_data: firing}
  - {alert: other, expr: 'y > 95 and avg(y, "5m") > 40'}
`

// kept is a recording of two hosts over three hours, as samples and as the windows that weir would have kept.
type kept struct {
	from, to int64 // ms
	csv      string
	batches  []schemas.WindowBatch
}

// keep makes a recording.
func keep(t *testing.T) *kept {
	t.Helper()
	r := rand.New(rand.NewPCG(7, 7))
	k := &kept{to: time.Now().Add(-time.Minute).Truncate(time.Hour).UnixMilli()}
	k.from = k.to - 3*3600_000
	rules, err := alerts.Load(alerts.LoadConfig{TiersMS: []int64{10_000, 60_000, 3600_000}}, alerts.File{Name: "r", Data: []byte(storedRules)})
	if err != nil {
		t.Fatal(err)
	}
	group := ""
	var s *ruletest.Stream
	s = ruletest.NewStream(windows.Default(), ruletest.StreamHooks{Closed: func(ws []schemas.Window) {
		group = ws[0].Series.Labels.Get("host")
		k.batches = append(k.batches, schemas.WindowBatch{Group: group, EmitMS: s.NowMS(), Windows: append([]schemas.Window(nil), ws...)})
	}}, rules)
	var rows strings.Builder
	v := map[string]float64{}
	for at := k.from; at < k.to; at += 10_000 {
		for _, name := range []string{`x{host="a"}`, `y{host="a"}`, `x{host="b"}`, `y{host="b"}`} {
			if v[name] += 30*r.Float64() - 15; v[name] < 0 || v[name] > 100 {
				v[name] = 50
			}
			if strings.Contains(name, "b") && at%3600_000 < 600_000 {
				continue // b is silent for ten minutes of each hour
			}
			series, err := schemas.ParseSeries(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Samples([]schemas.Sample{{Series: series, TimeMS: at, Value: v[name]}}); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&rows, "%q,%d,%v\n", strings.ReplaceAll(name, `"`, `""`), at, v[name])
		}
	}
	s.AdvanceTo(k.to + 120_000)
	k.csv = strings.ReplaceAll(rows.String(), `\"`, `"`)
	return k
}

// reported runs a backtest of the last two hours, which must show some texts.
func (k *kept) reported(t *testing.T, b Backtest, shows ...string) *backtest.Report {
	t.Helper()
	b.Rules = pipelinetest.Write(t, t.TempDir(), "rules.yaml", storedRules)
	b.JSON = true
	b.From, b.To = utc(k.from+3600_000), utc(k.to)
	text, shown := runBacktest(t, b)
	for _, want := range shows {
		if !strings.Contains(shown, want) {
			t.Errorf("no %q in what it shows:\n%s", want, shown)
		}
	}
	r := &backtest.Report{}
	if err := json.Unmarshal([]byte(text), r); err != nil {
		t.Fatal(err)
	}
	return r
}

// same compares a report with the report on the samples themselves.
func (k *kept) same(t *testing.T, got *backtest.Report) {
	t.Helper()
	want := k.reported(t, Backtest{Recorded: RecordedFiles{Files: []string{pipelinetest.Write(t, t.TempDir(), "s.csv", k.csv)}}})
	seen := map[string]int{}
	for _, a := range want.Alerts {
		seen[a.Rule]++
	}
	if len(seen) < 4 || len(want.Alerts) < 20 {
		t.Fatalf("too few alerts to compare: %v", seen)
	}
	if !reflect.DeepEqual(got.Alerts, want.Alerts) {
		t.Errorf("%d alerts, want %d", len(got.Alerts), len(want.Alerts))
		for i := range min(len(got.Alerts), len(want.Alerts)) {
			if !reflect.DeepEqual(got.Alerts[i], want.Alerts[i]) {
				t.Fatalf("got  %+v\nwant %+v", got.Alerts[i], want.Alerts[i])
			}
		}
	}
	if !reflect.DeepEqual(got.Rules, want.Rules) {
		t.Errorf("rules %+v, want %+v", got.Rules, want.Rules)
	}
}

// TestBacktestOfTables: the windows in the tables give the same alerts as the samples.
func TestBacktestOfTables(t *testing.T) {
	k := keep(t)
	data := t.TempDir()
	var tiers []cql.Tier
	for _, tier := range windows.Default().Tiers {
		tiers = append(tiers, cql.Tier{SizeMS: tier.Size.MS(), TTL: tier.TTL.Std()})
	}
	store, err := embedded.Open(filepath.Join(data, "tiers"), tiers, time.Now, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for i := range k.batches {
		if err := store.WriteWindows(t.Context(), &k.batches[i]); err != nil {
			t.Fatal(err)
		}
	}
	b := Backtest{Source: "tables", Rules: pipelinetest.Write(t, data, "rules.yaml", storedRules)}
	b.Stored.Data = data
	if err := b.Run(t.Context(), io.Discard, io.Discard); err == nil || !strings.HasSuffix(err.Error(), "one process at a time can have it open: does weir run?") {
		t.Errorf("while the tables are open: %v", err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	k.same(t, k.reported(t, b, "3960 windows of 7h in "))

	b.Rules, b.Stored.Data = pipelinetest.Write(t, data, "rules.yaml", storedRules), filepath.Join(data, "none")
	if err := b.Run(t.Context(), io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "tiers: no store in ") {
		t.Error(err)
	}
}

// TestBacktestOfTopic: the windows in the topic give the same alerts as the samples, in whatever order its partitions are read.
func TestBacktestOfTopic(t *testing.T) {
	k := keep(t)
	cluster := kafkatest.Cluster(t, kfake.SeedTopics(3, topics.Windows))
	cl := kafkatest.Client(t, cluster.ListenAddrs(), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	garbage := &kgo.Record{Topic: topics.Windows, Partition: 0, Key: []byte("a"), Value: []byte("garbage"), Timestamp: time.UnixMilli(k.from)}
	if err := cl.ProduceSync(t.Context(), garbage).FirstErr(); err != nil {
		t.Fatal(err)
	}
	for i := range k.batches {
		w := &k.batches[i]
		r := &kgo.Record{Topic: topics.Windows, Partition: int32(w.Group[0] - 'a'), Key: []byte(w.Group), Value: schemas.AppendWindowBatch(nil, w), Timestamp: time.UnixMilli(w.EmitMS)}
		cl.Produce(t.Context(), r, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := cl.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	b := Backtest{Source: "topic"}
	b.Stored.Brokers = cluster.ListenAddrs()
	k.same(t, k.reported(t, b, "4620 windows of 7h in ", "that cannot be read: 1\n"))

	b.Stored.Brokers, b.Rules = nil, pipelinetest.Write(t, t.TempDir(), "rules.yaml", storedRules)
	if err := b.Run(t.Context(), io.Discard, io.Discard); err == nil || err.Error() != (conf.Fault{Field: "--brokers", Bound: "must be given, or a --config that names brokers"}).Error() {
		t.Error(err)
	}
}
