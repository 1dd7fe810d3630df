package writeback

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestDeniedTopicEndsRun: sarama retries a topic that Kafka's ACLs deny for ever, and Goka waits. The engine ends with an
// error that names the topic.
func TestDeniedTopicEndsRun(t *testing.T) {
	for _, denied := range []string{inTopic, group + "-table"} {
		t.Run(denied, func(t *testing.T) {
			b := newBed(t)
			var records []*kgo.Record // so that the table is read
			for p := range int32(shards) {
				records = append(records, &kgo.Record{Topic: group + "-table", Partition: p, Key: []byte("k"), Value: []byte("v")})
			}
			if err := b.client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
				t.Fatal(err)
			}
			b.cluster.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
				b.cluster.KeepControl()
				req := r.(*kmsg.FetchRequest)
				if !slices.ContainsFunc(req.Topics, func(t kmsg.FetchRequestTopic) bool { return t.Topic == denied }) {
					return nil, nil, false
				}
				resp := req.ResponseKind().(*kmsg.FetchResponse)
				for _, topic := range req.Topics {
					rt := kmsg.NewFetchResponseTopic()
					rt.Topic = topic.Topic
					for _, p := range topic.Partitions {
						rp := kmsg.NewFetchResponseTopicPartition()
						rp.Partition, rp.RecordBatches = p.Partition, []byte{}
						if topic.Topic == denied {
							rp.ErrorCode = kerr.TopicAuthorizationFailed.Code
						}
						rt.Partitions = append(rt.Partitions, rp)
					}
					resp.Topics = append(resp.Topics, rt)
				}
				return resp, nil, true
			})
			m := b.start("one", t.TempDir(), &counting{})
			defer m.stop()
			select {
			case err := <-m.done:
				if err == nil || !strings.Contains(err.Error(), denied+"/") || !strings.Contains(err.Error(), "not authorized") {
					t.Errorf("ended with %v, want an error that names %s", err, denied)
				}
			case <-time.After(20 * time.Second):
				t.Errorf("runs on without %s", denied)
			}
			if err := m.store.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
