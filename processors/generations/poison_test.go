package generations

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
)

// TestPoison: whatever the topics generations and shard-reports contain, the known generations and reports stay in use, for
// running readers and for those that start later. A record of a later version of weir is an error at every read, until a
// readable record follows.
func TestPoison(t *testing.T) {
	c := kafkatest.Cluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	one := open(t, c.ListenAddrs())
	if err := topics.Ensure(ctx, kadm.NewClient(one.client.Client), topics.All(topics.Default())); err != nil {
		t.Fatal(err)
	}
	producer := kafkatest.Client(t, c.ListenAddrs(), kgo.ProducerBatchMaxBytes(8<<20))
	write := func(topic, key string, value []byte) {
		t.Helper()
		if err := producer.ProduceSync(ctx, &kgo.Record{Topic: topic, Key: []byte(key), Value: value}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	abort := func(topic string) {
		t.Helper()
		tx, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.TransactionalID("t"))
		if err == nil {
			defer tx.Close()
			err = tx.BeginTransaction()
		}
		if err == nil {
			err = tx.ProduceSync(ctx, &kgo.Record{Topic: topic, Key: []byte(recordKey), Value: []byte("aborted")}).FirstErr()
		}
		if err == nil {
			err = tx.EndTransaction(ctx, kgo.TryAbort)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	plan := func(version int64, shards int32, fromMS int64) []byte {
		return schemas.EncodeDoc(&schemas.Generations{Version: version, List: []schemas.Generation{
			{Gen: 0, Shards: 4, FromMS: math.MinInt64, State: schemas.Active}, {Gen: 1, Shards: shards, FromMS: fromMS, State: schemas.Planned}}})
	}
	now := time.Now().UnixMilli()
	good := plan(3, 8, now+60_000)
	check := func(when string) {
		t.Helper()
		for who, l := range map[string]*Log{"who was there": one, "who comes now": open(t, c.ListenAddrs())} {
			if err := l.Refresh(ctx); err != nil || l.Current().Version != 3 || len(l.Current().List) != 2 {
				t.Errorf("%s, to %s: %v, %+v", when, who, err, l.Current())
			}
		}
	}
	write(topics.Generations, "rubbish before", []byte("rubbish"))
	write(topics.Generations, recordKey, []byte("rubbish"))
	write(topics.Generations, recordKey, good)
	check("one that is good")
	huge := append([]byte{1}, make([]byte, maxBytes+1)...)
	for what, value := range map[string][]byte{
		"rubbish": []byte("rubbish"), "rubbish of bytes": {0xff, 0, 1, 2}, "nothing": {}, "a tombstone": nil, "a cut one": good[:len(good)/2], "a huge one": huge,
		"no shards": plan(4, 0, now), "a thousand million shards": plan(4, 1_000_000_000, now), "the year 9999": plan(4, 8, 253_402_300_799_000), "the end of time": plan(4, 8, math.MaxInt64),
		"in two years": plan(4, 8, now+2*366*24*3600_000), "an older version": plan(2, 8, now), "a version below 0": plan(-1, 8, now),
	} {
		before := one.Refused()
		write(topics.Generations, recordKey, value)
		if check(what); one.Refused() != before+1 {
			t.Errorf("%s: %d refused, want 1", what, one.Refused()-before)
		}
	}
	write(topics.Generations, "another key", plan(9, 8, now))
	check("under another key")
	abort(topics.Generations)
	check("a marker at the end")

	write(topics.Generations, recordKey, append([]byte{2}, good[1:]...))
	for _, l := range []*Log{one, open(t, c.ListenAddrs())} {
		for look := range 3 {
			if err := l.Refresh(ctx); !errors.Is(err, ErrNewer) || l.Current().Version != 3 {
				t.Errorf("a later version, read %d: %v, %+v", look, err, l.Current())
			}
		}
	}
	write(topics.Generations, recordKey, []byte("rubbish"))
	if err := one.Refresh(ctx); !errors.Is(err, ErrNewer) {
		t.Errorf("rubbish after a later version: %v", err)
	}
	write(topics.Generations, recordKey, plan(4, 8, now+60_000))
	if err := one.Refresh(ctx); err != nil || one.Current().Version != 4 {
		t.Errorf("a readable record after it: %v, %+v", err, one.Current())
	}

	rep := schemas.ShardReport{Gen: 1, Shard: 2, Owner: "a", AtMS: now, Series: 3}
	bad := rep
	bad.Shard, bad.Open = 3, -1
	for key, value := range map[string][]byte{"1/2": schemas.EncodeDoc(&rep), "1/3": schemas.EncodeDoc(&bad), "9/9": schemas.EncodeDoc(&rep),
		"x": []byte("rubbish"), "y": nil, "z": huge} {
		write(topics.ShardReports, key, value)
	}
	abort(topics.ShardReports)
	got, err := Reports(ctx, kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil || fmt.Sprint(got) != fmt.Sprint(map[string]schemas.ShardReport{"1/2": rep}) {
		t.Errorf("%+v, %v", got, err)
	}
}
