package consume

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestFailed(t *testing.T) {
	at := func(err error) kgo.FetchError { return kgo.FetchError{Topic: "t", Partition: 3, Err: err} }
	for _, c := range []struct {
		err  error
		want string // in Failed's error; "": the client continues
	}{
		{&kgo.ErrGroupSession{Err: errors.New("the session is over")}, ""},
		{&kgo.ErrGroupSession{Err: kerr.GroupAuthorizationFailed}, "group g: "},
		{&kgo.ErrGroupSession{Err: fmt.Errorf("join: %w", kerr.TopicAuthorizationFailed)}, "group g: "},
		{&kgo.ErrDataLoss{Topic: "t", Partition: 3}, ""},
		{kerr.TopicAuthorizationFailed, "fetch t/3: "},
		{errors.New("anything else"), "fetch t/3: "},
	} {
		err := Failed("g", at(c.err))
		if (err == nil) != (c.want == "") || err != nil && (!strings.HasPrefix(err.Error(), c.want) || !errors.Is(err, c.err)) {
			t.Errorf("%v: %v, want %q", c.err, err, c.want)
		}
	}
}

// TestDeniedIsAskedSeldom: a client that is denied a topic pauses before it asks again.
func TestDeniedIsAskedSeldom(t *testing.T) {
	b := newBed(t, 1)
	var asked atomic.Int64
	b.cluster.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		b.cluster.KeepControl()
		asked.Add(1)
		resp := r.ResponseKind().(*kmsg.FetchResponse)
		for _, topic := range r.(*kmsg.FetchRequest).Topics {
			rt := kmsg.NewFetchResponseTopic()
			rt.Topic, rt.TopicID = topic.Topic, topic.TopicID
			for _, p := range topic.Partitions {
				rp := kmsg.NewFetchResponseTopicPartition()
				rp.Partition, rp.RecordBatches, rp.ErrorCode = p.Partition, []byte{}, kerr.TopicAuthorizationFailed.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	c, err := New(Watch{}, kgo.SeedBrokers(b.cluster.ListenAddrs()...), kgo.ConsumeTopics(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(b.context(), time.Second)
	defer cancel()
	told := 0
	for ctx.Err() == nil {
		if Denied(c.PollFetches(ctx).Err()) {
			told++
		}
	}
	if n := asked.Load(); n > 20 || told < 2 {
		t.Errorf("asked %d times a second, reported %d times", n, told)
	}
}
