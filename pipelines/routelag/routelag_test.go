package routelag

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/processors/route"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/windows"
)

func newLag(t *testing.T, addrs ...string) *Lag {
	t.Helper()
	l, err := New([]kgo.Opt{kgo.SeedBrokers(addrs...)}, time.Hour, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// says returns a record of the topic progress.
func says(p schemas.Progress) *kgo.Record {
	return &kgo.Record{Key: []byte(p.Key()), Value: schemas.EncodeDoc(&p)}
}

// TestRouteLag: a tick names the partitions with which route lags, with the time at which each last had no backlog. A partition that
// nobody has reported counts as never. Impossible records are refused. Reports of a process that has lost the partition change
// nothing.
func TestRouteLag(t *testing.T) {
	l := newLag(t, "127.0.0.1:1")
	defer l.adm.Close()
	now := time.Now()
	look := func(when, want string) {
		t.Helper()
		tick := schemas.Tick{NowMS: 1_000_000}
		l.completeAt(&tick, now)
		got := fmt.Sprint(tick.Behind)
		if tick.Unknown {
			got = "unknown"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", when, got, want)
		}
	}
	look("nothing is known", "unknown")
	l.epoch, l.of = 7, map[int32]*partitionOf{0: {}, 1: {}}
	look("nothing was said", "unknown")
	l.take(says(schemas.Progress{Partition: 0, Epoch: 7, AgeMS: 10}), now, now)
	look("one is level", fmt.Sprintf("[{1 %d}]", int64(schemas.NoTime)))
	l.take(says(schemas.Progress{Partition: 1, Epoch: 7, AgeMS: schemas.Unseen}), now, now)
	look("the other was not seen level", fmt.Sprintf("[{1 %d}]", int64(schemas.NoTime)))
	l.take(says(schemas.Progress{Partition: 1, Epoch: 7, AgeMS: 5000}), now, now)
	look("the other was level a while ago", "[{1 998000}]")
	l.take(says(schemas.Progress{Partition: 1, Epoch: 7, AgeMS: 60_000}), now, now)
	look("somebody knows less", "[{1 998000}]")
	now = now.Add(2 * time.Second)
	l.take(says(schemas.Progress{Partition: 1, Epoch: 7, AgeMS: 20}), now, now)
	look("it is level", "[]")
	now = now.Add(time.Minute)
	look("nobody says anything any more", "[{0 940990} {1 942980}]")
	for _, r := range []*kgo.Record{
		{Key: []byte("0"), Value: []byte("rubbish")}, {Key: []byte("0"), Value: []byte("\x09{}")},
		{Key: []byte("1"), Value: schemas.EncodeDoc(&schemas.Progress{Partition: 0, Epoch: 7})}, // another's key
		says(schemas.Progress{Partition: -1, Epoch: 7}), says(schemas.Progress{Partition: 0, Epoch: 7, AgeMS: -2}),
		says(schemas.Progress{Partition: 0, Epoch: 7, Offset: -1}), {Key: []byte("0")},
		says(schemas.Progress{Partition: 0, Epoch: 8}), // of another topic
		says(schemas.Progress{Partition: 5, Epoch: 7}), // of none
		says(schemas.Progress{Partition: 0, Epoch: 7, AgeMS: 1 << 62}),
	} {
		l.take(r, now, now)
	}
	look("rubbish was said", "[{0 940990} {1 942980}]")
	l.began = now.Add(-time.Hour)
	l.alarm(now)
	if w := Text(l.standingAt(now), now); !strings.Contains(w, "pipeline is late") || !l.told[0] || !l.told[1] {
		t.Errorf("warning %q, told %v", w, l.told)
	}
	l.take(says(schemas.Progress{Partition: 0, Epoch: 7}), now, now)
	l.take(says(schemas.Progress{Partition: 1, Epoch: 7}), now, now)
	l.alarm(now)
	if w := Text(l.standingAt(now), now); w != "" || len(l.told) > 0 {
		t.Errorf("warning %q, told %v", w, l.told)
	}
}

// TestClocks: a tick uses the median of this process's clock, the broker's and route's, so a single wrong clock does not matter,
// however wrong it is.
func TestClocks(t *testing.T) {
	now := time.Now()
	for _, c := range []struct{ own, broker, route, want time.Duration }{
		{0, 0, 0, 0},
		{time.Hour, 0, 0, 0},
		{-time.Hour, 0, time.Second, 0},
		{0, time.Hour, 0, 0},
		{0, -time.Hour, 0, 0},
		{0, 0, time.Hour, 0},
		{0, 0, -100 * 24 * 365 * time.Hour, 0},
		{900 * time.Millisecond, 0, 0, 900 * time.Millisecond}, // as clocks are
		{200 * 365 * 24 * time.Hour, 0, time.Second, time.Second},
	} {
		l := newLag(t, "127.0.0.1:1")
		own := now.Add(c.own)
		l.clocks = clocks{{own.Add(-5 * time.Second), now.Add(c.broker - 5*time.Second), now.Add(c.route - 5*time.Second)}}
		tick := schemas.Tick{NowMS: own.UnixMilli()}
		l.completeAt(&tick, own)
		if off := tick.NowMS - now.UnixMilli() - c.want.Milliseconds(); off > 1 || off < -1 {
			t.Errorf("%+v: a tick at %d ms", c, tick.NowMS-now.UnixMilli())
		}
		l.adm.Close()
	}
	l := newLag(t, "127.0.0.1:1")
	defer l.adm.Close()
	l.clocks = clocks{{now.Add(-time.Minute), now.Add(-time.Hour), now.Add(-time.Hour)}}
	tick := schemas.Tick{NowMS: now.UnixMilli()}
	if l.completeAt(&tick, now); tick.NowMS != now.UnixMilli() {
		t.Error("clocks were believed that were not heard for a minute")
	}
}

// TestWaitingIsNoWrongClock: reports of other clocks may wait for any time, here or at the broker, without making a clock look
// wrong. A clock that is wrong is still found.
func TestWaitingIsNoWrongClock(t *testing.T) {
	began := time.Now()
	type heard struct{ from, came, broker, route time.Duration } // since began: the poll, and the clocks of others
	s := time.Second
	for _, c := range []struct {
		what  string
		heard []heard
		at    time.Duration // when a tick is written
		wrong time.Duration // by which its time is then put right
	}{
		{"all is well", []heard{{0, s, s, s}, {s, 2 * s, 2 * s, 2 * s}}, 2 * s, 0},
		{"no broker for a minute", []heard{{0, s, s, s}, {s, 61 * s, 61 * s, 61 * s}}, 61 * s, 0},
		{"this process was stopped, and the record waited for it", []heard{{0, s, s, s}, {s, 16 * s, 2 * s, 2 * s}}, 16 * s, 0},
		{"this process was stopped, and the record came as it went on", []heard{{s, 16 * s, 16 * s, 16 * s}}, 16 * s, 0},
		{"the broker's answer took long", []heard{{0, s, s, s}, {s, 2900 * time.Millisecond, 1100 * time.Millisecond, s}}, 3 * s, 0},
		{"the broker was slow to write", []heard{{0, s, s, s}, {2 * s, 4 * s, 4 * s, 1100 * time.Millisecond}}, 4 * s, 0},
		{"this clock is ahead", []heard{{0, s, -9 * s, -9 * s}, {s, 2 * s, -8 * s, -8 * s}}, 3 * s, -10 * s},
		{"this clock is behind", []heard{{0, s, 11 * s, 11 * s}, {s, 2 * s, 12 * s, 12 * s}}, 3 * s, 10 * s},
		{"others were put right", []heard{{0, s, 11 * s, 11 * s}, {11 * s, 12 * s, 12 * s, 12 * s}}, 13 * s, 0},
		{"others have not been heard of for long", []heard{{0, s, 11 * s, 11 * s}}, 40 * s, 0},
	} {
		l := newLag(t, "127.0.0.1:1")
		for _, h := range c.heard {
			r := says(schemas.Progress{AtMS: began.Add(h.route).UnixMilli()})
			r.Timestamp = began.Add(h.broker).Truncate(time.Millisecond)
			r.Attrs = kgo.NewRecordAttrs(kgo.RecordAttrsOpts{TimestampType: 1})
			l.take(r, began.Add(h.from), began.Add(h.came))
		}
		own := began.Add(c.at)
		tick := schemas.Tick{NowMS: own.UnixMilli()}
		l.completeAt(&tick, own)
		if off := tick.NowMS - own.UnixMilli() - c.wrong.Milliseconds(); off > 1 || off < -1 || l.toldOff != (c.wrong != 0) {
			t.Errorf("%s: a tick is put right by %d ms, want %v", c.what, tick.NowMS-own.UnixMilli(), c.wrong)
		}
		l.adm.Close()
	}
}

// TestWindowsWaitForRoute: a host sends every second, 0.8 s late, and route, in a different process from the windows, stands still at
// any time, for any time. However small the grace, the clock does not close a window before samples that reached metrics in time.
func TestWindowsWaitForRoute(t *testing.T) {
	const lateMS, say, horizon = 800, 500, 30_000
	host := schemas.Series{Metric: "load", Labels: schemas.Labels{{Name: "host", Value: "a"}}}
	for _, grace := range []time.Duration{0, 200 * time.Millisecond, 2 * time.Second, 10 * time.Second} {
		cfg := windows.Default()
		cfg.Tiers = []windows.Tier{{Size: conf.Duration(time.Second), Grace: conf.Duration(grace), TTL: conf.Duration(time.Hour)}}
		for stop := int64(12_000); stop < 13_000; stop += 50 {
			for _, still := range []int64{300, 1000, 2500, 4000, 9000} {
				l := newLag(t, "127.0.0.1:1")
				l.slack = min(cfg.LeastGrace(), mostSlack)
				l.epoch, l.of = 1, map[int32]*partitionOf{0: {}}
				co := windows.NewShard(&cfg, 0, nil)
				g := windows.NewGroup(co)
				began := time.UnixMilli(1_700_000_000_000)
				at := func(ms int64) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }
				var r windows.Result
				late, sent, said := 0, int64(0), int64(0)
				for ms := int64(0); ms < horizon; ms += 10 {
					stands := ms >= stop && ms < stop+still
					for ; !stands && sent*1000+lateMS <= ms; sent++ {
						var b schemas.BatchBuilder
						b.Begin(schemas.Origin{Epoch: 1, Offset: sent}, 0)
						if sent*1000+lateMS < ms-500 {
							b.Behind()
						}
						b.Add(&host, host.Hash(), at(sent*1000).UnixMilli(), 1)
						var batch schemas.SampleBatch
						if err := batch.Decode(b.AppendTo(nil)); err != nil {
							t.Fatal(err)
						}
						r.Reset()
						g.Apply(co, &batch, sent, at(ms).UnixMilli(), &r)
						late += r.Late
					}
					if !stands && ms >= said+say {
						said = ms
						l.take(says(schemas.Progress{Partition: 0, Epoch: 1}), at(ms-say), at(ms))
					}
					tick := schemas.Tick{NowMS: at(ms).UnixMilli()}
					if l.completeAt(&tick, at(ms)); tick.Unknown {
						continue
					}
					if until, due := g.Until(&tick), g.DueMS(); due != 0 && due <= until {
						g.Advance(co, until, &r)
					}
				}
				if late > 0 {
					t.Errorf("grace %v: route stands still %d ms after a sample for %d ms: %d samples are late", grace, (stop-lateMS)%1000, still, late)
				}
				l.adm.Close()
			}
		}
	}
}

// TestRouteSaysHowFarItIs: with a running route on real topics, partitions whose last records are markers or belong to aborted
// transactions have no backlog. A partition with an open transaction has one until the transaction ends. When route stands still,
// all partitions are late.
func TestRouteSaysHowFarItIs(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	c := kafkatest.Cluster(t, kafkatest.Quick())
	cl := kafkatest.Client(t, c.ListenAddrs())
	cfg := topics.Default()
	cfg.MetricsPartitions = 3
	if err := topics.Ensure(ctx, kadm.NewClient(cl), topics.All(cfg)); err != nil {
		t.Fatal(err)
	}
	begin := func(id string, partition int32, value string) *kgo.Client {
		tx, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.TransactionalID(id), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err == nil {
			err = tx.BeginTransaction()
		}
		if err == nil {
			err = tx.ProduceSync(ctx, &kgo.Record{Topic: topics.Metrics, Partition: partition, Value: []byte(value)}).FirstErr()
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(tx.Close)
		return tx
	}
	end := func(tx *kgo.Client, how kgo.TransactionEndTry) {
		if err := tx.EndTransaction(ctx, how); err != nil {
			t.Fatal(err)
		}
	}
	end(begin("a", 0, `{"metricName":"m","timestamp":1000,"value":1}`), kgo.TryCommit)
	end(begin("b", 1, `{"metricName":"m","timestamp":2000,"value":1}`), kgo.TryAbort)
	open := begin("c", 2, `{"metricName":"m","timestamp":3000,"value":1}`)

	r := route.New(route.Default(), route.Deps{Brokers: c.ListenAddrs(), Shards: cfg.Shards, Registry: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- r.Run(running) }()
	l := newLag(t, c.ListenAddrs()...)
	defer l.Follow(ctx)()
	until := func(what string, holds func(tick schemas.Tick) bool) {
		t.Helper()
		for {
			tick := schemas.Tick{NowMS: time.Now().UnixMilli()}
			l.Complete(&tick)
			if holds(tick) {
				return
			}
			select {
			case <-ctx.Done():
				t.Fatalf("waited until %s: %+v", what, tick)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	until("only the partition with the open transaction is behind", func(tick schemas.Tick) bool {
		return !tick.Unknown && len(tick.Behind) == 1 && tick.Behind[0].Partition == 2
	})
	if id := c.TopicInfo(topics.Metrics).TopicID; l.epoch != binary.BigEndian.Uint64(id[:8]) {
		t.Errorf("epoch %x, the topic's id is %x", l.epoch, id)
	}
	end(open, kgo.TryCommit)
	until("all are level", func(tick schemas.Tick) bool { return !tick.Unknown && len(tick.Behind) == 0 })
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	until("all are behind", func(tick schemas.Tick) bool { return len(tick.Behind) == 3 })
}
