package endtoend

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/pipelines"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
)

// TestFloodOfRubbish: 42 MB of bad lines, through the gateway and through Kafka, leave only as many bytes of letters
// as their senders may have; the rest is counted. The letter of another sender is not lost.
func TestFloodOfRubbish(t *testing.T) {
	cluster := kafkatest.Cluster(t)
	var config pipelines.Config
	p := start(t, writeConfig(t, t.TempDir(), fmt.Sprintf("brokers: [%q]\nshards: 1\nalert_shards: 1\nmetrics_partitions: 1\n", cluster.ListenAddrs()[0])), &config)
	kafka := kafkatest.Client(t, cluster.ListenAddrs(), kgo.ConsumeTopics(topics.DeadLetter),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	b := &badInput{t: t, url: p.url, kafka: kafka}
	rubbish := bytes.Repeat([]byte("rubbish,\n"), 700_000/9)
	for range 30 {
		if status, _ := b.post(lineNS, rubbish); status != http.StatusBadRequest {
			t.Fatalf("rubbish: %d, want 400", status)
		}
		r := &kgo.Record{Topic: topics.Metrics, Key: []byte("rubbish"), Value: rubbish}
		if err := kafka.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	quiet := &kgo.Record{Topic: topics.Metrics, Key: []byte("quiet"), Value: []byte("{")}
	if err := kafka.ProduceSync(t.Context(), quiet).FirstErr(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	written, heard := 0, false
	for !heard {
		fetches := kafka.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatal("the letter of the quiet sender is missing")
		}
		fetches.EachRecord(func(r *kgo.Record) {
			written += len(r.Value)
			heard = heard || string(r.Key) == "quiet"
		})
	}
	limit := 2 * config.DeadLetter.SourceBurst
	if written > limit+limit/10 || written < limit/2 {
		t.Errorf("%d bytes of letters, want about 4 MiB from each of the two floods", written)
	}
	if got := counterOf(t, p.url, `weir_deadletter_dropped_total{reason="undecodable",stage="gateway"}`) +
		counterOf(t, p.url, `weir_deadletter_dropped_total{reason="undecodable",stage="route"}`); got < 40 {
		t.Errorf("%d dropped letters counted, want at least 40", got)
	}
}
