package pipelines

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"weir/processors/route"
	"weir/schemas/topics"
)

func TestRouteLag(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, topics.Metrics))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	client := []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner())}
	cl, err := kgo.NewClient(client...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	l, err := newRouteLag(client, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.adm.Close()
	if !l.behind() {
		t.Error("not behind before it has looked")
	}
	produce := func(partition int32) {
		if err := cl.ProduceSync(ctx, &kgo.Record{Topic: topics.Metrics, Partition: partition}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	commit := func(partition int32, at int64) {
		var o kadm.Offsets
		o.Add(kadm.Offset{Topic: topics.Metrics, Partition: partition, At: at, LeaderEpoch: -1})
		if err := adm.CommitAllOffsets(ctx, route.Group, o); err != nil {
			t.Fatal(err)
		}
	}
	look := func(want bool, when string) {
		t.Helper()
		if l.look(ctx, nil); l.behind() != want {
			t.Errorf("%s: behind is %v", when, !want)
		}
	}
	look(false, "nothing there, nobody read")
	produce(0)
	look(true, "a record that nobody read")
	commit(0, 1)
	look(false, "all read")
	produce(1)
	look(true, "a record in the other partition")
	commit(1, 1)
	look(false, "all read again")

	// What came after the older look may wait.
	seen := l.look(ctx, nil)
	seen[0].at = time.Now().Add(-2 * l.allow)
	produce(0)
	if seen = l.look(ctx, seen); l.behind() || len(seen) != 2 {
		t.Errorf("a record that came just now: behind is %v with %d looks", l.behind(), len(seen))
	}
	seen[1].at = time.Now().Add(-l.allow)
	if seen = l.look(ctx, seen); !l.behind() || len(seen) != 2 {
		t.Errorf("a record that came a while ago: behind is %v with %d looks", l.behind(), len(seen))
	}

	// Records that retention dropped are not waited for.
	var o kadm.Offsets
	o.Add(kadm.Offset{Topic: topics.Metrics, Partition: 0, At: 2})
	if _, err := adm.DeleteRecords(ctx, o); err != nil {
		t.Fatal(err)
	}
	look(false, "dropped")

	c.Close()
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if l.look(short, nil); l.behind() {
		t.Error("brokers that are gone changed the verdict")
	}
}

func TestRouteLagFollows(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, topics.Metrics))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l, err := newRouteLag([]kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	stop := l.follow(t.Context())
	for deadline := time.Now().Add(5 * time.Second); l.behind(); {
		if time.Now().After(deadline) {
			t.Fatal("still behind on an empty topic")
		}
		<-time.After(10 * time.Millisecond)
	}
	stop()
}
