package topics

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// ErrShape is wrapped when a topic exists and is not what weir needs: trying again will not help.
var ErrShape = errors.New("topic has another shape")

// Settle is how long to wait before asking again whether new partitions have leaders. Clients given
// to Ensure must refresh their metadata as often (kgo.MetadataMinAge): a client that has heard that
// a topic is missing otherwise believes it for seconds after the topic was made.
const Settle = 100 * time.Millisecond

// ErrDenied is wrapped when Kafka's ACLs deny what is needed to make or inspect a topic.
var ErrDenied = errors.New("denied by Kafka's ACLs")

// Ensure creates the topics that are missing, and returns when every partition of all of them
// answers for its offsets: a consumer that starts earlier occasionally fails with "not the leader".
// It returns an error for each topic that exists with another partition count or cleanup policy
// than wanted, naming both and wrapping ErrShape; one that wraps ErrDenied for each missing right,
// with the topics concerned; and one when ctx ends first. The right to create topics is needed only
// if one is missing. Several instances may call it at once.
func Ensure(ctx context.Context, adm *kadm.Client, want []Topic) error {
	has, hidden, err := list(ctx, adm, want)
	if err != nil {
		return err
	}
	faults := append(hidden, check(ctx, adm, has, want)...)
	missing := slices.DeleteFunc(slices.Clone(want), func(t Topic) bool { _, there := has[t.Name]; return there })
	raced, failed := create(ctx, adm, missing)
	faults = append(faults, failed...)
	if len(raced) > 0 { // another instance has just made them, perhaps with another config
		if has, hidden, err = list(ctx, adm, raced); err != nil {
			return err
		}
		faults = append(append(faults, hidden...), check(ctx, adm, has, raced)...)
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	return awaitLeaders(ctx, adm, want)
}

// list returns how many partitions each existing topic has: unknown if weir may not see that.
func list(ctx context.Context, adm *kadm.Client, all []Topic) (has map[string]int32, faults []error, err error) {
	has = map[string]int32{}
	var denied denials
	for _, t := range all {
		// One at a time: kadm's errors do not tell which of several topics they are about.
		listed, err := adm.ListTopics(ctx, t.Name)
		if err == nil {
			err = listed[t.Name].Err
		}
		switch {
		case err == nil:
			has[t.Name] = int32(len(listed[t.Name].Partitions))
		case errors.Is(err, kerr.UnknownTopicOrPartition):
		case errors.Is(err, kerr.TopicAuthorizationFailed):
			has[t.Name] = unknown
			denied = append(denied, t.Name)
		default:
			return nil, nil, fmt.Errorf("topic %s: list: %w", t.Name, err)
		}
	}
	return has, denied.of("the right to Describe", ""), nil
}

// unknown stands for an unknown number of partitions.
const unknown = -1

// denials are names of topics on which a right is missing.
type denials []string

// of returns the error about the denials, if there are any.
func (d denials) of(right, instead string) []error {
	if len(d) == 0 {
		return nil
	}
	return []error{fmt.Errorf("%w: %s on the topics %s%s: %w", ErrDenied, right, strings.Join(d, ", "), instead, kerr.TopicAuthorizationFailed)}
}

// create makes the missing topics, and returns those that another instance made first.
func create(ctx context.Context, adm *kadm.Client, missing []Topic) (raced []Topic, faults []error) {
	var denied denials
	for _, t := range missing {
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
		case errors.Is(err, kerr.TopicAlreadyExists):
			raced = append(raced, t)
		case errors.Is(err, kerr.TopicAuthorizationFailed):
			denied = append(denied, t.Name)
		case made.ErrMessage != "":
			faults = append(faults, fmt.Errorf("topic %s: create with %d partitions: %w: %s", t.Name, t.Partitions, err, made.ErrMessage))
		default:
			faults = append(faults, fmt.Errorf("topic %s: create with %d partitions: %w", t.Name, t.Partitions, err))
		}
	}
	return raced, append(faults, denied.of("the right to Create", ", which are missing; grant it, or let a user who has it run weir once (docs/security.md)")...)
}

// check compares existing topics with what is wanted.
func check(ctx context.Context, adm *kadm.Client, has map[string]int32, all []Topic) (faults []error) {
	var denied denials
	for _, t := range all {
		n, there := has[t.Name]
		if !there || n == unknown {
			continue
		}
		if n < t.Partitions || n > t.Partitions && !t.Grows {
			faults = append(faults, fmt.Errorf("topic %s: has %d partitions, the config wants %d%s: %w", t.Name, n, t.Partitions, orMore(t.Grows), ErrShape))
			continue
		}
		switch is, err := cleanup(ctx, adm, t.Name); {
		case errors.Is(err, kerr.TopicAuthorizationFailed):
			denied = append(denied, t.Name)
		case errors.Is(err, kerr.UnknownTopicOrPartition): // just made, and not known everywhere yet
		case err != nil:
			faults = append(faults, fmt.Errorf("topic %s: describe: %w", t.Name, err))
		case is != t.Cleanup:
			faults = append(faults, fmt.Errorf("topic %s: has cleanup.policy %s, weir needs %s: %w", t.Name, is, t.Cleanup, ErrShape))
		}
	}
	return append(faults, denied.of("the right to DescribeConfigs", "")...)
}

func cleanup(ctx context.Context, adm *kadm.Client, topic string) (Cleanup, error) {
	all, err := adm.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return "", err
	}
	rc, err := all.On(topic, nil)
	if err == nil {
		err = rc.Err
	}
	if err != nil {
		return "", err
	}
	for _, c := range rc.Configs {
		if c.Key == "cleanup.policy" {
			return Cleanup(c.MaybeValue()), nil
		}
	}
	return "", errors.New("the broker returned no cleanup.policy")
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
		case <-time.After(Settle):
		}
	}
}

// unanswered returns nil, or for one topic why it cannot be read yet.
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
