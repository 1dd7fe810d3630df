package generations

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
)

func open(t *testing.T, addrs []string) *Log {
	t.Helper()
	l, err := Open(4, kgo.SeedBrokers(addrs...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func TestLog(t *testing.T) {
	c := kafkatest.Cluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	one, two := open(t, c.ListenAddrs()), open(t, c.ListenAddrs())
	refresh := func(l *Log) *schemas.Generations {
		t.Helper()
		if err := l.Refresh(ctx); err != nil {
			t.Fatal(err)
		}
		if l.Age() > 10*time.Second {
			t.Errorf("read %s ago", l.Age())
		}
		return l.Current()
	}
	if one.Age() < time.Hour {
		t.Errorf("never read, but %s ago", one.Age())
	}
	if g := refresh(one); len(g.List) != 1 || g.List[0].Shards != 4 {
		t.Errorf("without a topic: %+v", g)
	}
	if err := topics.Ensure(ctx, kadm.NewClient(one.client.Client), topics.All(topics.Default())); err != nil {
		t.Fatal(err)
	}
	if g := refresh(one); len(g.List) != 1 || g.Version != 0 {
		t.Errorf("of an empty topic: %+v", g)
	}
	first := one.Current().List[0]
	planned := append([]schemas.Generation{first}, schemas.Generation{Gen: 1, Shards: 8, FromMS: 1, State: schemas.Planned})
	if err := one.Write(ctx, planned); err != nil {
		t.Fatal(err)
	}
	if err := two.Write(ctx, planned); !errors.Is(err, ErrChanged) { // two has not read what one wrote
		t.Errorf("two overwrote what one wrote: %v", err)
	}
	if g := refresh(one); len(g.List) != 2 || g.List[1].Shards != 8 {
		t.Errorf("%+v", g)
	}
	if err := one.Write(ctx, nil); !errors.Is(err, schemas.ErrCorrupt) {
		t.Errorf("nothing at all: %v", err)
	}
	bad := &kgo.Record{Topic: topics.Generations, Value: []byte("\x01{}")}
	if err := one.client.ProduceSync(ctx, bad).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := one.Refresh(ctx); err != nil || len(one.Current().List) != 2 || one.Refused() != 1 {
		t.Errorf("a record that does not decode: %v, %+v, %d refused", err, one.Current(), one.Refused())
	}

	reports := []schemas.ShardReport{{Gen: 1, Shard: 2, Owner: "a", Series: 3}, {Gen: 1, Shard: 3, Owner: "b"}}
	if err := one.Report(ctx, reports); err != nil {
		t.Fatal(err)
	}
	reports[0].Series = 4
	if err := one.Report(ctx, reports[:1]); err != nil {
		t.Fatal(err)
	}
	got, err := Reports(ctx, kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil || len(got) != 2 || got["1/2"] != reports[0] || got["1/3"] != reports[1] {
		t.Errorf("%+v, %v", got, err)
	}
}
