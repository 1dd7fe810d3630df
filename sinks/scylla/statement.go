package scylla

import (
	"github.com/scylladb/gocqlx/v2/qb"

	"github.com/weir-metrics/weir/schemas/cql"
)

// statements holds the text of every statement, for the session's keyspace. Values are bound by
// position: inserts in the order of cql's columns.
type statements struct {
	write, read                        map[int64]string // by tier, ms; write: then ttl in s, stamp in µs
	series, labelIndex, labelValue     string
	seriesOf, seriesAt, index, metrics string
	columns                            map[string][]string // by table
}

func statementsOf(tiers []cql.Tier) statements {
	st := statements{write: map[int64]string{}, read: map[int64]string{}, columns: map[string][]string{
		cql.SeriesTable: cql.SeriesColumns, cql.LabelIndex: cql.LabelIndexColumns, cql.LabelValues: cql.LabelValuesColumns}}
	for _, t := range tiers {
		st.columns[t.Table()] = cql.TierColumns
		// TTL and Timestamp named: with a constant TTL qb drops the timestamp.
		st.write[t.SizeMS], _ = qb.Insert(t.Table()).Columns(cql.TierColumns...).TTLNamed("ttl").TimestampNamed("stamp").ToCql()
		st.read[t.SizeMS], _ = qb.Select(t.Table()).Columns(cql.TierColumns[4:]...).
			Where(qb.Eq("source"), qb.Eq("bucket"), qb.Eq("metric"), qb.Eq("series"), qb.GtOrEq("ts"), qb.Lt("ts")).ToCql()
	}
	st.series, _ = qb.Insert(cql.SeriesTable).Columns("source", "metric", "series", "labels", "first_seen", "last_seen").ToCql()
	st.labelIndex, _ = qb.Insert(cql.LabelIndex).Columns(cql.LabelIndexColumns...).ToCql()
	st.labelValue, _ = qb.Insert(cql.LabelValues).Columns(cql.LabelValuesColumns...).ToCql()
	st.seriesOf, _ = qb.Select(cql.SeriesTable).Columns("metric", "series", "first_seen", "last_seen").
		Where(qb.Eq("source"), qb.GtOrEq("metric"), qb.LtOrEq("metric")).ToCql()
	st.seriesAt, _ = qb.Select(cql.SeriesTable).Columns("first_seen", "last_seen").
		Where(qb.Eq("source"), qb.Eq("metric"), qb.Eq("series")).ToCql()
	st.index, _ = qb.Select(cql.LabelIndex).Columns("name", "metric", "source", "labels").
		Where(qb.Eq("label"), qb.Eq("value"), qb.Eq("shard"), qb.Gt("name")).ToCql()
	st.metrics, _ = qb.Select(cql.LabelValues).Columns("value").Where(qb.Eq("label")).ToCql()
	return st
}
