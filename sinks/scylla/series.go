package scylla

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gocql/gocql"
	"github.com/scylladb/gocqlx/v2"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/cql"
	"github.com/weir-metrics/weir/sinks"
)

// index writes the rows about fresh series, all of one source, until they are acknowledged.
func (s *Store) index(ctx context.Context, source string, fresh []sinks.SeriesInfo) error {
	if len(fresh) == 0 {
		return nil
	}
	unlock, err := s.indexMu.lock(ctx, source)
	if err != nil {
		return fmt.Errorf("write %s: %w", cql.SeriesTable, err)
	}
	defer unlock()
	if err := s.widen(ctx, source, fresh); err != nil {
		return err
	}
	batches := slices.Collect(slices.Chunk(fresh, maxBatchRows))
	if err := each(len(batches), func(i int) error { return s.writeSeries(ctx, source, batches[i]) }); err != nil {
		return err
	}
	return s.writeLabels(ctx, source, fresh)
}

// widen extends the first and last times of fresh to include those in the table.
func (s *Store) widen(ctx context.Context, source string, fresh []sinks.SeriesInfo) error {
	at := map[[2]string]*sinks.SeriesInfo{}
	low, high := fresh[0].Series.Metric, fresh[0].Series.Metric
	for i := range fresh {
		f := &fresh[i]
		at[[2]string{f.Series.Metric, cql.LabelsText(f.Series)}] = f
		low, high = min(low, f.Series.Metric), max(high, f.Series.Metric)
	}
	return s.persist(ctx, cql.SeriesTable, func() error {
		q := s.session.ContextQuery(ctx, s.text.seriesOf, nil).Bind(source, low, high)
		q.PageSize(maxPage)
		iter := q.Iter()
		var metric, labels string
		var firstMS, lastMS int64
		for iter.Scan(&metric, &labels, &firstMS, &lastMS) {
			if f := at[[2]string{metric, labels}]; f != nil {
				f.FirstMS, f.LastMS = min(f.FirstMS, firstMS), max(f.LastMS, lastMS)
			}
		}
		return iter.Close()
	})
}

// writeSeries writes rows of the series table: one partition, one batch.
func (s *Store) writeSeries(ctx context.Context, source string, infos []sinks.SeriesInfo) error {
	return s.persist(ctx, cql.SeriesTable, func() error {
		batch := s.session.NewBatch(gocql.UnloggedBatch).WithContext(ctx)
		for i := range infos {
			f := &infos[i]
			batch.Query(s.text.series, source, f.Series.Metric, cql.LabelsText(f.Series), f.Series.Labels.Map(), f.FirstMS, f.LastMS)
		}
		return s.session.ExecuteBatch(batch)
	})
}

// writeLabels writes a row into the label index for each label of each series, including its
// metric, and each distinct value once. Each is a partition of its own, so they are written one by
// one.
func (s *Store) writeLabels(ctx context.Context, source string, infos []sinks.SeriesInfo) error {
	type row struct {
		table, statement string
		args             []any
	}
	var rows []row
	seen := map[schemas.Label]bool{}
	for i := range infos {
		f := &infos[i]
		for _, l := range append(schemas.Labels{{Name: cql.MetricLabel, Value: f.Series.Metric}}, f.Series.Labels...) {
			rows = append(rows, row{cql.LabelIndex, s.text.labelIndex, []any{l.Name, l.Value, cql.IndexShard(f.Series),
				f.Series.String(), f.Series.Metric, source, f.Series.Labels.Map()}})
			if !seen[l] {
				seen[l] = true
				rows = append(rows, row{cql.LabelValues, s.text.labelValue, []any{l.Name, l.Value}})
			}
		}
	}
	return each(len(rows), func(i int) error {
		r := rows[i]
		return s.persist(ctx, r.table, func() error {
			return s.session.ContextQuery(ctx, r.statement, nil).Bind(r.args...).ExecRelease()
		})
	})
}

// ListSeries implements sinks.TierStore. Given a metric, it reads the index of that metric;
// otherwise, given labels, that of one of them; otherwise that of one metric after the other.
func (s *Store) ListSeries(ctx context.Context, metric string, match map[string]string, after string, limit int) ([]sinks.SeriesInfo, error) {
	if limit <= 0 {
		return nil, nil
	}
	l, byLabel := sinks.IndexLabel(match)
	var out []sinks.SeriesInfo
	var err error
	switch {
	case metric != "":
		out, err = s.listIndex(ctx, schemas.Label{Name: cql.MetricLabel, Value: metric}, match, after, limit)
	case byLabel:
		out, err = s.listIndex(ctx, l, match, after, limit)
	default:
		out, err = s.listAll(ctx, after, limit)
	}
	if err == nil {
		err = each(len(out), func(i int) error { return s.times(ctx, &out[i]) })
	}
	if err != nil {
		return nil, fmt.Errorf("list series: %w", err)
	}
	return out, nil
}

// listAll goes through the metrics in the order of the first text that a series of each can have.
// Once limit of the series found sort before those of the next metric, they are the first.
func (s *Store) listAll(ctx context.Context, after string, limit int) ([]sinks.SeriesInfo, error) {
	q := s.session.ContextQuery(ctx, s.text.metrics, nil).Bind(cql.MetricLabel)
	q.PageSize(maxPage)
	var spans []span
	var metric string
	iter := q.Iter()
	for iter.Scan(&metric) {
		if sp := spanOf(metric); sp.last > after {
			spans = append(spans, sp)
		}
	}
	if err := iter.Close(); err != nil {
		return nil, err
	}
	slices.SortFunc(spans, func(a, b span) int { return strings.Compare(a.first, b.first) })
	var out []sinks.SeriesInfo
	for _, sp := range spans {
		if len(out) >= limit && out[limit-1].Series.String() < sp.first {
			break
		}
		more, err := s.listIndex(ctx, schemas.Label{Name: cql.MetricLabel, Value: sp.metric}, nil, after, limit)
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
		slices.SortFunc(out, func(a, b sinks.SeriesInfo) int { return strings.Compare(a.Series.String(), b.Series.String()) })
		out = out[:min(len(out), limit)]
	}
	return out, nil
}

// span is a metric, and the texts between which all its series lie.
type span struct{ metric, first, last string }

func spanOf(metric string) span {
	bare := schemas.Series{Metric: metric}.String()
	const label, value = "l", "v"
	one := schemas.Series{Metric: metric, Labels: schemas.Labels{{Name: label, Value: value}}}.String()
	labelled := strings.TrimSuffix(one, label+`="`+value+`"}`)
	return span{metric, min(bare, labelled), max(bare, labelled+"\xff")}
}

// head is how far one shard of the index has been read.
type head struct {
	iter   *gocqlx.Iterx
	more   bool
	name   string
	metric string
	source string
	labels map[string]string
}

func (h *head) next() {
	h.labels = nil // otherwise Scan would add to the map of the previous row
	h.more = h.iter.Scan(&h.name, &h.metric, &h.source, &h.labels)
}

// checkEvery is how many rows a scan reads before it checks whether it is still wanted.
const checkEvery = 128

// listIndex merges the shards of one label's index, each of which is sorted.
func (s *Store) listIndex(ctx context.Context, l schemas.Label, match map[string]string, after string, limit int) ([]sinks.SeriesInfo, error) {
	heads := make([]head, cql.IndexShards)
	page := min(maxPage, limit/cql.IndexShards+16)
	err := each(len(heads), func(i int) error {
		q := s.session.ContextQuery(ctx, s.text.index, nil).Bind(l.Name, l.Value, int8(i), after)
		q.PageSize(page)
		heads[i].iter = q.Iter()
		heads[i].next()
		return nil
	})
	var out []sinks.SeriesInfo
	for rows := 0; len(out) < limit; rows++ {
		if rows%checkEvery == 0 && ctx.Err() != nil {
			err = errors.Join(err, ctx.Err())
			break
		}
		var first *head
		for i := range heads {
			if h := &heads[i]; h.more && (first == nil || h.name < first.name) {
				first = h
			}
		}
		if first == nil {
			break
		}
		info := sinks.SeriesInfo{Series: schemas.Series{Metric: first.metric, Labels: schemas.NewLabels(first.labels)}, Source: first.source}
		// A label may have the name under which the index holds the metric.
		if sinks.Matches(info.Series, match) && (l.Name != cql.MetricLabel || info.Series.Metric == l.Value) {
			out = append(out, info)
		}
		first.next()
	}
	for i := range heads {
		err = errors.Join(err, heads[i].iter.Close())
	}
	return out, err
}

// times looks up the first and last time of a series.
func (s *Store) times(ctx context.Context, info *sinks.SeriesInfo) error {
	iter := s.session.ContextQuery(ctx, s.text.seriesAt, nil).
		Bind(info.Source, info.Series.Metric, cql.LabelsText(info.Series)).Iter()
	iter.Scan(&info.FirstMS, &info.LastMS)
	return iter.Close()
}
