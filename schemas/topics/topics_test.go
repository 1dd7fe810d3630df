package topics

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas/kafkatest"
)

// broker starts a broker in memory and returns its admin client.
func broker(t *testing.T) (*kfake.Cluster, *kadm.Client) {
	t.Helper()
	c := kafkatest.Cluster(t)
	cl := kafkatest.Client(t, c.ListenAddrs())
	return c, kadm.NewClient(cl)
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestEnsureCreatesAllAndAgain(t *testing.T) {
	_, adm := broker(t)
	ctx := within(t, 10*time.Second)
	c := Default()
	c.Shards, c.AlertShards, c.MetricsPartitions = 4, 3, 2
	for round := range 2 { // in the second round, everything exists
		if err := Ensure(ctx, adm, All(c)); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	listed, err := adm.ListTopics(ctx)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{Progress: 1, Generations: 1, ShardReports: 1, Metrics: 2, Samples: 4, Windows: 4, WindowTable: 4, Conditions: 3, Alerts: 3, AlertTable: 3, NotificationLog: 3, DeadLetter: 1, Members: 1}
	if len(listed) != len(want) {
		t.Errorf("topics %v", listed.Names())
	}
	for name, partitions := range want {
		if got := len(listed[name].Partitions); got != partitions {
			t.Errorf("%s: %d partitions, want %d", name, got, partitions)
		}
	}
}

func TestConfigsReachTheBroker(t *testing.T) {
	_, adm := broker(t)
	ctx := within(t, 10*time.Second)
	if err := Ensure(ctx, adm, All(Default())); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ topic, key, want string }{
		{Alerts, "cleanup.policy", "compact"}, {Alerts, "retention.ms", "-1"}, {WindowTable, "segment.bytes", "16908288"},
		{Metrics, "cleanup.policy", "delete"}, {Metrics, "retention.ms", "86400000"},
		{Metrics, "message.timestamp.type", "LogAppendTime"}, {Samples, "message.timestamp.type", "CreateTime"},
		{Conditions, "message.timestamp.type", "LogAppendTime"},
		{DeadLetter, "max.message.bytes", "16908288"}, {DeadLetter, "retention.bytes", "1073741824"}, {DeadLetter, "segment.bytes", "134217728"},
	} {
		rcs, err := adm.DescribeTopicConfigs(ctx, c.topic)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, kv := range rcs[0].Configs {
			if kv.Key == c.key {
				got = kv.MaybeValue()
			}
		}
		if got != c.want {
			t.Errorf("%s: %s is %q, want %q", c.topic, c.key, got, c.want)
		}
	}
}

// TestCopartitioned: Goka pairs the partitions of a group's input and table, so both have the same number.
func TestCopartitioned(t *testing.T) {
	c := Default()
	c.Shards, c.AlertShards = 5, 7
	n := map[string]int32{}
	for _, topic := range All(c) {
		n[topic.Name] = topic.Partitions
		if (topic.Cleanup == Compact) != (topic.Retention == 0) {
			t.Errorf("%s: %s with retention %s", topic.Name, topic.Cleanup, topic.Retention)
		}
	}
	if n[Samples] != 5 || n[Windows] != 5 || n[WindowTable] != 5 || n[Conditions] != 7 || n[Alerts] != 7 || n[AlertTable] != 7 {
		t.Error(n)
	}
}

func TestEnsureRefusesAnotherShape(t *testing.T) {
	_, adm := broker(t)
	ctx := within(t, 10*time.Second)
	for _, made := range []struct {
		topic      string
		partitions int32
		cleanup    string
	}{{Samples, 3, "delete"}, {Windows, 12, "delete"}, {Metrics, 12, "delete"}, {DeadLetter, 2, "delete"}, {Alerts, 8, "delete"}} {
		if _, err := adm.CreateTopic(ctx, made.partitions, 1, map[string]*string{"cleanup.policy": &made.cleanup}, made.topic); err != nil {
			t.Fatal(err)
		}
	}
	err := Ensure(ctx, adm, All(Default()))
	if !errors.Is(err, ErrShape) {
		t.Fatal(err)
	}
	for _, want := range []string{
		"topic samples: has 3 partitions, the config wants 8",
		"topic windows: has 12 partitions, the config wants 8",
		"topic alerts: has cleanup.policy delete, weir needs compact",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in\n%v", want, err)
		}
	}
	for _, grown := range []string{Metrics, DeadLetter} {
		if strings.Contains(err.Error(), "topic "+grown) {
			t.Errorf("%s may grow: %v", grown, err)
		}
	}
}

// TestEnsureWithoutRights: for a user who may not create topics, existing ones suffice; otherwise the error names the missing
// rights and topics.
func TestEnsureWithoutRights(t *testing.T) {
	on := func(op kmsg.ACLOperation, names ...string) (all []kfake.ACL) {
		for _, name := range names {
			all = append(all, kfake.ACL{Resource: kmsg.ACLResourceTypeTopic, Name: name, Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: op, Allow: true})
		}
		return all
	}
	ours := []Topic{{Name: Metrics, Partitions: 2, Cleanup: Delete}, {Name: Alerts, Partitions: 2, Cleanup: Compact}}
	describe, configs := on(kmsg.ACLOperationDescribe, Metrics, Alerts), on(kmsg.ACLOperationDescribeConfigs, Metrics, Alerts)
	for what, c := range map[string]struct {
		made []Topic
		acls []kfake.ACL
		want []string // parts of the error; nil: no error
	}{
		"all is there":     {ours, append(configs, describe...), nil},
		"one is missing":   {ours[:1], append(configs, describe...), []string{"the right to Create on the topics alerts, which are missing"}},
		"no right":         {ours, nil, []string{"the right to Describe on the topics metrics, alerts"}},
		"no right to look": {ours, append(on(kmsg.ACLOperationDescribeConfigs, Metrics), describe...), []string{"the right to DescribeConfigs on the topics alerts"}},
	} {
		t.Run(what, func(t *testing.T) {
			c0 := kafkatest.Cluster(t, kfake.EnableSASL(), kfake.EnableACLs(),
				kfake.Superuser("PLAIN", "admin", "p"), kfake.User("PLAIN", "weir", "p", c.acls...))
			as := func(user string) *kadm.Client {
				cl := kafkatest.Client(t, c0.ListenAddrs(), kgo.SASL(plain.Auth{User: user, Pass: "p"}.AsMechanism()))
				return kadm.NewClient(cl)
			}
			if err := Ensure(within(t, 10*time.Second), as("admin"), c.made); err != nil {
				t.Fatal(err)
			}
			err := Ensure(within(t, 10*time.Second), as("weir"), ours)
			if c.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, ErrDenied) || !errors.Is(err, kerr.TopicAuthorizationFailed) {
				t.Fatalf("%v, want %v", err, ErrDenied)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in %v", want, err)
				}
			}
		})
	}
}

// TestEnsureTooFewMetrics: metrics may have more partitions than configured, but not fewer.
func TestEnsureTooFewMetrics(t *testing.T) {
	_, adm := broker(t)
	ctx := within(t, 10*time.Second)
	if _, err := adm.CreateTopic(ctx, 7, 1, nil, Metrics); err != nil {
		t.Fatal(err)
	}
	err := Ensure(ctx, adm, All(Default()))
	if !errors.Is(err, ErrShape) || err.Error() != "topic metrics: has 7 partitions, the config wants 8 or more: topic has another shape" {
		t.Error(err)
	}
}

func TestEnsureWithManyInstances(t *testing.T) {
	_, adm := broker(t)
	ctx := within(t, 10*time.Second)
	errs := make(chan error)
	for range 4 {
		go func() { errs <- Ensure(ctx, adm, All(Default())) }()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// TestEnsureEndsWithItsContext: Ensure does not wait for ever for a broker that is gone.
func TestEnsureEndsWithItsContext(t *testing.T) {
	c, adm := broker(t)
	c.Close()
	if err := Ensure(within(t, 300*time.Millisecond), adm, All(Default())); err == nil {
		t.Error("no error")
	}
}

func TestValidate(t *testing.T) {
	type file struct {
		Topics Config `yaml:",inline"`
	}
	for _, c := range []struct{ text, want string }{
		{"shards: 1\nalert_shards: 10000\nreplication: 3\nretention: {metrics: 1h}", ""},
		{"shards: 0", `c:1: shards: "0": must be 1 to 10000`},
		{"alert_shards: 10001", `c:1: alert_shards: "10001": must be 1 to 10000`},
		{"metrics_partitions: -1", `c:1: metrics_partitions: "-1": must be 1 to 10000`},
		{"retention: {deadletter_bytes: 67108864}", ""},
		{"retention: {deadletter_bytes: 67108863}", `c:1: retention.deadletter_bytes: "67108863": must be 67108864 to 1125899906842624 bytes`},
		{"replication: -1", `c:1: replication: "-1": must be at least 1, or 0 for the brokers' default`},
		{"retention:\n  samples: 3599s\n  windows: 5m", "c:2: retention.samples: \"59m59s\": must be at least 1h\nc:3: retention.windows: \"5m\": must be at least 1h"},
	} {
		f := file{Default()}
		d := conf.Parse("c", []byte(c.text), &f)
		f.Topics.Validate("", d)
		got := ""
		if err := d.Err(); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.text, got, c.want)
		}
	}
}

// TestLargestRecordFitsASegment: Kafka refuses a batch that is larger than a segment of its topic, whatever the topic's limit for
// records, so a segment must hold the largest record.
func TestLargestRecordFitsASegment(t *testing.T) {
	for _, topic := range All(Default()) {
		text, ok := topic.Configs()["segment.bytes"]
		if !ok {
			continue // the broker's default, 1 GiB
		}
		if segment, err := strconv.Atoi(text); err != nil || segment < topic.MaxRecordBytes {
			t.Errorf("%s: segments of %s bytes, records of %d", topic.Name, text, topic.MaxRecordBytes)
		}
	}
}
