package operations

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/topics"
)

// TestBacklog: weir was down for an hour, in which samples continued to come: those of a host in one partition, as weir's gateway
// sends them, or in any. weir catches up, with current samples as well, without closing a window early or reporting any host as
// missing: hosts above the limit fire once, and keep firing.
func TestBacklog(t *testing.T) {
	t.Run("a host in one partition", func(t *testing.T) {
		t.Parallel()
		testBacklog(t, func(host string, _ int) string { return host })
	})
	t.Run("a host in any partition", func(t *testing.T) {
		t.Parallel()
		testBacklog(t, func(_ string, n int) string { // most of them in one
			if n%8 > 0 {
				return "a"
			}
			return strconv.Itoa(n)
		})
	})
}

func testBacklog(t *testing.T, key func(host string, n int) string) {
	b := newReshardBed(t, 3)
	if err := topics.Ensure(t.Context(), kadm.NewClient(b.client), topics.All(b.config.Topics)); err != nil {
		t.Fatal(err)
	}
	pad := func() string { // makes it several fetches: does not compress well
		b := make([]byte, 8000)
		for i := range b {
			b[i] = " \t"[rand.IntN(2)]
		}
		return string(b)
	}
	hosts := []string{"flat", "between", "dead"}
	for i := range 6 {
		hosts = append(hosts, fmt.Sprint("calm", i))
	}
	send := func(at int64) {
		for i, host := range hosts {
			v := 90.0
			if i >= 3 {
				v = float64(at/1000%40) + float64(i)
			}
			b.sent = append(b.sent, schemas.Sample{Series: schemas.Series{Metric: "load", Labels: schemas.NewLabels(map[string]string{"host": host})}, TimeMS: at, Value: v})
			line := fmt.Sprintf(`{"metricName":"load","tags":{"host":%q},"timestamp":%d,"value":%v}%s`, host, at, v, pad())
			b.client.Produce(context.Background(), &kgo.Record{Topic: topics.Metrics, Key: []byte(key(host, len(b.sent))), Value: []byte(line)}, func(_ *kgo.Record, err error) {
				if err != nil {
					t.Errorf("produce: %v", err)
				}
			})
		}
	}
	now := time.Now().UnixMilli()
	for at := now - time.Hour.Milliseconds(); at < now; at += 4000 {
		send(at)
	}
	if err := b.client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer b.run()()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for range 30 { // of life beside the catching up
		send((<-tick.C).UnixMilli())
	}
	b.exact()
	for _, r := range b.all(topics.Windows) {
		batch, err := schemas.DecodeWindowBatch(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range batch.Windows {
			if w.StartMS < now-10_000 && (w.Late() || w.Revision > 0) {
				t.Fatalf("closed early: %v from %s, revision %d, late %v", w.Series, time.UnixMilli(w.StartMS).UTC(), w.Revision, w.Late())
			}
		}
	}
	for _, r := range b.all(topics.Conditions) {
		if len(r.Key) == 0 {
			continue // a tick
		}
		c, err := schemas.DecodeDoc[schemas.Condition](r.Value)
		if err != nil {
			t.Fatal(err)
		}
		if !c.True && c.EndMS < now {
			t.Errorf("%s of %s was false at %s: %s", c.Rule, c.Group, time.UnixMilli(c.EndMS).UTC(), c.Reason)
		}
	}
	for name, told := range b.alerts() {
		if !strings.HasPrefix(told, "firing ") || strings.Contains(name, "calm") {
			t.Errorf("%s was told as %q", name, told)
		}
	}
}
