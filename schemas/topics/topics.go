package topics

import (
	"fmt"
	"strconv"
	"time"

	"github.com/weir-metrics/weir/deploy/conf"
)

// The topics.
const (
	Metrics         = "metrics"          // what producers send, in any format
	Samples         = "samples"          // samples by series group
	Windows         = "windows"          // closed windows by series group
	Conditions      = "conditions"       // rule conditions that are or were true
	Alerts          = "alerts"           // the newest state of each alert
	NotificationLog = "notification-log" // the delivery ledger
	DeadLetter      = "deadletter"       // refused records, whole
	Generations     = "generations"      // which samples go to which shards
	ShardReports    = "shard-reports"    // what the owner of each shard reports
	Progress        = "progress"         // how far route is with each partition of metrics
	Members         = "members"          // the live processes, renewed four times a second
)

// ConsumerGroupPrefix begins the names of all of weir's consumer groups.
const ConsumerGroupPrefix = "weir-"

// Goka's consumer groups and their tables: a table is named after its group, with -table appended.
const (
	WindowConsumerGroup = "weir-window"
	WindowTable         = WindowConsumerGroup + "-table"
	AlertConsumerGroup  = "weir-alert"
	AlertTable          = AlertConsumerGroup + "-table"
)

// Config is how many partitions and copies the topics have, and how long they keep records. It
// takes effect only when a topic is created.
type Config struct {
	// Shards is the partition count of samples, windows and the window table,
	// 1 to 10,000. It cannot be changed in place.
	Shards int32 `yaml:"shards"`
	// AlertShards is the same for conditions, alerts, the alert table and the
	// notification log.
	AlertShards int32 `yaml:"alert_shards"`
	// MetricsPartitions is the minimum partition count of metrics, which may grow at any time.
	MetricsPartitions int32 `yaml:"metrics_partitions"`
	// Replication is the number of copies of every topic; 0 leaves it to the brokers.
	Replication int16 `yaml:"replication"`
	// Retention is how long the topics that are not compacted keep records.
	Retention Retention `yaml:"retention"`
}

// Retention is set by topic; each must outlast the longest outage of the topic's readers.
type Retention struct {
	Metrics    conf.Duration `yaml:"metrics"`
	Samples    conf.Duration `yaml:"samples"`
	Windows    conf.Duration `yaml:"windows"`
	Conditions conf.Duration `yaml:"conditions"`
	DeadLetter conf.Duration `yaml:"deadletter"`
	// DeadLetterBytes bounds each partition of deadletter, bytes; the oldest letters are dropped
	// first.
	DeadLetterBytes int64 `yaml:"deadletter_bytes"`
}

// Default suits the embedded broker. A cluster should have 96 shards.
func Default() Config {
	return Config{
		Shards: 8, AlertShards: 8, MetricsPartitions: 8,
		Retention: Retention{Metrics: conf.Day, Samples: conf.Day, Windows: conf.Day, Conditions: conf.Day, DeadLetter: conf.Week, DeadLetterBytes: 1 << 30},
	}
}

const maxShards = 10_000

const minLetterBytes, maxLetterBytes = 64 << 20, 1 << 50 // of all letters of a partition

// minRetention makes the log hold what a reader cannot take that is away for ten minutes, such as
// store while its database is down, and gives the reader time to catch up.
const minRetention = conf.Duration(time.Hour)

// Validate reports counts outside 1 to 10,000, a negative replication, a retention below
// 1 hour and deadletter_bytes below 64 MiB.
func (c *Config) Validate(at string, d *conf.Doc) {
	prefix := at
	if prefix != "" {
		prefix += "."
	}
	for _, n := range []struct {
		field string
		value int32
	}{{"shards", c.Shards}, {"alert_shards", c.AlertShards}, {"metrics_partitions", c.MetricsPartitions}} {
		if n.value < 1 || n.value > maxShards {
			d.Fail(prefix+n.field, n.value, fmt.Sprintf("must be 1 to %d", maxShards))
		}
	}
	if c.Replication < 0 {
		d.Fail(prefix+"replication", c.Replication, "must be at least 1, or 0 for the brokers' default")
	}
	for _, r := range []struct {
		field string
		value conf.Duration
	}{
		{"metrics", c.Retention.Metrics}, {"samples", c.Retention.Samples}, {"windows", c.Retention.Windows},
		{"conditions", c.Retention.Conditions}, {"deadletter", c.Retention.DeadLetter},
	} {
		if r.value < minRetention {
			d.Fail(prefix+"retention."+r.field, r.value, "must be at least "+minRetention.String())
		}
	}
	if n := c.Retention.DeadLetterBytes; n < minLetterBytes || n > maxLetterBytes {
		d.Fail(prefix+"retention.deadletter_bytes", n, fmt.Sprintf("must be %d to %d bytes", minLetterBytes, int64(maxLetterBytes)))
	}
}

// Cleanup is what a topic does with old records.
type Cleanup string

// Kafka's two policies.
const (
	Delete  Cleanup = "delete"  // drops records older than the retention
	Compact Cleanup = "compact" // keeps the newest record of each key, for ever
)

// Topic is the definition of one topic.
type Topic struct {
	Name       string
	Key, Value string // what they hold, in words
	Partitions int32
	Grows      bool // it may have more partitions than Partitions
	Cleanup    Cleanup
	Retention  conf.Duration // 0 for compacted topics
	// RetentionBytes bounds each partition, bytes; 0: it is not bounded.
	RetentionBytes int64
	// MaxRecordBytes is the largest record batch; 0 leaves it to the brokers (1 MB).
	MaxRecordBytes int
	Replication    int16 // copies; 0: the brokers' default
	// ArrivalTime makes the broker stamp records as they arrive: keep_firing_for depends on when a
	// condition came, which the clock of a window process may get wrong. Foreign producers may
	// stamp their records in the past, and retention would then drop them unread.
	ArrivalTime bool
}

// DeadLetterPartitions is the minimum partition count of deadletter, and the number that weir's own
// producers use.
const DeadLetterPartitions = 1

// maxRecordBytes is the largest record of weir's topics: the state of a group of many thousand
// series, or a producer's record of 10 MB, which must get in to be refused. It is 16 MiB, and 128
// KiB for key, headers (at most 64 KiB) and the batch's own overhead.
const maxRecordBytes = 16<<20 + 128<<10

// All returns every topic that weir uses.
func All(c Config) []Topic {
	table := func(t Topic) Topic { t.Cleanup = Compact; return t }
	all := []Topic{
		{Name: Metrics, Key: "any or none", Value: "JSON or Influx line protocol",
			Partitions: c.MetricsPartitions, Grows: true, Retention: c.Retention.Metrics, ArrivalTime: true},
		{Name: Samples, Key: "series group", Value: "schemas.SampleBatch",
			Partitions: c.Shards, Grows: true, Retention: c.Retention.Samples},
		{Name: Windows, Key: "series group", Value: "schemas.WindowBatch",
			Partitions: c.Shards, Retention: c.Retention.Windows},
		table(Topic{Name: WindowTable, Key: "series group", Value: "windows.Group", Partitions: c.Shards, Grows: true}),
		{Name: Conditions, Key: "alert fingerprint", Value: "schemas.Condition",
			Partitions: c.AlertShards, Retention: c.Retention.Conditions, ArrivalTime: true},
		table(Topic{Name: AlertTable, Key: "alert fingerprint", Value: "schemas.Alert", Partitions: c.AlertShards}),
		table(Topic{Name: Alerts, Key: "alert fingerprint", Value: "schemas.Alert", Partitions: c.AlertShards}),
		table(Topic{Name: NotificationLog, Key: "receiver, fingerprint, state, time", Value: "schemas.Delivery", Partitions: c.AlertShards}),
		{Name: DeadLetter, Key: "as in metrics", Value: "the refused record, see Letter",
			Partitions: DeadLetterPartitions, Grows: true, Retention: c.Retention.DeadLetter,
			RetentionBytes: c.Retention.DeadLetterBytes, ArrivalTime: true},
		table(Topic{Name: Generations, Key: "generations", Value: "schemas.Generations", Partitions: 1}),
		table(Topic{Name: ShardReports, Key: "generation/shard", Value: "schemas.ShardReport", Partitions: 1}),
		table(Topic{Name: Progress, Key: "partition of metrics", Value: "schemas.Progress", Partitions: 1, ArrivalTime: true}),
		// Nobody reads records older than a few seconds.
		{Name: Members, Key: "instance", Value: "schemas.Member", Partitions: 1, Retention: minRetention},
	}
	return c.complete(all)
}

// complete sets what all topics have in common.
func (c *Config) complete(all []Topic) []Topic {
	for i := range all {
		all[i].Replication = c.Replication
		all[i].MaxRecordBytes = maxRecordBytes
		if all[i].Cleanup == "" {
			all[i].Cleanup = Delete
		}
	}
	return all
}

// Configs returns the topic's settings, under Kafka's names.
func (t Topic) Configs() map[string]string {
	m := map[string]string{"cleanup.policy": string(t.Cleanup)}
	if t.Cleanup == Compact {
		// Small segments and a bound on the lag: an active segment is never compacted, and recovery
		// reads all of it. A segment must hold the largest record, as Kafka refuses records larger
		// than a segment.
		m["segment.bytes"] = strconv.Itoa(maxRecordBytes)
		m["max.compaction.lag.ms"] = strconv.FormatInt(conf.Duration(time.Hour).MS(), 10)
		m["min.cleanable.dirty.ratio"] = "0.3"
		// kfake drops records of compacted topics, too, once they are older than the retention, 7
		// days by default: an alert that fires for longer would be lost.
		m["retention.ms"] = "-1"
	} else {
		m["retention.ms"] = strconv.FormatInt(t.Retention.MS(), 10)
	}
	if t.RetentionBytes > 0 {
		// Kafka drops whole segments, and never the newest.
		m["retention.bytes"] = strconv.FormatInt(t.RetentionBytes, 10)
		m["segment.bytes"] = strconv.FormatInt(max(min(t.RetentionBytes/8, 256<<20), maxRecordBytes), 10)
	}
	if t.MaxRecordBytes > 0 {
		m["max.message.bytes"] = strconv.Itoa(t.MaxRecordBytes)
	}
	if t.ArrivalTime {
		m["message.timestamp.type"] = "LogAppendTime"
	}
	return m
}
