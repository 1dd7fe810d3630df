package notify

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
)

// TestFenceIsSureOfTheLastSecond: within a second of a good answer, the fence asks nobody. After that, and therefore after
// any suspension of the process, the coordinator decides.
func TestFenceIsSureOfTheLastSecond(t *testing.T) {
	now, asked := time.Unix(1000, 0), 0
	var answer error
	f := &fence{now: func() time.Time { return now }, ask: func(context.Context) error { asked++; return answer }}
	step := func(d time.Duration, want bool, questions int) {
		t.Helper()
		now = now.Add(d)
		if got := f.check(); got != want || asked != questions {
			t.Errorf("after %v: %v with %d questions, want %v with %d", d, got, asked, want, questions)
		}
	}
	step(0, true, 1)
	step(fenceFor-1, true, 1)
	step(1, true, 2)
	answer = errors.New("UNKNOWN_MEMBER_ID")
	if !f.recent() {
		t.Error("not recent right after a good answer")
	}
	step(time.Minute, false, 3)
	if f.recent() {
		t.Error("recent a minute after the last good answer")
	}
	step(0, false, 4)
	answer = nil
	step(0, true, 5)
	f.ask = func(context.Context) error { now = now.Add(fenceFor); asked++; return nil } // the process is suspended meanwhile
	step(time.Minute, false, 6)
	stop := make(chan struct{})
	close(stop)
	answer, f.ask = nil, func(context.Context) error { return nil }
	if f.pass(stop) {
		t.Error("the fence of a partition that stops lets a call pass")
	}
}

// TestFenceKnowsAFormerMember: the fence lets no calls of a removed member pass.
func TestFenceKnowsAFormerMember(t *testing.T) {
	b := newBroker(t)
	member, err := kgo.NewClient(append(b.opts, kgo.ConsumerGroup(ConsumerGroup), kgo.ConsumeTopics(topics.Alerts), kgo.InstanceID("one"),
		kgo.HeartbeatInterval(time.Minute), kgo.SessionTimeout(5*time.Minute))...) // learns nothing by itself
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(member.Close)
	go member.PollFetches(t.Context())
	ask := func() error { return isMember(t.Context(), member) }
	kafkatest.Eventually(t, "member", func() bool { return ask() == nil })
	left, err := kadm.NewClient(b.client).LeaveGroup(t.Context(), kadm.LeaveGroup(ConsumerGroup).InstanceIDs("one"))
	if err == nil {
		err = left.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := ask(); err == nil {
		t.Error("a member that was taken out of the group passes")
	}
}
