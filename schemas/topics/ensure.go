package topics

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// ErrShape is wrapped when a topic exists and is not what weir needs: asking
// again will not help.
var ErrShape = errors.New("topic of another shape")

// settle is how long to wait before asking again whether new partitions have
// their leaders.
const settle = 100 * time.Millisecond

// Ensure creates the topics that are missing and returns when every partition of
// all of them answers for its offsets: a consumer that starts earlier fails with
// "not the leader" now and then (TRAPS 44). It returns an error for each topic
// that exists with another partition count or cleanup policy than wanted, naming
// both and wrapping ErrShape, and when ctx ends first. Several instances may call it at once.
func Ensure(ctx context.Context, adm *kadm.Client, want []Topic) error {
	var faults []error
	for _, t := range want {
		if err := ensureOne(ctx, adm, t); err != nil {
			faults = append(faults, err)
		}
	}
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	return awaitLeaders(ctx, adm, want)
}

func ensureOne(ctx context.Context, adm *kadm.Client, t Topic) error {
	configs := map[string]*string{}
	for k, v := range t.Configs() {
		configs[k] = kadm.StringPtr(v)
	}
	replication := t.Replication
	if replication == 0 {
		replication = -1 // Kafka's way to say "yours"
	}
	made, err := adm.CreateTopic(ctx, t.Partitions, replication, configs, t.Name)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kerr.TopicAlreadyExists):
		return checkExisting(ctx, adm, t)
	case made.ErrMessage != "":
		return fmt.Errorf("topic %s: create with %d partitions: %w: %s", t.Name, t.Partitions, err, made.ErrMessage)
	default:
		return fmt.Errorf("topic %s: create with %d partitions: %w", t.Name, t.Partitions, err)
	}
}

func checkExisting(ctx context.Context, adm *kadm.Client, t Topic) error {
	listed, err := adm.ListTopics(ctx, t.Name)
	if err == nil {
		err = listed[t.Name].Err
	}
	// A topic that another instance made this moment may be unknown to the broker
	// that was asked: awaitLeaders waits for it, and made it was as we would have.
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("topic %s: list: %w", t.Name, err)
	}
	has := int32(len(listed[t.Name].Partitions))
	if has < t.Partitions || has > t.Partitions && !t.Grows {
		return fmt.Errorf("topic %s: has %d partitions, the config wants %d%s: %w", t.Name, has, t.Partitions, orMore(t.Grows), ErrShape)
	}
	rcs, err := adm.DescribeTopicConfigs(ctx, t.Name)
	if err != nil {
		return fmt.Errorf("topic %s: describe: %w", t.Name, err)
	}
	rc, err := rcs.On(t.Name, nil)
	if err == nil {
		err = rc.Err
	}
	if err != nil {
		return fmt.Errorf("topic %s: describe: %w", t.Name, err)
	}
	for _, c := range rc.Configs {
		if c.Key == "cleanup.policy" && c.MaybeValue() != string(t.Cleanup) {
			return fmt.Errorf("topic %s: has cleanup.policy %s, weir needs %s: %w", t.Name, c.MaybeValue(), t.Cleanup, ErrShape)
		}
	}
	return nil
}

func orMore(grows bool) string {
	if grows {
		return " or more"
	}
	return ""
}

// awaitLeaders returns when the end offset of each partition is known.
func awaitLeaders(ctx context.Context, adm *kadm.Client, want []Topic) error {
	names := make([]string, len(want))
	for i, t := range want {
		names[i] = t.Name
	}
	for {
		missing := unanswered(ctx, adm, names, want)
		if missing == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for topics: %w: %w", missing, ctx.Err())
		case <-time.After(settle):
		}
	}
}

// unanswered is nil, or says about one topic why it cannot be read yet.
func unanswered(ctx context.Context, adm *kadm.Client, names []string, want []Topic) error {
	offsets, err := adm.ListEndOffsets(ctx, names...)
	if err != nil {
		return err
	}
	for _, t := range want {
		answered := int32(0)
		for p, o := range offsets[t.Name] {
			if o.Err != nil {
				return fmt.Errorf("topic %s: partition %d: %w", t.Name, p, o.Err)
			}
			answered++
		}
		if answered < t.Partitions {
			return fmt.Errorf("topic %s: %d of %d partitions answer", t.Name, answered, t.Partitions)
		}
	}
	return nil
}
