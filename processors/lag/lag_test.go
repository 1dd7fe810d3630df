package lag

import (
	"context"
	"maps"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/weir-metrics/weir/schemas/kafkatest"
)

const group, topic = "readers", "records"

func newGauge() *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "lag"}, []string{"partition"})
}

// values returns the values of the gauge, by partition.
func values(t *testing.T, g *prometheus.GaugeVec) map[int]float64 {
	t.Helper()
	all := map[int]float64{}
	metrics := make(chan prometheus.Metric, 100)
	g.Collect(metrics)
	close(metrics)
	for m := range metrics {
		var out dto.Metric
		if err := m.Write(&out); err != nil {
			t.Fatal(err)
		}
		p, err := strconv.Atoi(out.Label[0].GetValue())
		if err != nil {
			t.Fatal(err)
		}
		all[p] = out.GetGauge().GetValue()
	}
	return all
}

// bed is a broker with the topic, which has two partitions.
type bed struct {
	*testing.T
	cluster  *kfake.Cluster
	producer *kgo.Client
}

func newBed(t *testing.T) *bed {
	c := kafkatest.Cluster(t, kfake.SeedTopics(2, topic),
		kafkatest.Quick())
	b := &bed{T: t, cluster: c}
	b.producer = b.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	return b
}

func (b *bed) client(opts ...kgo.Opt) *kgo.Client {
	b.Helper()
	return kafkatest.Client(b, b.cluster.ListenAddrs(), opts...)
}

// member returns a group member that commits nothing by itself.
func (b *bed) member() *kgo.Client {
	b.Helper()
	return b.client(kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.HeartbeatInterval(50*time.Millisecond), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
}

func (b *bed) produce(partition int32, n int) {
	b.Helper()
	for range n {
		if err := b.producer.ProduceSync(b.Context(), &kgo.Record{Topic: topic, Partition: partition}).FirstErr(); err != nil {
			b.Fatal(err)
		}
	}
}

// saysOf returns a condition: after the follower has looked, its gauge has these values.
func saysOf(t *testing.T, f *follower, want map[int]float64) func() bool {
	return func() bool {
		f.look(t.Context())
		return maps.Equal(values(t, f.gauge), want)
	}
}

// TestLook: the gauge counts records that a member has not read, and records that it has read but not committed.
func TestLook(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	m := b.member()
	f := newFollower(m, group, topic, newGauge())
	b.produce(0, 5)
	kafkatest.Eventually(t, "5 records that nobody has read", saysOf(t, f, map[int]float64{0: 5, 1: 0}))
	if n := m.PollFetches(t.Context()).NumRecords(); n == 0 {
		t.Fatal("nothing read")
	}
	b.produce(1, 3)
	kafkatest.Eventually(t, "records that were read and not committed, and 3 more", saysOf(t, f, map[int]float64{0: 5, 1: 3}))
	m.CommitOffsetsSync(t.Context(), map[string]map[int32]kgo.EpochOffset{topic: {0: {Epoch: -1, Offset: 4}}}, nil)
	kafkatest.Eventually(t, "one record that is not committed, and 3 more", saysOf(t, f, map[int]float64{0: 1, 1: 3}))

	// Records that retention deleted do not count.
	var o kadm.Offsets
	o.Add(kadm.Offset{Topic: topic, Partition: 1, At: 2})
	if _, err := kadm.NewClient(b.producer).DeleteRecords(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	kafkatest.Eventually(t, "one record of each that is left", saysOf(t, f, map[int]float64{0: 1, 1: 1}))
}

// TestTwoMembers: each member counts the partitions that it owns, so their sum is the group's lag.
func TestTwoMembers(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.produce(0, 2)
	b.produce(1, 7)
	var followers []*follower
	for range 2 {
		m := b.member()
		followers = append(followers, newFollower(m, group, topic, newGauge()))
		go func() { // otherwise it would not give up a partition
			for !m.PollFetches(b.Context()).IsClientClosed() && b.Context().Err() == nil {
			}
		}()
	}
	kafkatest.Eventually(t, "a partition each", func() bool {
		both := map[int]float64{}
		for _, f := range followers {
			f.look(t.Context())
			if one := values(t, f.gauge); len(one) == 1 {
				maps.Copy(both, one)
			}
		}
		return maps.Equal(both, map[int]float64{0: 2, 1: 7})
	})
	followers[1].member.Close()
	kafkatest.Eventually(t, "both with the one that is left", saysOf(t, followers[0], map[int]float64{0: 2, 1: 7}))
}

// TestWithoutBrokers: while the brokers are down, the gauge keeps its values, and the end does not wait for them.
func TestWithoutBrokers(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.produce(0, 5)
	f := newFollower(b.member(), group, topic, newGauge())
	kafkatest.Eventually(t, "5 records behind", saysOf(t, f, map[int]float64{0: 5, 1: 0}))
	b.cluster.Close()
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	f.look(short)
	if got := values(t, f.gauge); !maps.Equal(got, map[int]float64{0: 5, 1: 0}) {
		t.Errorf("without brokers: %v, want the old values", got)
	}
	began := time.Now()
	Follow(f.member, group, topic, f.gauge)()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the end took %v", took)
	}
}

// TestFollow: the gauge is kept up to date until the end, and then has no values.
func TestFollow(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	g := newGauge()
	stop := Follow(b.member(), group, topic, g)
	for want := range 3 {
		kafkatest.Eventually(t, strconv.Itoa(want)+" records behind", func() bool {
			return maps.Equal(values(t, g), map[int]float64{0: float64(want), 1: 0})
		})
		b.produce(0, 1)
	}
	stop()
	if got := values(t, g); len(got) > 0 {
		t.Errorf("after the end: %v, want nothing", got)
	}
}
