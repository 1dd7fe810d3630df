package lag

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// lookEvery is how often offsets are queried.
const lookEvery = 2 * time.Second

// stable is the state of a group whose members have partitions.
const stable = "Stable"

// Follow keeps the gauge, whose only label is the partition, for what member owns of the topic as a
// member of the group, until stop is called, which removes the values that were set.
func Follow(member *kgo.Client, group, topic string, gauge *prometheus.GaugeVec) (stop func()) {
	f := newFollower(member, group, topic, gauge)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			f.look(ctx)
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return func() {
		cancel()
		<-done
		f.set(nil)
	}
}

// follower keeps one gauge.
type follower struct {
	member       *kgo.Client
	admin        *kadm.Client
	group, topic string
	gauge        *prometheus.GaugeVec
	owned        map[int32]bool // partitions that were set
}

func newFollower(member *kgo.Client, group, topic string, gauge *prometheus.GaugeVec) *follower {
	return &follower{member: member, admin: kadm.NewClient(member), group: group, topic: topic, gauge: gauge, owned: map[int32]bool{}}
}

// look asks for the offsets once.
func (f *follower) look(ctx context.Context) {
	id, generation := f.member.GroupMetadata()
	if generation < 0 {
		return
	}
	lags, err := f.admin.Lag(ctx, f.group)
	if err != nil || lags.Error() != nil || lags[f.group].State != stable {
		return
	}
	behind := map[int32]int64{}
	for p, l := range lags[f.group].Lag[f.topic] {
		if l.Member == nil || l.Member.MemberID != id {
			continue
		}
		if l.Err != nil {
			return
		}
		behind[p] = l.Lag
	}
	f.set(behind)
}

// set sets these partitions, and removes all others.
func (f *follower) set(behind map[int32]int64) {
	for p := range f.owned {
		if _, ok := behind[p]; !ok {
			f.gauge.DeleteLabelValues(label(p))
			delete(f.owned, p)
		}
	}
	for p, n := range behind {
		f.gauge.WithLabelValues(label(p)).Set(float64(n))
		f.owned[p] = true
	}
}

func label(p int32) string { return strconv.Itoa(int(p)) }
