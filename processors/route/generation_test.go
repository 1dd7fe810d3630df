package route

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/topics"
)

// byTopic keeps what is sent to each topic.
type byTopic map[string]map[int64]int // samples by their time

func (o byTopic) send(topic string, key []byte, shard int32, value []byte) {
	var b schemas.SampleBatch
	if err := b.Decode(value); err != nil {
		panic(err)
	}
	if o[topic] == nil {
		o[topic] = map[int64]int{}
	}
	for _, p := range b.Points {
		o[topic][p.TimeMS]++
	}
	want := map[string]int32{"samples": 8, "samples-g1": 3}[topic]
	if want == 0 || shard != schemas.Shard(key, want) {
		panic(fmt.Sprintf("%s in shard %d of %s", key, shard, topic))
	}
}
func (byTopic) refuse(*kgo.Record, *verdict) {}
func (byTopic) flush() error                 { return nil }

// TestGenerationByTime: each sample goes to the generation of its own time, even if a record has samples of both, and the
// record is cut in the same way when it is read again.
func TestGenerationByTime(t *testing.T) {
	rec := &kgo.Record{Topic: topics.Metrics, Value: []byte("cpu,host=a v=1 998000000\ncpu,host=a v=2 999000000\ncpu,host=a v=3 1000000000\ncpu,host=a v=4 1001000000\n")}
	record := &schemas.Generations{List: append(schemas.FirstGeneration(8).List, schemas.Generation{Gen: 1, Shards: 3, FromMS: 1000, State: schemas.Planned})}
	o := byTopic{}
	e := newEncoder(Default(), generationsOf(schemas.FirstGeneration(8)), testEpoch, newCounters(prometheus.NewRegistry()), o)
	add := func(want string) {
		t.Helper()
		if err := e.add(rec); err != nil {
			t.Fatal(err)
		}
		if err := e.finish(); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(o); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		clear(o)
	}
	add("map[samples:map[998:1 999:1 1000:1 1001:1]]")
	e.follow(generationsOf(record))
	add("map[samples:map[998:1 999:1] samples-g1:map[1000:1 1001:1]]")
	add("map[samples:map[998:1 999:1] samples-g1:map[1000:1 1001:1]]")
	record.List[0].State, record.List[1].State = schemas.Closed, schemas.Active
	e.follow(generationsOf(record))
	add("map[samples-g1:map[998:1 999:1 1000:1 1001:1]]")
}
