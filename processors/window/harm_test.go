package window

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/processors/writeback"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/windows"
)

// goesOn runs the processor once, until everything in samples is committed.
func (s *stage) goesOn(dir string) {
	s.t.Helper()
	store, err := writeback.OpenStore(dir, s.log)
	if err != nil {
		s.t.Fatal(err)
	}
	s.registry = prometheus.NewRegistry()
	cfg := Default()
	cfg.Tick, cfg.Flush = conf.Duration(20*time.Millisecond), conf.Duration(100*time.Millisecond)
	p := New(cfg, Deps{Brokers: s.brokers, Windows: windows.Default(), Rules: s.rules, Topics: s.topics,
		Instance: "test", Store: store, Registry: s.registry, Log: s.log})
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	adm := kadm.NewClient(s.client)
	ends, err := adm.ListEndOffsets(ctx, topics.Samples)
	if err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan error, 1)
	run, stop := context.WithCancel(ctx)
	go func() { ended <- p.Run(run) }()
	for {
		offs, err := adm.FetchOffsets(ctx, topics.WindowConsumerGroup)
		left := 0
		ends.Each(func(end kadm.ListedOffset) {
			if at, ok := offs.Lookup(end.Topic, end.Partition); end.Offset > 0 && (!ok || at.At < end.Offset) {
				left++
			}
		})
		if err == nil && left == 0 {
			break
		}
		select {
		case err := <-ended:
			s.t.Fatalf("the processor ended: %v", err)
		case <-ctx.Done():
			s.t.Fatalf("%d shards are not committed", left)
		case <-time.After(20 * time.Millisecond):
		}
	}
	stop()
	if err := <-ended; err != nil {
		s.t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		s.t.Error(err)
	}
}

// TestLargeLabels: a source whose 1,200 series have labels of 16 KB does not harm others, also after restarts.
func TestLargeLabels(t *testing.T) {
	s := newStage(t, "groups: []")
	now := time.Now().UnixMilli()
	long := func(i, k int) string { return fmt.Sprintf("%d-%d-", i, k) + strings.Repeat("q", 3900) }
	var batch []schemas.Sample
	for i := range 1200 {
		batch = append(batch, schemas.Sample{TimeMS: now, Value: 1, Series: schemas.Series{Metric: "queries", Labels: schemas.NewLabels(map[string]string{
			"host": "big", "a": long(i, 0), "b": long(i, 1), "c": long(i, 2), "d": long(i, 3)})}})
		if len(batch) == 40 {
			s.send(batch, now)
			batch = nil
		}
	}
	for i := range 40 {
		s.send([]schemas.Sample{{TimeMS: now - 30_000, Value: 1, Series: schemas.Series{Metric: "m", Labels: schemas.NewLabels(map[string]string{"host": "web" + strconv.Itoa(i)})}}}, now)
	}
	dir := t.TempDir()
	s.goesOn(dir)
	s.goesOn(dir)
	s.goesOn(t.TempDir())
}

// TestFloodOfRefused: with a broker that is slow to acknowledge dead letters, a flood of refused samples neither makes the
// group's value large nor stops anything.
func TestFloodOfRefused(t *testing.T) {
	c := kafkatest.Cluster(t)
	cfg := topics.Default()
	cfg.Shards, cfg.AlertShards = 4, 2
	s := newStageOn(t, c.ListenAddrs(), cfg, "groups: []")
	adm := kadm.NewClient(s.client)
	if err := topics.Ensure(context.Background(), adm, topics.All(cfg)); err != nil {
		t.Fatal(err)
	}
	list, err := adm.ListTopics(context.Background(), topics.DeadLetter)
	if err != nil {
		t.Fatal(err)
	}
	slow := [16]byte(list[topics.DeadLetter].ID)
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		for _, rt := range req.(*kmsg.ProduceRequest).Topics {
			if rt.Topic == topics.DeadLetter || rt.TopicID == slow {
				c.SleepControl(func() { time.Sleep(50 * time.Millisecond) }) // the broker's, not the test's
			}
		}
		return nil, nil, false
	})
	now := time.Now().UnixMilli()
	s.send([]schemas.Sample{{TimeMS: now, Value: 1, Series: schemas.Series{Metric: "m", Labels: schemas.NewLabels(map[string]string{"host": "big"})}}}, now)
	old := now - 3*86400_000
	for i := range 10 {
		var batch []schemas.Sample
		for k := range 20_000 {
			batch = append(batch, schemas.Sample{TimeMS: old + int64(i*20_000+k), Value: float64(k) * 1.37, Series: schemas.Series{Metric: "http.requests",
				Labels: schemas.NewLabels(map[string]string{"host": "big", "path": "/api/v1/" + strconv.Itoa(k%50), "code": "200", "method": "GET", "region": "eu-west-1"})}})
		}
		s.send(batch, now)
	}
	s.goesOn(t.TempDir())
}
