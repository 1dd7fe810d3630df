package cql

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weir-metrics/weir/schemas"
)

// The tables beside those of the tiers.
const (
	// SeriesTable holds what is known about each series, by source.
	SeriesTable = "series"
	// LabelIndex finds series by one of their labels, or by MetricLabel.
	LabelIndex = "label_index"
	// LabelValues holds the values of each label, and of MetricLabel.
	LabelValues = "label_values"
)

// MetricLabel is the label name under which the index holds the metric.
const MetricLabel = "__name__"

// IndexShards is the number of partitions over which the label index spreads the series of one
// label value. It never changes: 10 million series of one value make partitions of about 100 MB.
const IndexShards = 16

// IndexShard is the shard of a series in the label index.
func IndexShard(s schemas.Series) int8 { return int8(s.Hash() % IndexShards) }

// LabelsText is the column series of the tables: the canonical text of the series' labels alone,
// {cpu="0",host="web01"}, or "" if it has none.
func LabelsText(s schemas.Series) string {
	return schemas.Series{Metric: "m", Labels: s.Labels}.String()[len("m"):]
}

// Columns of the tables, in the order of the statements that create them.
var (
	TierColumns = slices.Concat([]string{"source", "bucket", "metric", "series", "ts", "part", "count"},
		schemas.Columns[:], []string{"first_ts", "last_ts", "revision"})
	SeriesColumns      = []string{"source", "metric", "series", "labels", "type", "unit", "first_seen", "last_seen"}
	LabelIndexColumns  = []string{"label", "value", "shard", "name", "metric", "source", "labels"}
	LabelValuesColumns = []string{"label", "value"}
)

// Schema is what the statements are made from.
type Schema struct {
	Keyspace string // letters, digits and _, 48 at most
	// Replication is the replicas per data centre, or those of every data centre
	// under the name "replication_factor".
	Replication map[string]int
	Tiers       []Tier
}

// Check returns an error that names the field, its value and the bound that it breaks.
func (s *Schema) Check() error {
	if err := CheckKeyspace(s.Keyspace); err != nil {
		return err
	}
	if err := CheckReplication(s.Replication); err != nil {
		return fmt.Errorf("replication: %w", err)
	}
	return CheckTiers(s.Tiers)
}

// CheckKeyspace returns an error if name would have to be quoted.
func CheckKeyspace(name string) error {
	if name == "" || len(name) > 48 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" ||
		name[0] < 'a' || name[0] > 'z' {
		return fmt.Errorf("keyspace %q: must be 1 to 48 of a-z, 0-9 and _, a letter first", name)
	}
	return nil
}

// CheckReplication returns an error that names the data centre whose name or number of replicas is
// out of bounds.
func CheckReplication(replicas map[string]int) error {
	if len(replicas) == 0 {
		return errors.New("must name a data centre, or replication_factor")
	}
	for dc, n := range replicas {
		if n < 1 || n > 100 {
			return fmt.Errorf("%q: %d: must be 1 to 100", dc, n)
		}
		if dc == "" || strings.ContainsAny(dc, "'\\\n") {
			return fmt.Errorf("data centre %q: must not be empty or contain a quote", dc)
		}
	}
	return nil
}

// Statements returns the statements that create the keyspace and the tables, in order, each only if
// missing. The schema must have passed Check.
func (s *Schema) Statements() []string {
	out := []string{s.keyspace()}
	for _, t := range s.Tiers {
		out = append(out, s.tier(t))
	}
	return append(out, s.series(), s.labelIndex(), s.labelValues())
}

func (s *Schema) keyspace() string {
	var dcs strings.Builder
	for _, dc := range slices.Sorted(maps.Keys(s.Replication)) {
		fmt.Fprintf(&dcs, ", '%s': %d", dc, s.Replication[dc])
	}
	return fmt.Sprintf("CREATE KEYSPACE IF NOT EXISTS %s WITH replication = {'class': 'NetworkTopologyStrategy'%s}",
		s.Keyspace, dcs.String())
}

// gcGrace is how long the tombstone of an expired row is kept, in seconds: a day. Rows are only
// ever written and left to expire, so a replica that missed a tombstone has the same expiry in the
// row itself.
const gcGrace = 24 * 3600

func (s *Schema) tier(t Tier) string {
	unit, size := t.compactionWindow()
	return fmt.Sprintf(`CREATE TABLE IF NOT EXISTS %s.%s (
  source text, bucket int, metric text, series text, ts timestamp, part bigint,
  count bigint, %s double,
  first_ts timestamp, last_ts timestamp, revision bigint,
  PRIMARY KEY ((source, bucket), metric, series, ts, part)
) WITH default_time_to_live = %d AND gc_grace_seconds = %d
  AND compaction = {'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': '%s', 'compaction_window_size': '%d'}
  AND comment = '%s windows; ts is the start, bucket is ts in days / %d rounded down'`,
		s.Keyspace, t.Table(), strings.Join(schemas.Columns[:], " double, "), int64(t.TTL.Seconds()), gcGrace, unit, size, schemas.TierName(t.SizeMS), t.BucketMS()/dayMS)
}

func (s *Schema) series() string {
	return fmt.Sprintf(`CREATE TABLE IF NOT EXISTS %s.%s (
  source text, metric text, series text,
  labels frozen<map<text, text>>, type text, unit text, first_seen timestamp, last_seen timestamp,
  PRIMARY KEY ((source), metric, series)
) WITH default_time_to_live = %d AND gc_grace_seconds = %d
  AND comment = 'series by source; last_seen is renewed daily'`,
		s.Keyspace, SeriesTable, int64(SeriesTTL(s.Tiers).Seconds()), gcGrace)
}

func (s *Schema) labelIndex() string {
	return fmt.Sprintf(`CREATE TABLE IF NOT EXISTS %s.%s (
  label text, value text, shard tinyint, name text, metric text,
  source text, labels frozen<map<text, text>>,
  PRIMARY KEY ((label, value, shard), name)
) WITH default_time_to_live = %d AND gc_grace_seconds = %d
  AND comment = 'series by label; name is the text of the series, shard is 0 to %d, label %s is the metric'`,
		s.Keyspace, LabelIndex, int64(SeriesTTL(s.Tiers).Seconds()), gcGrace, IndexShards-1, MetricLabel)
}

func (s *Schema) labelValues() string {
	return fmt.Sprintf(`CREATE TABLE IF NOT EXISTS %s.%s (
  label text, value text,
  PRIMARY KEY ((label), value)
) WITH default_time_to_live = %d AND gc_grace_seconds = %d
  AND comment = 'values by label; label %s is the metric'`,
		s.Keyspace, LabelValues, int64(SeriesTTL(s.Tiers).Seconds()), gcGrace, MetricLabel)
}
